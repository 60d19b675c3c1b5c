"""Decoded images cached in memory or on disk: the same pixels, complete, never stale."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from PIL import Image

from lit_cnn.data import Augment, Batch, ImageFolder
from lit_cnn.data.cache import source
from lit_cnn.data.cache.source import CachedSource
from lit_cnn.errors import UserError
from lit_cnn.utils.files import cache_folder
from tests.data.helpers import Recorder, make_trainer, pixels

CROPS = Augment(crop_scale=(0.2, 1.0), flip=0.5)
FLIPS = Augment(flip=0.5)


def _data(root: Path, cache: str, augment: Augment = CROPS, **kwargs: object) -> ImageFolder:
    return ImageFolder(
        data_dir=str(root), batch_size=5, image_size=12, cache=cache, augment=augment, **{"workers": 2, **kwargs}
    )


def _fed(data: ImageFolder) -> dict[str, list[Batch]]:
    data.setup("fit")
    return {"train": list(data.train_dataloader()), "val": list(data.val_dataloader())}


def _same(a: list[Batch], b: list[Batch]) -> bool:
    return len(a) == len(b) and all(
        all(torch.equal(x, y) for x, y in zip(p, q, strict=True)) for p, q in zip(a, b, strict=True)
    )


def _store_files() -> list[str]:
    return sorted(path.name for path in cache_folder().glob("pictures/*/*"))


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the images that were decoded for a cache."""
    names: list[str] = []
    for function in ("read_bounded", "read_image"):
        real = getattr(source, function)

        def spy(path: Path, *args: object, real: Callable = real) -> object:
            names.append(path.name)
            return real(path, *args)

        monkeypatch.setattr(source, function, spy)
    return names


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_the_same_bits_with_any_cache(make_folder: Callable[..., Path], suffix: str, channels: int) -> None:
    root = make_folder({"cat": 12, "dog": 12}, suffix=suffix)
    for augment in (FLIPS, CROPS):
        none, ram, disk, again = (
            _fed(_data(root, cache, augment, channels=channels)) for cache in ("none", "ram", "disk", "disk")
        )
        assert _same(none["val"], ram["val"])
        assert _same(none["val"], disk["val"])
        assert _same(ram["train"], disk["train"])
        assert _same(ram["train"], again["train"])
        if augment is FLIPS:
            assert _same(none["train"], ram["train"])
    # Pictures of 20 x 24 are above the 18 pixels that are kept, so these crops come from smaller ones.
    assert not _same(none["train"], ram["train"])
    whole = _fed(_data(root, "ram", cache_size=1000, channels=channels))
    assert _same(none["train"], whole["train"])


def test_results_do_not_depend_on_workers_or_batch_size(make_folder: Callable[..., Path]) -> None:
    root = make_folder({"cat": 12, "dog": 12})
    by_index = []
    for workers, batch_size in ((0, 5), (3, 7)):
        data = _data(root, "disk", workers=workers)
        data.batch_size = batch_size
        batches = _fed(data)["train"]
        by_index.append({int(i): x for batch in batches for i, x in zip(batch.index, batch.image, strict=True)})
    shared = by_index[0].keys() & by_index[1].keys()
    assert len(shared) >= 12
    assert all(torch.equal(by_index[0][i], by_index[1][i]) for i in shared)


@pytest.mark.parametrize("cache", ["none", "ram", "disk"])
@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize(("augment", "cache_size"), [(FLIPS, None), (CROPS, 1000)], ids=["whole pictures", "crops"])
def test_batches_are_the_same_bits_with_any_workers_cache_and_number_of_ranks(
    make_folder: Callable[..., Path], augment: Augment, cache_size: int | None, workers: int, cache: str
) -> None:
    root = make_folder({"cat": 9, "dog": 9}, suffix=".jpg")
    expected = _fed(_data(root, "none", augment, workers=0, cache_size=cache_size))
    data = _data(root, cache, augment, workers=workers, cache_size=cache_size)
    found = _fed(data)
    assert _same(expected["train"], found["train"])
    assert _same(expected["val"], found["val"])
    for part, batches in found.items():
        ranks = [copy.copy(getattr(data, f"{part}_dataloader")()) for _ in range(5)]
        for rank, loader in enumerate(ranks):
            loader.rank, loader.world_size, loader.batch_size = rank, 5, 1
        # in validation some get batches of no images
        shared = [Batch(*map(torch.cat, zip(*parts, strict=True))) for parts in zip(*ranks, strict=True)]
        assert _same(shared, [batch for batch in batches if part == "val" or len(batch.index) == 5])


def test_images_are_decoded_once_and_again_only_where_they_change(
    make_folder: Callable[..., Path], decoded: list[str]
) -> None:
    root = make_folder({"cat": 12, "dog": 12})
    before = _fed(_data(root, "disk"))
    parts = _data(root, "none").splits()
    assert len(decoded) == len(parts["train"].indices) + len(parts["val"].indices)
    decoded.clear()
    _fed(_data(root, "disk"))
    assert decoded == []
    data = _data(root, "disk")
    data.setup("fit")
    row = int(data.train_dataloader().indices[3])
    changed = root / data.sample_name("train", row)
    Image.fromarray(255 - pixels(5, 20, 24)).save(changed)
    after = _fed(_data(root, "disk"))
    assert decoded == [changed.name]
    assert not _same(before["train"], after["train"])
    assert _same(before["val"], after["val"])
    assert len(_store_files()) == 6  # lock, manifest and pixels of two parts: nothing old is left


def test_another_decoder_or_size_is_another_cache(
    make_folder: Callable[..., Path], decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_folder({"cat": 6, "dog": 6})
    _fed(_data(root, "disk"))
    count = len(decoded)
    _fed(_data(root, "disk", cache_size=15))
    assert len(decoded) > count
    decoded.clear()
    monkeypatch.setattr(source, "DECODER", "another")
    _fed(_data(root, "disk"))
    assert len(decoded) == count


@pytest.mark.parametrize("damage", ["cut", "gone", "manifest", "index"])
def test_a_damaged_cache_is_rebuilt(make_folder: Callable[..., Path], damage: str) -> None:
    root = make_folder({"cat": 6, "dog": 6})
    before = _fed(_data(root, "disk"))
    for path in cache_folder().glob("pictures/*/pixels-*.u8"):
        if damage == "cut":
            path.write_bytes(path.read_bytes()[:-1])
        elif damage == "gone":
            path.unlink()
        elif damage == "index":
            path.write_bytes(path.read_bytes()[:-4] + b"abcd")
        else:
            (path.parent / "manifest.json").write_text('{"version": 1, "pix')
    assert _same(_fed(_data(root, "disk"))["train"], before["train"])


@pytest.mark.parametrize("crop", [True, False], ids=["crops", "whole pictures"])
def test_damaged_pixels_are_never_trained_on(make_folder: Callable[..., Path], crop: bool) -> None:
    root = make_folder({"cat": 6, "dog": 6})
    settings = {} if crop else {"augment": FLIPS}
    _fed(_data(root, "disk", **settings))
    for path in cache_folder().glob("pictures/*/pixels-*.u8"):
        content = bytearray(path.read_bytes())
        content[100] ^= 1
        path.write_bytes(content)
    with pytest.raises(
        UserError, match=r"decoded images cached in .*pictures.* are damaged: remove it, and start again"
    ):
        _fed(_data(root, "disk", **settings))


def test_an_image_changed_without_its_modification_time_is_decoded_again(
    make_folder: Callable[..., Path], decoded: list[str]
) -> None:
    root = make_folder({"cat": 6, "dog": 6})
    _fed(_data(root, "disk"))
    count = len(decoded)
    for path in root.glob("*/*"):
        before = path.stat()
        path.write_bytes(path.read_bytes())
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    _fed(_data(root, "disk"))
    assert len(decoded) == 2 * count > 0


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
    assert any(name.endswith(".partial") for name in _store_files())
    assert "manifest.json" not in _store_files()
    expected = _fed(_data(root, "ram"))
    count = len(decoded)
    assert _same(_fed(_data(root, "disk"))["train"], expected["train"])
    assert len(decoded) == 2 * count
    assert not any(name.endswith(".partial") for name in _store_files())


@pytest.mark.slow
def test_processes_that_start_together_build_once_and_see_the_same(make_folder: Callable[..., Path]) -> None:
    root = make_folder({"cat": 10, "dog": 10})
    children = [_child(root, 0.02) for _ in range(2)]
    outputs = [child.communicate(timeout=60)[0].split() for child in children]
    assert [child.returncode for child in children] == [0, 0]
    training = len(_fed(_data(root, "none"))["train"]) * 5
    assert sum(output.count("decoding") for output in outputs) in range(training - 4, training + 5)
    assert outputs[0][-1] == outputs[1][-1]
    assert 0 in [output.count("decoding") for output in outputs]


def test_an_image_that_cannot_be_read_is_named_and_nothing_is_kept(make_folder: Callable[..., Path]) -> None:
    root = make_folder({"cat": 6, "dog": 6})
    for path in root.glob("*/*.png"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match=r"cannot read image .*\.png: it is empty"):
        _fed(_data(root, "disk"))
    assert _store_files() == ["lock"]


def test_too_little_disk_space_is_one_line(
    make_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    root = make_folder({"cat": 100, "dog": 100})
    monkeypatch.setattr("lit_cnn.utils.memory.available", lambda: 1000)
    with pytest.raises(UserError, match=r"decoded images of about .* KiB do not fit in memory: try `data.cache=disk`"):
        _fed(_data(root, "ram"))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LIT_CNN_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"cannot cache decoded images in .*: .*; make room, set LIT_CNN_CACHE"):
        _fed(_data(root, "disk"))


def test_settings_that_make_no_sense_are_refused(make_folder: Callable[..., Path]) -> None:
    root = make_folder({"cat": 3, "dog": 3})
    with pytest.raises(UserError, match=r"`data.cache` is 'disc': choose none, ram or disk"):
        _data(root, "disc")
    with pytest.raises(UserError, match=r"`data.cache_size` is 5: it must be at least 12, the image_size"):
        _data(root, "ram", cache_size=5)


def test_a_resumed_run_must_cut_its_crops_from_the_same_images(make_folder: Callable[..., Path]) -> None:
    root = make_folder({"cat": 3, "dog": 3})
    assert (
        _data(root, "ram").order()
        == _data(root, "disk").order()
        == {"crops": "images kept at up to 18 px; JPEGs decoded at 1/2, 1/4 or 1/8, never below 12 px"}
    )
    assert _data(root, "none").order() == {
        "crops": "files; large JPEGs decoded at 1/4 or 1/8, never below the size of the crop"
    }
    assert _data(root, "none", FLIPS).order() == _data(root, "disk", FLIPS).order() == {}


def test_a_fit_trains_from_the_cache_and_statistics_come_from_full_images(make_folder: Callable[..., Path]) -> None:
    root = make_folder({"cat": 10, "dog": 10})
    seen = []
    for cache in ("ram", "disk"):
        data = _data(root, cache, normalize="computed")
        model = Recorder(3 * 12 * 12, 2)
        make_trainer(max_epochs=2).fit(model, datamodule=data)
        assert isinstance(data.train_dataloader().source, CachedSource)
        seen.append((model.seen, data.preprocessing()))
    assert seen[0] == seen[1]
    none = _data(root, "none", normalize="computed")
    none.setup("fit")
    assert none.preprocessing() == seen[0][1]


def test_many_threads_may_read_one_cache(make_folder: Callable[..., Path]) -> None:
    data = _data(make_folder({"cat": 10, "dog": 10}), "ram")
    data.setup("fit")
    store = data.train_dataloader().source.cache  # type: ignore[attr-defined]
    expected = [store.image(i).copy() for i in range(len(store))]
    with ThreadPoolExecutor(4) as pool:
        start = time.monotonic()
        while time.monotonic() < start + 0.05:
            assert all((a == b).all() for a, b in zip(pool.map(store.image, range(len(store))), expected, strict=True))
