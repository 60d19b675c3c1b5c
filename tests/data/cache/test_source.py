"""Decoded images cached in memory or on disk: the same pixels, decoded once, never stale."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from lit_cnn.data import Augment, Batch
from lit_cnn.data.cache import source
from lit_cnn.data.cache.source import CachedSource
from lit_cnn.errors import UserError
from tests.data.cache.helpers import CROPS, FLIPS, cached_folder, fed_batches, same_batches, store_files
from tests.data.helpers import Recorder, make_trainer, pixels


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_the_same_bits_with_any_cache(make_folder: Callable[..., Path], suffix: str, channels: int) -> None:
    root = make_folder({"cat": 12, "dog": 12}, suffix=suffix)
    for augment in (FLIPS, CROPS):
        none, ram, disk, again = (
            fed_batches(cached_folder(root, cache, augment, channels=channels))
            for cache in ("none", "ram", "disk", "disk")
        )
        assert same_batches(none["val"], ram["val"])
        assert same_batches(none["val"], disk["val"])
        assert same_batches(ram["train"], disk["train"])
        assert same_batches(ram["train"], again["train"])
        if augment is FLIPS:
            assert same_batches(none["train"], ram["train"])
    # Pictures of 20 x 24 are above the 18 pixels that are kept, so these crops come from smaller ones.
    assert not same_batches(none["train"], ram["train"])
    whole = fed_batches(cached_folder(root, "ram", cache_size=1000, channels=channels))
    assert same_batches(none["train"], whole["train"])


def test_results_do_not_depend_on_workers_or_batch_size(make_folder: Callable[..., Path]) -> None:
    root = make_folder({"cat": 12, "dog": 12})
    by_index = []
    for workers, batch_size in ((0, 5), (3, 7)):
        data = cached_folder(root, "disk", workers=workers)
        data.batch_size = batch_size
        batches = fed_batches(data)["train"]
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
    expected = fed_batches(cached_folder(root, "none", augment, workers=0, cache_size=cache_size))
    data = cached_folder(root, cache, augment, workers=workers, cache_size=cache_size)
    found = fed_batches(data)
    assert same_batches(expected["train"], found["train"])
    assert same_batches(expected["val"], found["val"])
    for part, batches in found.items():
        ranks = [copy.copy(getattr(data, f"{part}_dataloader")()) for _ in range(5)]
        for rank, loader in enumerate(ranks):
            loader.rank, loader.world_size, loader.batch_size = rank, 5, 1
        # in validation some get batches of no images
        shared = [Batch(*map(torch.cat, zip(*parts, strict=True))) for parts in zip(*ranks, strict=True)]
        assert same_batches(shared, [batch for batch in batches if part == "val" or len(batch.index) == 5])


def test_images_are_decoded_once_and_again_only_where_they_change(
    make_folder: Callable[..., Path], decoded: list[str]
) -> None:
    root = make_folder({"cat": 12, "dog": 12})
    before = fed_batches(cached_folder(root, "disk"))
    parts = cached_folder(root, "none").splits()
    assert len(decoded) == len(parts["train"].indices) + len(parts["val"].indices)
    decoded.clear()
    fed_batches(cached_folder(root, "disk"))
    assert decoded == []
    data = cached_folder(root, "disk")
    data.setup("fit")
    row = int(data.train_dataloader().indices[3])
    changed = root / data.sample_name("train", row)
    Image.fromarray(255 - pixels(5, 20, 24)).save(changed)
    after = fed_batches(cached_folder(root, "disk"))
    assert decoded == [changed.name]
    assert not same_batches(before["train"], after["train"])
    assert same_batches(before["val"], after["val"])
    assert len(store_files()) == 6  # lock, manifest and pixels of two parts: nothing old is left


def test_another_decoder_or_size_is_another_cache(
    make_folder: Callable[..., Path], decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_folder({"cat": 6, "dog": 6})
    fed_batches(cached_folder(root, "disk"))
    count = len(decoded)
    fed_batches(cached_folder(root, "disk", cache_size=15))
    assert len(decoded) > count
    decoded.clear()
    monkeypatch.setattr(source, "DECODER", "another")
    fed_batches(cached_folder(root, "disk"))
    assert len(decoded) == count


def test_an_image_changed_without_its_modification_time_is_decoded_again(
    make_folder: Callable[..., Path], decoded: list[str]
) -> None:
    root = make_folder({"cat": 6, "dog": 6})
    fed_batches(cached_folder(root, "disk"))
    count = len(decoded)
    for path in root.glob("*/*"):
        before = path.stat()
        path.write_bytes(path.read_bytes())
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    fed_batches(cached_folder(root, "disk"))
    assert len(decoded) == 2 * count > 0


def test_settings_that_make_no_sense_are_refused(make_folder: Callable[..., Path]) -> None:
    root = make_folder({"cat": 3, "dog": 3})
    with pytest.raises(UserError, match=r"`data.cache` is 'disc': choose none, ram or disk"):
        cached_folder(root, "disc")
    with pytest.raises(UserError, match=r"`data.cache_size` is 5: it must be at least 12, the image_size"):
        cached_folder(root, "ram", cache_size=5)


def test_a_resumed_run_must_cut_its_crops_from_the_same_images(make_folder: Callable[..., Path]) -> None:
    root = make_folder({"cat": 3, "dog": 3})
    kept = "images kept at up to 18 px; JPEGs decoded at 1/2, 1/4 or 1/8, never below 12 px"
    assert [cached_folder(root, cache).order()["crops"] for cache in ("ram", "disk")] == [kept, kept]
    files = "files; large JPEGs decoded at 1/4 or 1/8, never below the size of the crop"
    assert cached_folder(root, "none").order()["crops"] == files
    assert cached_folder(root, "none", FLIPS).order() == cached_folder(root, "disk", FLIPS).order()
    assert "crops" not in cached_folder(root, "none", FLIPS).order()


def test_a_fit_trains_from_the_cache_and_statistics_come_from_full_images(make_folder: Callable[..., Path]) -> None:
    root = make_folder({"cat": 10, "dog": 10})
    seen = []
    for cache in ("ram", "disk"):
        data = cached_folder(root, cache, normalize="computed")
        model = Recorder(3 * 12 * 12, 2)
        make_trainer(max_epochs=2).fit(model, datamodule=data)
        assert isinstance(data.train_dataloader().source, CachedSource)
        seen.append((model.seen, data.preprocessing()))
    assert seen[0] == seen[1]
    none = cached_folder(root, "none", normalize="computed")
    none.setup("fit")
    assert none.preprocessing() == seen[0][1]
