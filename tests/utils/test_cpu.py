from __future__ import annotations

import os

import pytest

from lit_cnn.utils.cpu import num_cores

SLURM = {"SLURM_STEP_TASKS_PER_NODE": "4", "SLURM_NODEID": "0", "SLURM_CPUS_ON_NODE": "32"}


@pytest.mark.parametrize(
    ("usable", "processes", "environment", "expected"),
    [
        (32, 1, {}, 32),
        (32, 4, {}, 8),  # Lightning or torchrun started them: they share all cores
        (2, 4, {}, 1),
        (8, 4, SLURM, 8),  # each task is bound to its own
        (32, 4, SLURM, 8),  # --cpu-bind=none: all tasks may use all cores
        (16, 4, SLURM, 8),  # bound by sockets: two tasks share one
        (8, 1, SLURM, 8),
        (8, 4, SLURM | {"SLURM_STEP_TASKS_PER_NODE": "1"}, 2),  # one task, whose ranks Lightning started
        (8, 4, {"SLURM_CPUS_ON_NODE": "32"}, 2),  # in a job, but not started by srun
        (8, 4, SLURM | {"SLURM_STEP_TASKS_PER_NODE": "2(x3),4", "SLURM_NODEID": "3"}, 8),
        (8, 2, SLURM | {"SLURM_STEP_TASKS_PER_NODE": "4(x3),2", "SLURM_NODEID": "3", "SLURM_CPUS_ON_NODE": "8"}, 4),
        (8, 4, SLURM | {"SLURM_NODEID": "7"}, 2),  # nonsense: as without SLURM
        (8, 4, SLURM | {"SLURM_CPUS_ON_NODE": "many"}, 2),
        (8, 4, SLURM | {"SLURM_CPUS_ON_NODE": "0"}, 2),
    ],
)
def test_cores_are_divided_among_the_processes_that_share_them(usable, processes, environment, expected, monkeypatch):
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(usable)), raising=False)
    assert num_cores(processes) == expected
