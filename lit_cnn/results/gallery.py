"""Pictures of an evaluation: which ones to show, an archive of them, and contact sheets. NumPy and Pillow only.

``pictures.zip`` lies beside ``predictions.csv``: ``pictures/7.jpg`` is the image of its row 7, counted from 0, as the
network gets it, ``cam/7.jpg`` the same with Grad-CAM's heat map, and ``gallery.json`` says which training images are
the nearest.
"""

from __future__ import annotations

import encodings.cp437  # noqa: F401  # zipfile looks it up at its first archive, when files may be unreadable already
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lit_cnn.utils.files import atomic_write

ARCHIVE = "pictures.zip"
INDEX = "gallery.json"  # in the archive
MOST = 600  # pictures of an evaluation
OF_A_CLASS = 12  # right predictions that are shown
SIDE = 112  # pixels of a picture's longer side
SHEET_SIDE = 160
SHEET_COLUMNS = 4
_CAPTION = 40  # pixels below a picture of a sheet
_LETTERS = 20  # of a line of a caption


@dataclass
class Gallery:
    """The pictures of an evaluation.

    Attributes:
        pictures: JPEG by row of predictions.csv.
        cams: JPEG with a heat map over it, by row.
        neighbours: by row, the nearest training images, the nearest first: name, class, cosine similarity and JPEG.
        searched: number of training images that these were chosen from.
    """

    pictures: dict[int, bytes] = field(default_factory=dict)
    cams: dict[int, bytes] = field(default_factory=dict)
    neighbours: dict[int, list[tuple[str, str, float, bytes]]] = field(default_factory=dict)
    searched: int = 0


def worst(target: np.ndarray, predicted: np.ndarray, probability: np.ndarray, count: int) -> np.ndarray:
    """Positions of the most confident mistakes, int64 (at most ``count``,), the most confident first.

    Args:
        target: int (N,); below 0: unknown, never a mistake.
        predicted: int (N,).
        probability: float (N,), of the predicted class.
        count: how many.
    """
    wrong = np.flatnonzero((target >= 0) & (target != predicted))
    return wrong[np.argsort(-probability[wrong], kind="stable")][:count]


def choose_pictures(target: np.ndarray, predicted: np.ndarray, probability: np.ndarray, most: int = MOST) -> np.ndarray:
    """Positions of images that a page should show, int64 (at most ``most``,), the most important first.

    Mistakes come first, in turns from every cell of the confusion matrix, the most confident of each; then right
    predictions, up to twelve a class, in turns the least and the most confident.

    Args:
        target: int (N,); below 0: unknown, not shown.
        predicted: int (N,).
        probability: float (N,), of the predicted class.
        most: their number at most.
    """
    known = target >= 0
    wrong, right = np.flatnonzero(known & (target != predicted)), np.flatnonzero(known & (target == predicted))
    pairs = target[wrong] * (int(predicted.max(initial=0)) + 1) + predicted[wrong]
    turn = _turns(pairs, -probability[wrong])
    mistakes = wrong[np.lexsort((-probability[wrong], turn))]
    unsure, sure = (_turns(target[right], sign * probability[right]) for sign in (1, -1))
    turn = np.minimum(2 * unsure, 2 * sure + 1)
    order = np.lexsort((probability[right], turn))
    return np.concatenate([mistakes, right[order][turn[order] < OF_A_CLASS]])[:most]


def _turns(groups: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """For each item its place in its group, in ascending order of the keys."""
    order = np.lexsort((keys, groups))
    ordered = groups[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(ordered) else np.array([], int)
    places = np.empty(len(groups), int)
    places[order] = np.arange(len(groups)) - np.repeat(starts, np.diff(np.r_[starts, len(groups)]))
    return places


def to_image(pixels: np.ndarray) -> Image.Image:
    """A picture of an image, uint8 (C, H, W): grey for one channel, else of the first three."""
    if len(pixels) == 3:
        return Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    if len(pixels) > 3:
        return to_image(pixels[:3])
    return Image.fromarray(np.ascontiguousarray(pixels[0]))


def to_jpeg(image: Image.Image, side: int = SIDE) -> bytes:
    """A JPEG of a picture, made smaller where its longer side is more than ``side`` pixels."""
    if max(image.size) > side:
        image = image.copy()
        image.thumbnail((side, side))
    content = io.BytesIO()
    image.save(content, "JPEG", quality=80)
    return content.getvalue()


def overlay(image: Image.Image, heat: np.ndarray) -> Image.Image:
    """A picture under a heat map, float (H, W) in [0, 1]: blue to red, in the colours of jet."""
    base = np.asarray(image.convert("RGB"), dtype=np.float32)
    heat = np.asarray(Image.fromarray(heat.astype(np.float32)).resize(image.size, Image.Resampling.BILINEAR))
    colours = np.stack([1.5 - np.abs(4 * heat - centre) for centre in (3, 2, 1)], axis=2).clip(0, 1)
    return Image.fromarray((0.55 * base + 0.45 * 255 * colours).astype(np.uint8))


def write_gallery(path: Path, gallery: Gallery) -> None:
    """Write an archive.

    Raises:
        OSError: it cannot be written.
    """
    index: dict[str, Any] = {"searched": gallery.searched, "neighbours": {}}
    with atomic_write(path, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for row, content in gallery.pictures.items():
            archive.writestr(f"pictures/{row}.jpg", content)
        for row, content in gallery.cams.items():
            archive.writestr(f"cam/{row}.jpg", content)
        for row, near in gallery.neighbours.items():
            index["neighbours"][str(row)] = [[name, label, similarity] for name, label, similarity, _ in near]
            for place, (_, _, _, content) in enumerate(near):
                archive.writestr(f"near/{row}-{place}.jpg", content)
        archive.writestr(INDEX, json.dumps(index))


def read_gallery(path: Path) -> Gallery:
    """Read an archive; empty where there is none, or it is damaged."""
    found = Gallery()
    try:
        with zipfile.ZipFile(path) as archive:
            index = json.loads(archive.read(INDEX))
            for name in archive.namelist():
                folder, _, rest = name.partition("/")
                if folder in ("pictures", "cam"):
                    kind = found.pictures if folder == "pictures" else found.cams
                    kind[int(rest.removesuffix(".jpg"))] = archive.read(name)
            for row, near in index["neighbours"].items():
                found.neighbours[int(row)] = [
                    (str(name), str(label), float(similarity), archive.read(f"near/{row}-{place}.jpg"))
                    for place, (name, label, similarity) in enumerate(near)
                ]
            found.searched = int(index["searched"])
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        return found
    return found


def write_sheet(path: Path, pictures: Sequence[Image.Image], captions: Sequence[str]) -> None:
    """Write pictures in rows of four, each with a caption of at most two lines, as JPEG.

    Raises:
        OSError: it cannot be written.
    """
    columns = min(SHEET_COLUMNS, len(pictures))
    rows = -(-len(pictures) // columns)
    step_x, step_y = SHEET_SIDE + 8, SHEET_SIDE + _CAPTION + 8
    sheet = Image.new("RGB", (columns * step_x + 8, rows * step_y + 8), "white")
    draw = ImageDraw.Draw(sheet)
    for place, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        x, y = 8 + place % columns * step_x, 8 + place // columns * step_y
        shown = picture.convert("RGB")
        scale = SHEET_SIDE / max(shown.size)
        width, height = (max(1, round(side * scale)) for side in shown.size)
        size = (width, height)
        shown = shown.resize(size, Image.Resampling.NEAREST if scale > 2 else Image.Resampling.BICUBIC)
        sheet.paste(shown, (x + (SHEET_SIDE - size[0]) // 2, y + (SHEET_SIDE - size[1]) // 2))
        for number, line in enumerate(caption.split("\n")[:2]):
            text, font = drawable(line if len(line) <= _LETTERS else line[: _LETTERS - 1] + "…")
            draw.text((x, y + SHEET_SIDE + 2 + 19 * number), text, fill="#222222", font=font)
    with atomic_write(path, "wb") as file:
        sheet.save(file, "JPEG", quality=88)


def captions_of(
    rows: Sequence[int], names: Sequence[str], target: np.ndarray, predicted: np.ndarray, probability: np.ndarray
) -> list[str]:
    """For each of the rows, what was predicted and, where that is wrong, what it is."""
    found = []
    for i in rows:
        answer = f"{names[predicted[i]]} {probability[i]:.2f}"
        is_wrong = 0 <= target[i] != predicted[i]
        found.append(f"{answer}\nis {names[target[i]]}" if is_wrong else answer)
    return found


def drawable(text: str, size: int = 15) -> tuple[str, Any]:
    """A text and a font of so many pixels that has its letters; letters that no font has become question marks."""
    if text.isascii():
        return text, ImageFont.load_default(size)
    for path, letters in _fonts():
        if letters.issuperset(map(ord, text)):
            return text, ImageFont.truetype(path, size)
    return text.encode("ascii", "replace").decode(), ImageFont.load_default(size)


@cache
def _fonts() -> list[tuple[str, frozenset[int]]]:
    """Fonts with the letters that they have: matplotlib's own, which is always there, and one for Chinese letters."""
    from matplotlib import font_manager

    from lit_cnn.results.confusion import CJK_FAMILIES

    installed = {font.name: font.fname for font in font_manager.fontManager.ttflist}
    wanted = ["DejaVu Sans", *(family for family in CJK_FAMILIES if family in installed)]
    paths = [installed[name] for name in wanted if name in installed]
    return [(path, frozenset(font_manager.get_font(path).get_charmap())) for path in paths]


def within_bytes(rows: Mapping[int, bytes], most_bytes: int) -> dict[int, bytes]:
    """The first of the pictures that together take no more than so many bytes."""
    kept, total = {}, 0
    for row, content in rows.items():
        total += len(content)
        if total > most_bytes:
            break
        kept[row] = content
    return kept
