import pytest
import torch
from sklearn.metrics import accuracy_score, top_k_accuracy_score
from sklearn.metrics import confusion_matrix as sklearn_confusion

from lit_cnn.tasks.metrics import EpochMeans, ExactMean, accuracies, confusion_matrix, count_correct

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


# -- running means of training


def add(means, count, loss, aux=None, correct=0):
    """Add a batch; ``correct``: number of correct predictions."""
    parts = {} if aux is None else {"loss_aux1": torch.tensor(aux)}
    means.add(count, {"loss": torch.tensor(loss), **parts}, {"acc": torch.tensor(correct)})


def test_running_means_are_over_samples_whatever_the_batches():
    means = EpochMeans("loss", "acc")
    add(means, 4, 1.0, 3.0, correct=3)
    add(means, 2, 4.0, 0.0, correct=2)
    assert list(means) == ["loss", "acc", "loss_aux1"]
    values = {name: means.mean(name).compute().item() for name in means}
    assert values == pytest.approx({"loss": (4 * 1 + 2 * 4) / 6, "acc": 5 / 6, "loss_aux1": 12 / 6})


def test_correct_predictions_of_mixed_targets_are_those_of_their_largest_class():
    logits = torch.eye(3)[torch.tensor([0, 1, 1, 2])]
    assert count_correct(logits, torch.tensor([0, 1, 2, 2])) == 3
    soft = torch.tensor([[0.6, 0.4, 0.0], [0.4, 0.6, 0.0], [0.3, 0.3, 0.4], [0.0, 0.1, 0.9]])
    assert count_correct(logits, soft) == 3


def test_sums_resumed_on_two_ranks_end_as_if_never_stopped():
    half = EpochMeans("loss", "acc")
    add(half, 4, 1.0, 3.0, correct=3)
    ranks = [EpochMeans("loss", "acc"), EpochMeans("loss", "acc")]
    for rank, means in enumerate(ranks):
        means.resume(half.sums(), rank)
        assert list(means) == list(half)  # all need the names, to reduce the same ones
        add(means, 4, 2.0, 5.0, correct=3)
    totals = {name: sum(means.mean(name).total.item() for means in ranks) for name in half}
    counts = {name: sum(means.mean(name).count.item() for means in ranks) for name in half}
    assert totals == {"loss": 20, "acc": 9, "loss_aux1": 52}
    assert set(counts.values()) == {12}
    assert all(means.mean("loss").update_count > 0 for means in ranks)


def test_the_local_state_can_be_restored():
    means = EpochMeans("loss", "acc")
    add(means, 4, 1.0, correct=3)
    before = means.local_state()
    add(means, 4, 5.0, 2.0, correct=4)
    means.load_local_state(before)
    assert means.mean("loss").compute() == 1.0
    assert means.mean("acc").compute() == 0.75
    assert means.mean("loss_aux1").count == 0
