"""report.html from files of a run folder, also of old, damaged and unfinished runs."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lit_cnn.results.gallery import Gallery, to_jpeg, write_gallery
from lit_cnn.results.report.facts import FACTS, read_charts, read_run
from lit_cnn.results.report.page import write_report

NAMES = ["<b>rose</b>", "tulip", "daisy"]


class Page(HTMLParser):
    """Names of elements, their addresses, and the text of the page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        self.open.append(tag)

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += data


def make_run(folder: Path, images: int = 30, wrong: int = 4, classes: list[str] | None = None) -> Path:
    """A run folder as fit and test leave it; the first ``wrong`` images are mistakes, sure of the next class."""
    names = NAMES if classes is None else classes
    run = folder / "version_0"
    (run / "test").mkdir(parents=True)
    (run / "config.yaml").write_text("model: {backbone: resnet18, lr: 0.1}\n")
    (run / "metrics.csv").write_text(
        "epoch,step,train/loss,train/acc,val/loss,val/acc,train/lr\n"
        "0,9,1.5,0.3,1.4,0.4,0.1\n1,19,1.1,0.5,1.2,0.6,0.05\n"
    )
    facts = {
        "settings": [["model.lr", 0.1, 0.2, "flag"]],
        "began": "2026-11-26 21:39 +0000",
        "images": {"classes": names, "counts": {"train": [50] * len(names), "val": [5] * len(names)}},
        "network": {"parameters": 1234567, "trained": 1000, "macs": 99, "image": [3, 32, 32], "weights": None},
        "leaks": "1 of 30 test photos is a training photo, too",
        "seconds": 300.0,
    }
    state = {"name": run.name, "state": "finished", "backbone": "resnet18", "data": "photos/", "epochs": 2}
    (run / "run.json").write_text(json.dumps({**state, "monitor": "val/acc", "mode": "max", FACTS: facts}))
    (run / "log.txt").write_text("$ lit-cnn fit photos\nlit-cnn 0.2.0\n")
    rng = np.random.default_rng(0)
    target = np.arange(images) % len(names)
    predicted = np.where(np.arange(images) < wrong, (target + 1) % len(names), target)
    probs = rng.random((images, len(names))) * 0.05
    probs[np.arange(images), predicted] = 0.95 - 0.001 * np.arange(images)
    with (run / "test" / "predictions.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "true", "predicted", "correct", "probability", *names])
        for i in range(images):
            t, p = names[target[i]], names[predicted[i]]
            writer.writerow([f"x/{i:02d}.jpg", t, p, str(t == p).lower(), probs[i, predicted[i]], *probs[i]])
    (run / "test" / "metrics.json").write_text(json.dumps({"test/acc": 1 - wrong / images}))
    (run / "test" / "class_indices.json").write_text(json.dumps(dict(enumerate(names))))
    pictures = {i: to_jpeg(Image.new("RGB", (20, 20), (i, 0, 0))) for i in range(0, images, 2)}
    near = [("train/<i>.jpg", names[0], 0.875, pictures[0])]
    write_gallery(run / "test" / "pictures.zip", Gallery(pictures, {0: pictures[0]}, {0: near}, 77))
    return run


def data_of(html: str) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_the_page_says_what_was_trained_and_what_came_of_it(tmp_path):
    path, sentence = write_report(make_run(tmp_path))
    assert sentence == (
        "86.7% of 30 test images are right (70-95%); most often <b>rose</b> is taken for tulip (2 of 10)."
    )
    page = Page(path.read_text())
    for text in (
        sentence, "lit-cnn fit photos",
        "1,234,567 parameters", "1,000 of them trained", "5 min of training", "<b>rose</b>",
        "1 of 30 test photos is a training photo, too",
        "training 150, validation 15, test - images", "0.867 (0.70-0.95)",
        "nearest of 77 training images", "0.88", "4 of 4 mistakes", "model.lr",
        "Labels that look wrong (confident learning): 4",
    ):  # fmt: skip
        assert text in " ".join(page.text.split()), text


def test_it_needs_nothing_from_outside_and_names_cannot_break_out_of_it(tmp_path):
    html = write_report(make_run(tmp_path))[0].read_text()
    assert all(address.startswith(("data:", "#")) for address in Page(html).addresses)
    assert "<b>rose" not in html
    assert "url(" not in html
    assert "@import" not in html


def test_a_cell_lists_its_images_those_with_a_picture_first(tmp_path):
    run = make_run(tmp_path)
    data = data_of(write_report(run)[0].read_text())
    assert data["names"] == NAMES
    assert data["cells"]["0,1"] == [0, 3]  # rows of predictions.csv; 3 has no picture
    assert sorted(row for rows in data["cells"].values() for row in rows) == list(range(30))
    assert data["files"]["3"] == "x/03.jpg"
    assert set(data["pictures"]) == {str(i) for i in range(0, 30, 2)}


def test_scores_and_matrix_are_those_of_the_predictions(tmp_path):
    found = read_run(make_run(tmp_path)).evaluated
    assert found is not None
    assert found.counts.tolist() == [[8, 2, 0], [0, 9, 1], [1, 0, 9]]
    assert found.scores["accuracy"].value == pytest.approx(26 / 30)
    assert sorted(found.suspicious) == [0, 1, 2, 3]


def test_intervals_of_metrics_json_are_kept(tmp_path):
    run = make_run(tmp_path)
    content = {"accuracy": 0.5, "confidence_intervals": {"accuracy": [0.25, 0.75], "cohen_kappa": [None, 1]}}
    (run / "test" / "metrics.json").write_text(json.dumps(content))
    found = read_run(run).evaluated
    assert found is not None
    assert tuple(found.scores["accuracy"]) == (0.5, 0.25, 0.75)
    assert found.scores["cohen_kappa"].value > 0.7


def test_with_many_classes_the_most_confused_pairs_are_listed(tmp_path):
    html = write_report(make_run(tmp_path, 400, 60, [f"class {i}" for i in range(200)]))[0].read_text()
    assert "The pairs that are confused most" in html
    assert 'class="matrix"' not in html
    assert len(re.findall(r"data-cell=", html.replace("button.dataset.cell", ""))) >= 50


def test_ten_thousand_images_take_less_than_five_megabytes(tmp_path):
    run = make_run(tmp_path, 10_000, 4000, [f"class {i}" for i in range(10)])
    noise = np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    heavy = to_jpeg(Image.fromarray(noise))
    write_gallery(run / "test" / "pictures.zip", Gallery(dict.fromkeys(range(600), heavy)))
    assert write_report(run)[0].stat().st_size < 5_000_000


def test_nothing_is_claimed_that_nobody_looked_for(tmp_path):
    run = make_run(tmp_path)
    state = json.loads((run / "run.json").read_text())
    state[FACTS]["leaks"] = ""  # none found, or not looked for
    (run / "run.json").write_text(json.dumps(state))
    lines = (run / "test" / "predictions.csv").read_text().splitlines()
    kept = [",".join(line.split(",")[:5]) for line in lines]
    best = ["class_1,probability_1", *(f"{line.split(',')[2]},0.9" for line in kept[1:])]
    text = "\n".join(f"{line},{more}" for line, more in zip(kept, best, strict=True))
    (run / "test" / "predictions.csv").write_text(text + "\n")  # as with more than a hundred classes
    page = Page(write_report(run)[0].read_text()).text
    assert "training image, too" not in page
    assert "label looks wrong" not in page


def test_runs_without_an_evaluation_or_without_anything_have_a_page(tmp_path):
    run = make_run(tmp_path)
    for name in ("predictions.csv", "metrics.json", "pictures.zip"):
        (run / "test" / name).unlink()
    path, sentence = write_report(run)
    assert sentence == "best val/acc 0.6000 after 2 epochs; not tested yet."
    assert 'id="confusion"' not in path.read_text()
    for name in ("metrics.csv", "run.json", "config.yaml", "log.txt"):
        (run / name).unlink()
    path, sentence = write_report(run)
    assert sentence == "version_0: no evaluation yet."
    assert 'id="curves"' not in path.read_text()


@pytest.mark.parametrize("damage", ["", "file,true\n", "file,true,predicted,probability\na,b,c,no number\n", "\0\n"])
def test_damaged_predictions_are_left_out(tmp_path, damage):
    run = make_run(tmp_path)
    (run / "test" / "predictions.csv").write_text(damage)
    assert read_run(run).evaluated is None
    write_report(run)


def test_the_newest_test_is_shown_and_validation_only_without_one(tmp_path):
    run = make_run(tmp_path)
    (run / "test").rename(run / "val")
    found = read_run(run).evaluated
    assert found is not None
    assert found.split == "validation"
    (run / "val").rename(run / "test_2")
    (run / "predict").mkdir()
    found = read_run(run).evaluated
    assert found is not None
    assert (found.split, found.folder.name) == ("test", "test_2")


def test_a_loss_that_jumps_has_a_logarithmic_axis_and_values_that_are_not_finite_are_left_out(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,step,train/loss\n" + "".join(f"{i},{i},{v}\n" for i, v in enumerate([900, 0.5, "nan", 0.4])))
    (chart,) = read_charts(path)
    assert chart.log
    assert chart.lines == [[900, 0.5, 0.4]]
    path.write_text("epoch,step,train/loss\n0,0,0.5\n1,1,0.4\n")
    assert not read_charts(path)[0].log


def test_the_page_is_made_without_torch(tmp_path):
    run = make_run(tmp_path)
    script = (
        "import sys; from pathlib import Path; from lit_cnn.results.report.page import write_report; "
        f"write_report(Path({str(run)!r})); "
        "print([name for name in ('torch', 'lightning', 'matplotlib') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
