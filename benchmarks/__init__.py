"""Side-by-side speed comparisons: ``python -m benchmarks.NAME``."""
