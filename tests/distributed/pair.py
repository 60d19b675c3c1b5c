"""Two real processes in one group, as torchrun starts them."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_only


def run_pair(function: Callable[..., Any], folder: Path, *args: Any) -> list[Any]:
    """Call ``function(*args)`` in each of two processes, which work in ``folder``; what it returned, by rank."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(_child, (function, str(folder), port, args), nprocs=2)
    return [torch.load(folder / f"returned_{rank}.pt", weights_only=True) for rank in range(2)]


def _child(rank: int, function: Callable[..., Any], folder: str, port: int, args: tuple[Any, ...]) -> None:
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": "2",
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "GROUP_RANK": "0",
        "LOCAL_WORLD_SIZE": "2",
        "TORCHELASTIC_RUN_ID": "test",
    }
    os.chdir(folder)
    rank_zero_only.rank = rank  # else set when Lightning is imported, which is before the environment is
    torch.set_num_threads(1)
    torch.save(function(*args), Path(folder, f"returned_{rank}.pt"))
    # before Python shuts down, as distributed/watchdog.py does: gloo's threads may outlive it, which aborts the process
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
