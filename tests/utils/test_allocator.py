"""Freed memory stays with the process until it is asked for."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from lit_cnn.utils import allocator, memory

MIB = 2**20
pytestmark = pytest.mark.skipif(allocator._glibc() is None, reason="the C library is not glibc")

HELD = """
import torch
from lit_cnn.utils import allocator, memory
print(int(allocator.keep_freed_memory()))
before = memory.used()
size = lambda: int(open("/proc/self/statm").read().split()[1]) * 4096 - before
block = torch.ones(64 * 2**20)
del block
print(size())
memory.used()
print(size())
"""


def measured(**environment: str) -> list[int]:
    given = {k: v for k, v in os.environ.items() if k not in allocator._USER_SETTINGS} | environment
    run = subprocess.run([sys.executable, "-c", HELD], capture_output=True, text=True, env=given, check=True)
    return [int(line) for line in run.stdout.split()]


def test_a_freed_block_is_kept_until_what_is_used_is_asked_for():
    set_, kept, after = measured()
    assert set_ == 1
    assert kept > 250 * MIB
    assert after < 100 * MIB


def test_an_allocator_set_by_the_user_is_not_changed():
    set_, kept, _ = measured(MALLOC_TRIM_THRESHOLD_="131072")
    assert set_ == 0
    assert kept < 100 * MIB


def test_used_memory_does_not_count_kept_blocks():
    assert memory.used() <= memory.peak()


def test_under_an_address_space_limit_nothing_is_kept(monkeypatch):
    limits = {allocator.resource.RLIMIT_AS: 2**34}
    monkeypatch.setattr(allocator.resource, "getrlimit", lambda kind: (limits.get(kind, -1),) * 2)
    assert not allocator.keep_freed_memory()
