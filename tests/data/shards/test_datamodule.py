"""A set of shards trains as the folder it was written from, and resumes exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lit_cnn.data import ImageFolder, Stream
from tests.data.helpers import Recorder
from tests.data.shards.helpers import EPOCHS, SETTINGS, error_of, fit


def _order(model: Recorder, epoch: int) -> list[int]:
    return [row for seen in model.seen if seen[0] == epoch for row in seen[2]]


def test_with_one_window_training_is_bit_identical_to_the_folder_the_shards_were_written_from(
    photos: Path, shards: Path
) -> None:
    folder = fit(ImageFolder(data_dir=str(photos), **SETTINGS))
    stream = fit(Stream(data_dir=str(shards), shard_window=100, **SETTINGS))
    assert stream.seen == folder.seen
    assert torch.equal(stream.net.weight, folder.net.weight)


def test_parts_classes_names_and_fingerprint_are_those_of_the_folder(photos: Path, shards: Path) -> None:
    folder, stream = ImageFolder(data_dir=str(photos), **SETTINGS), Stream(data_dir=str(shards), **SETTINGS)
    assert stream.class_names == folder.class_names
    assert stream.fingerprint() == folder.fingerprint()
    for name, part in folder.splits().items():
        there = stream.splits()[name]
        assert torch.equal(there.indices, part.indices)
        assert torch.equal(there.source.targets[there.indices], part.source.targets[part.indices])
        names = [folder.sample_name(name, row) for row in part.indices.tolist()]
        assert [stream.sample_name(name, row) for row in there.indices.tolist()] == names


def test_every_epoch_has_every_image_once_in_windows_of_few_shards_and_in_another_order(shards: Path) -> None:
    data = Stream(data_dir=str(shards), shard_window=2, **SETTINGS)
    source, rows = data.splits()["train"].source, data.splits()["train"].indices
    shard_of = source.index.shard  # type: ignore[attr-defined]
    orders = [data._training_order(rows, 42, epoch) for epoch in range(3)]
    for order in orders:
        assert torch.equal(order.sort().values, rows)
        runs = [shard_of[i] for i in order.tolist()]
        first = {shard: runs.index(shard) for shard in set(runs)}
        by_first_use = sorted(first, key=first.__getitem__)
        last = {shard: len(runs) - 1 - runs[::-1].index(shard) for shard in first}
        for i, shard in enumerate(by_first_use[:-2]):
            later = by_first_use[i + 2]
            assert last[shard] < first[later], "more than two shards at a time"
        assert any(np.diff(runs) < 0), "mixed within windows"
    assert len({tuple(order.tolist()) for order in orders}) == 3


def test_resume_in_any_epoch_repeats_the_uninterrupted_run_bit_for_bit(shards: Path, tmp_path: Path) -> None:
    def data(workers: int) -> Stream:
        return Stream(data_dir=str(shards), shard_window=2, **{**SETTINGS, "workers": workers})

    whole = fit(data(0), folder=tmp_path / "ckpt")
    steps = len(whole.seen) // EPOCHS
    assert _order(whole, 0) != _order(whole, 1)
    for step in (2, steps + 1, 2 * steps - 1, 2 * steps + 3):
        rest = fit(data(step % 3), tmp_path / "ckpt" / f"step={step}.ckpt")
        assert rest.seen == whole.seen[step:]
        assert torch.equal(rest.net.weight, whole.net.weight)


def test_two_ranks_share_the_batches_of_one(shards: Path) -> None:
    data = Stream(data_dir=str(shards), shard_window=2, **SETTINGS)
    data.setup("fit")
    loaders = []
    for rank, world, size in ((0, 1, 6), (0, 2, 3), (1, 2, 3)):
        loader = data.train_dataloader()
        loader.rank, loader.world_size, loader.batch_size = rank, world, size
        loader.position = lambda: (2, 0)  # epoch 2
        loaders.append(list(loader))
    rows = data.splits()["train"].indices
    assert torch.equal(torch.cat([batch.index for rank in loaders[1:] for batch in rank]).sort().values, rows)
    for whole, first, second in zip(*loaders, strict=True):
        assert torch.equal(whole.index, torch.cat([first.index, second.index]))
        assert torch.equal(whole.image, torch.cat([first.image, second.image]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shard_window": 0}, "`data.shard_window` is 0"),
        ({"shard_cache_gb": 0}, "`data.shard_cache_gb` is 0"),
        ({"cache": "disk"}, "Stream decodes in every epoch"),
        ({"on_bad_image": "skip"}, "bad images are skipped when shards are written"),
        ({"where": "nonsense://host/set"}, "nonsense://host/set: "),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], message: str, shards: Path) -> None:
    assert message in error_of(**{"where": shards, **settings})
