"""Training images that grow."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lit_cnn.cli.main import main
from lit_cnn.data import Augment
from lit_cnn.data.transforms.augment import augment_batch
from lit_cnn.data.transforms.progressive import progressive_size
from tests.conftest import EVERY_STEP, TINY, state_differences


@pytest.mark.parametrize(
    ("full", "expected"),
    [
        ((224, 224), [(128, 128), (128, 128), (160, 160), (192, 192), (224, 224), (224, 224)]),
        ((96, 64), [(48, 32), (64, 32), (64, 48), (80, 64), (96, 64), (96, 64)]),
        ((32, 32), [(16, 16), (20, 20), (24, 24), (28, 28), (32, 32), (32, 32)]),
    ],
)
def test_sizes_grow_to_the_full_one_in_two_thirds_of_the_epochs(full, expected) -> None:
    assert [progressive_size(full, 0.5, epoch, 6) for epoch in range(6)] == expected


def test_a_run_without_a_number_of_epochs_has_the_full_size() -> None:
    assert progressive_size((224, 224), 0.5, 0, -1) == (224, 224)
    assert progressive_size((224, 224), 0.5, 0, None) == (224, 224)


def test_images_are_resized_after_all_else_that_counts_pixels() -> None:
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    mean, std = torch.zeros(3), torch.full((3,), 1 / 255)
    settings = {"seed": 0, "epoch": 0, "epochs": 6, "mean": mean, "std": std}
    whole = augment_batch(images, torch.arange(4), augment=Augment(crop_padding=4), **settings)
    half = augment_batch(images, torch.arange(4), augment=Augment(crop_padding=4, progressive_size=0.5), **settings)
    expected = torch.nn.functional.interpolate(whole, (16, 16), mode="bilinear", antialias=True)
    torch.testing.assert_close(half, expected, rtol=0, atol=1e-3)


def test_a_run_resumes_exactly(workdir: Path) -> None:
    words = [*TINY, "--img-size=16", "--epochs=3", "--data.augment.progressive_size=0.5"]
    main(["fit", *words, "--trainer.limit_train_batches=2", *EVERY_STEP])
    run = workdir / "lightning_logs" / "version_0" / "checkpoints"
    (run / "step3.ckpt").rename(workdir / "middle.ckpt")
    main(["fit", "--ckpt_path=middle.ckpt", "--trainer.default_root_dir=again"])
    again = workdir / "again" / "lightning_logs" / "version_0" / "checkpoints" / "step6.ckpt"
    assert state_differences(run / "step6.ckpt", again) == []


def test_a_network_of_one_size_says_so(workdir: Path, fails) -> None:
    said = fails("fit", *TINY, "--model.backbone=lenet", "--model.backbone_args={}", "--img-size=28",
                 "--data.augment.progressive_size=0.5", "--epochs=3")  # fmt: skip
    assert "lenet" in said.lower()
    assert "Traceback" not in said
