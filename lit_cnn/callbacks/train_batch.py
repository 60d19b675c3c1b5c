"""train_batch.jpg: what the network gets in its first step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from PIL import Image
from torch import Tensor

from lit_cnn.data.datamodule import ImageDataModule
from lit_cnn.data.pictures import read_images
from lit_cnn.data.sampling import rows
from lit_cnn.results.gallery import to_image, write_sheet
from lit_cnn.results.report.page import TRAIN_BATCH
from lit_cnn.utils.console import say
from lit_cnn.utils.datamodule import DataModule, datamodule

SHOWN = 16


class TrainBatch(Callback):
    """Write the first sixteen images of the first training batch, augmented and mixed, with their labels.

    Args:
        run_dir: the run folder; a resumed run keeps its picture.
    """

    def __init__(self, run_dir: Path) -> None:
        super().__init__()
        self.path = run_dir / TRAIN_BATCH

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Write it before the first step."""
        if trainer.global_step > 0 or batch_idx > 0 or not trainer.is_global_zero or self.path.exists():
            return
        data = datamodule(trainer)
        if getattr(batch, "image", None) is None or not isinstance(data, ImageDataModule):
            return
        image, target = batch.image, batch.target
        if image.ndim != 4:  # features in the place of images, which are not augmented then
            shown = list(read_images(data, "train", rows(batch.index[:SHOWN].cpu()).tolist()))
            pictures, target = [to_image(pixels) for _, pixels in shown], target[[place for place, _ in shown]]
        else:
            if mixer := getattr(pl_module, "mixer", None):
                with torch.random.fork_rng(devices=[]):  # the step draws its own
                    image, target = mixer(image, target)
            pictures = _pictures(image[:SHOWN], data)
        if target.ndim == 4:  # an image for an image: both, side by side
            pairs = zip(pictures, _pictures(target[: SHOWN // 2], data), strict=False)
            pictures = [each for pair in pairs for each in pair]
            captions = ["input", "target"] * (len(pictures) // 2)
        else:
            captions = _captions(target[:SHOWN], data.class_names)
        try:
            write_sheet(self.path, pictures, captions)
        except OSError as error:
            say(f"{TRAIN_BATCH} was not written: {error.strerror or error}", error=True)


def _pictures(image: Tensor, data: DataModule) -> list[Image.Image]:
    """Pictures of normalized images, float (N, C, H, W)."""
    known = data.preprocessing()
    mean, std = (torch.tensor(known[key]).view(1, -1, 1, 1) for key in ("mean", "std"))
    pixels = image.detach().float().cpu() * std + mean
    return [to_image(each) for each in (pixels.clamp(0, 1) * 255).round().byte().numpy()]


def _captions(target: Tensor, names: list[str]) -> list[str]:
    """Labels; of a mixed image, or one with several, those above a hundredth with their shares."""
    if target.ndim == 1:
        return [names[k] if k >= 0 else "" for k in target.tolist()]
    found = []
    for row in target.float().cpu():
        shares = [(names[k], float(row[k])) for k in row.argsort(descending=True).tolist() if row[k] > 0.01]
        whole = all(share > 0.99 for _, share in shares)
        found.append("\n".join(name if whole else f"{name} {share:.2f}" for name, share in shares[:2]))
    return found
