"""Figures of a model, as ``lit-cnn models`` lists them."""

from __future__ import annotations

from typing import NamedTuple


class Figures(NamedTuple):
    """Figures of a model as its paper has it; ``None`` for what is not known.

    Attributes:
        parameters: counted.
        macs: multiply-accumulate operations for one image of the shape ``image``, counted.
        image: channels, height, width in pixels.
        classes: number of logits.
        smallest: side in pixels of the smallest square image it accepts, in training as well.
        year: of the paper.
        paper: authors, title, number, section.
        reference: number of parameters published or found in the reference implementation.
        source: where ``reference`` comes from.
        weights: name of the published pretrained weights: those that ``model.weights=imagenet`` loads, or timm's tag.
        top1: their accuracy on ImageNet-1K, in percent.
    """

    parameters: int | None = None
    macs: int | None = None
    image: tuple[int, int, int] | None = None
    classes: int | None = None
    smallest: int | None = None
    year: int | None = None
    paper: str = ""
    reference: int | None = None
    source: str = ""
    weights: str = ""
    top1: float | None = None
