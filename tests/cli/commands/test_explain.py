"""``lit-cnn explain``: what it writes, that it sees what predict sees, one-line refusals."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import lit_cnn
from lit_cnn.cli.main import main
from tests.conftest import TINY, write_pictures


@pytest.fixture
def run(trained, workdir):
    """The checkpoint of a run folder of its own."""
    return str(shutil.copytree(trained, workdir / "run") / "checkpoints" / "best.ckpt")


def test_it_writes_pictures_of_every_image_and_of_the_network_and_scores(run, workdir, capsys, monkeypatch):
    blank = Image.new("L", (1, 1))  # drawing takes most of the time; the next test draws
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda self, path, **_: blank.save(path, "PNG"))
    write_pictures(workdir / "photos", 3)
    (workdir / "photos" / "broken.jpg").write_bytes(b"no image")
    main(["explain", "--ckpt_path", run, "photos", "--max-images=2"])
    folder = workdir / "run" / "explain"
    expected = ["01_00", "01_00_features", "02_01", "02_01_features", "exciting_images", "filters", "weights"]
    assert sorted(path.stem for path in folder.glob("*.png")) == expected
    with (folder / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == ["Grad-CAM", "LayerCAM", "occlusion"] * 4
    assert all(0 <= float(row[key]) <= 1 for row in rows for key in ("deletion", "insertion"))
    model = lit_cnn.load(run)
    for name in ("00.jpg", "01.jpg"):  # two classes each, the probabilities of predict
        told = model.predict(Path("photos", name))[0]
        found = [row for row in rows if row["image"].endswith(name)]
        assert found[0]["class"] == told.name
        assert [float(row["probability"]) for row in found] == pytest.approx(
            [told.probabilities[row["class"]] for row in found], abs=1e-4
        )
    out = capsys.readouterr()
    assert "saved run/explain" in out.out
    assert "broken.jpg" in out.err


@pytest.mark.slow
def test_a_class_a_layer_and_a_folder_can_be_chosen_and_an_earlier_folder_is_kept(run, workdir):
    write_pictures(workdir / "photos", 1)
    for _ in range(2):
        main(["explain", "--ckpt_path", run, "photos/00.jpg", "--class", "7", "--layers=features"])
    main(["explain", "--ckpt_path", run, "photos/00.jpg", "--top=1", "--out_dir=mine"])
    rows = list(csv.DictReader((workdir / "run" / "explain_2" / "scores.csv").read_text().splitlines()))
    assert {row["class"] for row in rows} == {"7"}
    for name in ("01_00", "01_00_features", "filters", "weights"):
        with Image.open(workdir / "run" / "explain" / f"{name}.png") as image:
            assert np.asarray(image.convert("L")).std() > 5
    assert (workdir / "mine" / "weights.png").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["missing.jpg"], "missing.jpg"),
        (["broken.jpg"], "none of the images can be read: broken.jpg"),
        (["00.jpg", "--layer=layer9"], "has no layer 'layer9'"),
        (["00.jpg", "--layers=features,layer9"], "has no layer 'layer9'"),
        (["00.jpg", "--class=rose"], "--class rose: the model has no such class; it has 0, 1"),
        (["00.jpg", "--top=0"], "--top must be 1 or more, got 0"),
        ([], "the following arguments are required: PICTURE"),
    ],
)
def test_mistakes_are_one_line_and_leave_no_folder(run, workdir, fails, words, said):
    write_pictures(workdir, 1)
    (workdir / "broken.jpg").write_bytes(b"no image")
    assert said in fails("explain", "--ckpt_path", run, *words)
    assert not (workdir / "run" / "explain").exists()


def test_a_network_without_positions_is_refused(workdir, fails, monkeypatch):
    monkeypatch.syspath_prepend(workdir)
    (workdir / "flat_net.py").write_text(
        "import lit_cnn\nfrom torch import nn\n\n\n@lit_cnn.register_model\n"
        "def flat_net(num_classes, in_channels):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64 * in_channels, 8), nn.ReLU(), nn.Linear(8, num_classes))\n"
    )
    settings = [word for word in TINY if "backbone" not in word]
    main(["fit", *settings, "--allow_import=flat_net", "--model.backbone=flat_net", "--epochs=1"])
    write_pictures(workdir, 1)
    said = fails("explain", "00.jpg", "--allow_import=flat_net")
    assert "has no layer with an output of several positions" in said
