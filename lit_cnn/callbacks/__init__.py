"""What a run shows and leaves behind: progress on the terminal, metrics.csv, curves, and the evaluation report."""

from lit_cnn.callbacks.csv_logger import MetricsCSV
from lit_cnn.callbacks.curves import Curves, plot_curves
from lit_cnn.callbacks.evaluation import EvaluationReport
from lit_cnn.callbacks.progress_bar import Progress

__all__ = ["Curves", "EvaluationReport", "MetricsCSV", "Progress", "plot_curves"]
