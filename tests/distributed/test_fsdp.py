"""Training with divided weights: a real run of two processes, compared with ``ddp``."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from lightning.pytorch import Callback

from lit_cnn.cli.argv import parse
from lit_cnn.cli.commands.run import run as run_command
from lit_cnn.cli.errors import as_flags
from lit_cnn.cli.main import main
from lit_cnn.distributed.watchdog import ProcessWatchdog
from tests.conftest import TINY, load, state_differences
from tests.distributed.pair import run_pair

# everything on that could treat divided weights otherwise: batch normalisation, dropout, accumulation, clipping
RUN = [
    "--data=Digits",
    "--img-size=8",
    "--batch-size=64",
    "--epochs=2",
    "--model.backbone=convnet_pooled",
    "--model.backbone_args.dropout=0.1",
    "--lr=0.05",
    "--model.decay_norm_and_bias=false",
    "--trainer.accumulate_grad_batches=2",
    "--trainer.gradient_clip_val=0.5",
    "--trainer.limit_train_batches=7",
    "--trainer.enable_progress_bar=false",
    "--trainer.accelerator=cpu",
    "--trainer.devices=2",
    "--checkpoint_every=3",  # of 8 steps: previous.ckpt is that of step 6, in the middle of an epoch
]


class Held(Callback):
    """Count the numbers that this process keeps at the end of training, of weights and of optimizer state."""

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        def local(tensor: Any) -> int:
            return (tensor.to_local() if hasattr(tensor, "to_local") else tensor).numel()

        self.weights = sum(map(local, pl_module.backbone.parameters()))
        self.state = sum(local(value) for state in trainer.optimizers[0].state.values() for value in state.values())


def checkpoints(root: str | Path) -> Path:
    return Path(root) / "lightning_logs" / "version_0" / "checkpoints"


@mock.patch.object(ProcessWatchdog, "_clean_up")  # ends the group of processes, which further runs need
def train_and_resume(_: mock.Mock) -> dict[str, list[int]]:
    counts = {}
    for name in ("ddp", "fsdp"):
        held = Held()
        run_command(
            parse(["fit", *RUN, f"--trainer.strategy={name}", f"--trainer.default_root_dir={name}"]), callbacks=[held]
        )
        counts[name] = [held.weights, held.state]
    if torch.distributed.get_rank() == 0:
        checkpoints("resumed").mkdir(parents=True)
        shutil.copy(checkpoints("fsdp") / "previous.ckpt", checkpoints("resumed"))
    torch.distributed.barrier()
    run_command(parse(["fit", f"--ckpt_path={checkpoints('resumed') / 'previous.ckpt'}"]))
    return counts


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, list[int]]]]:
    """The folder of the same run with ddp, with fsdp, and with fsdp resumed in mid-epoch; what each process kept."""
    root = tmp_path_factory.mktemp("runs")
    return root, run_pair(train_and_resume, root)


@pytest.mark.slow
def test_each_process_keeps_half_of_the_weights_and_of_the_optimizers_state(runs):
    _, (first, second) = runs
    for whole, *parts in zip(first["ddp"], first["fsdp"], second["fsdp"], strict=True):
        assert sum(parts) == whole
        assert max(parts) < 0.52 * whole


@pytest.mark.slow
def test_training_measures_what_ddp_measures(runs):
    root, _ = runs
    tables = [
        list(csv.DictReader((checkpoints(root / name).parent / "metrics.csv").open())) for name in ("ddp", "fsdp")
    ]
    assert len(tables[0]) == len(tables[1]) == 2
    for one, other in zip(*tables, strict=True):
        for name in one:
            assert float(other[name]) == pytest.approx(float(one[name]), rel=1e-4), name


@pytest.mark.slow
def test_the_checkpoints_are_those_of_any_run(runs, monkeypatch):
    root, _ = runs
    one, other = (load(checkpoints(root / name) / "last.ckpt") for name in ("ddp", "fsdp"))
    assert one["state_dict"].keys() == other["state_dict"].keys()
    for name, value in one["state_dict"].items():
        torch.testing.assert_close(other["state_dict"][name], value, rtol=1e-3, atol=1e-4)
    for a, b in zip(one["optimizer_states"], other["optimizer_states"], strict=True):
        assert [g["params"] for g in a["param_groups"]] == [g["params"] for g in b["param_groups"]]
        for key, state in a["state"].items():
            torch.testing.assert_close(
                b["state"][key]["momentum_buffer"], state["momentum_buffer"], rtol=1e-2, atol=1e-3
            )
    monkeypatch.chdir(root)
    for name in ("ddp", "fsdp"):  # in one process, and with what the checkpoint alone says
        main(["test", f"--ckpt_path={checkpoints(name) / 'best.ckpt'}", "--trainer.enable_progress_bar=false"])
    measured = [json.loads((checkpoints(n).parent / "test" / "metrics.json").read_text()) for n in ("ddp", "fsdp")]
    for name in ("test/loss", "test/acc", "test/acc_top5"):
        assert measured[0][name] == pytest.approx(measured[1][name], rel=1e-4)


@pytest.mark.slow
def test_a_run_resumed_in_mid_epoch_ends_with_the_same_bits(runs):
    root, _ = runs
    assert load(checkpoints(root / "fsdp") / "previous.ckpt")["global_step"] == 6
    assert (
        state_differences(checkpoints(root / "fsdp") / "last.ckpt", checkpoints(root / "resumed") / "last.ckpt") == []
    )


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("model.ema_decay", "0.9"),
        ("model.compile", "true"),
        ("model.optimizer", "muon"),
        ("trainer.precision", "16-mixed"),
    ],
)
def test_what_needs_full_weights_is_refused(setting, value, workdir, fails):
    line = fails("fit", *TINY, "--trainer.strategy=fsdp", f"--{setting}={value}")
    flag = as_flags(f"`{setting}={value}`")
    assert line.startswith(f"{flag} does not work with --strategy fsdp".replace("true", "True"))


def test_lightnings_other_forms_are_refused(workdir, fails):
    assert "there is one form of it here, fsdp" in fails("fit", *TINY, "--trainer.strategy=fsdp_cpu_offload")
