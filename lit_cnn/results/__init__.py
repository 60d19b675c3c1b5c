"""Results of a run as files and tables: predictions, metrics, confusion matrices, curves, skipped images.

Everything here works on arrays and on the files of a run folder, without torch and Lightning, so that a report can be
made anywhere, also for old runs.
"""
