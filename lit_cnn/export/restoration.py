"""Export of a network that gives images for images: its graph, its proof on pairs, and its answers in a run."""

from __future__ import annotations

import copy
from collections.abc import Container, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lit_cnn.data.datamodule import ImageDataModule
from lit_cnn.data.loading.loader import Batch, BatchLoader
from lit_cnn.data.pictures import some_images
from lit_cnn.errors import UserError
from lit_cnn.export.formats import Runner
from lit_cnn.export.graph import ImageGraph
from lit_cnn.export.metadata import Metadata
from lit_cnn.export.proof import SPLIT_NAMES, some_rows
from lit_cnn.tasks.restoration import ImageRestorer, psnr

MOST_CHANGED = 0.01  # share of the pixel values of an image that may differ, each by 1 of 255: rounding
PSNR_TOLERANCE = 0.01  # dB: when a file is evaluated, may the score of an image differ from that of the proof
_SHOWN = 3  # images in a message


class RestorationGraph(ImageGraph):
    """Scaling to [0, 1], network, clipping and rounding: the pixels that ``predict`` writes.

    Args:
        network: the backbone, in evaluation mode; takes images of any size.
    """

    output = "restored"

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """Map uint8 (N, H, W, C), as NumPy has them of Pillow, to uint8 of the same shape."""
        x = image.permute(0, 3, 1, 2).float() * (1 / 255)  # N x C x H x W
        return _to_bytes(self.network(x)).permute(0, 2, 3, 1)


def restorer_graph(task: ImageRestorer) -> RestorationGraph:
    """The graph of an image restorer, with a copy of its network."""
    network = copy.deepcopy(task.backbone).to(memory_format=torch.contiguous_format)
    return RestorationGraph(network).eval().requires_grad_(False)


def _to_bytes(image: Tensor) -> Tensor:
    return (image.clamp(0.0, 1.0) * 255.0).round().to(torch.uint8)


class RestorationProof(NamedTuple):
    """How far the images that a file gives agree with those of the checkpoint, as pixels of 8 bits.

    Attributes:
        images: that both were given.
        split: that these are from: val or test.
        largest: difference of two pixel values, of 255.
        changed: share of all pixel values that differ.
        psnr: mean over images, of the file against the clear images, in dB.
        psnr_before: the same of the checkpoint.
        different: names of images of which a value differs by more than 1, or more than 1% of the values; at most 5.
        answers: PSNR of the file, of at most 200 evenly spaced images by their name, so that it can be checked again.
    """

    images: int
    split: str
    largest: int
    changed: float
    psnr: float
    psnr_before: float
    different: list[str]
    answers: dict[str, float]

    @property
    def holds(self) -> bool:
        """Whether no image differs by more than rounding does."""
        return not self.different

    def sentence(self) -> str:
        """One line of what was found."""
        return (
            f"{self.images:,} {SPLIT_NAMES[self.split]} images, largest difference of a pixel {self.largest} of 255, "
            f"{self.changed:.1e} of them differ"
        )


def _pairs(
    data: ImageDataModule, split: str, most: int, only: Container[str] | None = None
) -> Iterator[tuple[str, np.ndarray, Batch]]:
    """Yield names, hazy images uint8 (1, H, W, C), and batches of one pair in [0, 1]."""
    source, indices = some_images(data, split, most, only)
    for batch in BatchLoader(source, indices, batch_size=1, workers=0):
        pair = data.on_after_batch_transfer(batch, 0)
        given = batch.image[:, : pair.image.shape[1]].permute(0, 2, 3, 1)
        yield data.sample_name(split, int(batch.index)), np.ascontiguousarray(given.numpy()), pair


def _as_image(pixels: np.ndarray) -> Tensor:
    """Float32 (N, C, H, W) in [0, 1] of uint8 (N, H, W, C)."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255


def prove_restorer(runner: Runner, task: ImageRestorer, data: ImageDataModule, most: int = 0) -> RestorationProof:
    """Compare the images that a file gives with the checkpoint's, on validation pairs, or test pairs without these.

    Args:
        runner: the file.
        task: of the checkpoint, on the CPU and in evaluation mode.
        data: the run's data module.
        most: images, evenly spaced; 0: all.

    Raises:
        UserError: there are no pairs, or one cannot be read.
    """
    split = "val" if data.has_split("val") else "test"
    if not data.has_split(split):
        raise UserError("there are no images to prove the export on")
    names, different = list[str](), list[str]()
    scores, largest, changed, values = list[tuple[float, float]](), 0, 0, 0
    with torch.inference_mode():
        for name, given, pair in _pairs(data, split, most):
            before = _to_bytes(task.predict_batch(pair)).permute(0, 2, 3, 1).numpy()
            after = runner(given)
            gap = np.abs(after.astype(np.int16) - before)
            names.append(name)
            scores.append((float(psnr(_as_image(after), pair.target)), float(psnr(_as_image(before), pair.target))))
            largest = max(largest, int(gap.max()))
            changed, values = changed + int((gap > 0).sum()), values + gap.size
            if gap.max() > 1 or (gap > 0).mean() > MOST_CHANGED:
                different.append(name)
    rows = some_rows(len(names))
    return RestorationProof(
        images=len(names),
        split=split,
        largest=largest,
        changed=changed / values,
        psnr=float(np.mean([after for after, _ in scores])),
        psnr_before=float(np.mean([before for _, before in scores])),
        different=different[:5],
        answers={names[i]: round(scores[i][0], 4) for i in rows},
    )


def describe_restoration(proof: RestorationProof) -> Metadata:
    """The proof and the score on its images."""
    return {
        "proof": {
            "images": proof.images,
            "split": proof.split,
            "tolerance": {"pixel": 1, "share": MOST_CHANGED},
            "largest_difference": proof.largest,
            "share_different": proof.changed,
        },
        "answers": proof.answers,
        "psnr": {"value": proof.psnr, "checkpoint": proof.psnr_before, "images": proof.images, "split": proof.split},
    }


class RestoredByFile:
    """What a file gives for a batch, in place of a restorer's network.

    Args:
        runner: the file.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def __call__(self, image: Tensor) -> Tensor:
        """Map float (N, C, H, W) in [0, 1], of 8 bits a value, to the same shape."""
        given = _to_bytes(image.float().cpu()).permute(0, 2, 3, 1).numpy()
        return _as_image(self._runner(np.ascontiguousarray(given))).to(image.device)


def check_restored(runner: Runner, data: ImageDataModule, what: str) -> int:
    """Let a file restore the images again whose scores it holds.

    Args:
        runner: the file.
        data: the data module of the run that it was exported from, with unchanged images.
        what: the file, for messages.

    Returns:
        Their number; 0 where there are none.

    Raises:
        UserError: their scores are others: its graph was changed; names the images.
    """
    stored: dict[str, float] = runner.metadata.get("answers", {})
    split = runner.metadata["proof"]["split"]
    if not stored or not data.has_split(split):
        return 0
    changed, count = list[str](), 0
    for name, given, pair in _pairs(data, split, 0, only=stored.keys()):
        found = float(psnr(_as_image(runner(given)), pair.target))
        count += 1
        if not abs(found - stored[name]) <= PSNR_TOLERANCE:
            changed.append(f"{name} (PSNR {found:.2f} dB, was {stored[name]:.2f})")
    if changed:
        raise UserError(
            f"{what} is not the file that was proven: of {count} {SPLIT_NAMES[split]} images {len(changed)} become "
            f"others, such as {', '.join(changed[:_SHOWN])}; export it again"
        )
    return count
