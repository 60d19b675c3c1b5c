from __future__ import annotations

import pytest
import torch

from lit_cnn.utils.tensors import HostCopy, all_finite, copy_all_, group_by_dtype, to_device
from tests.fake_cuda import CUDA, fake_cuda

MIXED = [torch.ones(2), torch.ones(3, dtype=torch.int64), torch.ones(1), torch.ones(2, dtype=torch.float64)]


def test_lists_are_copied_by_one_call_for_each_dtype(monkeypatch):
    calls, real = [], torch._foreach_copy_
    monkeypatch.setattr(torch, "_foreach_copy_", lambda a, b: calls.append(a[0].dtype) or real(a, b))
    targets = [torch.zeros_like(t) for t in MIXED]
    copy_all_(targets, MIXED)
    assert calls == [torch.float32, torch.int64, torch.float64]
    assert all(torch.equal(a, b) for a, b in zip(targets, MIXED, strict=True))
    assert [len(group) for (group,) in group_by_dtype(MIXED)] == [2, 1, 1]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_one_bad_value_in_any_tensor_is_seen_by_one_read_for_each_dtype(value, dtype):
    tensors = [torch.ones(3, dtype=dtype), torch.ones(2, 2, dtype=dtype), torch.ones(4)]
    flags = all_finite(tensors)
    assert len(flags) == (1 if dtype == torch.float32 else 2)
    assert all(map(bool, flags))
    tensors[1][1, 0] = value
    assert not all(map(bool, all_finite(tensors)))
    assert all_finite([]) == []


def test_on_the_cpu_nothing_is_copied():
    tensor = torch.randn(3)
    assert to_device(tensor, torch.device("cpu")) is tensor
    assert HostCopy(tensor).read() is tensor


def test_the_counter_of_waits_sees_each_kind_of_them():
    with fake_cuda() as counter:
        there = torch.ones(3, device=CUDA)
        HostCopy(there.sum()).read()
        to_device(torch.ones(3), CUDA)
        there.add_(torch.tensor(2.0))  # a scalar of the CPU is an argument of the kernel
        assert (counter.reads, counter.copies) == ([], [])
        bool(there.sum() > 0)
        there.sum().item()
        assert len(counter.reads) == 2
        for copy in (
            lambda: torch.ones(3).to(CUDA),
            lambda: torch.ones(3).to(CUDA, non_blocking=True),  # not pinned
            lambda: torch.ones(3).pin_memory().to(CUDA),
            lambda: there.cpu(),
            lambda: torch.tensor([1, 2], device=CUDA),
            lambda: there[torch.tensor([0, 1])],
            lambda: torch.ones(3).copy_(there),
        ):
            counter.copies.clear()
            copy()
            assert len(counter.copies) == 1
        with pytest.raises(Exception, match="nonzero"):
            there.nonzero()
        assert "aten.nonzero.default" in counter.reads
