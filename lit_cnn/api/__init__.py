"""The Python API: load a checkpoint and classify images, or run what ``lit-cnn fit`` runs."""

from lit_cnn.api.classifier import Classifier, Prediction, load
from lit_cnn.api.training import TrainedRun, fit

__all__ = ["Classifier", "Prediction", "TrainedRun", "fit", "load"]
