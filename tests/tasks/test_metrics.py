import math
from collections.abc import Iterator

import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix, top_k_accuracy_score
from torch.utils._python_dispatch import TorchDispatchMode
from torchmetrics import Metric

from lit_cnn.tasks.classification import ImageClassifier
from lit_cnn.tasks.metrics import ConfusionMatrix, EpochMeans, ExactMean, accuracies, count_correct

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
    matrix = ConfusionMatrix(10)
    for logits, target in zip(LOGITS.split(33), TARGET.split(33), strict=True):
        matrix.update(logits, target)
    assert torch.equal(matrix.compute(), torch.from_numpy(confusion_matrix(TARGET, LOGITS.argmax(1))))


class Largest(TorchDispatchMode):
    """The largest number of elements that an operation returned."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor):
            self.elements = max(self.elements, out.numel())
        return out


@pytest.fixture
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def test_deterministic_counts_need_memory_for_the_cells_alone(deterministic):
    matrix, largest = ConfusionMatrix(100), Largest()
    with largest:
        matrix.update(torch.randn(50, 100), torch.randint(0, 100, (50,)))
    assert largest.elements <= 100 * 100
    assert matrix.compute().sum() == 50


# -- devices without float64


def refuse_float64(tensor: torch.Tensor) -> torch.Tensor:
    """As moving to Apple's GPUs does."""
    if tensor.dtype == torch.float64:
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64")
    return tensor.clone()


def test_a_task_and_its_metrics_move_to_a_device_without_float64():
    task = ImageClassifier(10, 1, "lenet")
    task._apply(refuse_float64)
    states = [getattr(m, name) for m in task.modules() if isinstance(m, Metric) for name in m._defaults]
    assert {state.dtype for state in states} == {torch.float32, torch.int64}
    task.val_loss.reset()
    assert task.val_loss.total.dtype == torch.float32


def test_the_mean_on_such_a_device_is_that_of_float64_however_samples_are_grouped():
    values = torch.rand(100_001, generator=GEN) * 100
    exact = values.double().mean().float()
    for size in (100_001, 64, 7):
        mean = ExactMean()
        mean._apply(refuse_float64)
        for part in values.split(size):
            mean.update(part)
        assert mean.compute() == exact


def test_running_means_on_such_a_device_resume_there_and_elsewhere():
    values = torch.rand(1000, generator=GEN).tolist()
    wide, narrow = EpochMeans("loss"), EpochMeans("loss")
    narrow._apply(refuse_float64)
    for means in (wide, narrow):
        for value in values:
            means.add(100, {"loss": torch.tensor(value)})
    (first, second) = (means.sums()["loss"] for means in (wide, narrow))
    assert (first["total"].dtype, second["total"].dtype) == (torch.float64, torch.float64)
    assert second["total"].item() == pytest.approx(first["total"].item(), rel=1e-12)
    for move in (refuse_float64, torch.clone):
        resumed = EpochMeans("loss")
        resumed._apply(move)
        resumed.resume({"loss": second}, rank=0)
        assert resumed.mean("loss").compute() == wide.mean("loss").compute()
    narrow._apply(torch.clone)  # back on the CPU
    assert narrow.mean("loss").total.dtype == torch.float64
    assert narrow.mean("loss").exact_total() == second["total"]


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_an_infinite_or_missing_loss_shows_in_the_mean_on_such_a_device(bad):
    mean = ExactMean()
    mean._apply(refuse_float64)
    mean.update(torch.tensor([1.0, bad, 2.0]))
    running = EpochMeans("loss")
    running._apply(refuse_float64)
    running.add(4, {"loss": torch.tensor(bad)})
    running.add(4, {"loss": torch.tensor(1.0)})
    for value in (mean.compute(), running.mean("loss").compute()):
        assert value.isnan() if math.isnan(bad) else value == bad


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
