"""What a test, validate or predict run leaves: predictions.csv, confusion matrices, metrics.json, and one table."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from lit_cnn.callbacks import bad_images
from lit_cnn.errors import UserError
from lit_cnn.results.confusion import confusion_counts, plot_confusion, write_confusion
from lit_cnn.tasks.base import as_task
from lit_cnn.utils.console import console
from lit_cnn.utils.datamodule import find_datamodule

FILES: tuple[str, ...] = (
    "predictions.csv",
    "confusion_matrix.csv",
    "confusion_matrix.png",
    "confusion_matrix_normalized.png",
)
FILES += ("class_indices.json", "metrics.json", bad_images.NAME)
SPLITS = {"test": "test", "validate": "val", "predict": "predict"}  # by the trainer's function
MAX_PICTURES = 20  # of a predict run's table
MAX_CLASSES = 20  # shown one by one; of more, the EXTREMES worst and best
EXTREMES = 5

# One process's predictions: index (N,), target (N,), prob (N, top) and label (N, top), most probable first.
Predictions = dict[str, np.ndarray]


class EvaluationReport(Callback):
    """Writes what a test, validate or predict run found to ``out_dir`` and prints it as one table on rank 0.

    The module is a :class:`~lit_cnn.tasks.base.Task`, whose steps return an
    :class:`~lit_cnn.tasks.base.EvaluationOutput`, or None on a rank that has run out of images. Class and sample names
    and the images that could not be read come from the data module.

    In ``out_dir``: predictions.csv (one line an image, by index), and unless it is a predict run, confusion_matrix.csv,
    confusion_matrix.png, confusion_matrix_normalized.png, class_indices.json and metrics.json; bad_images.csv if
    any were skipped. If one of these is already there, all go to a new folder in it, ``test_2`` and so on.

    Args:
        out_dir: Folder for the files; made if need be. May be set until the run ends; only the first process asks.
        top: Number of most probable classes in predictions.csv.
    """

    def __init__(self, out_dir: str | os.PathLike[str], top: int = 5) -> None:
        super().__init__()
        self.out_dir = out_dir
        self.top = top
        self._batches: list[dict[str, torch.Tensor]] = []
        self._num_classes = 0

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget an earlier run's predictions, which are left over if it failed."""
        self._batches = []

    on_validation_start = on_predict_start = on_test_start

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the batch's most probable classes, but not of validation during training."""
        if trainer.state.fn != "fit":
            self._keep(outputs)

    on_validation_batch_end = on_predict_batch_end = on_test_batch_end

    # The reports are made here and not at the epoch's end: there, callbacks come before the module's own hook.
    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write and print the report."""
        self._report(trainer, as_task(pl_module).test_confusion)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write and print the report, but not of validation during training."""
        if trainer.state.fn == "validate":
            self._report(trainer, None)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the predictions and print the first of them."""
        self._report(trainer, None)

    def _keep(self, outputs: Mapping[str, torch.Tensor] | None) -> None:
        if outputs is None:
            return
        probs = outputs["probs"].detach()
        self._num_classes = probs.shape[1]
        prob, label = probs.float().topk(min(self.top, self._num_classes), dim=1)
        # Left on the device: copying every batch would make it wait for the step.
        self._batches.append({"index": outputs["index"], "target": outputs["target"], "prob": prob, "label": label})

    def _report(self, trainer: Trainer, confusion: torch.Tensor | None) -> None:
        scalars = {name: float(value) for name, value in trainer.callback_metrics.items()}
        found, num_classes = self._gather(trainer)
        self._batches = []
        if not trainer.is_global_zero:
            return
        stage = str(trainer.state.fn.value) if trainer.state.fn else ""
        split = SPLITS[stage]
        data = find_datamodule(trainer)
        names = list(data.class_names) if data else [str(index) for index in range(num_classes)]
        if len(names) != num_classes:
            raise UserError(f"the model has {num_classes} classes but the data {len(names)}: {', '.join(names)}")
        files = [data.sample_name(split, i) if data else str(i) for i in found["index"].tolist()]
        out_dir = self._free_dir(stage)
        out_dir.mkdir(parents=True, exist_ok=True)
        _write_predictions(out_dir / "predictions.csv", files, names, found)
        skipped = data.skipped(split) if data else {}
        if skipped:
            bad_images.write_bad_images(out_dir, skipped)
        screen = getattr(trainer.progress_bar_callback, "console", None) or console()
        if stage == "predict":
            screen.print(_pictures_table(files, names, found, len(skipped)), highlight=False)
        else:
            counts = confusion_counts(found["target"], found["label"][:, 0], num_classes)
            if confusion is not None:
                counts = confusion.cpu().numpy()
            _write_metrics(out_dir, names, counts, scalars, len(skipped))
            _write_confusions(out_dir, names, counts, split)
            screen.print(_metrics_table(split, names, counts, scalars, len(skipped)), highlight=False)
        screen.print(Text(f"written to {out_dir}"), soft_wrap=True, highlight=False)

    def _gather(self, trainer: Trainer) -> tuple[Predictions, int]:
        """Return the predictions of all processes, by index, each image once, and the number of classes."""
        own = {k: torch.cat([b[k] for b in self._batches]).cpu().numpy() for k in (self._batches or [{}])[0]}
        parts: list[tuple[Predictions, int]] = [(own, self._num_classes)]
        if trainer.world_size > 1:
            parts *= trainer.world_size
            torch.distributed.all_gather_object(parts, (own, self._num_classes))
        filled = [part for part, _ in parts if part]  # a process may have had no batch
        if not filled:
            raise UserError("there were no images to evaluate")
        joined = {k: np.concatenate([part[k] for part in filled]) for k in filled[0]}
        _, first = np.unique(joined["index"], return_index=True)
        return {k: v[first] for k, v in joined.items()}, max(k for _, k in parts)

    def _free_dir(self, stage: str) -> Path:
        """Return ``out_dir``, or the first numbered folder in it, where no file would be overwritten."""
        folder, number = Path(self.out_dir), 2
        while any((folder / name).exists() for name in FILES):
            folder, number = Path(self.out_dir) / f"{stage}_{number}", number + 1
        return folder


def _write_predictions(path: Path, files: list[str], names: list[str], found: Predictions) -> None:
    top = found["prob"].shape[1]
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file, lineterminator="\n")
        best = [f"{kind}_{place}" for place in range(1, top + 1) for kind in ("class", "probability")]
        writer.writerow(["file", "true", "predicted", "probability", *best])
        for name, target, ranked in zip(files, found["target"], _ranked(names, found), strict=True):
            cells = [cell for label, prob in ranked for cell in (label, f"{prob:.6f}")]
            writer.writerow([name, names[target] if target >= 0 else "", *cells[:2], *cells])


def _write_metrics(
    out_dir: Path, names: list[str], counts: np.ndarray, scalars: dict[str, float], skipped: int
) -> None:
    accuracy, support = _per_class(counts)
    classes = {n: {"accuracy": _plain(accuracy[i]), "images": int(support[i])} for i, n in enumerate(names)}
    content = {name: _plain(value) for name, value in sorted(scalars.items())}
    images = {"images": int(support.sum()), "skipped_images": skipped}
    _write_json(out_dir / "metrics.json", {**content, **images, "per_class": classes})
    _write_json(out_dir / "class_indices.json", {str(index): name for index, name in enumerate(names)})


def _write_confusions(out_dir: Path, names: list[str], counts: np.ndarray, split: str) -> None:
    total = int(counts.sum())
    title = f"{split}: {total:,} images, accuracy {np.trace(counts) / max(total, 1):.4f}"
    write_confusion(counts, names, out_dir / "confusion_matrix.csv")
    plot_confusion(counts, names, out_dir / "confusion_matrix.png", title)
    plot_confusion(counts, names, out_dir / "confusion_matrix_normalized.png", title, normalize=True)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def _plain(value: float) -> float | None:
    """JSON knows no NaN."""
    return float(value) if math.isfinite(value) else None


def _per_class(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return accuracy (K,), NaN where a class has no image, and number of images (K,) of the true classes."""
    support = counts.sum(axis=1)
    return np.where(support > 0, np.diag(counts) / np.maximum(support, 1), np.nan), support


def _and_skipped(number: int) -> str:
    return f", {number:,} skipped" if number else ""


def _metrics_table(split: str, names: list[str], counts: np.ndarray, scalars: dict[str, float], skipped: int) -> Table:
    """Lay out the run's metrics, then the accuracy of each class, or of the worst and the best if they are many."""
    accuracy, support = _per_class(counts)
    table = Table(
        title=f"{split}: {int(support.sum()):,} images{_and_skipped(skipped)}",
        title_justify="left",
        title_style="bold",
        box=SIMPLE,
        show_edge=False,
    )
    table.add_column("")
    table.add_column("value", justify="right")
    table.add_column("images", justify="right")
    words = {"acc": "accuracy", "acc_top5": "top-5 accuracy"}
    own = {name.removeprefix(f"{split}/"): v for name, v in scalars.items() if name.startswith(f"{split}/")}
    for name in sorted(own, key=lambda n: (["acc", "acc_top5", "loss"].index(n) if n in (*words, "loss") else 9, n)):
        table.add_row(Text(words.get(name, name)), f"{own[name]:.4f}", "")
    order: list[int] = list(range(len(names)))
    heads = {0: "accuracy by class"}
    if len(names) > MAX_CLASSES:
        ranked = [int(i) for i in np.argsort(accuracy, kind="stable") if support[i]]
        order = ranked[:EXTREMES] + ranked[EXTREMES:][-EXTREMES:]
        heads = {0: f"the {EXTREMES} worst classes", EXTREMES: f"the {EXTREMES} best classes"}
    for place, index in enumerate(order):
        if place in heads:
            table.add_section()
            table.add_row(Text(heads[place], style="italic"), "", "")
        value = f"{accuracy[index]:.4f}" if support[index] else "-"
        table.add_row(Text(names[index]), value, f"{int(support[index]):,}")
    return table


def _pictures_table(files: list[str], names: list[str], found: Predictions, skipped: int) -> Table:
    """Lay out the first pictures of a predict run with their classes."""
    more = len(files) - MAX_PICTURES
    caption = f"and {more:,} more in predictions.csv" if more > 0 else None
    table = Table(
        title=f"{len(files):,} predictions{_and_skipped(skipped)}",
        title_justify="left",
        title_style="bold",
        caption=caption,
        box=SIMPLE,
        show_edge=False,
    )
    for head in ("file", "class", "probability", "runners-up"):
        table.add_column(head, justify="right" if head == "probability" else "left", overflow="fold")
    for name, (first, *others) in zip(files[:MAX_PICTURES], _ranked(names, found), strict=False):
        rest = ", ".join(f"{label} {prob:.2f}" for label, prob in others[:2])
        table.add_row(Text(name), Text(first[0]), f"{first[1]:.4f}", Text(rest))
    return table


def _ranked(names: list[str], found: Predictions) -> Iterator[list[tuple[str, float]]]:
    """Yield for each image its most probable classes with their probabilities."""
    for labels, probs in zip(found["label"].tolist(), found["prob"].tolist(), strict=True):
        yield [(names[label], prob) for label, prob in zip(labels, probs, strict=True)]
