"""Scores of several labels as training computes them."""

from __future__ import annotations

import pytest
import torch
from sklearn import metrics

from lit_cnn.tasks.classification import ImageClassifier
from lit_cnn.tasks.multi_label import count_exact, label_scores

GENERATOR = torch.Generator().manual_seed(0)
TARGET = (torch.rand(60, 4, generator=GENERATOR) < 0.4).to(torch.uint8)
LOGITS = 3 * TARGET - 1.5 + 2 * torch.randn(60, 4, generator=GENERATOR)


def test_scores_are_those_of_scikit_learn_however_images_are_batched():
    probs = LOGITS.sigmoid()
    found = label_scores(4)
    for part in torch.arange(60).split(7):
        found.update(probs[part], TARGET[part].long())
    values = {name: float(value) for name, value in found.compute().items()}
    true, predicted = TARGET.numpy(), (probs > 0.5).numpy()
    assert values["acc"] == pytest.approx(metrics.accuracy_score(true, predicted))
    assert values["f1"] == pytest.approx(metrics.f1_score(true, predicted, average="micro"))
    assert values["map"] == pytest.approx(
        metrics.average_precision_score(true, probs.numpy()), abs=1e-2
    )  # at 1,001 thresholds
    assert count_exact(LOGITS, TARGET) == round(values["acc"] * 60)


def test_probabilities_are_of_each_label():
    task = ImageClassifier(4, 3, "resnet20", multilabel=True)
    batch = type("Batch", (), {"index": torch.arange(60), "target": TARGET})()
    outputs = task.outputs(batch, LOGITS)
    assert torch.equal(outputs["probs"], LOGITS.sigmoid())
