"""Check the settings that every data set has, before anything is read; for their meaning see ``ImageDataModule``.

Every function raises UserError, which names the setting and its valid values.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Literal

from lit_cnn.data.sampling import SAMPLING
from lit_cnn.data.transforms.augment import Augment
from lit_cnn.errors import UserError
from lit_cnn.utils.files import expand_home

OTHER_DATA_DIR = "choose another `data.data_dir`"  # advice where it cannot be written


def folder(data_dir: str) -> str:
    """The setting ``data_dir`` as a path or an address, with ``~`` replaced by the home folder."""
    return expand_home(data_dir)


def check_loading(
    batch_size: int | Literal["auto"], eval_batch_size: int | None, workers: int | Literal["auto"] | None, sampling: str
) -> None:
    """Refuse batches of no images, a negative number of threads, and an unknown choice of an epoch's images."""
    if sampling not in SAMPLING:
        raise UserError(f"`data.sampling` is {sampling!r}: choose {' or '.join(SAMPLING)}")
    if batch_size != "auto" and batch_size < 1:
        raise UserError(f"`data.batch_size` is {batch_size}: it must be at least 1")
    if eval_batch_size is not None and eval_batch_size < 1:
        raise UserError(f"`data.eval_batch_size` is {eval_batch_size}: it must be at least 1")
    if isinstance(workers, int) and workers < 0:
        raise UserError(f"`data.workers` is {workers}: it must not be negative")


def check_channels(channels: int, augment: Augment) -> None:
    """Refuse images of no channels, and changes of colour for bands that are no colours."""
    if channels < 1:
        raise UserError(f"`data.channels` is {channels}: choose 1 (grey), 3 (RGB), or the number of bands")
    for name in ("saturation", "hue", "policy") if channels not in (1, 3) else ():
        if getattr(augment, name):
            raise UserError(
                f"`data.augment.{name}` changes RGB colours, and `data.channels` is {channels}: set it to 0"
            )


RESIZE = {"crop": "center_crop", "squash": "stretch", "letterbox": "letterbox"}  # to the words of eval_resize


def check_resize(kind: type, resize: str | None, eval_resize: str) -> str:
    """Return how images are resized in evaluation, in the words of ``eval_resize``.

    Args:
        kind: Class of the data set.
        resize: For training and evaluation, or None.
        eval_resize: The older setting, for evaluation alone.

    Raises:
        UserError: One is unknown, or they disagree, and ``eval_resize`` is not the default of the data set.
    """
    if resize is not None and resize not in RESIZE:
        raise UserError(f"`data.resize` is {resize!r}: choose {', '.join(list(RESIZE)[:-1])} or letterbox")
    if eval_resize not in RESIZE.values():
        raise UserError(f"`data.eval_resize` is {eval_resize!r}: choose center_crop, stretch or letterbox")
    if resize is None or RESIZE[resize] == eval_resize:
        return eval_resize
    found = (
        inspect.signature(vars(part)["__init__"]).parameters.get("eval_resize")
        for part in kind.__mro__
        if "__init__" in vars(part)
    )
    default = next((parameter.default for parameter in found if parameter is not None), eval_resize)
    if eval_resize != default:
        raise UserError(f"`data.resize={resize}` and `data.eval_resize={eval_resize}` disagree: give one of them")
    return RESIZE[resize]


def check_normalization(
    normalize: str, mean: Sequence[float] | None, std: Sequence[float] | None, channels: int
) -> None:
    """Refuse unknown kinds of normalisation, and a mean and std that do not fit the channels."""
    if normalize not in ("dataset", "imagenet", "computed"):
        raise UserError(f"`data.normalize` is {normalize!r}: choose dataset, imagenet or computed")
    if (mean is None) != (std is None):
        raise UserError("give `data.mean` and `data.std` together, or neither")
    if mean is not None and std is not None:
        if not len(mean) == len(std) == channels:
            raise UserError(
                f"`data.mean` has {len(mean)} and `data.std` {len(std)} values; images have "
                f"{channels} channel{'s' if channels > 1 else ''}"
            )
        if min(std) <= 0:
            raise UserError(f"`data.std` is {std}: every value must be above 0")


def some(names: Sequence[str], count: int = 10) -> str:
    """The first of many names, long ones cut, for a message."""
    listed = ", ".join(name if len(name) <= 40 else f"{name[:37]}..." for name in names[:count])
    return f"{listed} and {len(names) - count} more" if len(names) > count else listed


def check_class_names(class_names: Sequence[str] | None) -> None:
    """Refuse a class name that occurs twice."""
    if class_names is not None and len(set(class_names)) != len(class_names):
        raise UserError(f"`data.class_names` names a class twice: {', '.join(class_names)}")


def check_initialized(data: object) -> None:
    """Refuse an instance of a data set class whose ``__init__`` does not call that of its base class."""
    if "_given_classes" not in vars(data):
        raise UserError(
            f"{type(data).__name__}.__init__ does not call super().__init__(**kwargs): it must, with the settings that "
            "it does not use itself"
        )
