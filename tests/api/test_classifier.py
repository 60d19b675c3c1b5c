from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

import lit_cnn
from lit_cnn.api import classifier
from lit_cnn.api.images import CONVERTED
from lit_cnn.checkpoint.record import read_record
from lit_cnn.cli.main import main
from lit_cnn.errors import UserError
from tests.conftest import write_pictures


@pytest.fixture
def model(trained):
    return lit_cnn.load(trained)


@pytest.fixture
def by_command(trained, workdir):
    """Classify image files by ``lit-cnn predict``: {file: (class, {class: probability})}."""

    def predict(*files: str) -> dict[str, tuple[str, dict[str, float]]]:
        run = shutil.copytree(trained, workdir / "run")  # results go to the run folder, which others share
        main(["predict", f"--ckpt_path={run / 'checkpoints' / 'best.ckpt'}", *files])
        with (run / "predict" / "predictions.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        found = {}
        for row in rows:
            top = {name: float(row[name]) for name in map(str, range(10))}
            found[row["file"]] = row["predicted"], top
        return found

    return predict


def test_predictions_are_exactly_those_of_the_command(trained, workdir, by_command):
    write_pictures(workdir / "folder", 5)
    expected = by_command("folder")
    model = lit_cnn.load(trained)
    found = model.predict("folder")
    assert len(found) == 5
    for prediction, (name, top) in zip(found, expected.values(), strict=True):
        assert prediction.name == name
        assert prediction.probability == prediction.probabilities[name]
        for label, probability in top.items():
            assert f"{prediction.probabilities[label]:.6f}" == f"{probability:.6f}"
        assert list(prediction.probabilities) == model.class_names
        assert sum(prediction.probabilities.values()) == pytest.approx(1)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "1", "CMYK", "LA"])
def test_pil_images_are_classified_as_their_files(trained, workdir, mode):
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)).convert(mode)
    file = workdir / ("a.tif" if mode == "CMYK" else "a.png")
    image.save(file)
    model = lit_cnn.load(trained)
    assert model.predict([image])[0].probabilities == model.predict(file)[0].probabilities


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 1), (12, 9, 3), (12, 9, 4)])
def test_arrays_are_classified_as_their_files(trained, workdir, shape):
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(array[:, :, 0] if shape[2:] == (1,) else array).save("a.png")
    model = lit_cnn.load(trained)
    assert model.predict(array)[0].probabilities == model.predict(["a.png"])[0].probabilities


def test_a_rotated_photo_is_classified_upright(trained, workdir):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save("turned.png", exif=exif)
    model = lit_cnn.load(trained)
    assert model.predict(Image.open("turned.png"))[0] == model.predict("turned.png")[0]


def test_images_of_all_kinds_keep_their_order_whatever_the_batch_size(trained, workdir):
    write_pictures(workdir / "folder", 3)
    array = np.zeros((8, 8), np.uint8)
    model = lit_cnn.load(trained)
    given = [array, "folder/00.jpg", Image.open("folder/01.jpg"), "folder"]
    found = model.predict(given, batch_size=2)
    alone = [model.predict(one) for one in given]
    assert [p.name for p in found] == [p.name for part in alone for p in part]
    assert model.predict([]) == []


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((8, 8)), "image 0 is a float64 array of shape .8, 8.: give uint8"),
        (np.zeros((8, 8, 2), np.uint8), "give uint8"),
        (["no.png"], "there is no file or folder no.png"),
        ([3], "image 0 is of type int: give a path, a PIL image or a NumPy array"),
        (None, "image 0 is of type NoneType"),
        (3, "image 0 is of type int"),
        (b"content", "image 0 is of type bytes"),
        (torch.zeros(1), "image 0 is of type Tensor"),
        (np.zeros((0, 5, 3), np.uint8), "image 0 is an array of shape .0, 5, 3.: it has no pixels"),
        (Image.new("RGB", (0, 0)), "image 0 is a PIL image of size .0, 0.: it has no pixels"),
        (Image.new("F", (4, 4)), "image 0 is a PIL image of mode F, whose values have no known range"),
        (Image.new("I", (4, 4)), "image 0 is a PIL image of mode I, whose values have no known range"),
        (["~/lit_cnn_no_such_file.png"], "there is no file or folder /"),
    ],
)
def test_what_is_no_image_is_one_line(model, workdir, images, message):
    with pytest.raises(UserError, match=message):
        model.predict(images)


@pytest.mark.parametrize("mode", ["HSV", "YCbCr", "LAB", "La", "RGBa", "PA", "RGBX"])
def test_pil_modes_without_a_file_format_are_converted(model, mode):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8))
    steps = {"La": "LA", "RGBa": "RGBA", "PA": "P"}
    image = image.convert(steps.get(mode, "RGB")).convert(mode)
    expected = image.convert(CONVERTED[mode])
    assert model.predict(image) == model.predict(expected)


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I;16L"])
def test_16_bit_grey_is_scaled_as_in_a_png(model, workdir, mode):
    values = np.random.default_rng(0).integers(0, 65536, (8, 8)).astype("<u2")
    Image.fromarray(values).save("a.png")
    kind = ">u2" if mode == "I;16B" else "<u2"
    assert model.predict(Image.frombytes(mode, (8, 8), values.astype(kind).tobytes())) == model.predict("a.png")


def test_an_unreadable_image_is_named_without_the_advice_of_the_command_line(model, workdir):
    (workdir / "bad.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"^cannot read bad\.png: it is empty or no image of a known format$"):
        model.predict("bad.png")
    Image.new("RGB", (8, 8)).save("good.png")
    closed = Image.open("good.png")
    closed.close()
    with pytest.raises(UserError, match=r"^cannot read image 0, a PIL image: "):
        model.predict(closed)
    assert len(model.predict("good.png")) == 1


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, "auto", True])
def test_a_batch_size_that_is_none_is_one_line(model, batch_size):
    with pytest.raises(UserError, match=r"batch_size is .*: give a whole number of at least 1, or None"):
        model.predict(np.zeros((8, 8), np.uint8), batch_size=batch_size)


def test_the_home_folder_is_expanded(trained, workdir, monkeypatch):
    monkeypatch.setenv("HOME", str(trained.parent))
    monkeypatch.setenv("USERPROFILE", str(trained.parent))
    assert lit_cnn.load(f"~/{trained.name}").class_names == [str(n) for n in range(10)]
    monkeypatch.setenv("HOME", str(workdir))
    monkeypatch.setenv("USERPROFILE", str(workdir))
    Image.new("RGB", (8, 8)).save("a.png")
    assert len(lit_cnn.load(trained).predict("~/a.png")) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"devices": 2}, "devices is 2: a loaded model uses one device: give 1, or "),
        ({"devices": -1}, "one device"),
        ({"devices": [0, 1]}, "one device"),
        ({"devices": True}, "one device"),
        ({"accelerator": "cpu", "devices": [1]}, "the CPU is one device"),
        ({"devices": [99]}, "the CPU is one device|this machine has . GPU"),
        ({"accelerator": "abacus"}, "unknown accelerator 'abacus'; choose auto, gpu, "),
        ({"accelerator": "tpu"}, "this machine has no accelerator 'tpu'"),
        ({"accelerator": 3}, "unknown accelerator 3"),
    ],
)
def test_a_device_that_is_not_there_is_refused_by_load(trained, settings, message):
    with pytest.raises(UserError, match=message):
        lit_cnn.load(trained, **settings)


@pytest.mark.parametrize("devices", [1, "auto", [0]])
def test_one_device_is_given_in_several_ways(trained, devices):
    assert lit_cnn.load(trained, accelerator="cpu", devices=devices)._devices == 1


def test_load_and_predict_print_nothing(trained, workdir):
    Image.new("RGB", (8, 8)).save("a.png")
    code = f"import lit_cnn; lit_cnn.load({str(trained)!r}).predict('a.png')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_an_imported_package_needs_no_allow_import(trained, monkeypatch):
    record = replace(read_record(trained / "checkpoints" / "best.ckpt"), requires=["my_package"])
    monkeypatch.setattr(classifier, "read_record", lambda path: record)
    with pytest.raises(
        UserError, match=r'with code of my_package: import it, or give allow_import=\["my_package"\], if'
    ):
        lit_cnn.load(trained)
    monkeypatch.setitem(sys.modules, "my_package", ModuleType("my_package"))
    assert lit_cnn.load(trained).class_names


def test_best_and_last_are_those_of_the_newest_run(trained, monkeypatch):
    monkeypatch.chdir(trained.parent.parent)
    assert lit_cnn.load()._record.path.name == "best.ckpt"
    assert lit_cnn.load("last")._record.path.name == "last.ckpt"
    with pytest.raises(UserError, match=r"no checkpoint at no\.ckpt"):
        lit_cnn.load("no.ckpt")
