"""A user's own transform: random numbers by sample and epoch alone, mistakes in one line, exact resume."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from lit_cnn.checkpoint.io import AtomicCheckpointIO
from lit_cnn.cli.main import main
from lit_cnn.data import Augment, register_transform
from lit_cnn.data.transforms.augment import augment_batch
from lit_cnn.data.transforms.registered import TRANSFORMS
from lit_cnn.errors import UserError
from tests.conftest import EVERY_STEP, TINY, load, state_differences

IMAGES = torch.randint(0, 256, (9, 3, 20, 20), generator=torch.Generator().manual_seed(0)).byte()
INDEX = torch.arange(9) * 7
HALF = torch.full((3,), 0.5)


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    before = dict(TRANSFORMS._items)

    @register_transform
    def strong(magnitude: int = 9) -> v2.Transform:
        return v2.Compose([v2.RandAugment(magnitude=magnitude), v2.RandomInvert()])

    @register_transform(name="broken")
    def other(how: str = "shape") -> Any:
        def transform(image: Tensor) -> Tensor:
            if how == "error":
                raise ValueError("no such thing\nat all")
            return image[:, 1:] if how == "shape" else image.float()

        return transform

    yield
    TRANSFORMS._items.clear()
    TRANSFORMS._items.update(before)


def _augmented(chosen: Tensor, epoch: int = 3, seed: int = 5, **settings: Any) -> Tensor:
    augment = Augment(**{"transform": "strong", **settings})
    return augment_batch(IMAGES[chosen], INDEX[chosen], augment=augment, seed=seed, epoch=epoch, mean=HALF, std=HALF)


def test_pixels_depend_on_seed_epoch_and_sample_alone() -> None:
    everything = torch.arange(9)
    expected = _augmented(everything)
    assert torch.equal(torch.cat([_augmented(some) for some in everything.split(2)]), expected)
    shuffled = torch.randperm(9)
    assert torch.equal(_augmented(shuffled), expected[shuffled])
    same = [torch.equal(a, b) for a, b in zip(_augmented(everything, epoch=4), expected, strict=True)]
    assert sum(same) < 4
    assert not torch.equal(_augmented(everything, seed=6), expected)
    assert not torch.equal(_augmented(everything, transform_args={"magnitude": 20}), expected)


def test_the_transform_leaves_the_generators_as_they_were_and_runs_after_the_crop() -> None:
    before = torch.get_rng_state()
    cropped = _augmented(torch.arange(9), crop_scale=(0.5, 0.5), flip=0.5)
    assert torch.equal(torch.get_rng_state(), before)
    assert cropped.shape == IMAGES.shape
    assert cropped.dtype == torch.float32
    assert _augmented(torch.arange(0)).shape == (0, 3, 20, 20)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"transform": "stong"}, r"unknown transform 'stong', did you mean 'strong'\?"),
        ({"transform": "strong", "transform_args": {"size": 3}}, r"'strong' cannot be made with .*'size'"),
        ({"transform_args": {"size": 3}}, r"transform_args` are given without `data.augment.transform`"),
        (
            {"transform": "broken"},
            r"'broken' turned .*uint8 \(3, 20, 20\) into torch.uint8 \(3, 19, 20\): it must",
        ),
        ({"transform": "broken", "transform_args": {"how": "dtype"}}, r"'broken' turned .* into torch.float32"),
        (
            {"transform": "broken", "transform_args": {"how": "error"}},
            r"^`data.augment.transform` 'broken' failed on training image 0, .*: ValueError: no such thing$",
        ),
    ],
)
def test_mistakes_are_one_line_that_names_the_transform(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        _augmented(torch.arange(9), **{"transform": None, **settings})
    assert "\n" not in str(caught.value)


OWN = """
import torchvision.transforms.v2 as v2
from lit_cnn.data import register_transform

@register_transform
def wobble(degrees: float = 5.0):
    return v2.RandomRotation(degrees)
"""


def test_a_run_with_a_transform_resumes_exactly(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(workdir))
    (workdir / "own_transforms.py").write_text(OWN)
    __import__("own_transforms")
    words = ["--data.augment.transform=wobble", "--data.augment.transform_args={degrees: 20}"]
    words += ["--trainer.limit_train_batches=4", "--allow_import=own_transforms"]
    first, second = (workdir / name / "lightning_logs" / "version_0" / "checkpoints" for name in ("a", "b"))
    main(["fit", *TINY, *words, *EVERY_STEP, "--epochs=2", "--trainer.default_root_dir=a"])
    shutil.copy(first / "step6.ckpt", workdir / "middle.ckpt")
    main(["fit", "--ckpt_path=middle.ckpt", "--trainer.default_root_dir=b", "--allow_import=own_transforms"])
    assert state_differences(first / "last.ckpt", second / "last.ckpt") == []
    checkpoint = load(first / "last.ckpt")
    assert checkpoint["lit_cnn"]["config"]["data"]["init_args"]["augment"]["transform"] == "wobble"


def test_an_old_checkpoint_without_the_field_resumes(trained: Path, workdir: Path) -> None:
    checkpoint = load(trained / "checkpoints" / "last.ckpt")
    removed = []

    def strip(content: Any) -> None:
        if isinstance(content, dict):
            removed.extend(key for key in list(content) if "augment.transform" in str(key))
            for key in [key for key in content if "augment.transform" in str(key)]:
                del content[key]
            for key, value in content.items():
                if key == "augment":
                    removed.extend(name for name in ("transform", "transform_args") if name in value)
                    value.pop("transform", None)
                    value.pop("transform_args", None)
                strip(value)

    strip(checkpoint["lit_cnn"])
    assert len(removed) == 4
    folder = workdir / "lightning_logs" / "version_0" / "checkpoints"
    folder.mkdir(parents=True)
    AtomicCheckpointIO().save_checkpoint(checkpoint, folder / "last.ckpt")
    main(["fit", "--resume", "--epochs=5", "--trainer.default_root_dir=."])
