"""Memory: what is free, the largest batch that fits, and the line when nothing is left."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
import yaml
from jsonargparse import Namespace

from lit_cnn.cli.main import main
from lit_cnn.errors import UserError
from lit_cnn.tasks.classification import ImageClassifier
from lit_cnn.tuner import auto, batch_size
from lit_cnn.utils import memory
from tests.conftest import TINY, state_differences

MIB = 2**20
RUN = [*TINY, "--epochs=2", "--model.ema_decay=0.9", "--data.augment.crop_padding=2"]


# -- how much is free


def lay_out(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


MEMINFO = {"proc/meminfo": "MemTotal: 8192 kB\nMemAvailable: 4096 kB\n"}


@pytest.mark.parametrize(
    ("files", "kib"),
    [
        ({}, 4096),
        # version 2, in a job's group below one with a tighter limit; file contents in memory can be dropped
        (
            {
                "proc/self/cgroup": "0::/jobs/seven\n",
                "sys/fs/cgroup/jobs/seven/memory.max": "max\n",
                "sys/fs/cgroup/jobs/seven/memory.current": "4096\n",
                "sys/fs/cgroup/jobs/memory.max": str(3072 * 1024),
                "sys/fs/cgroup/jobs/memory.current": str(2048 * 1024),
                "sys/fs/cgroup/jobs/memory.stat": f"anon 5\ninactive_file {512 * 1024}\n",
            },
            1024 + 512,
        ),
        # version 1, in a container that sees its group as the root but is told the host's path
        (
            {
                "proc/self/cgroup": "8:pids:/x\n4:memory:/docker/abc\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": str(2048 * 1024),
                "sys/fs/cgroup/memory/memory.usage_in_bytes": str(1024 * 1024),
            },
            1024,
        ),
    ],
    ids=["no group", "version 2", "version 1"],
)
def test_the_tightest_limit_counts(files, kib, tmp_path):
    lay_out(tmp_path, {**MEMINFO, **files})
    assert memory.available(tmp_path) == kib * 1024


def test_peak_and_use_follow_what_is_allocated():
    memory.forget_peak()
    before = memory.used()
    block = torch.ones(64 * MIB)  # 256 MiB
    assert memory.used() - before > 250 * MIB
    del block
    assert memory.used() - before < 100 * MIB
    assert memory.peak() - before > 250 * MIB


# -- the largest batch


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
    assert batch_size.largest(peaks, fixed * MIB, budget * MIB, most=32) == expected


def settled(root):
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
    assert settled(found) == settled(given)
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


def test_a_gpu_takes_the_last_size_before_memory_runs_out(workdir, capsys, monkeypatch):
    real, tried = ImageClassifier.training_step, []

    def step(self, batch, batch_idx):
        if not self.trainer.checkpoint_callback:  # the search
            tried.append(len(batch.target))
            if len(batch.target) >= 64:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return real(self, batch, batch_idx)

    monkeypatch.setattr(ImageClassifier, "training_step", step)
    monkeypatch.setattr(
        batch_size, "CPUGrowth", lambda most, processes: batch_size.GPUGrowth(most, processes, torch.device("cpu"))
    )
    main(["fit", *TINY, "--epochs=1", "-b", "auto"])
    assert "batch size auto: 32 (largest power of two that fits on cpu, 64 is too large;" in capsys.readouterr().out
    assert tried == [2, 2, 4, 8, 16, 32, 64]


def test_nothing_fits(workdir, fails, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 1000)
    monkeypatch.setattr(memory, "used", lambda: 0)
    line = fails("fit", *TINY, "-b", "auto")
    assert line.startswith("not even a batch of 2 images fits in 800 bytes, 80% of the free memory: try --amp")
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
    monkeypatch.setattr(auto.start, "is_first_process", lambda: False)
    config = Namespace(data=Namespace(init_args=Namespace(batch_size="auto")), trainer=Namespace(num_nodes=1))
    monkeypatch.setenv("LIT_CNN_BATCH_SIZE", "48")
    batch_size.settle(config, None)
    assert config.data.init_args.batch_size == 48
    assert capsys.readouterr().out == ""
    config.data.init_args.batch_size = "auto"
    monkeypatch.delenv("LIT_CNN_BATCH_SIZE")
    with pytest.raises(UserError, match="torchrun"):
        batch_size.settle(config, None)


@pytest.mark.slow
def test_two_processes_agree(workdir):
    two = ["--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.strategy=ddp"]
    command = [sys.executable, "-m", "lit_cnn", "fit", *TINY, *two, "--epochs=1", "--batch-size=auto"]
    run = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=240
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("batch size auto: 64 (") == 1
    assert "for each of 2 processes" in run.stdout
    assert settled(workdir / "lightning_logs" / "version_0")["data"]["init_args"]["batch_size"] == 64


# -- running out


def said(error, command="fit", resumes=False, batch=64, precision="32-true", accumulate=1, evaluation=None):
    config = Namespace(
        data=Namespace(init_args=Namespace(batch_size=batch, eval_batch_size=evaluation)),
        trainer=Namespace(accumulate_grad_batches=accumulate, precision=precision),
    )
    with pytest.raises(UserError) as caught, memory.out_of_memory_told(command, config, resumes):
        raise error
    return str(caught.value)


def test_running_out_of_memory_is_one_line_with_what_to_try():
    gpu = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total …\nmore")
    assert said(gpu) == (
        "out of memory in fit with batches of 64 images (2.00 GiB more were wanted): try --batch-size 32 "
        "--trainer.accumulate_grad_batches 2 (as many images per optimizer step), or --data.batch_size auto "
        "(the largest that fits), or --amp (bfloat16: about half the memory)"
    )
    cpu = RuntimeError(
        "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 3145728 bytes."
    )
    assert said(cpu, resumes=True, batch=96, accumulate=4) == (
        "out of memory in fit with batches of 96 images (3 MiB more were wanted): try --batch-size 48 "
        "--trainer.accumulate_grad_batches 8 --resume_anyway (as many images per optimizer step)"
    )
    assert "--amp" not in said(MemoryError(), precision="bf16-mixed")
    assert said(MemoryError(), "test").endswith("with batches of 256 images: try --batch-size 128")
    assert said(MemoryError(), "test", evaluation=64).endswith("with batches of 64 images: try --batch-size 32")
    assert "a smaller --img-size" in said(MemoryError(), batch=1)


@pytest.mark.parametrize(
    "error", [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ValueError("no"), KeyError(3)]
)
def test_other_errors_stay_what_they_are(error):
    with pytest.raises(type(error)), memory.out_of_memory_told("fit", None, False):
        raise error


def test_auto_finds_a_number_where_the_rate_counts_per_image(workdir, capsys):
    main(["fit", *RUN, "-b", "auto", "--model.lr_base_size=64", "--trainer.max_steps=2"])
    assert "batch size auto: 128 " in capsys.readouterr().out
