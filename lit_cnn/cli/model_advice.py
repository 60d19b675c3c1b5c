"""``lit-cnn models --for DIR|DATA``: three models that suit some images, with the commands that train them."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import NamedTuple

from lit_cnn.errors import UserError, nearest
from lit_cnn.inspection import model_table
from lit_cnn.inspection.figures import Figures
from lit_cnn.inspection.tables import format_si
from lit_cnn.models._hub_cache import is_cached
from lit_cnn.utils.cpu import num_cores

SMALL = 64  # pixels: up to this side networks for CIFAR and MNIST suit
FEW = 1000  # images: below, smaller batches, so that there are enough optimizer steps
MANY_CORES = 8


class ImageSet(NamedTuple):
    """The images to choose a model for.

    Attributes:
        text: what they are.
        flags: that name them on the command line.
        images: their number.
        classes: the number of classes.
        side: shorter side in pixels.
        grey: whether they have one channel.
        folder: whether they are files in class folders, whose size and channels are settings.
    """

    text: str
    flags: list[str]
    images: int
    classes: int
    side: int
    grey: bool
    folder: bool


class Choice(NamedTuple):
    """A model to suggest, and its further flags."""

    why: str
    backbone: str
    flags: tuple[str, ...] = ()


# data sets by name: images, classes, side, grey
DATASETS = {
    "CIFAR10": (60_000, 10, 32, False),
    "MNIST": (70_000, 10, 28, True),
    "FashionMNIST": (70_000, 10, 28, True),
    "Digits": (1_797, 10, 28, True),
    "Flowers": (3_670, 5, 240, False),
}
CIFAR_STEM = ("--model.backbone_args.stem", "cifar")
TINY_GREY = (
    Choice("small and fast", "lenet_maxpool", ("--optimizer", "adamw", "--lr", "0.003")),
    Choice("balanced", "mnist_cnn", ("--optimizer", "adamw", "--lr", "0.001")),
    Choice("accurate", "resnet20", ("--lr", "0.1")),
)
TINY = (
    Choice("small and fast", "resnet20", ("--lr", "0.1")),
    Choice("balanced", "resnet56", ("--lr", "0.1")),
    Choice("accurate", "resnet18", (*CIFAR_STEM, "--lr", "0.1")),
)
PHOTOS = (
    Choice("small and fast", "torchvision/mobilenet_v3_small"),
    Choice("balanced", "torchvision/efficientnet_b0"),
    Choice("accurate", "torchvision/regnet_y_1_6gf"),
)
PHOTOS_MANY_CORES = (*PHOTOS[:2], Choice("accurate", "resnet50"))


def print_advice(wanted: str) -> None:
    """Print three suggestions.

    Args:
        wanted: a folder of images, or the name of a data set.

    Raises:
        UserError: it is neither, or the folder cannot be trained on.
    """
    images, cores = image_set(wanted), num_cores()
    kind = "grey" if images.grey else "colour"
    print(f"{images.text}: {images.images:,} {kind} images of about {images.side} pixels in {images.classes} classes")
    print(f"this machine: {cores} core{'s' * (cores > 1)}")
    tiny = images.side <= SMALL
    choices = PHOTOS_MANY_CORES if cores >= MANY_CORES else PHOTOS
    if tiny:
        choices = TINY_GREY if images.grey else TINY
    first = _figures(choices[0].backbone).macs or 1
    missing = False
    for number, choice in enumerate(choices, 1):
        figures = _figures(choice.backbone)
        pretrained = not tiny and is_cached(choice.backbone)
        missing |= not tiny and not pretrained
        print(f"\n{number}. {choice.why}: {choice.backbone}")
        print(f"   {_reason(choice, figures, first, pretrained)}")
        print(f"   {_command(images, choice, pretrained)}")
    if missing:
        print(
            "\nPretrained weights help, but these are not in the cache: add\n"
            "--weights imagenet, which downloads them once, or --weights FILE"
        )


def image_set(wanted: str) -> ImageSet:
    """The images of a folder or of a data set.

    Raises:
        UserError: there are none.
    """
    folder = Path(wanted).expanduser()
    if wanted and wanted not in DATASETS and folder.is_dir():
        return _in_folder(folder)
    plain = wanted.lower().replace("-", "").replace("_", "")
    exact = [name for name in DATASETS if name.lower() == plain]
    found = exact or [name for name in DATASETS if plain and name.lower().startswith(plain)]
    if len(found) != 1:
        hint = nearest(wanted, DATASETS) or ":"
        raise UserError(f"--for {wanted!r}: no such folder or data set{hint} give a folder, or {', '.join(DATASETS)}")
    images, classes, side, grey = DATASETS[found[0]]
    download = [] if found[0] == "Digits" else ["--data.download", "true"]  # where it is there, nothing is fetched
    return ImageSet(found[0], ["--data", found[0], *download], images, classes, side, grey, folder=False)


def _in_folder(folder: Path) -> ImageSet:
    from lit_cnn.data import ImageFolder  # imports torch; it finds the images as training does
    from lit_cnn.data.summary import summarize

    found = summarize(ImageFolder(data_dir=str(folder)))
    flags = ["--data", "ImageFolder", "--data-dir", str(folder)]
    return ImageSet(str(folder), flags, found.images, found.classes, found.side, found.grey, folder=True)


def _figures(backbone: str) -> Figures:
    zoo = backbone.partition("/")[0] if "/" in backbone else model_table.OWN
    return model_table.read_figures(zoo).figures[backbone]


def _reason(choice: Choice, figures: Figures, first: int, pretrained: bool) -> str:
    text = f"{format_si(figures.parameters)} parameters"
    if choice.flags[:2] == CIFAR_STEM:  # its figures are for another first layer
        text += ", a wide ResNet at full resolution: the slowest"
    elif figures.macs:
        times = figures.macs / first
        text += f", {format_si(figures.macs)} MACs at {figures.image[1] if figures.image else '?'} pixels"
        text += f" ({times:.0f} x the first)" if times >= 1.5 else ""
    return text + (f"; ImageNet top-1 {figures.top1:.1f} %" if pretrained and figures.top1 else "")


def _command(images: ImageSet, choice: Choice, pretrained: bool) -> str:
    words = ["lit-cnn", "fit", *images.flags, "--backbone", choice.backbone, *choice.flags]
    few = images.images < FEW
    if pretrained:
        words += ["--weights", "imagenet", "--lr", "0.005" if few else "0.01"]
    elif not choice.flags:
        words += ["--optimizer", "adamw", "--lr", "0.001"]
    if few:
        words += ["--batch-size", "16"]
    if images.folder and images.side <= SMALL:
        words += ["--img-size", "28" if images.grey else "32" if images.side <= 40 else "64"]
        words += ["--data.channels", "1"] if images.grey else []
    words += ["--epochs", "10" if pretrained and not few else "20"]
    return shlex.join(words)
