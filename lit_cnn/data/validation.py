"""Settings that every image set has, checked before anything is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lit_cnn.data.loading import threads
from lit_cnn.errors import UserError

if TYPE_CHECKING:
    from lit_cnn.data.datamodule import ImageDataModule


def check_settings(data: ImageDataModule, class_names: Sequence[str] | None) -> None:
    """Refuse what makes no sense.

    Args:
        data: With all settings stored.
        class_names: As given.

    Raises:
        UserError: Naming the setting and what it may be.
    """
    if data.batch_size != "auto" and data.batch_size < 1:
        raise UserError(f"data.batch_size is {data.batch_size}: it must be at least 1")
    if data.eval_batch_size is not None and data.eval_batch_size < 1:
        raise UserError(f"data.eval_batch_size is {data.eval_batch_size}: it must be at least 1")
    if data.image_size < 1:
        raise UserError(f"data.image_size is {data.image_size}: it must be at least 1 pixel")
    if data.channels not in (1, 3):
        raise UserError(f"data.channels is {data.channels}: choose 1 (grey) or 3 (RGB)")
    threads.check(data.workers)
    if data.normalize not in ("dataset", "imagenet", "computed"):
        raise UserError(f"data.normalize is {data.normalize!r}: choose dataset, imagenet or computed")
    if (data.mean is None) != (data.std is None):
        raise UserError("give data.mean and data.std together, or neither")
    if data.mean is not None and data.std is not None:
        if not len(data.mean) == len(data.std) == data.channels:
            raise UserError(
                f"data.mean has {len(data.mean)} and data.std {len(data.std)} values; images have "
                f"{data.channels} channel{'s' if data.channels > 1 else ''}"
            )
        if min(data.std) <= 0:
            raise UserError(f"data.std is {data.std}: every value must be above 0")
    if class_names is not None and len(set(class_names)) != len(class_names):
        raise UserError(f"data.class_names names a class twice: {', '.join(class_names)}")
