"""Schedules against torch's."""

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from lit_cnn.optim.lr_schedule import Schedule

STEPS = 40


def rates(make):
    """Learning rates that a torch scheduler gives, starting from 1."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer)
    values = []
    for step in range(STEPS):
        values.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step < STEPS - 1:  # OneCycleLR raises when asked for a step past its last
            scheduler.step()
    return values


@pytest.mark.parametrize(
    ("schedule", "reference"),
    [
        (Schedule("constant", STEPS), lambda o: lr_scheduler.ConstantLR(o, 1.0)),
        (Schedule("step", STEPS, step_size=15, gamma=0.2), lambda o: lr_scheduler.StepLR(o, 15, 0.2)),
        (Schedule("cosine", STEPS), lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS)),
        (Schedule("cosine", STEPS, floor=0.05), lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS, eta_min=0.05)),
        (Schedule("linear", STEPS, floor=0.1), lambda o: lr_scheduler.LinearLR(o, 1.0, 0.1, STEPS)),
        (
            Schedule("one_cycle", STEPS),
            lambda o: lr_scheduler.OneCycleLR(o, 1.0, total_steps=STEPS, cycle_momentum=False),
        ),
    ],
    ids=["constant", "step", "cosine", "cosine-floor", "linear", "one_cycle"],
)
def test_schedules_equal_torchs(schedule, reference):
    assert [schedule(t) for t in range(STEPS)] == pytest.approx(rates(reference), abs=1e-9)


@pytest.mark.parametrize("name", ["constant", "step", "cosine", "linear"])
def test_warm_up_rises_linearly_to_the_peak_and_the_schedule_follows(name):
    schedule = Schedule(name, STEPS, warmup=10, step_size=20)
    assert [schedule(t) for t in range(10)] == pytest.approx([(t + 1) / 10 for t in range(10)])
    assert schedule(10) == pytest.approx(1.0)
    assert all(schedule(t) <= 1.0 for t in range(10, STEPS))


def test_one_cycle_peaks_where_the_warm_up_ends():
    schedule = Schedule("one_cycle", STEPS, warmup=5)
    values = [schedule(t) for t in range(STEPS)]
    assert values.index(max(values)) == 4
    assert max(values) == pytest.approx(1.0)


def test_cosine_with_warm_up_ends_at_its_floor_and_stays_there():
    schedule = Schedule("cosine", STEPS, warmup=5, floor=0.01)
    assert schedule(STEPS) == pytest.approx(0.01)
    assert schedule(STEPS + 100) == pytest.approx(0.01)
