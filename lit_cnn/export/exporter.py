"""Export a checkpoint's network to a file, and prove it on real images before the file gets its name."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lit_cnn.checkpoint.record import CheckpointRecord
from lit_cnn.data.datamodule import ImageDataModule
from lit_cnn.data.decoding.geometry import to_size
from lit_cnn.data.decoding.source import FileSource
from lit_cnn.data.loading.loader import Batch, BatchLoader
from lit_cnn.data.pictures import decoded_image, find_split
from lit_cnn.errors import UserError
from lit_cnn.export.formats import FORMATS, Format, Runner
from lit_cnn.export.graph import DECODED, RESIZED, ExportGraph, geometry_of
from lit_cnn.export.int8 import CALIBRATION_IMAGES, milliseconds, quantize
from lit_cnn.export.metadata import Metadata, describe, describe_int8, describe_proof
from lit_cnn.export.proof import TOLERANCE, Proof, compare
from lit_cnn.results.calibration import with_temperature
from lit_cnn.tasks.classification import ImageClassifier
from lit_cnn.tasks.tta import TTAName, average_logits

_BATCH = 32  # images at a time


class Exported(NamedTuple):
    """A file that was written.

    Attributes:
        path: the file.
        proof: of its answers.
        metadata: what it says about itself.
        any_size: whether it takes images of any height and width.
    """

    path: Path
    proof: Proof
    metadata: Metadata
    any_size: bool


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
    if split != "train":
        data.setup("validate" if split == "val" else "test")
    found = find_split(data, split)
    indices = found.indices
    if 0 < most < len(indices):
        indices = indices[torch.linspace(0, len(indices) - 1, most).round().long()]
    if only is not None:
        indices = indices[[data.sample_name(split, i) in only for i in indices.tolist()]]
    geometry = geometry_of(data.preprocessing())
    for batch in BatchLoader(found.source, indices, batch_size=_BATCH, workers=0):
        numbers = batch.index.tolist()
        names = [data.sample_name(split, i) for i in numbers]
        decoded, resized = list(batch.image.permute(0, 2, 3, 1).numpy()), batch.image
        if takes == DECODED and isinstance(found.source, FileSource):
            decoded = [decoded_image(found.source, i) for i in numbers]
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


def export(
    record: CheckpointRecord,
    task: ImageClassifier,
    data: ImageDataModule,
    format_name: str,
    path: Path,
    *,
    takes: str | None = None,
    most: int = 0,
    int8: bool = False,
) -> Exported:
    """Write the network of a checkpoint to a file, and prove it.

    Args:
        record: of the checkpoint.
        task: of the checkpoint, on the CPU and in evaluation mode.
        data: the run's data module, whose validation images are used.
        format_name: a key of ``FORMATS``.
        path: the file; its folder must exist. An earlier one is replaced.
        takes: ``decoded`` or ``resized`` images; None: decoded ones where the run read image files.
        most: images of the proof, evenly spaced; 0: all validation images.
        int8: quantize the file, once it is proven, and measure what that costs.

    Raises:
        UserError: the network cannot be exported, or the file's answers are not the checkpoint's; nothing is left.
    """
    form = FORMATS[format_name]
    form.require()
    if takes == DECODED and not form.decodes:
        raise UserError(f"{format_name} files cannot resize images: they take resized ones")
    takes = takes or (DECODED if form.decodes and "eval_resize" in record.preprocessing else RESIZED)
    tta = task.hparams.get("tta", "none")
    if int8 and format_name != "onnx":
        raise UserError(f"{format_name} files cannot be quantized: `format=onnx` can")
    partial = path.with_name(f".{path.stem}.partial{form.suffix}")
    smaller = path.with_name(f".{path.stem}.int8{form.suffix}")
    try:
        any_size = _write(form, _graph(task, record, takes, tta), record, takes, partial)
        proof = prove(form.open(partial), task, data, record, takes, most)
        if not proof.holds:
            raise UserError(
                f"refused: the {format_name} file answers otherwise than {record.path}: {proof.sentence()}; such as "
                f"{', '.join(proof.different[:3])}"
            )
        extra: Metadata = {}
        if int8:
            calibration = _decoded(data, "train", takes, CALIBRATION_IMAGES)
            quantize(partial, smaller, calibration)
            proof = prove(form.open(smaller), task, data, record, takes, most)
            runners: list[Callable[[np.ndarray], np.ndarray]] = [form.open(partial), form.open(smaller)]
            extra = describe_int8(proof, milliseconds(runners, list(_decoded(data, proof.split, takes, 16))))
            extra["int8"]["mb"] = [round(file.stat().st_size / 1e6, 3) for file in (partial, smaller)]
            smaller.replace(partial)
        metadata = {**describe(record, takes, tta), "any_size": any_size, **describe_proof(proof), **extra}
        form.write_metadata(partial, metadata)
        partial.replace(path)
    finally:
        for file in (partial, smaller):
            with contextlib.suppress(OSError):  # it has its name by now, or was not begun
                file.unlink()
    return Exported(path, proof, metadata, any_size)


def _decoded(data: ImageDataModule, split: str, takes: str, most: int) -> Iterator[np.ndarray]:
    for images in proof_images(data, split, takes, most):
        yield from images.decoded


def _graph(task: ImageClassifier, record: CheckpointRecord, takes: str, tta: TTAName) -> ExportGraph:
    network = copy.deepcopy(task.backbone).to(memory_format=torch.contiguous_format)
    temperature = record.calibration.get("temperature", 1.0)
    return ExportGraph(network, record.preprocessing, takes, temperature, tta).eval().requires_grad_(False)


def _write(form: Format, graph: ExportGraph, record: CheckpointRecord, takes: str, path: Path) -> bool:
    """Write the file with as many dynamic dimensions as the network has; returns whether it takes any size."""
    geometry = geometry_of(record.preprocessing)
    height, width = geometry.height, geometry.width
    other = _random_images(height + 3, width + 5, geometry.channels)
    any_size = takes == DECODED or _runs(graph, other)
    if any_size:
        # traced at another size than the network's own: a dimension that equals it might be taken for a constant
        error = _try_to_write(form, graph, other, {0: "batch", 1: "height", 2: "width"}, path)
        if error is None and (
            takes == DECODED or _agrees(form, graph, _random_images(height + 8, width, geometry.channels), path)
        ):
            return True
        if error is not None and takes == DECODED:
            raise _not_exportable(record, error) from error
    error = _try_to_write(form, graph, _random_images(height, width, geometry.channels), {0: "batch"}, path)
    if error is not None:
        raise _not_exportable(record, error) from error
    return False


def _random_images(height: int, width: int, channels: int) -> Tensor:
    """Two of them: a batch of one would be taken for a constant."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (2, height, width, channels), dtype=torch.uint8, generator=generator)


def _runs(graph: ExportGraph, images: Tensor) -> bool:
    try:
        with torch.inference_mode():
            graph(images)
    except Exception:  # a network that takes one size alone raises almost anything
        return False
    return True


def _try_to_write(
    form: Format, graph: ExportGraph, example: Tensor, dynamic: dict[int, str], path: Path
) -> Exception | None:
    try:
        form.write(graph, example, dynamic, path)
    except (UserError, OSError):
        raise
    except Exception as error:  # torch's exporters raise almost anything
        return error
    return None


def _agrees(form: Format, graph: ExportGraph, images: Tensor, path: Path) -> bool:
    """Whether the file gives the graph's answers at a size that it was not traced at."""
    try:
        found = form.open(path)(images.numpy())
        with torch.inference_mode():
            expected = graph(images).numpy()
    except Exception:  # as above
        return False
    return bool(np.abs(found - expected).max() <= TOLERANCE)


def _not_exportable(record: CheckpointRecord, error: Exception) -> UserError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return UserError(f"{record.config['model']['backbone']} cannot be exported: {reason}")
