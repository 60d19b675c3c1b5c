"""Memory: what is used and what is still available."""

from __future__ import annotations

import pytest
import torch

from lit_cnn.utils import memory

MIB = 2**20


def lay_out(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


MEMINFO = {"proc/meminfo": "MemTotal: 8192 kB\nMemAvailable: 4096 kB\n"}


@pytest.mark.parametrize(
    ("files", "kib"),
    [
        ({}, 4096),
        # version 2, in a job's group below one with a tighter limit; file contents in memory can be dropped
        (
            {
                "proc/self/cgroup": "0::/jobs/seven\n",
                "sys/fs/cgroup/jobs/seven/memory.max": "max\n",
                "sys/fs/cgroup/jobs/seven/memory.current": "4096\n",
                "sys/fs/cgroup/jobs/memory.max": str(3072 * 1024),
                "sys/fs/cgroup/jobs/memory.current": str(2048 * 1024),
                "sys/fs/cgroup/jobs/memory.stat": f"anon 5\ninactive_file {512 * 1024}\n",
            },
            1024 + 512,
        ),
        # version 1, in a container whose group is mounted as the root but named by the host's path
        (
            {
                "proc/self/cgroup": "8:pids:/x\n4:memory:/docker/abc\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": str(2048 * 1024),
                "sys/fs/cgroup/memory/memory.usage_in_bytes": str(1024 * 1024),
            },
            1024,
        ),
    ],
    ids=["no group", "version 2", "version 1"],
)
def test_the_tightest_limit_counts(files, kib, tmp_path):
    lay_out(tmp_path, {**MEMINFO, **files})
    assert memory.available(tmp_path) == kib * 1024


def test_peak_and_use_follow_what_is_allocated():
    memory.reset_peak()
    before = memory.used()
    block = torch.ones(64 * MIB)  # 256 MiB
    assert memory.used() - before > 250 * MIB
    del block
    assert memory.used() - before < 100 * MIB
    assert memory.peak() - before > 250 * MIB
