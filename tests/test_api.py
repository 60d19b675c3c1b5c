from __future__ import annotations

import csv

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, Trainer
from PIL import Image

import lit_cnn
from lit_cnn.cli.main import main
from lit_cnn.errors import UserError
from tests.conftest import LENET, write_pictures


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
        ([3], "image 0 is a int: give a path, a PIL image or a NumPy array"),
    ],
)
def test_what_is_no_image_is_one_line(trained, workdir, images, message):
    with pytest.raises(UserError, match=message):
        lit_cnn.load(trained).predict(images)


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
    again = lit_cnn.fit(resume=run.folder, epochs=2)
    assert again.folder == run.folder
    with pytest.raises(UserError, match="unknown setting"):
        lit_cnn.fit("lenet_digits", epoks=1)


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


def test_every_public_name_is_there_and_an_unknown_one_is_not():
    assert all(getattr(lit_cnn, name) is not None for name in lit_cnn.__all__)
    assert set(lit_cnn.__all__) <= set(dir(lit_cnn))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = lit_cnn.nothing
