"""The graph that is exported: uint8 images in, probabilities out, everything between them inside."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lit_cnn.data.decoding.bands import PHOTO
from lit_cnn.data.decoding.geometry import Geometry, parse_size
from lit_cnn.export.resize import PillowResize
from lit_cnn.tasks.tta import TTAName, average_logits

DECODED, RESIZED = "decoded", "resized"  # what the graph takes: images of any size, or of the network's


def geometry_of(preprocessing: dict[str, Any]) -> Geometry:
    """The geometry of evaluation images, of a checkpoint's preprocessing.

    Where an older checkpoint has no rule for resizing, it is that of ``predict``.
    """
    size = parse_size(preprocessing["image_size"])
    longest = size if isinstance(size, int) else max(size)
    return Geometry(
        size,
        int(preprocessing["channels"]),
        preprocessing.get("eval_resize") or "center_crop",
        preprocessing.get("eval_crop") or (0.875 if longest >= 128 else 1.0),
    )


class ImageGraph(nn.Module):
    """What is exported: maps uint8 (N, H, W, C), as NumPy has them of Pillow, to ``output``."""

    output: ClassVar[str]  # its name in files whose format has names


class ExportGraph(ImageGraph):
    """Preprocessing, network, test-time augmentation, temperature and softmax in one module.

    Args:
        network: the backbone, in evaluation mode.
        preprocessing: of the checkpoint: image_size, channels, mean, std, eval_resize, eval_crop, multilabel.
        takes: ``decoded``: images of any size, which are resized and cropped inside, as Pillow does; ``resized``: of
            the network's size.
        temperature: the logits are divided by it; not used with several labels an image.
        tta: test-time augmentation.
    """

    output = "probabilities"
    shift: Tensor
    scale: Tensor

    def __init__(
        self,
        network: nn.Module,
        preprocessing: dict[str, Any],
        takes: str,
        temperature: float = 1.0,
        tta: TTAName = "none",
    ) -> None:
        super().__init__()
        self.network, self.tta, self.temperature = network, tta, temperature
        self.multilabel = bool(preprocessing.get("multilabel"))
        self.resize = PillowResize(geometry_of(preprocessing)) if takes == DECODED else None
        # float32 and in this order, as the data modules compute them
        mean, std = (torch.tensor(preprocessing[name]) for name in ("mean", "std"))
        self.register_buffer("shift", (255 * mean)[:, None, None])
        self.register_buffer("scale", (1 / (255 * std))[:, None, None])

    def forward(self, image: Tensor) -> Tensor:
        """Map uint8 (N, H, W, C), as NumPy has them of Pillow, to probabilities float32 (N, K)."""
        x = image.permute(0, 3, 1, 2)  # N x C x H x W
        if self.resize is not None:
            x = self.resize(x)  # N x C x height x width
        logits = average_logits(self.network, (x.float() - self.shift) * self.scale, self.tta)  # N x K
        return logits.sigmoid() if self.multilabel else (logits / self.temperature).softmax(1)


def mode_of(channels: int) -> str:
    """Pillow's mode of the images that a graph takes; empty for bands."""
    return {1: "L", 3: "RGB"}[channels] if channels in PHOTO else ""
