"""Running out of memory is one line with what to try."""

from __future__ import annotations

import pytest
import torch
from jsonargparse import Namespace

from lit_cnn.cli.out_of_memory import report_out_of_memory
from lit_cnn.errors import UserError


def said(error, command="fit", resumes=False, batch=64, precision="32-true", accumulate=1, evaluation=None):
    config = Namespace(
        data=Namespace(init_args=Namespace(batch_size=batch, eval_batch_size=evaluation)),
        trainer=Namespace(accumulate_grad_batches=accumulate, precision=precision),
    )
    with pytest.raises(UserError) as caught, report_out_of_memory(command, config, resumes):
        raise error
    return str(caught.value)


def test_running_out_of_memory_is_one_line_with_what_to_try():
    gpu = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total …\nmore")
    assert said(gpu) == (
        "out of memory in fit with batches of 64 images (2.00 GiB more were requested): try --batch-size 32 "
        "--trainer.accumulate_grad_batches 2 (as many images per optimizer step), or --data.batch_size auto "
        "(the largest that fits), or --amp (bfloat16: about half the memory)"
    )
    cpu = RuntimeError(
        "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 3145728 bytes."
    )
    assert said(cpu, resumes=True, batch=96, accumulate=4) == (
        "out of memory in fit with batches of 96 images (3 MiB more were requested): try --batch-size 48 "
        "--trainer.accumulate_grad_batches 8 --resume_anyway (as many images per optimizer step)"
    )
    assert "--amp" not in said(MemoryError(), precision="bf16-mixed")
    assert said(MemoryError(), "test").endswith("with batches of 256 images: try --batch-size 128")
    assert said(MemoryError(), "test", evaluation=64).endswith("with batches of 64 images: try --batch-size 32")
    assert "a smaller --img-size" in said(MemoryError(), batch=1)


@pytest.mark.parametrize(
    "error", [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ValueError("no"), KeyError(3)]
)
def test_other_errors_stay_what_they_are(error):
    with pytest.raises(type(error)), report_out_of_memory("fit", None, False):
        raise error
