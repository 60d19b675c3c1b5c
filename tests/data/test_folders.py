"""A user's own images: layouts, splits, classes by name, broken files, and messages with the fix."""

from __future__ import annotations

import io
import itertools
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from rich.console import Console
from torchvision import transforms
from torchvision.transforms import v2
from torchvision.transforms.functional import pil_to_tensor

from lit_cnn.data import Augment, Flowers, ImageDataModule, ImageFolder, Images, Vehicles
from lit_cnn.data.decoding import decode, verify
from lit_cnn.data.transforms.rng import CROP_OPS, counter_uniform, crop_boxes
from lit_cnn.errors import UserError
from lit_cnn.utils.console import Display

from .helpers import Recorder, make_trainer

Make = Callable[..., Path]


def _names(data: ImageDataModule, part: str) -> list[str]:
    return [data.sample_name(part, row) for row in data._split(part).indices.tolist()]


def _folder(root: Path, **kwargs: object) -> ImageFolder:
    return ImageFolder(data_dir=str(root), **{"image_size": 16, "workers": 2, "batch_size": 4, **kwargs})


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val"])
def test_split_folders_are_used_as_they_are(make_folder: Make, val: str) -> None:
    root = make_folder({"train/cat": 4, "train/dog": 3, f"{val}/cat": 2, f"{val}/dog": 1, "test/cat": 1, "test/dog": 2})
    data = _folder(root)
    data.setup("fit")
    data.setup("test")
    assert data.class_names == ["cat", "dog"]
    assert _names(data, "train") == [f"train/cat/{i:03d}.png" for i in range(4)] + [
        f"train/dog/{i:03d}.png" for i in range(3)
    ]
    assert _names(data, "val") == [f"{val}/cat/000.png", f"{val}/cat/001.png", f"{val}/dog/000.png"]
    assert _names(data, "test") == ["test/cat/000.png", "test/dog/000.png", "test/dog/001.png"]
    batch = next(iter(data.test_dataloader()))
    assert batch.target.tolist() == [0, 1, 1]


def test_without_a_val_folder_validation_is_split_off_train_and_never_off_test(make_folder: Make) -> None:
    root = make_folder({"train/cat": 20, "train/dog": 10, "test/cat": 5, "test/dog": 5})
    data = _folder(root, val_fraction=0.2)
    data.setup("fit")
    data.setup("test")
    train, val, test = (set(_names(data, part)) for part in ("train", "val", "test"))
    assert len(train | val | test) == len(train) + len(val) + len(test) == 40
    assert len(test) == 10
    assert all(name.startswith("test/") for name in test)
    assert sum("cat" in name for name in val) == 4
    assert sum("dog" in name for name in val) == 2


def test_class_folders_alone_are_split_by_ratio_or_by_tail(make_folder: Make) -> None:
    root = make_folder({"cat": 20, "dog": 12})
    ratio = _folder(root, test_fraction=0.25)
    parts = [set(_names(ratio, part)) for part in ("train", "val", "test")]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 32
    assert sorted(name[:3] for name in parts[2]) == ["cat"] * 5 + ["dog"] * 3
    assert parts[2] != set(_names(_folder(root, test_fraction=0.25, split_seed=1), "test"))
    tail = _folder(root, test_fraction=0.25, split="tail")
    assert _names(tail, "test") == [f"cat/{i:03d}.png" for i in range(15, 20)] + [
        f"dog/{i:03d}.png" for i in range(9, 12)
    ]


def test_adding_an_image_hardly_moves_the_others(make_folder: Make) -> None:
    root = make_folder({"cat": 40, "dog": 40})
    before = _folder(root)
    old = {name: part for part in ("train", "val", "test") for name in _names(before, part)}
    shutil.copy(root / "cat" / "000.png", root / "cat" / "000 copy.png")
    after = _folder(root)
    new = {name: part for part in ("train", "val", "test") for name in _names(after, part)}
    assert sum(old[name] != new[name] for name in old) <= 2
    assert before.fingerprint() != after.fingerprint()


def test_the_fingerprint_depends_on_names_and_sizes_only(make_folder: Make, tmp_path: Path) -> None:
    root = make_folder({"cat": 3, "dog": 3})
    copy = tmp_path / "copy"
    shutil.copytree(root, copy)
    assert _folder(root).fingerprint() == _folder(copy).fingerprint()
    (copy / "cat" / "000.png").rename(copy / "cat" / "renamed.png")
    assert _folder(root).fingerprint() != _folder(copy).fingerprint()


def test_a_class_absent_from_a_part_keeps_its_index(make_folder: Make, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_folder({"train/ant": 3, "train/bee": 3, "train/cow": 3, "val/cow": 2, "test/ant": 1, "test/cow": 1})
    (root / "val" / "bee").mkdir()
    data = _folder(root)
    assert data.class_names == ["ant", "bee", "cow"]
    assert next(iter(data.val_dataloader())).target.tolist() == [2, 2]
    assert next(iter(data.test_dataloader())).target.tolist() == [0, 2]
    assert not capsys.readouterr().err
    unseen = _folder(make_folder({"train/ant": 3, "train/bee": 3, "test/elk": 1}, root=root.parent / "b"))
    unseen.setup("test")
    assert "no training images of class elk" in capsys.readouterr().err


def test_classes_are_matched_by_name_to_those_given(make_folder: Make) -> None:
    root = make_folder({"bee": 4, "cow": 4})
    data = _folder(root, class_names=["cow", "ant", "bee"])
    assert data.num_classes == 3
    targets = {name: int(data._split("train").source.targets[row]) for row, name in enumerate(_all(data))}
    assert {target for name, target in targets.items() if name.startswith("bee")} == {2}
    assert {target for name, target in targets.items() if name.startswith("cow")} == {0}
    with pytest.raises(UserError, match=r"does not have: cow; data: bee, cow; model: ant, bee"):
        _folder(root, class_names=["ant", "bee"]).setup("test")


def _all(data: ImageDataModule) -> list[str]:
    source = data._split("train").source
    return [source.name(row) for row in range(len(source))]


def test_any_case_of_extension_subfolders_and_odd_names_count_and_hidden_and_other_files_do_not(
    make_folder: Make,
) -> None:
    root = make_folder({"cat": 1, "собака": 4})
    picture = root / "cat" / "000.png"
    for name in ("A.JPG", "b.Jpeg", "c.TIF", "d.webp", "deep/er/e.BMP", "белый кот.png", "f.gif"):
        (root / "cat" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, root / "cat" / name)  # the contents decide how it is decoded
    for name in (".hidden.png", "notes.txt", ".cache/x.png", "Thumbs.db"):
        (root / "cat" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, root / "cat" / name)
    (root / ".ipynb_checkpoints").mkdir()
    (root / "readme.png").write_bytes(b"")
    (root / "cat" / "circle").symlink_to(root)
    data = _folder(root, test_fraction=0.2)
    assert data.class_names == ["cat", "собака"]
    assert [name for name in _all(data) if name.startswith("cat")] == [
        f"cat/{name}"
        for name in sorted(["000.png", "A.JPG", "b.Jpeg", "c.TIF", "d.webp", "deep/er/e.BMP", "белый кот.png", "f.gif"])
    ]
    assert sum(len(batch.target) for batch in data.train_dataloader()) == len(data._split("train").indices)


def test_a_class_folder_may_be_a_link(make_folder: Make, tmp_path: Path) -> None:
    root = make_folder({"cat": 4, "dog": 4})
    shutil.move(root / "dog", tmp_path / "dogs elsewhere")
    (root / "dog").symlink_to(tmp_path / "dogs elsewhere")
    assert sum(name.startswith("dog/") for name in _all(_folder(root))) == 4


def test_links_in_a_circle_end_and_a_class_that_leads_back_to_its_set_is_refused(make_folder: Make) -> None:
    root = make_folder({"cat": 4, "dog": 4})
    (root / "itself").symlink_to("itself")
    (root / "cat" / "itself").symlink_to("itself")
    (root / "cat" / "up").symlink_to(root)
    (root / "cat" / "across").symlink_to(root / "dog")
    (root / "dog" / "across").symlink_to(root / "cat")
    data = _folder(root)
    assert data.class_names == ["cat", "dog"]
    assert len(_all(data)) == 8
    (root / "all").symlink_to(".")
    with pytest.raises(UserError, match=r"set/all is a link to .*set, the folder it is in or one above it"):
        _folder(root).setup("fit")


def test_a_link_to_nowhere_is_named(make_folder: Make) -> None:
    root = make_folder({"cat": 4, "dog": 4})
    (root / "cat" / "gone.png").symlink_to("nowhere")
    with pytest.raises(UserError, match=r"cannot read image .*cat/gone.png: there is no such file"):
        _folder(root).fingerprint()


def test_evaluation_images_equal_torchvision_bit_for_bit(make_folder: Make) -> None:
    root = make_folder({"cat": 6, "dog": 6})
    for resize, reference in (
        ("center_crop", [transforms.Resize(20), transforms.CenterCrop(16)]),
        ("stretch", [transforms.Resize((16, 16))]),
    ):
        data = _folder(root, eval_resize=resize, eval_crop=16 / 20, channels=1)
        pipeline = transforms.Compose([*reference, transforms.PILToTensor()])
        for batch in data.val_dataloader():
            for image, index in zip(batch.image, batch.index, strict=True):
                picture = Image.open(root / data.sample_name("val", int(index))).convert("L")
                assert torch.equal(image, pipeline(picture))


def test_training_crops_are_those_of_the_hash_and_the_same_for_any_batch_size_and_workers(make_folder: Make) -> None:
    root = make_folder({"cat": 9, "dog": 9})
    crops = {}
    for batch_size, workers in ((2, 0), (3, 2), (18, 3)):
        data = _folder(root, batch_size=batch_size, workers=workers)
        for batch in data.train_dataloader():
            for image, index in zip(batch.image, batch.index.tolist(), strict=True):
                assert torch.equal(crops.setdefault(index, image.clone()), image)
    index = next(iter(crops))
    name = data.sample_name("train", index)
    picture = Image.open(root / name)
    draws = counter_uniform(42, 0, torch.tensor([index]), CROP_OPS)
    top, left, height, width = crop_boxes(draws, picture.height, picture.width, (0.08, 1.0), (3 / 4, 4 / 3))[0].tolist()
    expected = v2.functional.resized_crop(pil_to_tensor(picture), top, left, height, width, [16, 16])
    assert torch.equal(crops[index], expected)


def test_the_crop_done_in_decoding_is_not_done_again_on_the_device(make_folder: Make) -> None:
    data = _folder(make_folder({"cat": 4, "dog": 4}))
    assert data.augment.crop_scale == (0.08, 1.0)
    assert data._device_augment() == Augment(flip=0.5)


def test_broken_images_end_the_run_with_their_name_or_are_skipped_counted_and_listed(
    make_folder: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_folder({"train/cat": 6, "train/dog": 6, "test/cat": 2, "test/dog": 2})
    good = (root / "train" / "cat" / "000.png").read_bytes()
    (root / "train" / "cat" / "bad1.png").write_bytes(good[: len(good) // 2])
    (root / "train" / "dog" / "bad 2.jpg").write_bytes(b"")
    strict = _folder(root, val_fraction=0.2)
    with pytest.raises(UserError, match=r"bad( 2)?1?\.(png|jpg): "):
        list(strict.train_dataloader())
    skipping = _folder(root, val_fraction=0.2, on_bad_image="skip")
    skipping.setup("fit")
    warning = capsys.readouterr().err
    assert "skipped 2 of 18 images" in warning
    assert "train/cat/bad1.png (" in warning
    assert "train/dog/bad 2.jpg (it is empty" in warning
    assert sum(len(batch.target) for batch in skipping.train_dataloader()) == 10
    clean_root = root.parent / "clean"
    shutil.copytree(root, clean_root, ignore=shutil.ignore_patterns("bad*"))
    clean = _folder(clean_root, val_fraction=0.2)
    assert clean.fingerprint() == skipping.fingerprint()
    for a, b in zip(clean.train_dataloader(), skipping.train_dataloader(), strict=True):
        assert torch.equal(a.image, b.image)
        assert torch.equal(a.target, b.target)


def test_verdicts_are_kept_until_a_file_changes(
    make_folder: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_folder({"cat": 5, "dog": 5})
    bad = root / "cat" / "bad.png"
    bad.write_bytes(b"no picture")
    checked: list[str] = []
    check = verify.check_image

    def spy(path: Path, max_pixels: int) -> tuple[str | None, bool]:
        checked.append(Path(path).name)
        return check(path, max_pixels)

    monkeypatch.setattr(verify, "check_image", spy)
    _folder(root, on_bad_image="skip").setup("fit")
    assert len(checked) == 11
    checked.clear()
    _folder(root, on_bad_image="skip").setup("fit")
    assert checked == []
    shutil.copy(root / "cat" / "000.png", bad)
    capsys.readouterr()
    _folder(root, on_bad_image="skip").setup("fit")
    assert checked == ["bad.png"]
    assert not capsys.readouterr().err
    checked.clear()
    cache = next(verify.cache_folder().rglob("*.json"))
    cache.write_text(cache.read_text()[:50])  # a torn cache is worth nothing and does no harm
    _folder(root, on_bad_image="skip").setup("fit")
    assert len(checked) == 11


def test_a_cache_folder_that_cannot_be_written_does_no_harm(
    make_folder: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LIT_CNN_CACHE", str(tmp_path / "file" / "cache"))
    root = make_folder({"cat": 3, "dog": 3})
    (root / "cat" / "bad.png").write_bytes(b"")
    data = _folder(root, on_bad_image="skip")
    data.setup("fit")
    assert len(_all(data)) == 6


def test_an_image_that_could_not_be_opened_is_checked_again(make_folder: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_folder({"cat": 4, "dog": 4})
    real = decode._decode_fully

    def forbidden(path: Path, max_pixels: int) -> None:
        if path.name == "001.png" and path.parent.name == "cat":
            raise PermissionError(13, "Permission denied")
        real(path, max_pixels)

    monkeypatch.setattr(decode, "_decode_fully", forbidden)
    assert _folder(root).broken == {"cat/001.png": "no permission to read it"}
    monkeypatch.setattr(decode, "_decode_fully", real)
    assert _folder(root).broken == {}


def test_a_long_scan_shows_a_bar_on_a_terminal_and_nothing_elsewhere(
    make_folder: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_folder({"cat": 9})
    (root / "cat" / "004.png").write_bytes(b"")
    clock = itertools.count()
    monkeypatch.setattr(verify.time, "monotonic", lambda: float(next(clock)))
    names = sorted(f"cat/{path.name}" for path in (root / "cat").iterdir())
    for terminal in (True, False):
        shutil.rmtree(verify.cache_folder(), ignore_errors=True)
        out = io.StringIO()
        display = Display(Console(file=out, force_terminal=terminal, width=100, color_system=None))
        verify.find_broken(root, names, 10**6, 2, display)
        if terminal:
            assert "checking images" in out.getvalue()
            assert "9/9 1 cannot be read" in out.getvalue()
            assert out.getvalue().endswith("\x1b[?25h\r\x1b[1A\x1b[2K")  # the cursor is back, the bar gone
        else:
            assert out.getvalue() == ""


@pytest.mark.parametrize(
    ("counts", "settings", "message"),
    [
        ({"cat": 5}, {}, "single class folder, 'cat'"),
        ({}, {}, "has no class folders"),
        ({"cat": 5, "dog": 0, "emu": 0}, {}, r"no images \(jpg, .*\) for class dog, emu"),
        ({"cat": 5, "dog": 1}, {}, "class 'dog' has 1 left to hold 1 out for test"),
        ({"cat": 5, "dog": 2}, {}, "class 'dog' has 1 left to hold 1 out for val"),
        ({"train/cat": 5, "train/dog": 1}, {}, "class 'dog' has 1 left to hold 1 out for val"),
        ({"test/cat": 5, "test/dog": 5}, {}, "has no train images, only test"),
        ({"train/a": 2, "train/b": 2, "val/a": 1, "valid/b": 1}, {}, "several folders for the same split"),
        ({"cat": 5, "dog": 5}, {"test_fraction": 1.5}, "`data.test_fraction` is 1.5"),
        ({"cat": 5, "dog": 5}, {"split": "half"}, "`data.split` is 'half'"),
        ({"cat": 5, "dog": 5}, {"eval_resize": "crop"}, "`data.eval_resize` is 'crop'"),
        ({"cat": 5, "dog": 5}, {"on_bad_image": "ignore"}, "`data.on_bad_image` is 'ignore'"),
    ],
)
def test_what_cannot_be_trained_on_is_one_line(
    make_folder: Make, counts: dict[str, int], settings: dict[str, object], message: str
) -> None:
    root = make_folder(counts)
    with pytest.raises(UserError, match=message) as caught:
        _folder(root, **settings).setup("fit")
    assert "\n" not in str(caught.value)


def test_a_missing_folder_is_refused_with_its_path_and_what_works_offline(tmp_path: Path) -> None:
    for kind in (ImageFolder, Flowers, Vehicles):
        with pytest.raises(UserError) as caught:
            kind(data_dir=str(tmp_path / "no such")).setup("fit")
        for part in (str(tmp_path / "no such"), "`data.data_dir", "offline: `data=Digits`"):
            assert part in str(caught.value)


def test_a_set_without_test_folder_trains_and_says_so_at_test_time(make_folder: Make) -> None:
    root = make_folder({"train/cat": 4, "train/dog": 4, "val/cat": 2, "val/dog": 2})
    data = _folder(root)
    data.setup("fit")
    with pytest.raises(UserError, match=r"has no test images, only train, val: add a folder .*test"):
        data.setup("test")


def test_a_set_with_only_a_test_folder_can_be_tested(make_folder: Make) -> None:
    data = _folder(make_folder({"test/dog": 3}), class_names=["cat", "dog"])
    data.setup("test")
    assert next(iter(data.test_dataloader())).target.tolist() == [1, 1, 1]


def test_a_class_may_be_called_train(make_folder: Make) -> None:
    data = _folder(make_folder({"bus": 5, "car": 5, "train": 5}))
    assert data.class_names == ["bus", "car", "train"]
    assert len(_names(data, "test")) == 3


def test_broken_images_are_searched_before_other_ranks_start(make_folder: Make) -> None:
    root = make_folder({"cat": 3, "dog": 3})
    _folder(root).prepare_data()
    assert not list(verify.cache_folder().rglob("*.json"))
    _folder(root, on_bad_image="skip").prepare_data()
    assert len(list(verify.cache_folder().rglob("*.json"))) == 1


def test_flowers_has_its_classes_before_any_file_exists_and_is_found_one_level_down(
    make_folder: Make, tmp_path: Path
) -> None:
    assert Flowers(data_dir=str(tmp_path)).class_names == ["daisy", "dandelion", "roses", "sunflowers", "tulips"]
    root = make_folder(dict.fromkeys(Flowers.CLASSES, 4), root=tmp_path / "flower_photos")
    states = []
    for data_dir in (root, root.parent):
        data = Flowers(data_dir=str(data_dir), image_size=16)
        data.setup("fit")
        assert data.num_classes == 5
        assert data_dir / data.sample_name("train", 0) == root / "daisy" / "000.png"
        states.append({name: str(value) for name, value in data.split_state().items()})
    assert states[0] == states[1]


def test_vehicles_takes_grey_photos_classes_as_found_the_tail_as_test_and_stretches(make_folder: Make) -> None:
    root = make_folder({"bus": 8, "car": 8, "truck": 8}, suffix=".jpg")
    data = Vehicles(data_dir=str(root), image_size=16, batch_size=6)
    assert (data.class_names, data.in_channels) == (["bus", "car", "truck"], 1)
    assert _names(data, "test") == [f"{name}/{i:03d}.jpg" for name in ("bus", "car", "truck") for i in (6, 7)]
    assert data.preprocessing()["eval_resize"] == "stretch"
    assert next(iter(data.test_dataloader())).image.shape == (6, 1, 16, 16)


def test_images_without_labels_are_prepared_as_the_checkpoint_says(make_folder: Make, tmp_path: Path) -> None:
    root = make_folder({"cat": 6, "dog": 6})
    trained = _folder(root, normalize="computed", eval_resize="stretch", channels=1)
    trained.setup("test")
    single = root / "cat" / "005.png"
    images = Images(
        paths=[str(single), str(root / "dog")],
        class_names=trained.class_names,
        batch_size=4,
        workers=0,
        **trained.preprocessing(),
    )
    assert images.num_classes == 2
    model = Recorder(16 * 16, 2)
    predictions = make_trainer().predict(model, datamodule=images)
    assert predictions is not None
    index = torch.cat([part[0] for part in predictions])
    assert torch.cat([part[1] for part in predictions]).tolist() == [-1] * 7
    names = [images.sample_name("predict", int(i)) for i in index]
    assert names == [str(single), *(str(root / "dog" / f"{i:03d}.png") for i in range(6))]
    out = images.on_after_batch_transfer(next(iter(images.predict_dataloader())), 0)
    expected = {trained.sample_name("test", int(i)): image for i, image in _prepared(trained)}
    shared = [str(root / name) for name in expected if str(root / name) in names[:4]]
    assert shared
    for name in shared:
        assert torch.equal(out.image[names.index(name)], expected[str(Path(name).relative_to(root))])


def _prepared(data: ImageDataModule) -> list[tuple[int, torch.Tensor]]:
    pairs = []
    for raw in data.test_dataloader():
        batch = data.on_after_batch_transfer(raw, 0)
        pairs += list(zip(batch.index.tolist(), batch.image, strict=True))
    return pairs


def test_images_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    for stage in ("fit", "validate", "test"):
        with pytest.raises(UserError, match=f"no labels for {stage}"):
            Images(paths=[str(tmp_path)]).setup(stage)
    with pytest.raises(UserError, match="no images"):
        Images(paths=[str(tmp_path)]).setup("predict")
    with pytest.raises(UserError, match="no file or folder"):
        Images(paths=[str(tmp_path / "gone.jpg")]).setup("predict")
    (tmp_path / "bad.png").write_bytes(b"")
    with pytest.raises(UserError, match="none of the 1 images"):
        Images(paths=[str(tmp_path)], on_bad_image="skip").setup("predict")


@pytest.mark.parametrize("normalize", ["imagenet", "computed"])
def test_fit_test_and_predict_run_through_lightning(make_folder: Make, normalize: str) -> None:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    root = make_folder({"cat": 10, "dog": 11})
    data = _folder(root, normalize=normalize)
    model = Recorder(3 * 16 * 16, 2)
    trainer = make_trainer(max_epochs=2)
    trainer.fit(model, datamodule=data)
    assert [(epoch, batch) for epoch, batch, _, _ in model.seen] == [(e, b) for e in range(2) for b in range(4)]
    trainer.test(model, datamodule=data, verbose=False)
    assert model.tested == data._split("test").indices.tolist()
    predictions = trainer.predict(model, datamodule=data)
    assert predictions is not None
    assert torch.cat([part[0] for part in predictions]).tolist() == model.tested
    state = data.split_state()
    assert sorted(torch.cat([state[part] for part in ("train", "val", "test")]).tolist()) == list(range(21))
    assert state["fingerprint"] == data.fingerprint()
