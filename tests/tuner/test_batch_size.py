"""``--batch-size auto``: the largest batch that fits, in a trial that does not change the run."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
import yaml
from jsonargparse import Namespace
from lightning.pytorch.utilities import rank_zero_only

from lit_cnn.cli.main import main
from lit_cnn.errors import UserError
from lit_cnn.tasks.classification import ImageClassifier
from lit_cnn.tuner import batch_size
from lit_cnn.utils import memory
from tests.conftest import TINY, state_differences

MIB = 2**20
RUN = [*TINY, "--epochs=2", "--model.ema_decay=0.9", "--data.augment.crop_padding=2"]


@pytest.mark.parametrize(
    ("peaks", "budget", "expected"),
    [
        ([(2, 20)], 1000, (2, False)),
        ([(2, 20), (4, 60)], 1000, (4, False)),  # one rise may be noise
        ([(2, 20), (4, 60), (8, 140)], 1000, (32, True)),  # 10 a more image: 32 take 380, 64 take 700, 128 too many
        ([(2, 20), (4, 60), (8, 140)], 300, (16, True)),
        ([(2, 20), (4, 21), (8, 22)], 1000, (8, False)),  # no rises yet
        ([(2, 20), (4, 40)], 100, (4, True)),  # the next could be too much
        ([(2, 520), (4, 521)], 600, (4, False)),  # most of it is there whatever the size
        ([(2, 200)], 100, (0, True)),
        ([(2, 50), (4, 120)], 100, (2, True)),
    ],
)
def test_the_largest_size_by_what_smaller_ones_took(peaks, budget, expected):
    fixed = 500 if peaks[0][1] == 520 else 0
    peaks = [(size, taken * MIB) for size, taken in peaks]
    assert batch_size.largest_fitting(peaks, fixed * MIB, budget * MIB, most=32) == expected


def resolved_config(root):
    config = yaml.safe_load((root / "config.yaml").read_text())
    config["trainer"].pop("default_root_dir")
    return config


def test_auto_finds_a_number_that_the_run_keeps_and_is_otherwise_the_same_run(workdir, capsys, monkeypatch):
    main(["fit", *RUN, "-b", "auto", "--trainer.default_root_dir=found"])
    said = capsys.readouterr().out
    # 1,293 training images: an eighth are 161
    assert "batch size auto: 128 (largest power of two up to an eighth of the 1,2" in said
    main(["fit", *RUN, "--batch-size=128", "--trainer.default_root_dir=given"])
    found, given = (workdir / name / "lightning_logs" / "version_0" for name in ("found", "given"))
    assert resolved_config(found) == resolved_config(given)
    last = [run / "checkpoints" / "last.ckpt" for run in (found, given)]
    assert torch.load(last[0], weights_only=True)["lit_cnn"]["config"]["data"]["init_args"]["batch_size"] == 128
    assert state_differences(*last) == []

    # with a checkpoint there is nothing to find
    monkeypatch.setattr(batch_size, "_search", None)
    capsys.readouterr()
    main(["fit", "--resume", str(found), "--epochs=3", "-b", "auto"])
    assert "batch size auto: 128 (that of " in capsys.readouterr().out
    main(["test", "--ckpt_path", str(found), "--data.batch_size=auto"])
    assert "batch size auto: 128 (that of " in capsys.readouterr().out


@pytest.fixture
def found_as_on_a_gpu(workdir, capsys, monkeypatch):
    """Searches as on a GPU, where memory runs out by an exception; returns what was printed."""

    def search() -> str:
        monkeypatch.setattr(
            batch_size, "CPUMemoryProbe", lambda *given: batch_size.GPUMemoryProbe(*given, torch.device("cpu"))
        )
        main(["fit", *TINY, "--epochs=1", "-b", "auto"])
        return capsys.readouterr().out

    return search


def test_a_gpu_takes_the_last_size_before_memory_runs_out(found_as_on_a_gpu, monkeypatch):
    real, tried = ImageClassifier.training_step, []

    def step(self, batch, batch_idx):
        if not self.trainer.checkpoint_callback:  # the search
            tried.append(len(batch.target))
            if len(batch.target) >= 64:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return real(self, batch, batch_idx)

    monkeypatch.setattr(ImageClassifier, "training_step", step)
    assert "batch size auto: 32 (largest power of two that fits on cpu, 64 is too large;" in found_as_on_a_gpu()
    assert tried == [2, 2, 4, 8, 16, 32, 64]


def test_a_gpu_has_to_hold_an_evaluation_batch_too(found_as_on_a_gpu, monkeypatch):
    real, tried = ImageClassifier.evaluate_batch, []

    def evaluate(self, batch, split):
        if not self.trainer.checkpoint_callback:  # the search
            tried.append(len(batch.target))
            assert not self.training
            assert not torch.is_grad_enabled()
            assert batch.image.dtype == torch.float32
            if len(batch.target) >= 40:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return real(self, batch, split)

    monkeypatch.setattr(ImageClassifier, "evaluate_batch", evaluate)
    assert "batch size auto: 32 (largest power of two that fits on cpu, 64 is too large;" in found_as_on_a_gpu()
    assert tried == [8, 16, 22, 22, 32, 64]  # larger than those of training, up to an eighth of the validation images


@pytest.mark.parametrize(("ranks", "fits"), [(1, True), (2, False)])
def test_several_gpus_need_room_for_the_buffers_of_collectives(ranks, fits, monkeypatch):
    probe = batch_size.GPUMemoryProbe(64, ranks, torch.device("cuda"))
    gib = 2**30
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (4 * gib, 8 * gib))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 4 * gib)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 7 * gib)
    assert probe.try_next(32) is fits
    assert probe.fits == (32 if fits else 0)


def test_nothing_fits(workdir, fails, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 1000)
    monkeypatch.setattr(memory, "used", lambda: 0)
    line = fails("fit", *TINY, "-b", "auto")
    assert line.startswith("not even a batch of 2 images fits in 800 bytes, 80% of the free memory: try --precision")
    assert not list(workdir.glob("lightning_logs/*"))


@pytest.mark.parametrize(
    ("words", "environment", "message"),
    [
        ([], {"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "2"}, "torchrun, SLURM or the like"),
        ([], {"LOCAL_RANK": "0"}, "torchrun, SLURM or the like"),
        (["--trainer.num_nodes=2"], {"RANK": "0"}, "torchrun, SLURM or the like"),
        (["--trainer.strategy=fsdp"], {}, "works with one device and with ddp only"),
        (["--batch-size=x"], {}, "--data.batch_size: expected a whole number or 'auto', got 'x'"),
    ],
)
def test_where_auto_cannot_work_it_is_refused(words, environment, message, workdir, fails, monkeypatch):
    monkeypatch.delenv("LIT_CNN_BATCH_SIZE", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert message in fails("fit", *TINY, "-b", "auto", *words)


def test_other_processes_take_the_first_ones_number(monkeypatch, capsys):
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    config = Namespace(data=Namespace(init_args=Namespace(batch_size="auto")), trainer=Namespace(num_nodes=1))
    monkeypatch.setenv("LIT_CNN_BATCH_SIZE", "48")
    batch_size.resolve(config, None)
    assert config.data.init_args.batch_size == 48
    assert capsys.readouterr().out == ""
    config.data.init_args.batch_size = "auto"
    monkeypatch.delenv("LIT_CNN_BATCH_SIZE")
    with pytest.raises(UserError, match="torchrun"):
        batch_size.resolve(config, None)


@pytest.mark.slow
def test_two_processes_share_one_choice(workdir):
    two = ["--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.strategy=ddp"]
    command = [sys.executable, "-m", "lit_cnn", "fit", *TINY, *two, "--epochs=1", "--batch-size=auto"]
    run = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=240
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("batch size auto: 64 (") == 1
    assert "for each of 2 processes" in run.stdout
    assert resolved_config(workdir / "lightning_logs" / "version_0")["data"]["init_args"]["batch_size"] == 64


def test_auto_finds_a_number_where_the_rate_counts_per_image(workdir, capsys):
    main(["fit", *RUN, "-b", "auto", "--model.lr_base_size=64", "--trainer.max_steps=2"])
    assert "batch size auto: 128 " in capsys.readouterr().out
