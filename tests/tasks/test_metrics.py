import torch
from sklearn.metrics import accuracy_score, top_k_accuracy_score
from sklearn.metrics import confusion_matrix as sklearn_confusion

from lit_cnn.tasks.metrics import ExactMean, accuracies, confusion_matrix

GEN = torch.Generator().manual_seed(1)
LOGITS = torch.randn(200, 10, generator=GEN)
TARGET = torch.randint(0, 10, (200,), generator=GEN)


def test_mean_does_not_depend_on_how_samples_are_grouped():
    values = torch.rand(10_001, generator=GEN) * 100
    means = []
    for size in (10_001, 64, 7):
        mean = ExactMean()
        for part in values.split(size):
            mean.update(part)
        means.append(mean.compute())
    assert means[0] == means[1] == means[2]
    assert means[0] == values.double().mean().float()


def test_accuracies_equal_scikit_learns():
    scores = accuracies(10)
    for logits, target in zip(LOGITS.split(33), TARGET.split(33), strict=True):
        scores.update(logits, target)
    values = scores.compute()
    assert values["acc"].item() == torch.tensor(accuracy_score(TARGET, LOGITS.argmax(1))).float().item()
    assert (
        values["acc_top5"].item() == torch.tensor(top_k_accuracy_score(TARGET, LOGITS.softmax(1), k=5)).float().item()
    )


def test_top5_is_measured_only_with_more_than_five_classes():
    assert "acc_top5" not in accuracies(5)
    assert "acc_top5" in accuracies(6)


def test_confusion_matrix_has_true_classes_on_rows():
    matrix = confusion_matrix(10)
    matrix.update(LOGITS, TARGET)
    assert torch.equal(matrix.compute(), torch.from_numpy(sklearn_confusion(TARGET, LOGITS.argmax(1))))
