"""Predictions as the file that a user asks for: CSV, JSON lines or Parquet, by the extension."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from lit_cnn.errors import UserError
from lit_cnn.results.multi_label import THRESHOLD, write_label_predictions
from lit_cnn.results.prediction_columns import OOD, SET, class_columns
from lit_cnn.results.predictions import Predictions, members, ranked, write_predictions
from lit_cnn.utils.files import atomic_write

KINDS = (".csv", ".jsonl", ".parquet")
STANDARD_OUTPUT = "-"


def check_output(output: str) -> None:
    """Refuse a file that cannot be written, before anything is computed.

    Raises:
        UserError: another extension, a missing folder, or no library for Parquet.
    """
    if output == STANDARD_OUTPUT:
        return
    path = Path(output)
    if path.suffix.lower() not in KINDS:
        raise UserError(f"cannot write predictions to {output}: give a file that ends in {', '.join(KINDS)}, or -")
    if not path.absolute().parent.is_dir():
        raise UserError(f"cannot write {output}: there is no folder {path.parent}")
    if path.suffix.lower() == ".parquet":
        _parquet()


def write_output(
    output: str,
    files: list[str],
    names: list[str],
    found: Predictions,
    threshold: float = 0.0,
    stream: TextIO | None = None,
) -> None:
    """Write predictions.

    A JSON line holds file, true (null without a label), predicted, correct, probability, and probabilities by class, of
    the five most probable ones where there are many. Parquet has the columns of predictions.csv, with numbers as such.

    Args:
        output: the file, or ``-``: JSON lines to ``stream``.
        files: N names of images.
        names: K class names.
        found: see :func:`~lit_cnn.results.predictions.write_predictions`.
        threshold: of the set of classes of each image; 0: none is written.
        stream: by default standard output.

    Raises:
        UserError: it cannot be written.
    """
    kind = Path(output).suffix.lower()
    try:
        if output == STANDARD_OUTPUT:
            for row in prediction_rows(files, names, found, threshold):
                print(json.dumps(row, ensure_ascii=False), file=stream)
            (stream or sys.stdout).flush()
        elif kind == ".csv" and found["target"].ndim == 2:
            write_label_predictions(Path(output), files, names, found)
        elif kind == ".csv":
            write_predictions(Path(output), files, names, found, threshold)
        elif kind == ".jsonl":
            with atomic_write(Path(output)) as file:
                file.writelines(
                    json.dumps(row, ensure_ascii=False) + "\n"
                    for row in prediction_rows(files, names, found, threshold)
                )
        else:
            _write_parquet(Path(output), files, names, found, threshold)
    except OSError as error:
        raise UserError(f"cannot write {output}: {error.strerror or error}") from error


def prediction_rows(
    files: list[str], names: list[str], found: Predictions, threshold: float
) -> Iterator[dict[str, Any]]:
    """Yield what JSON lines say of each image; arguments as of :func:`write_output`."""
    if found["target"].ndim == 2:
        yield from _label_rows(files, names, found)
        return
    probs = found.get("probs")
    for i, classes in enumerate(ranked(names, found)):
        (label, prob), target = classes[0], int(found["target"][i])
        shown = classes if probs is None else zip(names, probs[i].tolist(), strict=True)
        row: dict[str, Any] = {
            "file": files[i],
            "true": names[target] if target >= 0 else None,
            "predicted": label,
            "correct": names[target] == label if target >= 0 else None,
            "probability": round(prob, 6),
            "probabilities": {name: round(value, 6) for name, value in shown},
        }
        if threshold > 0 and probs is not None:
            row[SET] = members(names, probs[i], threshold)
        if "ood" in found:
            row |= {OOD[0]: round(float(found["ood_score"][i]), 6), OOD[1]: bool(found["ood"][i])}
        yield row


def _label_rows(files: list[str], names: list[str], found: Predictions) -> Iterator[dict[str, Any]]:
    """Of images with any number of labels: true and predicted are lists."""
    for name, target, probs in zip(files, found["target"], found["probs"], strict=True):
        predicted = [label for label, prob in zip(names, probs, strict=True) if prob > THRESHOLD]
        true = [label for label, given in zip(names, target, strict=True) if given > 0] if target.min() >= 0 else None
        yield {
            "file": name,
            "true": true,
            "predicted": predicted,
            "correct": None if true is None else true == predicted,
            "probabilities": {label: round(float(prob), 6) for label, prob in zip(names, probs, strict=True)},
        }


def _write_parquet(path: Path, files: list[str], names: list[str], found: Predictions, threshold: float) -> None:
    pyarrow, parquet = _parquet()
    several = found["target"].ndim == 2
    rows = list(
        prediction_rows(files, names, found if several else {k: v for k, v in found.items() if k != "probs"}, 0.0)
    )
    label = pyarrow.list_(pyarrow.string()) if several else pyarrow.string()
    kinds = {"file": pyarrow.string(), "true": label, "predicted": label, "correct": pyarrow.bool_()}
    if not several:
        kinds["probability"] = pyarrow.float64()
    columns: dict[str, Any] = {key: pyarrow.array([row[key] for row in rows], kind) for key, kind in kinds.items()}
    probs = found.get("probs")
    if probs is not None:
        columns |= dict(zip(class_columns(names), np.asarray(probs, np.float32).T, strict=True))
        if threshold > 0:
            columns[SET] = ["|".join(members(names, row, threshold)) for row in probs]
    else:
        for place in range(found["label"].shape[1]):
            columns[f"class_{place + 1}"] = [names[k] for k in found["label"][:, place]]
            columns[f"probability_{place + 1}"] = found["prob"][:, place]
    if "ood" in found:
        columns |= {OOD[0]: found["ood_score"], OOD[1]: found["ood"]}
    with atomic_write(path, "wb") as file:
        parquet.write_table(pyarrow.table(columns), file)


def _parquet() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UserError("Parquet files need pyarrow: pip install 'lit-cnn[parquet]'") from error
    return pyarrow, pyarrow.parquet
