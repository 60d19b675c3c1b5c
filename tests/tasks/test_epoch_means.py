"""Running means of training, against plain sums."""

from __future__ import annotations

import pytest
import torch

from lit_cnn.tasks.epoch_means import EpochMeans

TARGET = torch.tensor([0, 1, 2, 2])
LOGITS = torch.eye(3)[torch.tensor([0, 1, 1, 2])]  # three of four right


def test_means_are_over_samples_whatever_the_batches():
    means = EpochMeans()
    assert means.add(torch.tensor(1.0), {"loss_aux1": torch.tensor(3.0)}, LOGITS, TARGET) == 0.75
    assert means.add(torch.tensor(4.0), {"loss_aux1": torch.tensor(0.0)}, LOGITS[:2], TARGET[:2]) == 1
    values = {name: means.mean(name).compute().item() for name in means}
    assert values == pytest.approx({"loss": (4 * 1 + 2 * 4) / 6, "acc": 5 / 6, "loss_aux1": 12 / 6})


def test_mixed_targets_count_by_their_largest_class():
    soft = torch.tensor([[0.6, 0.4, 0.0], [0.4, 0.6, 0.0], [0.3, 0.3, 0.4], [0.0, 0.1, 0.9]])
    assert EpochMeans().add(torch.tensor(1.0), {}, LOGITS, soft) == 0.75


def test_sums_resumed_by_two_processes_together_end_as_if_never_stopped():
    half = EpochMeans()
    half.add(torch.tensor(1.0), {"loss_aux1": torch.tensor(3.0)}, LOGITS, TARGET)
    processes = [EpochMeans(), EpochMeans()]
    for rank, means in enumerate(processes):
        means.resume(half.sums(), rank)
        assert list(means) == list(half)  # all have to know the names, to reduce the same ones
        means.add(torch.tensor(2.0), {"loss_aux1": torch.tensor(5.0)}, LOGITS, TARGET)
    totals = {name: sum(means.mean(name).total.item() for means in processes) for name in half}
    counts = {name: sum(means.mean(name).count.item() for means in processes) for name in half}
    assert totals == {"loss": 20, "acc": 9, "loss_aux1": 52}
    assert set(counts.values()) == {12}


def test_a_resumed_mean_counts_as_updated():
    half, means = EpochMeans(), EpochMeans()
    half.add(torch.tensor(1.0), {}, LOGITS, TARGET)
    means.resume(half.sums(), 0)
    assert means.mean("loss").update_count > 0
