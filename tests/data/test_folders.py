"""A user's own images: layouts, splits, classes by name, and messages with the fix."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lit_cnn.data import Flowers, ImageFolder, Vehicles
from lit_cnn.errors import UserError

from .helpers import Recorder, all_names, image_folder, make_trainer, sample_names

Make = Callable[..., Path]


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val"])
def test_split_folders_are_used_as_they_are(make_folder: Make, val: str) -> None:
    root = make_folder({"train/cat": 4, "train/dog": 3, f"{val}/cat": 2, f"{val}/dog": 1, "test/cat": 1, "test/dog": 2})
    data = image_folder(root)
    data.setup("fit")
    data.setup("test")
    assert data.class_names == ["cat", "dog"]
    assert sample_names(data, "train") == [f"train/cat/{i:03d}.png" for i in range(4)] + [
        f"train/dog/{i:03d}.png" for i in range(3)
    ]
    assert sample_names(data, "val") == [f"{val}/cat/000.png", f"{val}/cat/001.png", f"{val}/dog/000.png"]
    assert sample_names(data, "test") == ["test/cat/000.png", "test/dog/000.png", "test/dog/001.png"]
    batch = next(iter(data.test_dataloader()))
    assert batch.target.tolist() == [0, 1, 1]


def test_without_a_val_folder_validation_is_split_off_train_and_never_off_test(make_folder: Make) -> None:
    root = make_folder({"train/cat": 20, "train/dog": 10, "test/cat": 5, "test/dog": 5})
    data = image_folder(root, val_fraction=0.2)
    data.setup("fit")
    data.setup("test")
    train, val, test = (set(sample_names(data, part)) for part in ("train", "val", "test"))
    assert len(train | val | test) == len(train) + len(val) + len(test) == 40
    assert len(test) == 10
    assert all(name.startswith("test/") for name in test)
    assert sum("cat" in name for name in val) == 4
    assert sum("dog" in name for name in val) == 2


def test_class_folders_alone_are_split_by_ratio_or_by_tail(make_folder: Make) -> None:
    root = make_folder({"cat": 20, "dog": 12})
    ratio = image_folder(root, test_fraction=0.25)
    parts = [set(sample_names(ratio, part)) for part in ("train", "val", "test")]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 32
    assert sorted(name[:3] for name in parts[2]) == ["cat"] * 5 + ["dog"] * 3
    assert parts[2] != set(sample_names(image_folder(root, test_fraction=0.25, split_seed=1), "test"))
    tail = image_folder(root, test_fraction=0.25, split="tail")
    assert sample_names(tail, "test") == [f"cat/{i:03d}.png" for i in range(15, 20)] + [
        f"dog/{i:03d}.png" for i in range(9, 12)
    ]


def test_adding_an_image_hardly_moves_the_others(make_folder: Make) -> None:
    root = make_folder({"cat": 40, "dog": 40})
    before = image_folder(root)
    old = {name: part for part in ("train", "val", "test") for name in sample_names(before, part)}
    shutil.copy(root / "cat" / "000.png", root / "cat" / "000 copy.png")
    after = image_folder(root)
    new = {name: part for part in ("train", "val", "test") for name in sample_names(after, part)}
    assert sum(old[name] != new[name] for name in old) <= 2
    assert before.fingerprint() != after.fingerprint()


def test_the_fingerprint_depends_on_names_and_sizes_only(make_folder: Make, tmp_path: Path) -> None:
    root = make_folder({"cat": 3, "dog": 3})
    copy = tmp_path / "copy"
    shutil.copytree(root, copy)
    assert image_folder(root).fingerprint() == image_folder(copy).fingerprint()
    (copy / "cat" / "000.png").rename(copy / "cat" / "renamed.png")
    assert image_folder(root).fingerprint() != image_folder(copy).fingerprint()


def test_a_class_absent_from_a_part_keeps_its_index(make_folder: Make, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_folder({"train/ant": 3, "train/bee": 3, "train/cow": 3, "val/cow": 2, "test/ant": 1, "test/cow": 1})
    (root / "val" / "bee").mkdir()
    data = image_folder(root)
    assert data.class_names == ["ant", "bee", "cow"]
    assert next(iter(data.val_dataloader())).target.tolist() == [2, 2]
    assert next(iter(data.test_dataloader())).target.tolist() == [0, 2]
    assert not capsys.readouterr().err


def test_a_class_that_only_test_has_does_not_widen_the_model(
    make_folder: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_folder({"train/ant": 9, "train/bee": 9, "test/ant": 2, "test/elk": 3, "test/fox": 0})
    data = image_folder(root)
    assert data.class_names == ["ant", "bee"]
    assert sample_names(data, "test") == ["test/ant/000.png", "test/ant/001.png"]
    assert capsys.readouterr().err == f"{root}: left out, no training images of class elk (3 in test)\n"
    before = image_folder(root, class_names=["ant", "bee", "elk"])  # of a checkpoint of an earlier version
    assert len(sample_names(before, "test")) == 5
    assert "no training images of class elk, which cannot be learned" in capsys.readouterr().err


def test_classes_are_matched_by_name_to_those_given(make_folder: Make) -> None:
    root = make_folder({"bee": 4, "cow": 4})
    data = image_folder(root, class_names=["cow", "ant", "bee"])
    assert data.num_classes == 3
    targets = {name: int(data._split("train").source.targets[row]) for row, name in enumerate(all_names(data))}
    assert {target for name, target in targets.items() if name.startswith("bee")} == {2}
    assert {target for name, target in targets.items() if name.startswith("cow")} == {0}
    with pytest.raises(UserError, match=r"does not have: cow; data: bee, cow; model: ant, bee"):
        image_folder(root, class_names=["ant", "bee"]).setup("test")


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
    data = image_folder(root, test_fraction=0.2)
    assert data.class_names == ["cat", "собака"]
    assert [name for name in all_names(data) if name.startswith("cat")] == [
        f"cat/{name}"
        for name in sorted(["000.png", "A.JPG", "b.Jpeg", "c.TIF", "d.webp", "deep/er/e.BMP", "белый кот.png", "f.gif"])
    ]
    assert sum(len(batch.target) for batch in data.train_dataloader()) == len(data._split("train").indices)


def test_a_class_folder_may_be_a_link(make_folder: Make, tmp_path: Path) -> None:
    root = make_folder({"cat": 4, "dog": 4})
    shutil.move(root / "dog", tmp_path / "dogs elsewhere")
    (root / "dog").symlink_to(tmp_path / "dogs elsewhere")
    assert sum(name.startswith("dog/") for name in all_names(image_folder(root))) == 4


def test_links_in_a_circle_end_and_a_class_that_leads_back_to_its_set_is_refused(make_folder: Make) -> None:
    root = make_folder({"cat": 4, "dog": 4})
    (root / "itself").symlink_to("itself")
    (root / "cat" / "itself").symlink_to("itself")
    (root / "cat" / "up").symlink_to(root)
    (root / "cat" / "across").symlink_to(root / "dog")
    (root / "dog" / "across").symlink_to(root / "cat")
    data = image_folder(root)
    assert data.class_names == ["cat", "dog"]
    assert len(all_names(data)) == 8
    (root / "all").symlink_to(".")
    with pytest.raises(UserError, match=r"set/all is a link to .*set, the folder it is in or one above it"):
        image_folder(root).setup("fit")


def test_a_link_to_nowhere_is_named(make_folder: Make) -> None:
    root = make_folder({"cat": 4, "dog": 4})
    (root / "cat" / "gone.png").symlink_to("nowhere")
    with pytest.raises(UserError, match=r"cannot read image .*cat/gone.png: there is no such file"):
        image_folder(root).fingerprint()


@pytest.mark.parametrize(
    ("counts", "settings", "message"),
    [
        ({"cat": 5}, {}, "single class folder, 'cat'"),
        ({}, {}, "has no class folders"),
        ({"cat": 5, "dog": 0, "emu": 0}, {}, r"no images \(jpg, .*\) for class dog, emu"),
        ({"train/Cat": 5, "train/dog": 5, "val/cat": 1}, {}, "val has class 'cat', train 'Cat'"),
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
        image_folder(root, **settings).setup("fit")
    assert "\n" not in str(caught.value)


def test_a_missing_folder_is_refused_with_its_path_and_what_works_offline(tmp_path: Path) -> None:
    for kind in (ImageFolder, Flowers, Vehicles):
        with pytest.raises(UserError) as caught:
            kind(data_dir=str(tmp_path / "no such")).setup("fit")
        for part in (str(tmp_path / "no such"), "`data.data_dir", "offline: `data=Digits`"):
            assert part in str(caught.value)


def test_a_set_without_test_folder_trains_and_says_so_at_test_time(make_folder: Make) -> None:
    root = make_folder({"train/cat": 4, "train/dog": 4, "val/cat": 2, "val/dog": 2})
    data = image_folder(root)
    data.setup("fit")
    with pytest.raises(UserError, match=r"has no test images, only train, val: add a folder .*test"):
        data.setup("test")


def test_a_test_fraction_of_0_trains_and_says_so_at_test_time(make_folder: Make) -> None:
    data = image_folder(make_folder({"cat": 9, "dog": 9}), test_fraction=0)
    data.setup("fit")
    assert {name: len(split.indices) for name, split in data.splits().items()} == {"train": 16, "val": 2}
    with pytest.raises(UserError, match=r"no test images, only train, val: `data.test_fraction` is 0: use validate$"):
        data.setup("test")


def test_a_val_fraction_of_0_trains_without_validation_and_says_what_is_kept(
    make_folder: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    data = image_folder(make_folder({"cat": 9, "dog": 9}), val_fraction=0)
    trainer = make_trainer(max_epochs=1)
    trainer.fit(Recorder(3 * 16 * 16, 2), datamodule=data)
    assert trainer.global_step == 4
    assert "no validation images: no best.ckpt is written; last.ckpt" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"no val images, only train, test: `data.val_fraction` is 0"):
        data.setup("validate")


def test_a_set_with_only_a_test_folder_can_be_tested(make_folder: Make) -> None:
    data = image_folder(make_folder({"test/dog": 3}), class_names=["cat", "dog"])
    data.setup("test")
    assert next(iter(data.test_dataloader())).target.tolist() == [1, 1, 1]


def test_a_class_may_be_called_train(make_folder: Make) -> None:
    data = image_folder(make_folder({"bus": 5, "car": 5, "train": 5}))
    assert data.class_names == ["bus", "car", "train"]
    assert len(sample_names(data, "test")) == 3


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
    assert sample_names(data, "test") == [f"{name}/{i:03d}.jpg" for name in ("bus", "car", "truck") for i in (6, 7)]
    assert data.preprocessing()["eval_resize"] == "stretch"
    assert next(iter(data.test_dataloader())).image.shape == (6, 1, 16, 16)


@pytest.mark.parametrize("normalize", ["imagenet", "computed"])
def test_fit_test_and_predict_run_through_lightning(make_folder: Make, normalize: str) -> None:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    root = make_folder({"cat": 10, "dog": 11})
    data = image_folder(root, normalize=normalize)
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
