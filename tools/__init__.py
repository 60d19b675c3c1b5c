"""Maintainers' scripts, run from the repository root: ``python -m tools.measure_models``. Not part of the wheel."""
