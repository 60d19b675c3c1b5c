"""Caches that are damaged, half built, without room or read by many at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lit_cnn.errors import UserError
from lit_cnn.utils.files import cache_folder
from tests.data.cache.helpers import FLIPS, cached_folder, fed_batches, same_batches, store_files


@pytest.mark.parametrize("damage", ["cut", "gone", "manifest", "index"])
def test_a_damaged_cache_is_rebuilt(make_folder: Callable[..., Path], damage: str) -> None:
    root = make_folder({"cat": 6, "dog": 6})
    before = fed_batches(cached_folder(root, "disk"))
    for path in cache_folder().glob("pictures/*/pixels-*.u8"):
        if damage == "cut":
            path.write_bytes(path.read_bytes()[:-1])
        elif damage == "gone":
            path.unlink()
        elif damage == "index":
            path.write_bytes(path.read_bytes()[:-4] + b"abcd")
        else:
            (path.parent / "manifest.json").write_text('{"version": 1, "pix')
    assert same_batches(fed_batches(cached_folder(root, "disk"))["train"], before["train"])


@pytest.mark.parametrize("crop", [True, False], ids=["crops", "whole pictures"])
def test_damaged_pixels_are_never_trained_on(make_folder: Callable[..., Path], crop: bool) -> None:
    root = make_folder({"cat": 6, "dog": 6})
    settings = {} if crop else {"augment": FLIPS}
    fed_batches(cached_folder(root, "disk", **settings))
    for path in cache_folder().glob("pictures/*/pixels-*.u8"):
        content = bytearray(path.read_bytes())
        content[100] ^= 1
        path.write_bytes(content)
    with pytest.raises(
        UserError, match=r"decoded images cached in .*pictures.* are damaged: remove it, and start again"
    ):
        fed_batches(cached_folder(root, "disk", **settings))


CHILD = """
import sys, time
from pathlib import Path
import torch
from lit_cnn.data import ImageFolder
from lit_cnn.data.cache import source
real = source.read_bounded
def slow(path, *args):
    print("decoding", flush=True)
    time.sleep(float(sys.argv[2]))
    return real(path, *args)
source.read_bounded = slow
data = ImageFolder(data_dir=sys.argv[1], batch_size=5, image_size=12, cache="disk", workers=1)
data.setup("fit")
print(sum(int(batch.image.sum()) for batch in data.train_dataloader()), flush=True)
"""


def _child(root: Path, seconds: float) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", CHILD, str(root), str(seconds)], stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no kill -9")
def test_a_killed_build_leaves_nothing_that_is_used_and_the_next_one_removes_what_is_left(
    make_folder: Callable[..., Path], decoded: list[str]
) -> None:
    root = make_folder({"cat": 20, "dog": 20})
    child = _child(root, 0.05)
    assert child.stdout is not None
    for _ in range(5):
        assert child.stdout.readline() == "decoding\n"
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert any(name.endswith(".partial") for name in store_files())
    assert "manifest.json" not in store_files()
    expected = fed_batches(cached_folder(root, "ram"))
    count = len(decoded)
    assert same_batches(fed_batches(cached_folder(root, "disk"))["train"], expected["train"])
    assert len(decoded) == 2 * count
    assert not any(name.endswith(".partial") for name in store_files())


@pytest.mark.slow
def test_processes_that_start_together_build_once_and_see_the_same(make_folder: Callable[..., Path]) -> None:
    root = make_folder({"cat": 10, "dog": 10})
    children = [_child(root, 0.02) for _ in range(2)]
    outputs = [child.communicate(timeout=60)[0].split() for child in children]
    assert [child.returncode for child in children] == [0, 0]
    training = len(fed_batches(cached_folder(root, "none"))["train"]) * 5
    assert sum(output.count("decoding") for output in outputs) in range(training - 4, training + 5)
    assert outputs[0][-1] == outputs[1][-1]
    assert 0 in [output.count("decoding") for output in outputs]


def test_an_image_that_cannot_be_read_is_named_and_nothing_is_kept(make_folder: Callable[..., Path]) -> None:
    root = make_folder({"cat": 6, "dog": 6})
    for path in root.glob("*/*.png"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match=r"cannot read image .*\.png: it is empty"):
        fed_batches(cached_folder(root, "disk"))
    assert store_files() == ["lock"]


def test_too_little_disk_space_is_one_line(
    make_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    root = make_folder({"cat": 100, "dog": 100})
    monkeypatch.setattr("lit_cnn.utils.memory.available", lambda: 1000)
    with pytest.raises(UserError, match=r"decoded images of about .* KiB do not fit in memory: try `data.cache=disk`"):
        fed_batches(cached_folder(root, "ram"))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LIT_CNN_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"cannot cache decoded images in .*: .*; make room, set LIT_CNN_CACHE"):
        fed_batches(cached_folder(root, "disk"))


def test_many_threads_may_read_one_cache(make_folder: Callable[..., Path]) -> None:
    data = cached_folder(make_folder({"cat": 10, "dog": 10}), "ram")
    data.setup("fit")
    store = data.train_dataloader().source.cache  # type: ignore[attr-defined]
    expected = [store.image(i).copy() for i in range(len(store))]
    with ThreadPoolExecutor(4) as pool:
        start = time.monotonic()
        while time.monotonic() < start + 0.05:
            assert all((a == b).all() for a, b in zip(pool.map(store.image, range(len(store))), expected, strict=True))
