"""image_size of height x width and resize, in data modules: training, evaluation, caches, prediction, the command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from lit_cnn.cli.other_tools import translate
from lit_cnn.data import Augment, Digits, Images, Vehicles
from lit_cnn.data.datamodule import ImageDataModule
from lit_cnn.errors import UserError
from tests.cli.answers import read

from .helpers import Recorder, concatenate_batches, image_folder, make_trainer

Make = Callable[..., Path]
CROP = Augment(crop_scale=(0.3, 1.0), flip=0.5)
COUNTS = {"cat": 10, "dog": 10}


def _seen(data: ImageDataModule, features: int, epochs: int = 1, **kwargs: object) -> list[object]:
    model = Recorder(features, 10)
    make_trainer(max_epochs=epochs, **kwargs).fit(model, datamodule=data)
    return model.seen


@pytest.mark.parametrize("resize", [None, "squash", "letterbox"])
def test_every_cache_gives_the_same_pixels_at_height_x_width(resize: str | None, make_folder: Make) -> None:
    root = make_folder(COUNTS)
    kinds = ("none", "ram", "disk", "disk")
    settings = {"image_size": [12, 20], "resize": resize, "cache_size": 1000, "augment": CROP}
    runs = [_seen(image_folder(root, cache=cache, **settings), 3 * 12 * 20, epochs=2) for cache in kinds]
    assert runs[0] == runs[1] == runs[2] == runs[3]
    first = next(iter(image_folder(root, **settings).train_dataloader()))
    assert first.image.shape[1:] == (3, 12, 20)


@pytest.mark.parametrize("resize", ["squash", "letterbox"])
def test_squash_and_letterbox_train_on_what_evaluation_sees(resize: str, make_folder: Make) -> None:
    data = image_folder(make_folder(COUNTS), resize=resize, augment=CROP, image_size=(12, 20))
    split = data._split("train")
    image, _, index = concatenate_batches(data.train_dataloader())
    evaluated = torch.empty_like(image)
    for task in split.source.tasks(index, evaluated, None):
        task()
    assert torch.equal(image, evaluated)
    assert data.preprocessing()["eval_resize"] == {"squash": "stretch", "letterbox": "letterbox"}[resize]


def test_a_pair_is_stored_as_plain_numbers_that_prediction_takes(make_folder: Make) -> None:
    root = make_folder(COUNTS)
    data = image_folder(root, resize="letterbox", image_size=(12, 20))
    stored = data.preprocessing()
    assert (stored["image_size"], stored["eval_resize"]) == ([12, 20], "letterbox")
    images = Images(paths=[str(root)], workers=0, batch_size=20, **stored)
    name = data.sample_name("test", int(data._split("test").indices[0]))
    given = next(iter(images.predict_dataloader())).image
    names = [images.sample_name("predict", i) for i in range(20)]
    assert torch.equal(given[names.index(str(root / name))], next(iter(data.test_dataloader())).image[0])
    assert image_folder(root, image_size=(16, 16)).preprocessing() == image_folder(root).preprocessing()


def test_a_run_of_a_wide_size_resumes_bit_by_bit(make_folder: Make, tmp_path: Path) -> None:
    root = make_folder(COUNTS)

    def data() -> ImageDataModule:
        return image_folder(root, image_size=(12, 20), augment=Augment(crop_scale=(0.3, 1.0), rotation=9, cutout=5))

    whole, again = Recorder(3 * 12 * 20, 2), Recorder(3 * 12 * 20, 2)
    saving = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=5)
    make_trainer(max_epochs=2, callbacks=[saving], enable_checkpointing=True).fit(whole, datamodule=data())
    make_trainer(max_epochs=2).fit(again, datamodule=data(), ckpt_path=tmp_path / "step=5.ckpt", weights_only=True)
    assert 0 < len(again.seen) < len(whole.seen)
    assert again.seen == whole.seen[5:]


def test_arrays_take_height_x_width_with_every_augmentation() -> None:
    augment = Augment(
        crop_scale=(0.5, 1.0), crop_padding=2, flip=0.5, rotation=10, translate=0.1, erase=1.0, cutout=4, contrast=0.1
    )
    data = Digits(image_size=(10, 16), batch_size=500, augment=augment)
    assert _seen(data, 160)
    assert next(iter(data.val_dataloader())).image.shape[1:] == (1, 10, 16)


def test_resize_has_three_words_and_agrees_with_the_older_setting(make_folder: Make) -> None:
    root = make_folder(COUNTS)
    assert image_folder(root, resize="crop", augment=CROP).augment == CROP
    assert Vehicles(data_dir=str(root), resize="crop").eval_resize == "center_crop"
    assert image_folder(root, resize="squash", eval_resize="stretch").eval_resize == "stretch"
    with pytest.raises(UserError, match="disagree: give one of them"):
        image_folder(root, resize="letterbox", eval_resize="stretch")
    with pytest.raises(UserError, match=r"`data\.resize` is 'zoom': choose crop, squash or letterbox"):
        image_folder(root, resize="zoom")


def test_the_command_line_takes_height_x_width_as_text_and_as_a_list(tmp_path: Path) -> None:
    for word in ("--img-size=96x128", "--img-size=[96, 128]", "--imgsz=96X128"):
        assert ("--data.image_size", "[96, 128]") in read(["fit", "--data=Digits", word]).flags
    config = tmp_path / "a.yaml"
    config.write_text("data: Digits\nimage_size: 96x128\n")
    (content,) = read(["fit", f"--config={config}"]).contents.values()
    assert content["data"]["init_args"]["image_size"] in ("[96, 128]", [96, 128])
    assert translate("data.resize", "stretch") == "squash"
