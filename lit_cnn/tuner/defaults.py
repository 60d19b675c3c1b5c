"""Settings that suit a folder of images: what ``lit-cnn fit photos`` trains with where the user says nothing.

They were chosen by measuring (``python -m benchmarks.defaults``, table in docs/defaults.md). A setting that is given
is kept, and those that depend on it follow: another optimizer has its own learning rate, fewer epochs a shorter
warm-up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from lit_cnn.data.summary import Summary

TINY = 48  # pixels: images up to this side are icons and digits, for which networks for CIFAR are made
PHOTO_SIZE = 96  # pixels
WEIGHTS_SIZE = 224  # pixels that published weights were trained at
PREFERRED = ("torchvision/efficientnet_b0", "torchvision/mobilenet_v3_large", "resnet18")  # if their weights are here
CACHE_BYTES = 2**30  # of decoded images that are kept in memory
FEW, MANY = 1000, 20_000  # training images
# Of layers that bring weights. A new head, which starts from zeros, has NEW_HEAD times as much.
FINE_TUNING_LR, NEW_HEAD = 3e-5, 30.0
HEAD_EPOCHS, HEAD_BATCH, HEAD_LR = 30, 64, 3e-3  # of a head alone: as good as logistic regression (benchmarks.transfer)


class Choice(NamedTuple):
    """A kind of images and what it is trained with, apart from what depends on their number.

    Attributes:
        backbone: where none is given.
        image_size: pixels.
        crop_scale: random resized crop, or ``None`` for a crop with padding.
        flip: probability of a mirror image.
    """

    backbone: str
    image_size: int
    crop_scale: list[float] | None
    flip: float


def kind_of(found: Summary, weights: bool) -> Choice:
    """What images of this size and colour are trained with.

    Args:
        found: the images.
        weights: whether training starts from trained weights.
    """
    if weights:
        return Choice("resnet18", WEIGHTS_SIZE, [0.5, 1.0], 0.5)
    if found.side <= TINY:
        # small grey images are mostly digits and letters, whose mirror images are others or none
        return Choice("resnet20", 32, None, 0.0 if found.grey else 0.5)
    return Choice("resnet18", min(PHOTO_SIZE, 32 * round(found.side / 32)), [0.35, 1.0], 0.5)


def choose(
    found: Summary, given: Mapping[str, Any], size_of: Callable[[str, int], int], cached: Callable[[str], bool]
) -> dict[str, Any]:
    """Settings by dotted name for images of which nothing else is known.

    Args:
        found: the images.
        given: settings that the user gave, by dotted name: the result has none of them.
        size_of: for a backbone and a side in pixels: that side, or the one that the backbone needs.
        cached: whether the published weights of a backbone are on this machine.
    """
    chosen: dict[str, Any] = {}
    if "model.weights" not in given and found.side > TINY:
        tried = [str(given["model.backbone"])] if given.get("model.backbone") else PREFERRED
        if backbone := next((name for name in tried if cached(name)), None):
            chosen |= {"model.backbone": backbone, "model.weights": "imagenet"}
    weights = bool(given.get("model.weights") or chosen.get("model.weights"))
    kind = kind_of(found, weights)
    chosen.setdefault("model.backbone", kind.backbone)

    def value(name: str) -> Any:
        return given.get(name, chosen.get(name))

    chosen["data.image_size"] = size_of(str(value("model.backbone")), kind.image_size)
    if found.grey and not weights:
        chosen["data.channels"] = 1
    head_alone = weights and given.get("model.freeze") == "backbone" and not given.get("model.freeze_epochs")
    batch = HEAD_BATCH if head_alone else 16 if found.train < FEW else 32 if found.train < MANY else 128
    chosen["data.batch_size"] = batch
    chosen["trainer.max_epochs"] = HEAD_EPOCHS if head_alone else _epochs(found, weights)
    chosen |= _optimization(given, weights, batch, value("trainer.max_epochs"))
    if weights:
        chosen |= _fine_tuning(chosen, head_alone)
    if head_alone:
        kind = kind._replace(crop_scale=None, flip=0.0)
    chosen["model.label_smoothing"] = 0.1
    if found.multilabel:
        chosen["checkpoint.monitor"] = "val/map"  # val/acc counts images all of whose labels are right
    chosen |= _augmentation(kind, value("data.image_size"), padding=not head_alone)
    pixels = value("data.image_size")
    if isinstance(pixels, int) and found.images * 3 * (1.5 * pixels) ** 2 < CACHE_BYTES:
        chosen["data.cache"] = "ram"
    return {name: setting for name, setting in chosen.items() if not _is_given(name, given)}


def _epochs(found: Summary, weights: bool) -> int:
    """Enough optimizer steps for few images, and an end for many."""
    if weights:
        return 6 if found.train < FEW else 5
    if found.side <= TINY:
        return 30 if found.train < MANY else 20
    return 40 if found.train < FEW else 30 if found.train < MANY else 20


def _optimization(given: Mapping[str, Any], weights: bool, batch: int, epochs: Any) -> dict[str, Any]:
    """Optimizer, learning rate and schedule."""
    optimizer = str(given.get("model.optimizer", "adamw")).lower()
    chosen: dict[str, Any] = {"model.optimizer": "adamw"}
    if optimizer == "adamw":
        chosen |= {"model.lr": FINE_TUNING_LR if weights else 1e-3, "model.weight_decay": 0.05}
        chosen["model.decay_norm_and_bias"] = False
    elif optimizer == "sgd":
        # 0.1 is for batches of 256 (Goyal et al. 2017, arXiv 1706.02677)
        chosen["model.lr"] = float(
            f"{(0.01 if weights else 0.1) * _number(given.get('data.batch_size'), batch) / 256:.2g}"
        )
    if given.get("model.lr_scheduler", "cosine") in ("cosine", "linear") and (_number(epochs, 0) or 0) >= 3:
        chosen["model.lr_warmup_epochs"] = float(min(5, max(1, round(0.08 * _number(epochs, 0)))))
    return chosen


def _fine_tuning(chosen: Mapping[str, Any], head_alone: bool) -> dict[str, Any]:
    """What spares the weights: a head that disturbs nothing at first, low rates, and their own batch-norm statistics.

    Those of few images of a few kinds are others: with the weights of tf_efficientnet_lite0 and a trained head,
    accuracy on flowers falls from 0.93 to 0.67 by computing them anew.
    """
    found: dict[str, Any] = {"model.head_init": "zeros"}
    rates = "model.weight_decay" in chosen  # of the optimizer that the rates were measured with
    if head_alone:
        return {**found, **({"model.lr": HEAD_LR} if rates else {})}
    return {**found, "model.freeze_bn": True, **({"model.head_lr_scale": NEW_HEAD} if rates else {})}


def _augmentation(kind: Choice, size: Any, padding: bool = True) -> dict[str, Any]:
    side = size if isinstance(size, int) else kind.image_size
    return {
        "data.augment.crop_scale": kind.crop_scale,
        "data.augment.crop_padding": side // 8 if padding and kind.crop_scale is None else 0,
        "data.augment.flip": kind.flip,
    }


def _number(value: Any, otherwise: int) -> int:
    """A value of a flag or a config as a number; ``otherwise`` for ``auto`` and the like."""
    try:
        return int(value)
    except (TypeError, ValueError):
        return otherwise


def _is_given(name: str, given: Mapping[str, Any]) -> bool:
    """Whether the user gave a setting, or the group of settings that it belongs to."""
    parts = name.split(".")
    return any(".".join(parts[:n]) in given for n in range(2, len(parts) + 1))
