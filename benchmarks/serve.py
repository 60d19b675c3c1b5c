"""Load on ``lit-cnn serve`` on this machine: ``python -m benchmarks.serve --ckpt_path PATH [--image PHOTO]``.

For each size of the batches a server is started as a process of its own, and clients (threads of this process, with
a connection) send the same picture again and again; sizes take turns. Latency is that of a client, p50 and p99 of all
requests; the server's resident memory is read after each tenth of the requests.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import io
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.turns import write

_PARTS = 10


@contextlib.contextmanager
def server(ckpt_path: str, batch_size: int) -> Iterator[tuple[subprocess.Popen[str], int, float]]:
    """A server: its process, its port, and the seconds until it answers."""
    words = ["serve", f"--ckpt_path={ckpt_path}", "--port=0", f"--batch-size={batch_size}", "--max-waiting=256"]
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "lit_cnn", *words], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = ""
        while "Ctrl-C" not in line:
            line = process.stdout.readline()
            if not line:
                raise SystemExit(f"the server ended with status {process.wait()}")
        found = re.search(r":(\d+)/", line)
        assert found is not None
        connection = http.client.HTTPConnection("127.0.0.1", int(found[1]))
        connection.request("GET", "/health")
        connection.getresponse().read()
        connection.close()
        yield process, int(found[1]), time.perf_counter() - began
    finally:
        process.kill()
        process.wait()


def megabytes(process: subprocess.Popen[str]) -> float:
    """Resident memory of a process; NaN where the system does not say."""
    try:
        text = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    except OSError:
        return float("nan")
    found = re.search(r"VmRSS:\s*(\d+) kB", text)
    return int(found[1]) / 1024 if found else float("nan")


def load(port: int, content: bytes, requests: int, clients: int) -> tuple[list[float], float]:
    """Milliseconds of each request, and seconds of all."""
    taken: list[float] = []
    failed: list[str] = []

    def client(count: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        for _ in range(count):
            began = time.perf_counter()
            connection.request("POST", "/api/predict", content, {"Content-Type": "image/jpeg"})
            response = connection.getresponse()
            text = response.read()
            taken.append(1000 * (time.perf_counter() - began))
            if response.status != 200:
                failed.append(text.decode(errors="replace"))

    counts = [requests // clients + (number < requests % clients) for number in range(clients)]
    threads = [threading.Thread(target=client, args=(count,)) for count in counts]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed or len(taken) != requests:
        raise SystemExit(f"{requests - len(taken)} requests were not answered, {len(failed)} refused: {failed[:1]}")
    return taken, time.perf_counter() - began


def measure(ckpt_path: str, batch_size: int, content: bytes, requests: int, clients: int) -> dict[str, Any]:
    """One turn of a size of the batches."""
    with server(ckpt_path, batch_size) as (process, port, start):
        load(port, content, 4 * clients, clients)  # the first ones make threads and memory
        taken, seconds, memory = list[float](), 0.0, list[float]()
        for part in range(_PARTS):
            found, took = load(port, content, requests // _PARTS + (part < requests % _PARTS), clients)
            taken, seconds, memory = taken + found, seconds + took, [*memory, megabytes(process)]
        process.send_signal(signal.SIGTERM)
        out = process.communicate(timeout=60)[0]
        if process.returncode:
            raise SystemExit(f"the server ended with status {process.returncode}")
    told = re.search(r"answered: ([\d,]+), in batches: ([\d,]+)", out)
    assert told is not None
    images, batches = (int(text.replace(",", "")) for text in told.groups())
    p50, p99 = np.percentile(taken, [50, 99]).tolist()
    return {
        "start": start,
        "per_second": requests / seconds,
        "p50": p50,
        "p99": p99,
        "memory": memory,
        "images_a_batch": images / batches,
    }


def main(args: Sequence[str] | None = None) -> None:
    """Print a row for each turn, and the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt_path", required=True)
    parser.add_argument("--image", type=Path, help="by default random colours of 224 pixels")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the results to this file as well")
    given = parser.parse_args(args)
    content = given.image.read_bytes() if given.image else _picture()
    turns: dict[int, list[dict[str, Any]]] = {size: [] for size in given.batch_sizes}
    heads = (
        ("images/s", 9),
        ("p50 ms", 8),
        ("p99 ms", 8),
        ("a batch", 8),
        ("start s", 8),
        ("MB then", 8),
        ("MB at end", 10),
    )
    print("batch", *(f"{text:>{width}}" for text, width in heads))
    for _ in range(given.rounds):
        for size in given.batch_sizes:
            found = measure(given.ckpt_path, size, content, given.requests, given.clients)
            turns[size].append(found)
            print(
                f"{size:>5} {found['per_second']:>9.1f} {found['p50']:>8.1f} {found['p99']:>8.1f} "
                f"{found['images_a_batch']:>8.1f} {found['start']:>8.2f} {found['memory'][0]:>8.1f} "
                f"{found['memory'][-1]:>10.1f}",
                flush=True,
            )
    first, *others = given.batch_sizes
    for size in others:
        ratios = [b["per_second"] / a["per_second"] for a, b in zip(turns[first], turns[size], strict=True)]
        spread = f"{np.median(ratios):.2f} times the images ({min(ratios):.2f}-{max(ratios):.2f})"
        print(f"batches of {size} against {first}: {spread}")
    if given.json:
        write(given.json, {"turns": {str(size): found for size, found in turns.items()}})


def _picture() -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (28, 28, 3), np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).resize((224, 224), Image.Resampling.BICUBIC).save(content, "JPEG", quality=90)
    return content.getvalue()


if __name__ == "__main__":
    main()
