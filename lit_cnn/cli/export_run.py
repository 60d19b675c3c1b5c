"""Export the network of a checkpoint: the work of ``lit-cnn export``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from lit_cnn.checkpoint.record import CheckpointRecord
from lit_cnn.cli.checkpoint_data import data_of
from lit_cnn.cli.trained_task import task_of
from lit_cnn.errors import UserError
from lit_cnn.export.exporter import Exported, export
from lit_cnn.export.formats import FORMATS, format_of
from lit_cnn.export.graph import DECODED
from lit_cnn.export.restoration import RestorationProof
from lit_cnn.results.evaluation import format_score
from lit_cnn.run_folder import format_path, run_folder_of
from lit_cnn.utils.console import say

_FLOAT32 = ("32", "32-true", "None")  # precisions whose answers are those of the exported file


class Options(NamedTuple):
    """What to export, and to where.

    Attributes:
        format: a key of ``export.formats.FORMATS``.
        folder: of the file; None: ``export`` in the run's folder, or the working folder for a checkpoint elsewhere.
        takes: ``decoded`` or ``resized`` images; None: decoded ones where the run read image files.
        most: images of the proof; 0: all.
        data_dir: where the images are now; None: where the run read them.
        allow_import: packages that the user allows.
        int8: quantize the file.
    """

    format: str
    folder: Path | None
    takes: str | None
    most: int
    data_dir: str | None
    allow_import: list[str]
    int8: bool = False


@contextlib.contextmanager
def folder_for(path: Path) -> Iterator[None]:
    """The folder in which ``path`` is written; folders that are new and stay empty are removed.

    Raises:
        UserError: nothing can be written there.
    """
    missing = [parent for parent in path.parents if not parent.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        if error.filename is None:
            raise
        raise UserError(f"cannot write {path}: {error.strerror}; choose another `out_dir`") from error
    finally:
        for parent in missing:
            with contextlib.suppress(OSError):  # it holds what was written
                parent.rmdir()


def export_run(record: CheckpointRecord, options: Options) -> Path:
    """Write the file, print its proof, and return its path.

    Raises:
        UserError: see :func:`lit_cnn.export.exporter.export`; or the folder cannot be written.
    """
    FORMATS[options.format].require()
    task = task_of(record).float()
    data = data_of(record, options.data_dir, options.allow_import)
    run = run_folder_of(record.path)
    folder = options.folder or (Path() if run is None else run / "export")
    path = folder / f"{record.path.stem}{'_int8' if options.int8 else ''}{FORMATS[options.format].suffix}"
    with folder_for(path):
        done = export(
            record, task, data, options.format, path, takes=options.takes, most=options.most, int8=options.int8
        )
    _tell(done, str(record.config["trainer"].get("precision")), len(record.class_names))
    return path


def _tell(done: Exported, precision: str, classes: int) -> None:
    proof, about = done.proof, done.metadata
    if isinstance(proof, RestorationProof):
        say(f"proof: {proof.sentence()}")
        say(f"PSNR on them: {proof.psnr:.2f} dB, checkpoint {proof.psnr_before:.2f}")
        _note_precision(precision)
        shape = f"uint8 (N, height, width, {about['channels']})"
        say(f"input {shape}, output {shape}: images of any size")
        say(f"saved {_with_size(done.path)}")
        return
    say(f"{'compared' if 'int8' in about else 'proof'}: {proof.sentence()}")
    if proof.labelled:
        before = f"checkpoint {proof.right_before / proof.labelled:.4f}"
        say(f"accuracy on them: {format_score(proof.accuracy)}, {before}")
    if "int8" in about:
        found = about["int8"]
        drop, (before_ms, after_ms), (before_mb, after_mb) = found["accuracy_drop"], found["milliseconds"], found["mb"]
        say(
            f"int8: accuracy drop {drop['value']:.4f} ({drop['low']:.3f} to {drop['high']:.3f}), {after_ms:.2f} ms an "
            f"image (float32 {before_ms:.2f}), {after_mb:,.1f} MB (float32 {before_mb:,.1f})"
        )
    _note_precision(precision)
    height, width = about["imgsz"]
    size = "height, width" if done.any_size else f"{height}, {width}"
    inside = ["resize and crop"] if about["input"] == DECODED else []
    inside += ["normalization", "softmax" if about["task"] == "classify" else "sigmoid"]
    inside += [f"temperature {about['temperature']:.2f}"] if about["temperature"] != 1 else []
    inside += [f"TTA {about['tta']}"] if about["tta"] != "none" else []
    say(f"input uint8 (N, {size}, {about['channels']}), output probabilities (N, {classes})")
    say(f"inside: {', '.join(inside)}")
    say(f"saved {_with_size(done.path)}")


def _note_precision(precision: str) -> None:
    if precision not in _FLOAT32:
        say(f"note: the run computed in {precision}, the file computes in float32, as does the checkpoint in the proof")


def _with_size(path: Path) -> str:
    form = format_of(path)
    assert form is not None
    size = sum(file.stat().st_size for file in form.files(path))
    return f"{format_path(path)} ({size / 1e6:,.1f} MB{''.join(f', with {suffix}' for suffix in form.beside)})"
