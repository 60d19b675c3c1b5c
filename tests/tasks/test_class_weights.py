"""Class weights against scikit-learn and torch, in a run, its checkpoint and its resume."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.utils.class_weight import compute_class_weight

from lit_cnn.cli.main import main
from lit_cnn.data import Digits
from lit_cnn.errors import UserError
from lit_cnn.tasks.class_weights import check_class_weights, resolve_class_weights
from lit_cnn.tasks.losses import ClassificationLoss
from tests.conftest import TINY, load, state_differences

NAMES = ["a", "b", "c", "d"]
TARGETS = torch.tensor([0] * 10 + [1] * 5 + [3])


def test_balanced_weights_are_scikit_learns():
    theirs = compute_class_weight("balanced", classes=np.array([0, 1, 3]), y=TARGETS.numpy())
    found = resolve_class_weights("balanced", NAMES, TARGETS)
    np.testing.assert_allclose(found[[0, 1, 3]], theirs, rtol=1e-6)
    assert found[2] == 1  # has no images


def test_balanced_weights_of_several_labels_are_absent_over_present():
    labels = torch.tensor([[1, 0, 1, 0], [0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 1, 0]], dtype=torch.uint8)
    assert resolve_class_weights("balanced", NAMES, labels).tolist() == [3, 3, 1, 1]


def test_weights_by_name_leave_the_others_at_1():
    assert resolve_class_weights({"c": 5, "a": 0.5}, NAMES, TARGETS).tolist() == [0.5, 1, 5, 1]
    with pytest.raises(UserError, match=r"names 'zebra', which is no class; classes: a, b, c, d"):
        resolve_class_weights({"zebra": 5}, NAMES, TARGETS)


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ([1.0, 2.0], r"has 2 values, but there are 4 classes"),
        ([1.0, 2.0, 0.0, 1.0], r"holds 0.0: every weight must be a number above 0"),
        ({"a": float("nan")}, r"holds nan"),
        ("auto", r"is 'auto': give balanced"),
    ],
)
def test_weights_that_cannot_work_are_refused(setting, line):
    with pytest.raises(UserError, match=line):
        check_class_weights(setting, 4)


def test_the_weighted_mean_is_torchs_and_evaluation_is_unweighted():
    logits = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))
    weights = torch.tensor([0.5, 1.0, 2.0, 4.0])
    loss = ClassificationLoss(weighted_classes=4)
    loss.class_weights.copy_(weights)
    torch.testing.assert_close(loss(logits, TARGETS)[0], F.cross_entropy(logits, TARGETS, weight=weights))
    torch.testing.assert_close(loss(logits, F.one_hot(TARGETS, 4).float())[0], loss(logits, TARGETS)[0])
    torch.testing.assert_close(loss.per_sample(logits, TARGETS).mean(), F.cross_entropy(logits, TARGETS))
    _, parts = loss((logits, 2 * logits), TARGETS)
    torch.testing.assert_close(parts["loss_aux1"], F.cross_entropy(2 * logits, TARGETS, weight=weights))
    assert loss.state_dict() == {}


def test_a_run_stores_the_weights_of_its_training_split_and_resumes_with_the_same_bits(workdir, capsys):
    words = [*TINY, "--model.class_weights=balanced", "--model.loss=focal", "--model.ema_decay=0.9"]
    words += ["--model.lr_scheduler=constant"]  # whose shape does not depend on the number of steps
    main(["fit", *words, "--epochs=2", "--name=whole"])
    assert "class weights: 0 1" in capsys.readouterr().out
    data = Digits()
    data.setup("fit")
    targets = data.train_dataloader().targets
    expected = compute_class_weight("balanced", classes=np.arange(10), y=targets.numpy())
    whole = workdir / "lightning_logs" / "whole" / "checkpoints" / "last.ckpt"
    np.testing.assert_allclose(load(whole)["class_weights"], expected, rtol=1e-6)
    main(["fit", *words, "--epochs=2", "--name=halves", "--trainer.max_steps=10"])
    main(["fit", "--resume=halves", "--trainer.max_steps=-1"])
    assert state_differences(whole, workdir / "lightning_logs" / "halves" / "checkpoints" / "last.ckpt") == []


def test_weights_by_name_work_on_the_command_line(workdir, fails):
    main(["fit", *TINY, "--epochs=1", "--model.class_weights={'0': 3, '7': 2.5}"])
    assert "no class" in fails("fit", *TINY, "--epochs=1", "--model.class_weights={ten: 3}")
    assert "has 2 values" in fails("fit", *TINY, "--epochs=1", "--model.class_weights=[1,2]")
