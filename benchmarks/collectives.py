"""What the ranks of a run exchange, by gloo: the cost of each kind at 8 and 64 ranks on one machine.

``python -m benchmarks.collectives`` forks so many processes of one thread. They sleep between two calls, as if they
waited for a GPU, so that a few cores serve many ranks. Measured on rank zero, medians:

- ``flags``: the all-reduce of each step that decides whether to save or stop (FlagReducer);
- ``gather``: the predictions of an evaluation, ``--images`` a rank, to every rank (all_gather_object);
- ``ddp``, ``fsdp``: a training step of a small network, whose gradients are all-reduced, or whose weights are sharded;
- ``connect``: the watchdog's connections of all ranks to rank zero, once a run;
- ``idle``: share of a core that rank zero's watchdog takes while nothing happens;
- ``death``: from the end of a rank until rank zero knows.

The figures say how costs grow with the ranks; between machines the network decides.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import torch
import torch.distributed as dist
from lightning.pytorch import Trainer
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from benchmarks.turns import timed, write
from lit_cnn.distributed.connections import PeerConnections
from lit_cnn.distributed.flags import FlagReducer
from lit_cnn.models import get_model

RANKS = (8, 64)
PAUSE = 0.02  # seconds asleep between two calls
UNITS = {"flags": "ms", "gather": "ms", "ddp": "ms", "fsdp": "ms", "connect": "ms", "idle": "%", "death": "ms"}


def median(function: Callable[[], Any], repeats: int) -> float:
    """Milliseconds of a call that all ranks make, after one that is not measured."""
    seconds = []
    for _ in range(repeats + 1):
        time.sleep(PAUSE)
        seconds.append(timed(function))
    return 1000 * statistics.median(seconds[1:])


def training_step(sharded: bool) -> Callable[[], None]:
    """A step of ResNet-20 on one tiny image, with this rank's share of the communication."""
    torch.manual_seed(0)
    network = get_model("resnet20", num_classes=10)
    if sharded:  # as lit_cnn.distributed.fsdp does
        mesh = init_device_mesh("cpu", (dist.get_world_size(),))
        for child in network.children():
            if any(True for _ in child.parameters()):
                fully_shard(child, mesh=mesh)
        fully_shard(network, mesh=mesh, reshard_after_forward=False)
    else:
        network = nn.parallel.DistributedDataParallel(network)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    image = torch.rand(2, 3, 8, 8)

    def step() -> None:
        optimizer.zero_grad()
        network(image).sum().backward()
        optimizer.step()

    return step


def watchdog(rank: int) -> dict[str, float]:
    """Connect all ranks to rank zero, listen for a second, and let the last rank end."""
    start = time.perf_counter()
    connections = PeerConnections("127.0.0.1", first=rank == 0)
    address = [connections.address]
    dist.broadcast_object_list(address, src=0)
    if rank > 0:
        connections.connect(address[0], rank)
    dist.barrier()
    if rank > 0:
        dist.barrier()
        if rank == dist.get_world_size() - 1:
            connections.close("")
        dist.barrier()
        return {}
    connections.accept()
    connected = time.perf_counter() - start
    end, busy = time.perf_counter() + 1, time.thread_time()
    while time.perf_counter() < end:
        connections.listen(0.5)
    busy = time.thread_time() - busy
    dist.barrier()
    start = time.perf_counter()
    while not connections.listen(0.5):
        pass
    death = time.perf_counter() - start
    dist.barrier()
    return {"connect": 1000 * connected, "idle": 100 * busy, "death": 1000 * death}


def work(rank: int, ranks: int, folder: str, given: argparse.Namespace, answer: Any) -> None:
    """One rank; rank zero sends what it measured."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=ranks, timeout=timedelta(minutes=10)
    )
    reducer, trainer = FlagReducer(), cast(Trainer, SimpleNamespace(world_size=ranks))
    predictions = {"index": np.arange(given.images), "probs": np.zeros((given.images, 5), np.float32)}
    parts: list[Any] = [None] * ranks
    found = {
        "flags": median(lambda: reducer.any(trainer, [False] * 4), given.repeats),
        "gather": median(lambda: dist.all_gather_object(parts, predictions), given.repeats),
        "ddp": median(training_step(sharded=False), given.repeats),
        "fsdp": median(training_step(sharded=True), given.repeats),
        **watchdog(rank),
    }
    if rank == 0:
        answer.send(found)
    dist.barrier()
    dist.destroy_process_group()


def measure(ranks: int, given: argparse.Namespace) -> dict[str, float]:
    """Run so many ranks; what rank zero measured."""
    context = multiprocessing.get_context("fork")  # they share the memory of everything that is imported
    receiver, sender = context.Pipe(duplex=False)
    with tempfile.TemporaryDirectory() as folder:
        processes = [context.Process(target=work, args=(r, ranks, folder, given, sender)) for r in range(ranks)]
        for process in processes:
            process.start()
        sender.close()
        try:
            found: dict[str, float] = receiver.recv()
        except EOFError:
            raise SystemExit("a rank failed") from None
        for process in processes:
            process.join()
    return found


def main(args: Sequence[str] | None = None) -> None:
    """Print the table, and write it as JSON if a path is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, nargs="+", default=RANKS, help="numbers of ranks (8 64)")
    parser.add_argument("--images", type=int, default=1000, help="evaluated by a rank (1,000)")
    parser.add_argument("--repeats", type=int, default=20, help="calls of each kind (20)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the results to this file as well")
    given = parser.parse_args(args)
    rows = {ranks: measure(ranks, given) for ranks in given.ranks}
    print(f"torch {torch.__version__}, gloo, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print("          " + "".join(f"{ranks:>8} ranks" for ranks in rows))
    for name, unit in UNITS.items():
        print(f"{name:8}" + "".join(f"{row[name]:>12.2f} {unit}" for row in rows.values()))
    write(given.json, {"torch": torch.__version__, "load": os.getloadavg(), "rows": rows})


if __name__ == "__main__":
    main()
