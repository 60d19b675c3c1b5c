from __future__ import annotations

import os

import pytest

from lit_cnn.utils.cpu import has_bfloat16, num_cores

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


@pytest.mark.parametrize(
    ("machine", "text", "expected"),
    [
        ("x86_64", "processor : 0\nflags\t\t: fpu avx512f avx512_bf16 avx2\n", True),
        ("x86_64", "flags\t\t: fpu amx_bf16\n", True),
        ("x86_64", "flags\t\t: fpu avx512f avx2\nbugs\t\t: avx512_bf16\n", False),
        ("aarch64", "Features\t: fp asimd bf16 i8mm\n", True),
        ("aarch64", "Features\t: fp asimd\n", False),
        ("x86_64", "", False),
    ],
)
def test_bfloat16_is_what_the_system_says(machine, text, expected, tmp_path, monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: machine)
    (tmp_path / "cpuinfo").write_text(text)
    assert has_bfloat16(tmp_path / "cpuinfo") is expected
    assert not has_bfloat16(tmp_path / "nothing")
