"""ImageRestorer: losses and scores against formulas, and what it refuses."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure

from lit_cnn.data import Batch, DehazePairs
from lit_cnn.errors import UserError
from lit_cnn.tasks.base import Task, as_task
from lit_cnn.tasks.restoration import ImageRestorer, psnr, ssim
from tests.callbacks.tiny_run import tiny_trainer
from tests.conftest import write_pairs

ARGS = {"backbone": "unet", "backbone_args": {"widths": [4, 8]}}


@pytest.fixture
def images() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    target = F.interpolate(torch.rand(3, 3, 6, 7), (26, 31), mode="bilinear")
    return (target + 0.1 * torch.randn_like(target)).clamp(0, 1), target


def test_psnr_and_ssim_of_each_image_are_torchmetrics(images):
    image, target = images
    for i in range(3):
        pair = image[i : i + 1], target[i : i + 1]
        torch.testing.assert_close(psnr(*images)[i], PeakSignalNoiseRatio(data_range=1.0)(*pair))
        torch.testing.assert_close(ssim(*images)[i], StructuralSimilarityIndexMeasure(data_range=1.0)(*pair))
    assert psnr(target, target).tolist() == [100.0] * 3
    assert ssim(target, target).tolist() == [1.0] * 3


@pytest.mark.parametrize("loss", ["l1", "mse", "l1_ssim"])
def test_losses_are_their_formulas(images, loss):
    image, target = images
    found = ImageRestorer(**ARGS, loss=loss, ssim_weight=0.3)._loss(image, target)
    l1 = (image - target).abs().mean((1, 2, 3))
    expected = {
        "l1": l1,
        "mse": (image - target).square().mean((1, 2, 3)),
        "l1_ssim": 0.7 * l1 + 0.3 * (1 - ssim(*images)),
    }
    torch.testing.assert_close(found, expected[loss])


def test_scores_are_means_over_images_and_those_of_the_hazy_input_stand_beside_them(images):
    task = ImageRestorer(**ARGS)  # untrained, it gives the image it was given
    for i in range(3):
        pair = images[0][i : i + 1], images[1][i : i + 1]
        with torch.no_grad():
            restored = task.evaluate_batch(Batch(*pair, torch.tensor([i])), "test")
        outputs = task.outputs(Batch(*pair, torch.tensor([i])), restored)
        assert torch.equal(outputs["restored"], pair[0])
        torch.testing.assert_close(outputs["psnr"], psnr(*pair))
    found = task.test_scores.compute()
    torch.testing.assert_close(found["psnr"], psnr(*images).mean())
    torch.testing.assert_close(found["ssim_input"], ssim(*images).mean())
    torch.testing.assert_close(found["psnr"], found["psnr_input"])
    torch.testing.assert_close(task.test_loss.compute(), (images[0] - images[1]).abs().mean())


def test_training_makes_hazy_photos_clearer_than_they_are(tmp_path):
    torch.manual_seed(0)
    data = DehazePairs(
        data_dir=str(write_pairs(tmp_path, 16)), image_size=16, batch_size=4, workers=0, val_fraction=0.25
    )
    task = ImageRestorer(**ARGS, lr=0.01, ema_decay=0.5, loss="mse")
    assert isinstance(as_task(task), Task)
    trainer = tiny_trainer(max_epochs=8)
    trainer.fit(task, datamodule=data)
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert metrics["val/psnr"] > metrics["val/psnr_input"] + 2
    assert {"train/loss", "train/psnr", "train/lr", "val/loss", "val/ssim", "val/ssim_input"} <= metrics.keys()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "cross_entropy"}, "`model.loss` is 'cross_entropy': choose l1, mse or l1_ssim"),
        ({"loss": "l1_ssim", "ssim_weight": 2.0}, "`model.ssim_weight` is 2.0: it must lie between 0 and 1"),
        ({"tile": 0}, "`model.tile` is 0"),
        ({"backbone": "unet", "backbone_args": {"upsampling": "cubic"}}, "upsampling must be transposed or bilinear"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        ImageRestorer(**{**ARGS, **settings})


def test_a_classifier_is_refused_as_its_backbone():
    task = ImageRestorer(backbone="convnet", backbone_args={"widths": [4], "dilations": [1]})
    with pytest.raises(UserError, match=r"convnet gives \(2, 3\), but images \(N, C, H, W\) with N, C = 2, 3"):
        task(torch.rand(2, 3, 16, 16))


def test_photos_too_small_for_ssim_are_named_with_their_size():
    with pytest.raises(UserError, match="a photo of 30x8 pixels is too small for SSIM, which needs 11"):
        ssim(torch.rand(1, 3, 8, 30), torch.rand(1, 3, 8, 30))
