"""Cache of decoded images on disk or in memory: the memory-mapped file, and the source that reads from it."""
