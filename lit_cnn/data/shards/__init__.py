"""Data sets packed into tar files: format and index, local and remote storage, the Stream data module."""
