"""One row per model name. Every family file ends with its rows; ``lit_cnn.models`` gathers them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Row:
    """What the package knows about a name, apart from the code.

    Attributes:
        factory: called as ``factory(num_classes=…, in_channels=…, **arguments)``.
        paper: authors, title or number, and section where there is one.
        year: of publication.
        image_size: side of the square input the figures are given for, pixels.
        in_channels, num_classes: the ones of the source; parameters are counted with them.
        parameters: the count published or found in the reference implementation, ``None`` if there is none.
        source: where that count comes from.
        torchvision: name of the torchvision model whose state dict fits as it is, so whose weights can be loaded.
    """

    factory: Callable[..., nn.Module]
    paper: str
    year: int
    image_size: int = 224
    in_channels: int = 3
    num_classes: int = 1000
    parameters: int | None = None
    source: str = ""
    torchvision: str | None = None
