"""Two real processes share a set without losing or repeating a sample, also after a resume in mid-epoch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from lit_cnn.data import Digits
from lit_cnn.errors import UserError
from tests.distributed.pair import run_pair

from .helpers import Recorder, make_trainer

Seen = dict[str, Any]


def _run(folder: Path, devices: int) -> Seen:
    """Train two epochs, train the last 3 steps again from a checkpoint, test; return what this process was fed."""
    torch.set_num_threads(1)
    seen: Seen = {}
    for what in ("fit", "resume", "test"):
        data = Digits(batch_size=300 // devices, image_size=8)
        saving = ModelCheckpoint(folder / what, filename="{step}", save_top_k=-1, every_n_train_steps=7)
        trainer = make_trainer(
            devices=devices,
            strategy="ddp" if devices > 1 else "auto",
            max_epochs=2,
            callbacks=[saving],
            enable_checkpointing=True,
        )
        model = Recorder(64, 10)
        if what == "test":
            trainer.test(model, datamodule=data, verbose=False)
        else:
            checkpoint = folder / "fit" / "step=7.ckpt" if what == "resume" else None
            trainer.fit(model, datamodule=data, ckpt_path=checkpoint, weights_only=True)
        seen[what] = model.tested if what == "test" else model.seen
    return seen


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Seen]]:
    """Run once in two processes; return their folder and what each was fed."""
    folder = tmp_path_factory.mktemp("pair")
    # through JSON, as ``alone`` below: lists where there were tuples
    return folder, json.loads(json.dumps(run_pair(_run, folder, folder, 2)))


@pytest.mark.slow
def test_two_processes_share_the_batches_of_one_and_resume_where_they_stopped(
    pair: tuple[Path, list[Seen]], tmp_path: Path
) -> None:
    _, ranks = pair
    alone = json.loads(json.dumps(_run(tmp_path, 1)))
    assert len(alone["fit"]) == len(ranks[0]["fit"]) == len(ranks[1]["fit"]) == 10
    for whole, first, second in zip(alone["fit"], ranks[0]["fit"], ranks[1]["fit"], strict=True):
        assert whole[:2] == first[:2] == second[:2]
        assert whole[2] == first[2] + second[2]
        assert whole[3] == first[3] + second[3]  # pixels
        assert abs(len(first[2]) - len(second[2])) <= 1
    for run in (alone, *ranks):
        assert run["resume"] == run["fit"][7:]
    assert sorted(ranks[0]["test"] + ranks[1]["test"]) == alone["test"]
    assert [len(rank["test"]) for rank in ranks] == [209, 150]  # full batches of 150, the last one of 59


@pytest.mark.slow
def test_another_number_of_processes_does_not_resume_in_mid_epoch(pair: tuple[Path, list[Seen]]) -> None:
    folder, _ = pair
    model, data = Recorder(64, 10), Digits(batch_size=150, image_size=8)
    with pytest.raises(UserError, match=r"these differ \(checkpoint -> now\): number of processes 2 -> 1$"):
        make_trainer(max_epochs=2).fit(
            model, datamodule=data, ckpt_path=folder / "fit" / "step=7.ckpt", weights_only=True
        )
