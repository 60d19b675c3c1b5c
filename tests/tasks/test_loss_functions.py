"""Binary cross-entropy and focal loss against torch, torchvision and timm."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torchvision.ops import sigmoid_focal_loss

from lit_cnn.errors import UserError
from lit_cnn.tasks.loss_functions import binary_focal, focal
from lit_cnn.tasks.losses import ClassificationLoss

GEN = torch.Generator().manual_seed(0)
LOGITS = 3 * torch.randn(8, 4, generator=GEN)
TARGET = torch.tensor([0, 1, 2, 3, 0, 1, 2, 2])
LABELS = (torch.rand(8, 4, generator=GEN) < 0.4).float()


def test_bce_equals_timms_with_and_without_smoothing():
    timm_loss = pytest.importorskip("timm.loss").BinaryCrossEntropy
    for smoothing in (0.0, 0.1):
        ours, _ = ClassificationLoss("bce", label_smoothing=smoothing)(LOGITS, TARGET)
        torch.testing.assert_close(ours, timm_loss(smoothing=smoothing)(LOGITS, TARGET))


def test_bce_of_mixed_targets_equals_torchs():
    mixed = 0.3 * F.one_hot(TARGET, 4).float() + 0.7 * F.one_hot(TARGET.flip(0), 4).float()
    ours, _ = ClassificationLoss("bce")(LOGITS, mixed)
    torch.testing.assert_close(ours, F.binary_cross_entropy_with_logits(LOGITS, mixed))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_loss_of_two_classes_is_torchvisions_of_the_difference_of_their_logits(gamma):
    pair, target = LOGITS[:, :2], TARGET % 2
    theirs = sigmoid_focal_loss(pair[:, 1] - pair[:, 0], target.float(), alpha=-1, gamma=gamma)
    torch.testing.assert_close(focal(pair, target, gamma), theirs)
    torch.testing.assert_close(focal(pair, F.one_hot(target).float(), gamma), theirs)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_loss_of_several_labels_is_torchvisions(gamma):
    theirs = sigmoid_focal_loss(LOGITS, LABELS, alpha=-1, gamma=gamma)
    torch.testing.assert_close(binary_focal(LOGITS, LABELS, gamma), theirs.mean(1))


def test_focal_loss_without_focus_is_the_cross_entropy():
    loss = ClassificationLoss("focal", focal_gamma=0.0, label_smoothing=0.1)
    torch.testing.assert_close(loss(LOGITS, TARGET)[0], F.cross_entropy(LOGITS, TARGET, label_smoothing=0.1))
    with pytest.raises(UserError, match=r"`model.focal_gamma` must be at least 0"):
        ClassificationLoss("focal", focal_gamma=-1)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_gradients_stay_finite_for_certain_outputs(gamma):
    logits = torch.tensor([[200.0, -200.0], [-200.0, 200.0]], requires_grad=True)
    (focal(logits, torch.tensor([0, 0]), gamma).sum() + binary_focal(logits, torch.eye(2), gamma).sum()).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("name", ["cross_entropy", "bce"])
def test_several_labels_are_binary_cross_entropy_with_smoothing_and_weights_of_what_is_there(name):
    loss = ClassificationLoss(name, label_smoothing=0.2, multilabel=True, weighted_classes=4)
    weights = torch.tensor([1.0, 2.0, 0.5, 3.0])
    loss.class_weights.copy_(weights)
    smooth = LABELS * 0.8 + 0.1
    theirs = F.binary_cross_entropy_with_logits(LOGITS, smooth, pos_weight=weights)
    torch.testing.assert_close(loss(LOGITS, LABELS.to(torch.uint8))[0], theirs)
    plain = F.binary_cross_entropy_with_logits(LOGITS, LABELS, reduction="none").mean(1)
    torch.testing.assert_close(loss.per_sample(LOGITS, LABELS.to(torch.uint8)), plain)


def test_what_cannot_be_computed_for_several_labels_is_refused():
    with pytest.raises(UserError, match=r"`model.loss=mse_softmax` is for one class an image"):
        ClassificationLoss("mse_softmax", multilabel=True)
