"""Pictures of an evaluation: the images, Grad-CAM's maps of the worst mistakes, and their nearest training images."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lit_cnn.data.datamodule import ImageDataModule
from lit_cnn.data.pictures import read_images
from lit_cnn.data.shards.datamodule import Stream
from lit_cnn.errors import UserError
from lit_cnn.interpret.features import head_inputs
from lit_cnn.interpret.grad_cam import grad_cam
from lit_cnn.results.gallery import Gallery, choose_pictures, overlay, to_image, to_jpeg, worst
from lit_cnn.tasks.base import BaseTask
from lit_cnn.utils.console import say

EXPLAINED = 24  # mistakes
NEAREST = 3  # training images of each
NEAREST_SIDE = 80  # pixels of their pictures
SEARCHED = 1000  # training images at most, evenly spaced over the classes
_BATCH = 32
_CAM_SIDE = 160  # pixels


class Answers(NamedTuple):
    """Predictions of an evaluation, each (N,): indices in the split, target, class and its probability."""

    indices: np.ndarray
    target: np.ndarray
    predicted: np.ndarray
    probability: np.ndarray


def make_gallery(data: ImageDataModule, split: str, answers: Answers, task: BaseTask | None = None) -> Gallery:
    """Choose and read the pictures of an evaluation.

    Args:
        data: the data module, set up for the split.
        split: train, val, test or predict.
        answers: in the order of predictions.csv, whose rows the pictures are named by.
        task: to explain the worst mistakes with; None: they are not explained.
    """
    _, target, predicted, probability = answers
    rows = choose_pictures(target, predicted, probability)
    explained = worst(target, predicted, probability, EXPLAINED) if task is not None else rows[:0]
    large = {int(row) for row in explained}
    found, pixels = Gallery(), {}
    for place, image in read_images(data, split, answers.indices[rows].tolist()):
        row = int(rows[place])
        found.pictures[row] = to_jpeg(to_image(image))
        if row in large:
            pixels[row] = image
    if task is not None and pixels:
        _explain(found, data, task, pixels, predicted)
    return found


def _explain(
    found: Gallery, data: ImageDataModule, task: BaseTask, pixels: dict[int, np.ndarray], predicted: np.ndarray
) -> None:
    """Add heat maps and nearest training images, as far as the network and the data allow.

    They come last, when all results are written: whatever a network of the user's raises must not end the test.
    """
    rows = list(pixels)
    images = torch.from_numpy(np.stack([pixels[row] for row in rows]))
    with _evaluation(task), _optional("heat maps"):
        for start in range(0, len(rows), _BATCH):
            part = slice(start, start + _BATCH)
            classes = torch.as_tensor(predicted[rows[part]], device=task.device)
            maps = grad_cam(task.backbone, _normalized(data, task, images[part]), classes)
            for row, heat in zip(rows[part], maps.cpu().numpy(), strict=True):
                found.cams[row] = to_jpeg(overlay(to_image(pixels[row]), heat), _CAM_SIDE)
    with _evaluation(task), _optional("nearest training images"):
        # reading single images of a stream would fetch its shards
        if data.has_split("train") and not isinstance(data, Stream):
            _add_neighbours(found, data, task, rows, images)


class TrainingFeatures(NamedTuple):
    """Training images by what the network's head gets of them.

    Attributes:
        indices: M positions in the training split.
        features: of length 1, float (M, D), on the network's device.
        pictures: small JPEGs by index, if they were asked for.
    """

    indices: list[int]
    features: Tensor
    pictures: dict[int, bytes]

    def nearest(self, features: Tensor) -> tuple[list[list[int]], list[list[float]]]:
        """Indices of the nearest images of features float (N, D), the nearest first, and their cosine similarities."""
        best = (features @ self.features.T).topk(min(NEAREST, len(self.indices)), dim=1)
        return [[self.indices[place] for place in row] for row in best.indices.tolist()], best.values.tolist()


def training_features(data: ImageDataModule, task: BaseTask, *, pictures: bool = False) -> TrainingFeatures | None:
    """Features of at most a thousand training images, evenly spaced over the classes; None where none can be read.

    Args:
        data: the data module of the run.
        task: in evaluation mode.
        pictures: keep small pictures of them as well.

    Raises:
        UserError: the images are gone, or the network has no head.
    """
    split = data.splits()["train"]
    searched = _spread(split.indices, split.source.targets[split.indices], SEARCHED)
    features, kept, shown = [], list[int](), dict[int, bytes]()
    parts = [searched[start : start + _BATCH] for start in range(0, len(searched), _BATCH)]
    for part in parts:
        read = [(int(part[place]), image) for place, image in read_images(data, "train", part.tolist())]
        if read:
            features.append(unit_features(data, task, torch.from_numpy(np.stack([image for _, image in read]))))
            kept += [index for index, _ in read]
            if pictures:
                shown |= {index: to_jpeg(to_image(image), NEAREST_SIDE) for index, image in read}
    return TrainingFeatures(kept, torch.cat(features), shown) if kept else None


def _add_neighbours(found: Gallery, data: ImageDataModule, task: BaseTask, rows: list[int], images: Tensor) -> None:
    known = training_features(data, task)
    if known is None:
        return
    nearest, similarities = known.nearest(unit_features(data, task, images))
    wanted = sorted({index for row in nearest for index in row})
    shown = {
        wanted[place]: to_jpeg(to_image(image), NEAREST_SIDE) for place, image in read_images(data, "train", wanted)
    }
    names, targets = data.class_names, data.splits()["train"].source.targets
    for row, values, indices in zip(rows, similarities, nearest, strict=True):
        found.neighbours[row] = [
            (data.sample_name("train", index), names[int(targets[index])], value, shown[index])
            for value, index in zip(values, indices, strict=True)
            if index in shown
        ]
    found.searched = len(known.indices)


def _spread(indices: Tensor, targets: Tensor, most: int) -> Tensor:
    """At most so many of the indices, evenly spaced in the order of their classes."""
    order = indices[torch.argsort(targets, stable=True)]
    if len(order) <= most:
        return order
    return order[torch.linspace(0, len(order) - 1, most).round().long()]


def unit_features(data: ImageDataModule, task: BaseTask, images: Tensor) -> Tensor:
    """Features before the head, of length 1, float (N, D)."""
    parts = [
        head_inputs(task.backbone, _normalized(data, task, images[start : start + _BATCH]))
        for start in range(0, len(images), _BATCH)
    ]
    return torch.nn.functional.normalize(torch.cat(parts).float(), dim=1)


def _normalized(data: ImageDataModule, task: BaseTask, images: Tensor) -> Tensor:
    """Images as the backbone gets them, float (N, C, H, W), of pixels uint8."""
    dtype = next(task.backbone.parameters()).dtype
    mean, std = (
        torch.tensor(data.preprocessing()[key], device=task.device, dtype=dtype).view(1, -1, 1, 1)
        for key in ("mean", "std")
    )
    image = (images.to(task.device, dtype) / 255 - mean) / std
    return image.contiguous(memory_format=torch.channels_last) if task.hparams["channels_last"] else image


@contextlib.contextmanager
def _optional(what: str) -> Iterator[None]:
    """Do without what cannot be had, such as heat maps of a multilayer perceptron, or training images that are gone."""
    try:
        yield
    except UserError:
        return
    except Exception as error:
        say(f"no {what} on the page: {type(error).__name__}: {error}", error=True)


@contextlib.contextmanager
def _evaluation(task: BaseTask) -> Iterator[None]:
    was = task.training
    task.eval()
    try:
        with torch.inference_mode(False):
            yield
    finally:
        task.train(was)
