from __future__ import annotations

import math
from collections import namedtuple
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from lit_cnn.cli.main import main
from lit_cnn.errors import UserError
from lit_cnn.tasks.losses import LOSSES, ClassificationLoss, register_loss, split_outputs
from tests.conftest import TINY, load

GEN = torch.Generator().manual_seed(0)
LOGITS, AUX1, AUX2 = (torch.randn(6, 4, generator=GEN) for _ in range(3))
TARGET = torch.tensor([0, 1, 2, 3, 0, 1])


def test_cross_entropy_with_smoothing_equals_torchs():
    loss, parts = ClassificationLoss(label_smoothing=0.1)(LOGITS, TARGET)
    torch.testing.assert_close(loss, F.cross_entropy(LOGITS, TARGET, label_smoothing=0.1))
    assert parts == {}


def test_auxiliary_heads_are_added_with_their_weight_and_reported_without_it():
    loss, parts = ClassificationLoss(aux_weights=0.3)((LOGITS, AUX1, AUX2), TARGET)
    main, first, second = (F.cross_entropy(x, TARGET) for x in (LOGITS, AUX1, AUX2))
    torch.testing.assert_close(loss, main + 0.3 * first + 0.3 * second)
    torch.testing.assert_close(parts, {"loss_aux1": first, "loss_aux2": second})


def test_one_weight_for_each_head():
    loss, _ = ClassificationLoss(aux_weights=[0.5, 0.25])((LOGITS, AUX1, AUX2), TARGET)
    main, first, second = (F.cross_entropy(x, TARGET) for x in (LOGITS, AUX1, AUX2))
    torch.testing.assert_close(loss, main + 0.5 * first + 0.25 * second)


def test_a_wrong_number_of_auxiliary_weights_is_refused():
    with pytest.raises(UserError, match=r"`model\.aux_weights` has 3 values but the backbone has 2"):
        ClassificationLoss(aux_weights=[1.0, 2.0, 3.0])((LOGITS, AUX1, AUX2), TARGET)


def test_named_tuple_fields_number_the_heads_and_absent_heads_are_skipped():
    # torchvision's GoogLeNetOutputs has this order
    outputs = namedtuple("Outputs", ["logits", "aux_logits2", "aux_logits1"])
    logits, aux = split_outputs(outputs(LOGITS, AUX2, AUX1))
    assert logits is LOGITS
    assert aux["aux1"] is AUX1
    assert aux["aux2"] is AUX2
    assert split_outputs(outputs(LOGITS, None, AUX1))[1].keys() == {"aux1"}


def test_mse_on_softmax_equals_the_hand_computation():
    logits = torch.tensor([[math.log(3.0), 0.0]])  # softmax 0.75, 0.25
    loss, _ = ClassificationLoss("mse_softmax")(logits, torch.tensor([0]))
    assert loss.item() == pytest.approx((0.25**2 + 0.25**2) / 2)


def test_probabilities_as_targets_equal_class_indices_when_they_are_one_hot():
    onehot = F.one_hot(TARGET, 4).float()
    for name in ("cross_entropy", "mse_softmax"):
        loss = ClassificationLoss(name, label_smoothing=0.1)
        torch.testing.assert_close(loss(LOGITS, onehot)[0], loss(LOGITS, TARGET)[0])


def test_per_sample_losses_are_unsmoothed_and_average_to_the_plain_loss():
    loss = ClassificationLoss(label_smoothing=0.2)
    torch.testing.assert_close(loss.per_sample(LOGITS, TARGET).mean(), F.cross_entropy(LOGITS, TARGET))


@pytest.mark.parametrize("settings", [{"name": "hinge"}, {"label_smoothing": 1.0}, {"label_smoothing": -0.1}])
def test_bad_settings_are_refused(settings):
    with pytest.raises(UserError):
        ClassificationLoss(**settings)


# -- registered losses


@pytest.fixture
def own_losses(monkeypatch):
    """Losses registered for one test."""
    monkeypatch.setattr(LOSSES, "_items", {})

    @register_loss
    def one_minus_p(logits, target):
        if target.ndim == 1:
            target = F.one_hot(target, logits.shape[1])
        return 1 - (logits.softmax(1) * target).sum(1)

    @register_loss(name="averaged")
    def mean_loss(logits, target):
        return F.cross_entropy(logits, target)

    register_loss(name="no_tensor")(lambda logits, target: 0.0)
    register_loss(name="detached")(lambda logits, target: logits.detach().sum(1))
    register_loss(name="whole")(lambda logits, target: logits.argmax(1))
    register_loss(name="failing")(lambda logits, target: logits[:, 99])


def expected(logits, probabilities):
    return 1 - (logits.softmax(1) * probabilities).sum(1)


def test_a_registered_loss_takes_indices_mixed_targets_smoothing_and_auxiliary_heads(own_losses):
    onehot = F.one_hot(TARGET, 4).float()
    mixed = 0.7 * onehot + 0.3 * onehot.flip(0)
    loss = ClassificationLoss("one_minus_p", aux_weights=0.5)
    torch.testing.assert_close(loss.per_sample(LOGITS, TARGET), expected(LOGITS, onehot))
    torch.testing.assert_close(loss.per_sample(LOGITS.double(), mixed), expected(LOGITS, mixed))
    total, parts = loss((LOGITS, AUX1), mixed)
    torch.testing.assert_close(total, expected(LOGITS, mixed).mean() + 0.5 * expected(AUX1, mixed).mean())
    torch.testing.assert_close(parts["loss_aux1"], expected(AUX1, mixed).mean())
    for target in (TARGET, onehot):
        smoothed, _ = ClassificationLoss("one_minus_p", label_smoothing=0.1)(LOGITS, target)
        torch.testing.assert_close(smoothed, expected(LOGITS, 0.9 * onehot + 0.1 / 4).mean())


@pytest.mark.parametrize(("name", "got"), [("averaged", r"\(\)"), ("no_tensor", "float")])
def test_a_registered_loss_that_does_not_give_one_value_per_sample_is_refused(name, got, own_losses):
    with pytest.raises(UserError, match=rf"the loss '{name}' returns {got}, but one value per sample") as error:
        ClassificationLoss(name)(LOGITS, TARGET)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("detached", "the loss 'detached' returns values without a gradient"),
        ("whole", r"the loss 'whole' returns torch\.int64, but a floating-point"),
        (
            "failing",
            r"the loss 'failing' failed on logits \(6, 4\) and torch.int64 targets \(6,\): IndexError: index 99",
        ),
    ],
)
def test_a_registered_loss_that_cannot_train_is_named(name, message, own_losses):
    with pytest.raises(UserError, match=message) as error:
        ClassificationLoss(name)(LOGITS.clone().requires_grad_(), TARGET)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (torch.nn.CrossEntropyLoss, "mine is a class: register a function of .logits, target., or an instance"),
        (lambda logits: logits, "mine must take two arguments"),
    ],
)
def test_what_cannot_be_a_loss_is_refused_when_it_is_registered(loss, message, own_losses):
    with pytest.raises(UserError, match=message):
        register_loss(name="mine")(loss)
    register_loss(name="instance")(torch.nn.CrossEntropyLoss(reduction="none"))
    torch.testing.assert_close(ClassificationLoss("instance")(LOGITS, TARGET)[0], F.cross_entropy(LOGITS, TARGET))


@pytest.mark.parametrize("outputs", [{"logits": LOGITS}, None, (), (None, LOGITS), (LOGITS, "aux"), [[1.0]]])
def test_outputs_that_are_no_tensors_are_refused(outputs):
    with pytest.raises(UserError, match=r"mynet returns a .*, but logits, a tensor"):
        split_outputs(outputs, "mynet")


def test_an_unknown_loss_lists_built_in_and_registered_ones_with_the_nearest(own_losses):
    line = r"unknown loss 'one_minusp', did you mean 'one_minus_p'\? .*mse_softmax"
    with pytest.raises(UserError, match=line) as error:
        ClassificationLoss("one_minusp")
    assert "\n" not in str(error.value)


def test_a_checkpoint_with_a_registered_loss_needs_it_to_be_imported(own_losses, workdir, fails, monkeypatch):
    main(["fit", *TINY, "--epochs=1", "--trainer.limit_train_batches=2", "--model.loss=one_minus_p"])
    checkpoint = Path("lightning_logs/version_0/checkpoints/last.ckpt")
    assert load(checkpoint)["lit_cnn"]["config"]["model"]["loss"] == "one_minus_p"
    assert "was trained with code of tests: add --allow_import tests" in fails("test", "--ckpt_path=best")
    words = ["test", "--ckpt_path=best", "--trainer.enable_progress_bar=false", "--allow_import=tests"]
    main(words)
    monkeypatch.setattr(LOSSES, "_items", {})
    assert fails(*words).startswith("unknown loss 'one_minus_p'")
