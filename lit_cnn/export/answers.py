"""The answers of an exported file in a run of the trainer, and whether they are still those that were proven."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lit_cnn.data.datamodule import ImageDataModule
from lit_cnn.data.decoding.source import FileSource
from lit_cnn.data.loading.loader import BatchLoader
from lit_cnn.data.pictures import decoded_image, find_split
from lit_cnn.errors import UnreadableImageError, UserError
from lit_cnn.export.classification import proof_images, run_images
from lit_cnn.export.formats import Runner
from lit_cnn.export.graph import DECODED
from lit_cnn.export.proof import TOLERANCE
from lit_cnn.utils.datamodule import Batch

_SHOWN = 3  # changed images in a message


class ExportedAnswers:
    """What a file answers to a batch, in place of a backbone's logits.

    The images are read again by their index, as the file takes them: before resizing and normalization.

    Args:
        runner: the file.
        data: the data module of the run.
        split: val, test or predict.
    """

    def __init__(self, runner: Runner, data: ImageDataModule, split: str) -> None:
        self._runner, self._data, self._split = runner, data, split

    def __call__(self, batch: Batch) -> Tensor:
        """Logits float32 (N, K) whose softmax, or sigmoid with several labels an image, is what the file answers."""
        return exported_logits(self._runner, self._images(batch.index.cpu())).to(batch.index.device)

    def _images(self, indices: Tensor) -> list[np.ndarray]:
        source = find_split(self._data, self._split).source
        if takes_decoded(self._runner) and isinstance(source, FileSource):
            return [self._decoded(source, index) for index in indices.tolist()]
        (batch,) = BatchLoader(source, indices, batch_size=len(indices), workers=0)
        return list(batch.image.permute(0, 2, 3, 1).numpy())

    def _decoded(self, source: FileSource, index: int) -> np.ndarray:
        try:
            return decoded_image(source, index)
        except UnreadableImageError:  # left out of the results, as the data module says
            return np.zeros((*self._runner.metadata["imgsz"], source.shape[0]), dtype=np.uint8)


def takes_decoded(runner: Runner) -> bool:
    """Whether a file takes images of their own size, and not of the network's."""
    return bool(runner.metadata["input"] == DECODED)


def exported_logits(runner: Runner, images: list[np.ndarray]) -> Tensor:
    """Logits float32 (N, K) whose softmax, or sigmoid with several labels an image, is what a file answers.

    Args:
        runner: the file.
        images: uint8 (H, W, C) each, as the file takes them.
    """
    probs = torch.from_numpy(run_images(runner, images))
    if runner.metadata["task"] == "multilabel":
        return probs.logit(torch.finfo(torch.float32).eps)
    return probs.clamp_min(torch.finfo(torch.float32).tiny).log()


def check_answers(runner: Runner, data: ImageDataModule, what: str) -> int:
    """Let a file answer the images again whose answers it holds.

    Args:
        runner: the file.
        data: the data module of the run that it was exported from, with unchanged images.
        what: the file, for messages.

    Returns:
        Their number; 0 where there are none.

    Raises:
        UserError: it gives other answers: its graph was changed; names the images.
    """
    stored: dict[str, list[float]] = runner.metadata.get("answers", {})
    split = runner.metadata["proof"]["split"]
    if not stored or not data.has_split(split):
        return 0
    changed, count = list[str](), 0
    names = runner.metadata["names"]
    for images in proof_images(data, split, runner.metadata["input"], 0, only=stored.keys()):
        for name, probs in zip(images.names, run_images(runner, images.decoded), strict=True):
            number, before = int(stored[name][0]), stored[name][1]
            count += 1
            if abs(float(probs[number]) - before) > TOLERANCE:
                changed.append(f"{name} ({names[str(number)]} {probs[number]:.3f}, was {before:.3f})")
    if changed:
        raise UserError(
            f"{what} is not the file that was proven: of {count} {'validation' if split == 'val' else split} images "
            f"{len(changed)} have another probability, such as {', '.join(changed[:_SHOWN])}; export it again"
        )
    return count
