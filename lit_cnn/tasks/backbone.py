"""A task's backbone before training: frozen layers, memory format, compilation, starting weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lit_cnn.errors import UserError
from lit_cnn.models._freeze import Frozen, batch_norms, find_head, freeze
from lit_cnn.models._weights import load_weights
from lit_cnn.utils.console import say
from lit_cnn.utils.datamodule import DataModule

INIT_IMAGES = 5000  # that a backbone's ``init_from_data`` sees


def prepare_backbone(backbone: nn.Module, settings: Mapping[str, Any]) -> Frozen:
    """Freeze layers, convert to channels_last, compile; in place.

    Args:
        backbone: as built.
        settings: of the model: freeze, num_classes (where there are classes), channels_last, compile.

    Returns:
        Names of the frozen layers, which are in evaluation mode.
    """
    if settings.get("head_init", "model") not in ("model", "zeros"):
        raise UserError(f"`model.head_init` must be model or zeros, got {settings['head_init']!r}")
    frozen = Frozen([], set())
    if settings.get("freeze") is not None:
        frozen = freeze(backbone, settings["freeze"], settings.get("num_classes"))
    for name in (
        *frozen.modules,
        *kept_statistics(backbone, settings),
    ):  # Lightning restores the mode that every layer is in
        backbone.get_submodule(name).eval()
    if settings["channels_last"]:
        backbone.to(memory_format=torch.channels_last)
    if settings["compile"]:
        # In place, so that state-dict keys stay the backbone's own. One graph per batch size: with a graph for any
        # size, which torch makes once a second size occurs, the numbers would depend on where a run was resumed.
        backbone.compile(dynamic=False)
    return frozen


def kept_statistics(backbone: nn.Module, settings: Mapping[str, Any]) -> list[str]:
    """Names of the batch normalizations that stay in evaluation mode by ``model.freeze_bn``."""
    return batch_norms(backbone) if settings.get("freeze_bn", False) else []


def init_backbone(
    backbone: nn.Module, settings: Mapping[str, Any], frozen: Frozen, images: Callable[[], Tensor]
) -> None:
    """Compute first weights from the data where the backbone has ``init_from_data``, and load starting weights.

    Args:
        backbone: as prepared.
        settings: of the model: backbone, weights, weights_strict, freeze, and where it has them weights_key,
            head_init and num_classes.
        frozen: what :func:`prepare_backbone` returned.
        images: gives training images, float (N, C, H, W).

    Raises:
        UserError: weights that cannot be read or do not fit.
    """
    if callable(init := getattr(backbone, "init_from_data", None)):
        init(images())
    kept: set[str] = set()  # what the weights bring
    if settings["weights"]:
        report = load_weights(
            backbone,
            settings["backbone"],
            settings["weights"],
            strict=settings["weights_strict"],
            num_classes=settings.get("num_classes"),
            frozen=frozen.tensors,
            key=settings.get("weights_key"),
        )
        say(str(report))
        kept = {*report.loaded, *report.adapted}
    elif frozen.tensors:
        say(
            f"note: `model.freeze={settings['freeze']}` without `model.weights`: frozen layers keep their initial, "
            "random values; `model.weights=imagenet`, or a file, starts from trained ones"
        )
    if settings.get("head_init", "model") == "zeros":
        _zero_head(backbone, settings.get("num_classes"), kept)


@torch.no_grad()
def _zero_head(backbone: nn.Module, num_classes: int | None, kept: set[str]) -> None:
    """Set the head to 0, apart from tensors in ``kept``."""
    head = find_head(backbone, num_classes)
    for name, parameter in backbone.get_submodule(head).named_parameters(prefix=head):
        if name not in kept:
            parameter.zero_()


@torch.no_grad()
def first_images(data: DataModule) -> Tensor:
    """The first training images as the backbone will see them, float (<= INIT_IMAGES, C, H, W)."""
    images: list[Tensor] = []
    for batch in data.train_dataloader():
        images.append(data.on_after_batch_transfer(batch, 0).image)
        if sum(map(len, images)) >= INIT_IMAGES:
            break
    return torch.cat(images)[:INIT_IMAGES]
