"""Predictions as JSON lines, Parquet and CSV; images with their classes on them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from lit_cnn.errors import UserError
from lit_cnn.results.labelled_images import save_labelled_images, write_on
from lit_cnn.results.prediction_files import check_output, write_output

NAMES, FILES = ["cat", "file", "ü"], ["a/1.jpg", "a/ü.jpg"]
FOUND = {
    "index": np.array([0, 1]),
    "target": np.array([0, -1]),
    "probs": np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]], np.float32),
    "label": np.array([[0, 1, 2], [2, 1, 0]]),
    "prob": np.array([[0.5, 0.3, 0.2], [0.7, 0.2, 0.1]], np.float32),
}
SEVERAL = {"index": FOUND["index"], "target": np.array([[1, 0, 1], [-1, -1, -1]]), "probs": FOUND["probs"] + 0.25}


def test_json_lines_have_all_that_is_known_of_an_image(tmp_path, capsys):
    write_output(str(tmp_path / "p.jsonl"), FILES, NAMES, FOUND, 0.25)
    first, second = map(json.loads, (tmp_path / "p.jsonl").read_text().splitlines())
    assert first == {
        "file": "a/1.jpg", "true": "cat", "predicted": "cat", "correct": True, "probability": 0.5,
        "probabilities": {"cat": 0.5, "file": 0.3, "ü": 0.2}, "prediction_set": ["cat", "file"],
    }  # fmt: skip
    assert (second["true"], second["correct"], second["predicted"], second["prediction_set"]) == (
        None,
        None,
        "ü",
        ["ü"],
    )
    write_output("-", FILES, NAMES, FOUND, 0.25)
    assert capsys.readouterr().out == (tmp_path / "p.jsonl").read_text()


def test_of_many_classes_the_most_probable_ones_are_written(tmp_path):
    write_output(str(tmp_path / "p.jsonl"), FILES, NAMES, {k: v[:, :2] if v.ndim == 2 else v for k, v in FOUND.items()
                                                           if k != "probs"})  # fmt: skip
    first = json.loads((tmp_path / "p.jsonl").read_text().splitlines()[0])
    assert first["probabilities"] == {"cat": 0.5, "file": 0.3}


@pytest.mark.parametrize("found", [FOUND, SEVERAL])
def test_parquet_has_the_columns_of_the_csv_file_with_numbers_and_empty_cells_as_such(found, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    write_output(str(tmp_path / "p.parquet"), FILES, NAMES, found)
    write_output(str(tmp_path / "p.csv"), FILES, NAMES, found)
    table = parquet.read_table(tmp_path / "p.parquet")
    rows = table.to_pylist()
    assert rows[1]["true"] is None
    assert rows[0]["correct"] is (found is FOUND)
    assert rows[0]["cat"] == pytest.approx(float(found["probs"][0, 0]))
    if found is FOUND:
        assert ",".join(table.column_names) == (tmp_path / "p.csv").read_text().splitlines()[0]
        assert rows[0]["predicted"] == "cat"
    else:
        assert rows[0]["true"] == ["cat", "ü"]
        assert rows[0]["predicted"] == ["cat", "file"]


def test_what_cannot_be_written_is_refused_before_anything_is_computed(tmp_path):
    with pytest.raises(UserError, match=r"give a file that ends in \.csv, \.jsonl, \.parquet, or -"):
        check_output("p.txt")
    with pytest.raises(UserError, match=r"there is no folder .*gone"):
        check_output(str(tmp_path / "gone" / "p.csv"))
    for name in ("-", "P.CSV", str(tmp_path / "p.jsonl")):
        check_output(name)


def test_images_have_their_class_on_a_band_and_those_that_cannot_be_read_are_left_out(tmp_path):
    def load(i: int) -> Image.Image:
        if i == 1:
            raise OSError("gone")
        return Image.new("RGB", (1500, 500), "white")

    assert save_labelled_images(tmp_path / "images", ["x/a b.png", "c.jpg", "d.jpg"], ["猫 0.9", "b", "c"], load) == 2
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == ["000000_a b.jpg", "000002_d.jpg"]
    with Image.open(tmp_path / "images" / "000002_d.jpg") as image:
        assert image.size == (1024, 341)
        pixels = np.asarray(image)
    assert pixels[10, 900].max() < 120
    assert pixels[200].min() > 240
    assert np.asarray(write_on(Image.new("RGB", (40, 40)), "rose 0.93"))[4:12, 5:30].max() > 200
