import math
from collections import namedtuple

import pytest
import torch
import torch.nn.functional as F

from lit_cnn.errors import UserError
from lit_cnn.tasks.losses import ClassificationLoss, split_outputs

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


def test_a_wrong_number_of_auxiliary_weights_is_told():
    with pytest.raises(UserError, match="aux_weights has 3 values but the backbone has 2"):
        ClassificationLoss(aux_weights=[1.0, 2.0, 3.0])((LOGITS, AUX1, AUX2), TARGET)


def test_named_tuple_fields_give_the_heads_their_numbers_and_absent_heads_are_left_out():
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
