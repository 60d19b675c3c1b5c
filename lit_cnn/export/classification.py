"""Export of a classifier: its graph, the images of its proof, and the answers on both sides."""

from __future__ import annotations

import copy
from collections.abc import Container, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lit_cnn.checkpoint.record import CheckpointRecord
from lit_cnn.data.datamodule import ImageDataModule
from lit_cnn.data.decoding.geometry import to_size
from lit_cnn.data.decoding.source import FileSource
from lit_cnn.data.loading.loader import Batch, BatchLoader
from lit_cnn.data.pictures import decoded_image, some_images
from lit_cnn.errors import UserError
from lit_cnn.export.formats import Runner
from lit_cnn.export.graph import DECODED, ExportGraph, geometry_of
from lit_cnn.export.proof import Proof, compare
from lit_cnn.results.calibration import with_temperature
from lit_cnn.tasks.classification import ImageClassifier
from lit_cnn.tasks.tta import TTAName, average_logits

_BATCH = 32  # images at a time


class ProofImages(NamedTuple):
    """Some images, as an exported graph gets them and as the data module prepares them.

    Attributes:
        decoded: uint8 (H, W, C) each.
        resized: uint8 (N, C, height, width).
        target: int64 (N,) or (N, K).
        names: of the images.
    """

    decoded: list[np.ndarray]
    resized: Tensor
    target: Tensor
    names: list[str]


def proof_images(
    data: ImageDataModule, split: str, takes: str, most: int, only: Container[str] | None = None
) -> Iterator[ProofImages]:
    """Yield the images of a split, or ``most`` evenly spaced ones, in batches.

    Args:
        data: the data module.
        split: val, test, or train for a calibration.
        takes: ``decoded`` or ``resized`` images are given to the exported graph.
        most: images; 0: all.
        only: names of the images; None: any.

    Raises:
        UserError: an image cannot be read.
    """
    source, indices = some_images(data, split, most, only)
    geometry = geometry_of(data.preprocessing())
    for batch in BatchLoader(source, indices, batch_size=_BATCH, workers=0):
        numbers = batch.index.tolist()
        names = [data.sample_name(split, i) for i in numbers]
        decoded, resized = list(batch.image.permute(0, 2, 3, 1).numpy()), batch.image
        if takes == DECODED and isinstance(source, FileSource):
            decoded = [decoded_image(source, i) for i in numbers]
        elif takes == DECODED:  # in memory and of the network's size: what predict makes of them
            resized = torch.from_numpy(np.stack([to_size(image, geometry) for image in decoded]))
        yield ProofImages(decoded, resized, batch.target, names)


def eager_probabilities(
    task: ImageClassifier, data: ImageDataModule, record: CheckpointRecord, image: Tensor
) -> np.ndarray:
    """Probabilities float32 (N, K) of the checkpoint, as ``test`` gives them, of uint8 (N, C, height, width)."""
    unused = torch.zeros(len(image), dtype=torch.int64)
    batch = data.on_after_batch_transfer(Batch(image, unused, unused), 0)
    with torch.inference_mode():
        logits = average_logits(task, batch.image, task.hparams.get("tta", "none"))
        if task.hparams["multilabel"]:
            return logits.sigmoid().numpy()
        return with_temperature(logits.softmax(1).numpy(), record.calibration.get("temperature", 1.0))


def run_images(runner: Runner, images: list[np.ndarray]) -> np.ndarray:
    """Probabilities (N, K) of an exported file; neighbours of one size are given to it together."""
    found, start = [], 0
    while start < len(images):
        end = start + 1
        while end < len(images) and images[end].shape == images[start].shape:
            end += 1
        found.append(runner(np.ascontiguousarray(np.stack(images[start:end]))))
        start = end
    return np.concatenate(found)


def prove(
    runner: Runner, task: ImageClassifier, data: ImageDataModule, record: CheckpointRecord, takes: str, most: int = 0
) -> Proof:
    """Compare a file's answers with the checkpoint's on validation images, or test images where there are no others.

    Raises:
        UserError: there are no images, or one cannot be read.
    """
    split = "val" if data.has_split("val") else "test"
    before, after, targets, names = list[np.ndarray](), list[np.ndarray](), list[np.ndarray](), list[str]()
    for images in proof_images(data, split, takes, most):
        before.append(eager_probabilities(task, data, record, images.resized))
        after.append(run_images(runner, images.decoded))
        targets.append(images.target.numpy())
        names += images.names
    if not names:
        raise UserError("there are no images to prove the export on")
    first, second, target = (np.concatenate(parts) for parts in (before, after, targets))
    return compare(first, second, target, names, split, task.hparams["multilabel"])


def decoded_images(data: ImageDataModule, split: str, takes: str, most: int) -> Iterator[np.ndarray]:
    """Yield the images of :func:`proof_images` one by one, as an exported file takes them."""
    for images in proof_images(data, split, takes, most):
        yield from images.decoded


def classifier_graph(task: ImageClassifier, record: CheckpointRecord, takes: str, tta: TTAName) -> ExportGraph:
    """The graph of a classifier, with a copy of its network."""
    network = copy.deepcopy(task.backbone).to(memory_format=torch.contiguous_format)
    temperature = record.calibration.get("temperature", 1.0)
    return ExportGraph(network, record.preprocessing, takes, temperature, tta).eval().requires_grad_(False)
