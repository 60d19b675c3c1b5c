"""Export a checkpoint's network to a file, and prove it on real images before the file gets its name."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lit_cnn.checkpoint.record import CheckpointRecord
from lit_cnn.data.datamodule import ImageDataModule
from lit_cnn.errors import UserError
from lit_cnn.export.classification import classifier_graph, decoded_images, prove
from lit_cnn.export.formats import FORMATS, Format
from lit_cnn.export.graph import DECODED, RESIZED, ImageGraph, geometry_of
from lit_cnn.export.int8 import CALIBRATION_IMAGES, milliseconds, quantize
from lit_cnn.export.metadata import Metadata, describe, describe_int8, describe_proof, describe_restorer
from lit_cnn.export.proof import TOLERANCE, Proof
from lit_cnn.export.restoration import RestorationProof, describe_restoration, prove_restorer, restorer_graph
from lit_cnn.tasks.base import BaseTask
from lit_cnn.tasks.classification import ImageClassifier
from lit_cnn.tasks.restoration import ImageRestorer

_TRACED = 37, 50  # height and width of the image that a restorer is traced with: no multiples of what networks halve
_TRIED = (64, 48), (21, 90), (7, 5)  # sizes at which its file has to agree


class Exported(NamedTuple):
    """A file that was written.

    Attributes:
        path: the file.
        proof: of its answers.
        metadata: what it says about itself.
        any_size: whether it takes images of any height and width.
    """

    path: Path
    proof: Proof | RestorationProof
    metadata: Metadata
    any_size: bool


def export(
    record: CheckpointRecord,
    task: BaseTask,
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
    if isinstance(task, ImageRestorer):
        return _export_restorer(record, task, data, format_name, path, takes=takes, most=most, int8=int8)
    assert isinstance(task, ImageClassifier)
    if takes == DECODED and not form.decodes:
        raise UserError(f"{format_name} files cannot resize images: they take resized ones")
    takes = takes or (DECODED if form.decodes and "eval_resize" in record.preprocessing else RESIZED)
    tta = task.hparams.get("tta", "none")
    if int8 and format_name != "onnx":
        raise UserError(f"{format_name} files cannot be quantized: `format=onnx` can")
    with _beside(path, form, "partial") as partial, _beside(path, form, "int8") as smaller:
        any_size = _write(form, classifier_graph(task, record, takes, tta), record, takes, partial)
        proof = prove(form.open(partial), task, data, record, takes, most)
        _check(proof, format_name, record)
        extra: Metadata = {}
        if int8:
            calibration = decoded_images(data, "train", takes, CALIBRATION_IMAGES)
            quantize(partial, smaller, calibration)
            proof = prove(form.open(smaller), task, data, record, takes, most)
            runners: list[Callable[[np.ndarray], np.ndarray]] = [form.open(partial), form.open(smaller)]
            times = milliseconds(runners, list(decoded_images(data, proof.split, takes, 16)))
            extra = describe_int8(proof, times)
            extra["int8"]["mb"] = [round(file.stat().st_size / 1e6, 3) for file in (partial, smaller)]
            smaller.replace(partial)
        metadata = {**describe(record, takes, tta), "any_size": any_size, **describe_proof(proof), **extra}
        form.write_metadata(partial, metadata)
        _rename(partial, path, form)
    return Exported(path, proof, metadata, any_size)


def _export_restorer(
    record: CheckpointRecord,
    task: ImageRestorer,
    data: ImageDataModule,
    format_name: str,
    path: Path,
    *,
    takes: str | None,
    most: int,
    int8: bool,
) -> Exported:
    """As :func:`export`, of a network that gives images for images of any size."""
    form, backbone = FORMATS[format_name], record.config["model"]["backbone"]
    if int8:
        raise UserError(f"{record.path} restores images, and 8 bits are for networks that classify: leave `int8` out")
    if takes == RESIZED:
        raise UserError(f"{record.path} restores images in their own size: leave `input=resized` out")
    with _beside(path, form, "partial") as partial:
        graph, channels = restorer_graph(task), record.preprocessing["channels"]
        example = _random_images(*_TRACED, channels)
        error = _try_to_write(form, graph, example, {0: "batch", 1: "height", 2: "width"}, partial)
        if error is not None:
            raise _not_exportable(record, error) from error
        tried = (_random_images(*size, channels, count) for count, size in enumerate(_TRIED, 1))
        if not all(_agrees(form, graph, images, partial, 1) for images in tried):
            raise UserError(f"{backbone} cannot be exported as {format_name} for images of any size")
        proof = prove_restorer(form.open(partial), task, data, most)
        _check(proof, format_name, record)
        metadata = {**describe_restorer(record, task.backbone), **describe_restoration(proof)}
        form.write_metadata(partial, metadata)
        _rename(partial, path, form)
    return Exported(path, proof, metadata, True)


@contextlib.contextmanager
def _beside(path: Path, form: Format, word: str) -> Iterator[Path]:
    """A file beside ``path`` that is gone at the end, with what lies beside it."""
    file = path.with_name(f".{path.stem}.{word}{form.suffix}")
    try:
        yield file
    finally:
        for part in form.files(file):
            with contextlib.suppress(OSError):  # it has its name by now, or was not begun
                part.unlink()


def _rename(partial: Path, path: Path, form: Format) -> None:
    if form.beside:  # a kill between two renames must not leave a file that reads another's weights
        path.unlink(missing_ok=True)
    for part, final in zip(form.files(partial), form.files(path), strict=True):
        part.replace(final)


def _check(proof: Proof | RestorationProof, format_name: str, record: CheckpointRecord) -> None:
    if not proof.holds:
        raise UserError(
            f"refused: the {format_name} file answers otherwise than {record.path}: {proof.sentence()}; such as "
            f"{', '.join(proof.different[:3])}"
        )


def _write(form: Format, graph: ImageGraph, record: CheckpointRecord, takes: str, path: Path) -> bool:
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


def _random_images(height: int, width: int, channels: int, count: int = 2) -> Tensor:
    """Two of them for a trace: a batch of one would be taken for a constant."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, height, width, channels), dtype=torch.uint8, generator=generator)


def _runs(graph: ImageGraph, images: Tensor) -> bool:
    try:
        with torch.inference_mode():
            graph(images)
    except Exception:  # a network that takes one size alone raises almost anything
        return False
    return True


def _try_to_write(
    form: Format, graph: ImageGraph, example: Tensor, dynamic: dict[int, str], path: Path
) -> Exception | None:
    try:
        form.write(graph, example, dynamic, path)
    except (UserError, OSError):
        raise
    except Exception as error:  # torch's exporters raise almost anything
        return error
    return None


def _agrees(form: Format, graph: ImageGraph, images: Tensor, path: Path, tolerance: float = TOLERANCE) -> bool:
    """Whether the file gives the graph's answers at a size that it was not traced at."""
    runner = form.open(path)
    try:
        found = runner(images.numpy())
        with torch.inference_mode():
            expected = graph(images).numpy()
    except Exception:  # as above
        return False
    return bool(np.abs(found.astype(np.float32) - expected).max() <= tolerance)


def _not_exportable(record: CheckpointRecord, error: Exception) -> UserError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return UserError(f"{record.config['model']['backbone']} cannot be exported: {reason}")
