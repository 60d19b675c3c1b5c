"""Out-of-memory errors of any device: recognize them."""

from __future__ import annotations

import re

import torch

from lit_cnn.errors import UserError

# Messages of plain RuntimeErrors raised by the CPU allocator, oneDNN, CUDA, cuDNN, cuBLAS and MPS.
OOM_MESSAGE = re.compile(
    r"can('t|not) allocate memory|bad_alloc|could not create a memory|out of memory|_STATUS_ALLOC_FAILED",
    re.IGNORECASE,
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error was raised because memory ran out, on the CPU or any accelerator."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return (
        isinstance(error, (RuntimeError, OSError))
        and not isinstance(error, UserError)
        and bool(OOM_MESSAGE.search(str(error)))
    )
