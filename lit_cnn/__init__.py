"""lit-cnn: train, test, resume and use convolutional image models.

The Python API is loaded when a name is first used, so that importing the package costs nothing::

    import lit_cnn

    model = lit_cnn.load("best.ckpt")
    model.predict(["photo.jpg"])
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lit_cnn.api import Classifier, TrainedRun, fit, load
    from lit_cnn.data import (
        CIFAR10,
        MNIST,
        Digits,
        FashionMNIST,
        Flowers,
        ImageDataModule,
        ImageFolder,
        ImageList,
        Stream,
        Vehicles,
        register_transform,
    )
    from lit_cnn.errors import UserError
    from lit_cnn.models import get_model, list_models, register_model
    from lit_cnn.tasks.classification import ImageClassifier
    from lit_cnn.tasks.losses import register_loss

__version__ = "0.2.0"

_HOMES = {
    "lit_cnn.api": ("Classifier", "TrainedRun", "fit", "load"),
    "lit_cnn.data": (
        "CIFAR10",
        "MNIST",
        "Digits",
        "FashionMNIST",
        "Flowers",
        "ImageDataModule",
        "ImageFolder",
        "ImageList",
        "Stream",
        "Vehicles",
        "register_transform",
    ),
    "lit_cnn.errors": ("UserError",),
    "lit_cnn.models": ("get_model", "list_models", "register_model"),
    "lit_cnn.tasks.classification": ("ImageClassifier",),
    "lit_cnn.tasks.losses": ("register_loss",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "CIFAR10",
    "MNIST",
    "Classifier",
    "Digits",
    "FashionMNIST",
    "Flowers",
    "ImageClassifier",
    "ImageDataModule",
    "ImageFolder",
    "ImageList",
    "Stream",
    "TrainedRun",
    "UserError",
    "Vehicles",
    "__version__",
    "fit",
    "get_model",
    "list_models",
    "load",
    "register_loss",
    "register_model",
    "register_transform",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its home."""
    if name not in _HOME:
        raise AttributeError(f"module 'lit_cnn' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Names of the module, those not loaded yet too."""
    return sorted({*globals(), *_HOME})
