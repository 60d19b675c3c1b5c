"""What happens while a run runs: checkpoints, guards, progress on the terminal, metrics.csv, curves and reports.

Their order in a trainer, with the reasons for it, is in :mod:`lit_cnn.cli.trainer`.
"""

from lit_cnn.callbacks.csv_logger import MetricsCSV
from lit_cnn.callbacks.curves import Curves
from lit_cnn.callbacks.evaluation import EvaluationReport
from lit_cnn.callbacks.progress_bar import ProgressBar

__all__ = ["Curves", "EvaluationReport", "MetricsCSV", "ProgressBar"]
