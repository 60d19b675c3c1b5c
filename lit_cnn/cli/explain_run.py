"""Explain images with the network of a checkpoint: the work of ``lit-cnn explain``."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import torch
from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text
from torch import Tensor, nn

from lit_cnn import run_folder
from lit_cnn.checkpoint.record import CheckpointRecord
from lit_cnn.cli.checkpoint_argument import predict_data
from lit_cnn.cli.trained_task import trained_task
from lit_cnn.data import Images
from lit_cnn.data.loading.loader import Batch
from lit_cnn.data.pictures import read_images
from lit_cnn.errors import UserError
from lit_cnn.interpret import figures
from lit_cnn.interpret.explanation import Heat, explain_image
from lit_cnn.interpret.faithfulness import with_shuffled_weights
from lit_cnn.interpret.grad_cam import find_layer
from lit_cnn.interpret.layers import feature_maps, first_filters, most_exciting, stages, weight_matrices
from lit_cnn.interpret.occlusion import Scores
from lit_cnn.results.gallery import to_image
from lit_cnn.utils.console import say, show
from lit_cnn.utils.files import atomic_write

_BATCH = 32
_SEARCHED = 1000  # images for those that excite a filter most
_FILTERS, _OF_EACH = 8, 5
_SHOWN = 8  # images in the table


class Options(NamedTuple):
    """What to explain.

    Attributes:
        images: files, folders, patterns.
        layer: of the heat maps; None: the last one with positions.
        layers: of the feature maps; none: one of each resolution.
        top: so many of the most probable classes.
        class_number: this class instead.
        most: so many images.
    """

    images: list[str]
    layer: str | None
    layers: list[str]
    top: int
    class_number: int | None
    most: int


class Sample(NamedTuple):
    """An image: number in the split, name, pixels uint8 (C, H, W), and float (C, H, W) as the network gets it."""

    number: int
    name: str
    pixels: Tensor
    image: Tensor


def explain_run(record: CheckpointRecord, options: Options, folder: Path | None) -> Path:
    """Write the figures, print the table, and return the folder.

    Args:
        record: of the checkpoint.
        options: what to explain.
        folder: to write to; None: a new one in the run's folder, or in the working folder for a checkpoint elsewhere.

    Raises:
        UserError: there is no such image or layer, none of the images can be read, the network has no layer with
            positions, or the folder cannot be written.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    task = trained_task(record).to(device)
    network, multilabel = task.backbone, bool(record.preprocessing.get("multilabel"))
    temperature = 1.0 if multilabel else record.calibration.get("temperature", 1.0)

    def scores(images: Tensor) -> Tensor:
        with torch.no_grad():
            logits = network.forward(images).float()
        return logits.sigmoid() if multilabel else (logits / temperature).softmax(1)

    data = Images(**{**predict_data(record, options.images)["init_args"], "batch_size": _BATCH, "workers": 0})
    data.setup("predict")
    samples = _samples(data, network)
    first = next(samples, None)
    if first is None:
        raise UserError(f"none of the images can be read: {_broken(data)}")
    layer = options.layer or find_layer(network, first.image[None])
    layers = options.layers or stages(network, first.image[None], layer)
    feature_maps(network, first.image[None], [layer, *layers])  # refuses layers before anything is written
    say(f"layer: {layer} of {record.config['model']['backbone']}")
    folder = _make(folder, record)
    shuffled = with_shuffled_weights(network)
    rows, indices, peaks = list[_Row](), list[int](), list[Tensor]()
    for number, sample in enumerate(chain([first], samples)):
        if number >= max(options.most, _SEARCHED):
            break
        if number < options.most:
            chosen = _chosen(scores, sample, options)
            heats = explain_image(network, scores, sample.image, chosen[0], layer, shuffled)
            rows.append(_Row(sample.name, [record.class_names[k] for k in chosen[0].tolist()], chosen[1], heats))
            stem = f"{number + 1:02d}_{Path(sample.name).stem}"
            labels = [f"{name}, {p:.1%}" for name, p in zip(rows[-1].classes, chosen[1], strict=True)]
            picture = to_image(sample.pixels.numpy())
            figures.draw_explanation(picture, Path(sample.name).name, labels, heats, folder / f"{stem}.png")
            maps = feature_maps(network, sample.image[None], layers)
            shown = {name: values[0] for name, values in maps.items()}
            figures.draw_feature_maps(shown, f"feature maps: {Path(sample.name).name}", folder / f"{stem}_features.png")
        indices.append(sample.number)
        peaks.append(feature_maps(network, sample.image[None], [layer])[layer][0].amax((1, 2)).cpu())
    if len(indices) > 1:
        _draw_exciting(network, layer, data, (indices, torch.stack(peaks)), folder)
    _draw_weights(network, int(record.preprocessing["channels"]), folder)
    _write_scores(rows, folder)
    show(_table(rows))
    if broken := _broken(data):
        say(f"skipped what cannot be read: {broken}", error=True)
    return folder


class _Row(NamedTuple):
    """An explained image: its name, classes, their probabilities, and for each class its heat maps."""

    name: str
    classes: list[str]
    probabilities: list[float]
    heats: list[list[Heat]]


def _samples(data: Images, network: nn.Module) -> Iterator[Sample]:
    """The images that can be read, one at a time, on the network's device and in its precision."""
    weight = next(network.parameters())
    for batch in data.predict_dataloader():
        ready = data.on_after_batch_transfer(batch._replace(image=batch.image.to(weight.device)), 0)
        bad = data.skipped()
        for index, pixels, image in zip(batch.index.tolist(), batch.image, ready.image, strict=True):
            if (name := data.sample_name("predict", index)) not in bad:
                yield Sample(index, name, pixels.clone(), image.to(weight.dtype))


def _broken(data: Images) -> str:
    found = [f"{name} ({reason})" for name, reason in data.skipped().items()]
    return "; ".join(found[:3]) + (f"; and {len(found) - 3} more" if len(found) > 3 else "")


def _chosen(scores: Scores, sample: Sample, options: Options) -> tuple[Tensor, list[float]]:
    """Classes to explain, int64 (k,), and their probabilities."""
    probs = scores(sample.image[None])[0]
    if options.class_number is not None:
        return torch.tensor([options.class_number], device=probs.device), [float(probs[options.class_number])]
    best = probs.topk(min(options.top, len(probs)))
    return best.indices, best.values.tolist()


def _make(folder: Path | None, record: CheckpointRecord) -> Path:
    if folder is None:
        return run_folder.new_subfolder(run_folder.run_folder_of(record.path) or Path(), "explain")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}; choose another `out_dir`") from error
    return folder


def _draw_exciting(network: nn.Module, layer: str, data: Images, found: tuple[list[int], Tensor], folder: Path) -> None:
    """Draw the images that excite the most selective filters; they are read again, so that memory stays flat."""
    indices, peaks = found
    filters, images = most_exciting(peaks, _FILTERS, _OF_EACH)
    wanted = sorted({indices[i] for i in images.flatten().tolist()})
    by_index: dict[int, tuple[Tensor, Tensor]] = {}
    weight = next(network.parameters())
    for place, pixels in read_images(data, "predict", wanted):
        batch = Batch(torch.from_numpy(pixels)[None].to(weight.device), torch.zeros(1), torch.zeros(1))
        image = data.on_after_batch_transfer(batch, 0).image.to(weight.dtype)
        by_index[wanted[place]] = torch.from_numpy(pixels), feature_maps(network, image, [layer])[layer][0]
    rows = []
    for number, line in zip(filters.tolist(), images.tolist(), strict=True):
        shown = [(i, by_index[indices[i]]) for i in line if indices[i] in by_index]
        rows.append((
            number,
            [(to_image(pixels.numpy()), maps[number], float(peaks[i, number])) for i, (pixels, maps) in shown],
        ))  # fmt: skip
    figures.draw_exciting(layer, rows, folder / "exciting_images.png")


def _draw_weights(network: nn.Module, channels: int, folder: Path) -> None:
    first = first_filters(network, channels)
    if first is not None:
        figures.draw_filters(*first, folder / "filters.png")
    figures.draw_weights(weight_matrices(network), folder / "weights.png")


_COLUMNS = ("image", "class", "probability", "method", "deletion", "insertion", "unlearned")


def _lines(rows: list[_Row]) -> Iterator[tuple[str, ...]]:
    for row in rows:
        for name, probability, heats in zip(row.classes, row.probabilities, row.heats, strict=True):
            for heat in heats:
                unlearned = "" if heat.unlearned is None else f"{heat.unlearned:.2f}"
                tested = f"{heat.deletion:.3f}", f"{heat.insertion:.3f}", unlearned
                yield (row.name, name, f"{probability:.4f}", heat.method, *tested)


def _write_scores(rows: list[_Row], folder: Path) -> None:
    with atomic_write(folder / "scores.csv", newline="") as file:
        csv.writer(file).writerows([_COLUMNS, *_lines(rows)])


def _table(rows: list[_Row]) -> Table:
    """The scores, of at most 8 images, without the repetitions of names."""
    table = Table(box=SIMPLE, show_edge=False)
    for column in _COLUMNS:
        table.add_column(column, justify="left" if column in ("image", "class", "method") else "right")
    before: tuple[str, ...] = ("", "")
    for line in _lines(rows[:_SHOWN]):
        new_image, new_class = line[0] != before[0], line[:2] != before
        before = line[:2]
        cells = (Path(line[0]).name if new_image else "", *(line[1:3] if new_class else ("", "")), *line[3:])
        table.add_row(*map(Text, cells))
    if len(rows) > _SHOWN:
        table.caption = f"and {len(rows) - _SHOWN} more images in scores.csv"
    return table
