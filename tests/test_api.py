from __future__ import annotations

import csv
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from PIL import Image
from torch import nn

import lit_cnn
from lit_cnn.api import classifier, training
from lit_cnn.api.images import CONVERTED
from lit_cnn.checkpoint.record import read_record
from lit_cnn.cli.main import main
from lit_cnn.errors import UserError
from tests.conftest import LENET, write_pictures


@pytest.fixture
def model(trained):
    return lit_cnn.load(trained)


@pytest.fixture
def by_command(trained, workdir, monkeypatch):
    """Classify image files by ``lit-cnn predict``: {file: (class, {class: probability})}."""

    def predict(*files: str) -> dict[str, tuple[str, dict[str, float]]]:
        main(["predict", f"--ckpt_path={trained / 'checkpoints' / 'best.ckpt'}", *files])
        newest = sorted(trained.glob("predict*"), key=lambda p: p.stat().st_mtime_ns)[-1]
        with (newest / "predictions.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        found = {}
        for row in rows:
            top = {row[f"class_{k}"]: float(row[f"probability_{k}"]) for k in range(1, 6)}
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


SETTINGS = {
    "data": "Digits",
    "model": {"backbone": "lenet_maxpool", "optimizer": "adamw", "lr_scheduler": "one_cycle"},
    "lr": 0.003,
    "batch_size": 128,
    "trainer": {"enable_progress_bar": False},
}


def test_fit_is_the_run_of_the_command_line(workdir):
    main(["fit", *LENET, "--epochs=1"])
    run = lit_cnn.fit(**SETTINGS, epochs=1)
    assert run.folder == workdir / "lightning_logs" / "version_1"
    weights = [
        torch.load(f"lightning_logs/version_{n}/checkpoints/best.ckpt", weights_only=True)["state_dict"] for n in (0, 1)
    ]
    assert all(torch.equal(weights[0][name], value) for name, value in weights[1].items())
    assert run.best is not None
    assert run.score is not None
    assert run.load().class_names == [str(n) for n in range(10)]


def test_fit_takes_configs_nested_settings_callbacks_and_resumes(workdir):
    class Count(Callback):
        steps = 0

        def on_train_batch_end(self, *args):
            self.steps += 1

    count = Count()
    config = {"data": {"class_path": "Digits", "init_args": {"batch_size": 256}}, **{"model.backbone": "mnist_cnn"}}
    run = lit_cnn.fit(config, epochs=1, callbacks=[count], trainer={"enable_progress_bar": False})
    assert count.steps == 5
    again = lit_cnn.fit(resume=True, epochs=2, pretrained=False)
    assert again.folder == run.folder
    with pytest.raises(UserError, match="unknown setting"):
        lit_cnn.fit("lenet_digits", epoks=1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"data": lit_cnn.Digits}, '`data` is the class Digits: give data by name, data="Digits"'),
        ({"data": lit_cnn.Digits()}, '`data` is an object of the class Digits: give data by name, data="Digits"'),
        ({"model": nn.Linear(1, 1)}, "`model` is an object of the class Linear: register a model"),
        ({"trainer": {"callbacks": [EarlyStopping("val/loss")]}}, r"give callbacks as callbacks=\[EarlyStopping\("),
        ({"trainer": {"logger": object()}}, "`trainer.logger` is an object of the class object: give numbers, texts"),
        ({"lr": {1, 2}}, "`lr` is an object of the class set"),
        ({"callbacks": 3}, "callbacks holds an object of the class int"),
        ({"callbacks": EarlyStopping}, "callbacks holds the class EarlyStopping: give objects"),
        ({"verify_resume": 8}, "fit does not take verify_resume: it is for the command line"),
        ({"print_config": True}, "fit does not take print_config"),
        ({"h": True}, "fit does not take h"),
        ({"config": 3}, "config is an object of the class int: give a path or a name"),
        ({"resume_anyway": 2}, "--resume_anyway 2: expected true or false"),
        ({"callbacks": [EarlyStopping("val/loss")] * 2, **{"trainer.barebones": True}}, "barebones"),
    ],
)
def test_what_fit_does_not_take_is_one_line_and_leaves_no_run_folder(workdir, settings, message):
    with pytest.raises((UserError, ValueError), match=message):
        lit_cnn.fit(**{**SETTINGS, **settings})
    assert list(workdir.glob("lightning_logs/*")) == []


@pytest.mark.parametrize(
    ("given", "flags"),
    [
        ({"trainer.default_root_dir": Path("sub")}, [("--trainer.default_root_dir", "sub")]),
        ({"lr": np.float32(0.5), "b": np.int64(32), "j": 1}, [0.5, 32, 1]),
        ({"amp": True, "pretrained": True, "deterministic": True}, ["bf16-mixed", "imagenet", "true"]),
        ({"amp": False, "pretrained": False, "deterministic": False}, ["null", "null", "false"]),
        ({"data.mean": (0.5, Path("a"))}, ['[0.5, "a"]']),
        ({"print_config": False}, []),
    ],
)
def test_values_become_words_of_the_command_line(monkeypatch, given, flags):
    found = arguments_of(monkeypatch, **given)
    assert [pair if isinstance(flag, tuple) else pair[1] for pair, flag in zip(found.flags, flags, strict=True)] == [
        flag if isinstance(flag, tuple) else str(flag) for flag in flags
    ]
    assert found.bare == []


@pytest.mark.parametrize(
    ("given", "attribute", "value"),
    [
        ({"resume": True}, "resume", ""),
        ({"resume": False}, "resume", None),
        ({"resume": Path("a.ckpt")}, "resume", "a.ckpt"),
        ({"resume": "", "resume_anyway": True}, "resume_anyway", True),
        ({"resume": "", "resume_anyway": False}, "resume_anyway", False),
        ({"ckpt_path": None, "resume_anyway": None}, "ckpt_path", None),
        ({"c": "lenet_digits"}, "configs", ["lenet_digits"]),
        ({"allow_import": "mine"}, "allow_import", ["mine"]),
    ],
)
def test_arguments_of_fit_are_those_of_the_command(monkeypatch, given, attribute, value):
    assert getattr(arguments_of(monkeypatch, **given), attribute) == value


def arguments_of(monkeypatch, **given):
    """The parsed command line that fit makes of its arguments."""
    found = []

    def catch(arguments, **rest):
        found.append(arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "run", catch)
    with pytest.raises(KeyboardInterrupt):
        lit_cnn.fit(**given)
    return found[0]


def test_one_callback_needs_no_list_and_a_path_no_quotes(workdir):
    run = lit_cnn.fit(
        **SETTINGS, callbacks=Callback(), **{"trainer.default_root_dir": Path("sub"), "trainer.max_steps": 1}
    )
    assert run.folder == workdir / "sub" / "lightning_logs" / "version_0"


def test_the_parts_work_with_a_plain_trainer(workdir):
    data = lit_cnn.Digits(batch_size=128)
    task = lit_cnn.ImageClassifier(
        num_classes=data.num_classes,
        in_channels=data.in_channels,
        backbone="lenet_maxpool",
        optimizer="adamw",
        lr=0.003,
    )
    trainer = Trainer(max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.fit(task, datamodule=data)
    (scores,) = trainer.test(task, datamodule=data, verbose=False)
    assert scores["test/acc"] > 0.15
    assert lit_cnn.get_model("lenet", num_classes=3, in_channels=1) is not None


def test_a_data_module_has_a_short_text():
    assert str(lit_cnn.Digits()) == repr(lit_cnn.Digits()) == "Digits(data_dir='data', batch_size=64)"


def test_every_public_name_is_there_and_an_unknown_one_is_not():
    assert all(getattr(lit_cnn, name) is not None for name in lit_cnn.__all__)
    assert set(lit_cnn.__all__) <= set(dir(lit_cnn))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = lit_cnn.nothing
