"""As many images of each class, as a pure function of seed and epoch."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch

from lit_cnn.cli.main import main
from lit_cnn.data import ImageFolder
from lit_cnn.data.sampling import balanced, rows
from lit_cnn.errors import UserError
from tests.conftest import EVERY_STEP, state_differences, write_pictures

TARGETS = torch.tensor([0] * 50 + [1] * 7 + [3] * 3)
INDICES = torch.arange(100, 160)


def epoch(number: int, seed: int = 1) -> torch.Tensor:
    return balanced(INDICES, TARGETS, seed, number)


def test_every_class_has_as_many_images_in_an_epoch_which_is_as_long_as_before() -> None:
    for number in range(3):
        keys = epoch(number)
        found = Counter(TARGETS[rows(keys) - 100].tolist())
        assert (len(keys), dict(found)) == (60, {0: 20, 1: 20, 3: 20})


def test_classes_take_the_places_in_turn_that_do_not_divide() -> None:
    counts: Counter[int] = Counter()
    for number in range(60):
        keys = balanced(INDICES[:-1], TARGETS[:-1], 1, number)  # 59 places for three classes
        assert len(keys) == 59
        counts.update(TARGETS[rows(keys) - 100].tolist())
    assert max(counts.values()) - min(counts.values()) <= 1


def test_images_of_a_class_are_used_equally_often_where_classes_do_not_divide() -> None:
    used: Counter[int] = Counter()
    for number in range(23):
        used.update(rows(balanced(INDICES[:-1], TARGETS[:-1], 1, number)).tolist())
    for name in (0, 1, 3):
        of_class = [used[100 + i] for i in range(59) if TARGETS[i] == name]
        assert max(of_class) - min(of_class) <= 1, name


def test_it_is_a_pure_function_of_seed_and_epoch() -> None:
    assert torch.equal(epoch(2), epoch(2))
    assert not torch.equal(epoch(2), epoch(3))
    assert not torch.equal(epoch(2), epoch(2, seed=2))


def test_images_of_a_class_are_used_equally_often_and_repeats_have_keys_of_their_own() -> None:
    used: Counter[int] = Counter()
    for number in range(10):
        keys = epoch(number)
        assert len(keys.unique()) == len(keys)
        used.update(rows(keys).tolist())
    for name in (0, 1, 3):
        of_class = [used[100 + i] for i in range(60) if TARGETS[i] == name]
        assert max(of_class) - min(of_class) <= 1, name
        assert min(of_class) > 0


def test_a_repeated_image_is_read_and_augmented_in_another_way(tmp_path: Path) -> None:
    write_pictures(tmp_path / "a", 9)
    write_pictures(tmp_path / "b", 1, seed=1)
    own = {"val_fraction": 0, "test_fraction": 0, "image_size": 16, "batch_size": 10}
    data = ImageFolder(data_dir=str(tmp_path), sampling="balanced", **own)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert batch.target.tolist().count(1) == 5
    crops = batch.image[batch.target == 1]
    assert len(crops.flatten(1).unique(dim=0)) == 5


def test_another_word_is_refused(tmp_path: Path) -> None:
    write_pictures(tmp_path / "a", 2)
    with pytest.raises(UserError, match=r"`data.sampling` is 'even': choose natural or balanced"):
        ImageFolder(data_dir=str(tmp_path), sampling="even")  # type: ignore[arg-type]


def test_a_run_resumes_exactly_and_only_with_the_same_sampling(workdir: Path, fails) -> None:
    write_pictures(workdir / "photos" / "a", 30, size=12)
    write_pictures(workdir / "photos" / "b", 6, seed=1, size=12)
    words = [
        "--data=ImageFolder",
        "--data-dir=photos",
        "--img-size=8",
        "-b=5",
        "--epochs=2",
        "--data.sampling=balanced",
    ]
    words += [
        "--model.backbone=convnet_pooled",
        "--model.backbone_args={widths: [4], dilations: [1]}",
        "--optimizer=sgd",
    ]
    words += ["--trainer.enable_progress_bar=false"]
    main(["fit", *words, *EVERY_STEP])
    run = workdir / "lightning_logs" / "version_0" / "checkpoints"
    assert len(list(run.glob("step*.ckpt"))) == 10
    (run / "step3.ckpt").rename(workdir / "middle.ckpt")
    main(["fit", "--ckpt_path=middle.ckpt", "--trainer.default_root_dir=again"])
    again = workdir / "again" / "lightning_logs" / "version_0" / "checkpoints" / "step10.ckpt"
    assert state_differences(run / "step10.ckpt", again) == []
    assert "sampling balanced -> natural" in fails("fit", "--ckpt_path=middle.ckpt", "--data.sampling=natural")
