"""Which pictures are shown, their archive, and contact sheets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from lit_cnn.results.gallery import (
    Gallery,
    captions_of,
    choose_pictures,
    overlay,
    read_gallery,
    to_image,
    to_jpeg,
    within_bytes,
    worst,
    write_gallery,
    write_sheet,
)

TARGET = np.array([0, 0, 0, 0, 1, 1, -1])
PREDICTED = np.array([0, 1, 1, 0, 0, 1, 1])
PROBABILITY = np.array([0.9, 0.6, 0.8, 0.5, 0.7, 0.99, 1.0])


def test_the_worst_are_the_most_confident_mistakes_and_images_without_a_label_are_none():
    assert worst(TARGET, PREDICTED, PROBABILITY, 10).tolist() == [2, 4, 1]
    assert worst(TARGET, PREDICTED, PROBABILITY, 1).tolist() == [2]


def test_mistakes_come_first_in_turns_from_each_cell_then_right_ones():
    assert choose_pictures(TARGET, PREDICTED, PROBABILITY).tolist() == [2, 4, 1, 3, 5, 0]
    assert choose_pictures(TARGET, PREDICTED, PROBABILITY, 2).tolist() == [2, 4]
    assert len(choose_pictures(TARGET[:0], PREDICTED[:0], PROBABILITY[:0])) == 0


def test_of_a_class_that_is_always_right_twelve_are_shown_the_most_and_the_least_confident():
    probability = np.linspace(0.3, 0.9, 50)
    shown = choose_pictures(np.zeros(50, int), np.zeros(50, int), probability)
    assert sorted(shown.tolist()) == [*range(6), *range(44, 50)]


def test_an_archive_is_read_as_it_was_written(tmp_path: Path):
    picture = to_jpeg(Image.new("RGB", (300, 200), "red"))
    gallery = Gallery({3: picture, 0: b"b"}, {3: b"c"}, {3: [("a/ä.jpg", "rose", 0.5, b"d")]}, 17)
    write_gallery(tmp_path / "pictures.zip", gallery)
    assert read_gallery(tmp_path / "pictures.zip") == gallery
    assert max(Image.open((tmp_path / "x.jpg") if (tmp_path / "x.jpg").write_bytes(picture) else "").size) == 112


def test_a_missing_or_damaged_archive_is_empty(tmp_path: Path):
    assert read_gallery(tmp_path / "none.zip") == Gallery()
    (tmp_path / "bad.zip").write_bytes(b"PK no archive")
    assert read_gallery(tmp_path / "bad.zip").pictures == {}


def test_pictures_are_kept_until_the_bytes_are_spent_in_their_order():
    assert list(within_bytes({5: b"xx", 1: b"xx", 2: b"x"}, 4)) == [5, 1]


def test_grey_colour_and_many_bands_become_pictures():
    pixels = np.arange(5 * 2 * 3, dtype=np.uint8).reshape(5, 2, 3)
    assert (to_image(pixels[:1]).mode, to_image(pixels[:1]).size) == ("L", (3, 2))
    assert np.array_equal(np.asarray(to_image(pixels)), pixels[:3].transpose(1, 2, 0))
    assert np.array_equal(np.asarray(to_image(pixels[:2])), pixels[0])


def test_a_heat_map_is_red_where_it_is_high_and_blue_where_it_is_low():
    shown = np.asarray(overlay(Image.new("L", (20, 20), 128), np.repeat([[0.0, 1.0]], 2, axis=0)))
    left, right = shown[10, 0].astype(int), shown[10, 19].astype(int)
    assert left[2] > left[0]
    assert right[0] > right[2]


def test_a_sheet_has_a_picture_and_a_caption_for_each_image_whatever_the_letters(tmp_path: Path):
    names = ["daisy", "玫瑰", "a very long name of a class that does not fit"]
    captions = captions_of([0, 1], names, np.array([0, 1]), np.array([0, 2]), np.array([0.5, 0.9]))
    assert captions == ["daisy 0.50", f"{names[2]} 0.90\nis 玫瑰"]
    path = tmp_path / "sheet.jpg"
    write_sheet(path, [Image.new("RGB", (8, 8), "red"), Image.new("L", (300, 100), 0)], captions)
    shown = np.asarray(Image.open(path)).astype(int)
    assert shown.shape[1] == 2 * 168 + 8
    assert shown[60, 60].tolist()[0] > 200  # enlarged to the whole place
    assert shown[60, 60].tolist()[1] < 60
    assert (shown[170:200, :100].min() < 100).any()  # letters
