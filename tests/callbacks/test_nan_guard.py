"""A loss that is NaN or infinite: the run stops and keeps its checkpoints, or skips a few such steps."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from lit_cnn.callbacks import nan_guard
from lit_cnn.callbacks.nan_guard import NanGuard
from lit_cnn.checkpoint.record import load_verified
from lit_cnn.cli.argv import parse
from lit_cnn.cli.commands.run import run as run_command
from lit_cnn.cli.main import main
from lit_cnn.errors import NotFiniteError
from lit_cnn.tasks.classification import ImageClassifier
from tests.callbacks.test_last_checkpoint import Fail
from tests.conftest import TINY, state_differences
from tests.faults.harness import last

WORDS = ["fit", *TINY, "--epochs=3", "--trainer.default_root_dir=."]  # 10 steps an epoch


# float16 with a gradient scaler, on the CPU
FLOAT16 = (
    "--trainer.plugins={class_path: lightning.pytorch.plugins.MixedPrecision, "
    "init_args: {precision: 16-mixed, device: cpu}}"
)


def poison(
    monkeypatch: pytest.MonkeyPatch, bad: dict[tuple[int, int], float], change: Callable[..., Tensor] = operator.mul
) -> None:
    """Multiply the loss of (epoch, batch) by a number such as NaN, or add it."""
    real = ImageClassifier.training_step

    def training_step(self, batch, batch_idx):
        outputs = real(self, batch, batch_idx)
        number = bad.get((self.current_epoch, batch_idx))
        return outputs if number is None else {**outputs, "loss": change(outputs["loss"], number)}

    monkeypatch.setattr(ImageClassifier, "training_step", training_step)


def with_nan(where):
    """A validation step that makes images NaN where ``where(task)`` says so."""
    real = ImageClassifier.validation_step

    def validation_step(self, batch, batch_idx):
        if where(self):
            batch = batch._replace(image=batch.image * float("nan"))
        return real(self, batch, batch_idx)

    return validation_step


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_the_run_stops_at_the_step_and_the_checkpoints_are_those_before_it(value, workdir, monkeypatch, fails):
    poison(monkeypatch, {(1, 3): value})
    error = fails(*WORDS)
    assert re.search(rf"training loss is {value} in epoch 2, step 14, at learning rate [\d.e-]+: stopped", error)
    assert "last good checkpoint is" in error
    for name in ("best", "last"):
        content = load_verified(last(workdir).with_name(f"{name}.ckpt"))
        assert content["global_step"] == 10
        assert all(torch.isfinite(v).all() for v in content["state_dict"].values())


@pytest.mark.parametrize("stage", ["training", "validation"])
def test_before_the_first_checkpoint_none_is_named_and_a_resume_starts_again(
    stage, workdir, monkeypatch, fails, capsys
):
    if stage == "training":
        poison(monkeypatch, {(0, 3): float("nan")})
    else:
        monkeypatch.setattr(ImageClassifier, "validation_step", with_nan(lambda task: True))
    error = fails(*WORDS)
    assert f"{stage} loss is nan in epoch 1" in error
    assert "there is no checkpoint yet, so start again. Try a smaller --lr" in error
    assert ".ckpt" not in error
    monkeypatch.undo()
    monkeypatch.chdir(workdir)
    main(["fit", "--resume", "--epochs=1"])
    assert "stopped before its first checkpoint; this is a new run with its settings" in capsys.readouterr().out
    assert (workdir / "lightning_logs" / "version_1" / "checkpoints" / "last.ckpt").is_file()


def test_nonfinite_weights_are_never_saved(workdir, monkeypatch, fails):
    real = ImageClassifier.on_train_batch_end

    def spoil(self, outputs, batch, batch_idx):
        if self.global_step == 14:  # as an update that overflows does: its loss was finite
            next(self.backbone.parameters()).data.fill_(float("inf"))
        return real(self, outputs, batch, batch_idx)

    monkeypatch.setattr(ImageClassifier, "on_train_batch_end", spoil)
    error = fails(*WORDS, "--checkpoint_every=1")
    assert "infinite or no numbers" in error or "training loss is nan" in error
    for path in last(workdir).parent.glob("*.ckpt"):
        assert all(torch.isfinite(v).all() for v in load_verified(path)["state_dict"].values()), path


def test_nonfinite_running_statistics_are_never_saved(workdir, monkeypatch, fails):
    real = ImageClassifier.on_train_batch_end

    def spoil(self, outputs, batch, batch_idx):
        if self.global_step == 14:  # as a batch that overflows in float16 does, while the scaler skips its update
            next(b for name, b in self.backbone.named_buffers() if "running_var" in name).fill_(float("nan"))
        return real(self, outputs, batch, batch_idx)

    monkeypatch.setattr(ImageClassifier, "on_train_batch_end", spoil)
    assert "running statistics hold values that are infinite or NaN in epoch 2" in fails(*WORDS, "--checkpoint_every=1")
    for path in last(workdir).parent.glob("*.ckpt"):
        assert all(torch.isfinite(v).all() for v in load_verified(path)["state_dict"].values()), path
    assert load_verified(last(workdir))["global_step"] == 14


def test_buffers_that_are_infinite_by_design_are_saved(workdir, monkeypatch):
    real = ImageClassifier.configure_models

    def configure_models(self):
        real(self)
        self.backbone.register_buffer("mask", torch.tensor(float("-inf")))

    monkeypatch.setattr(ImageClassifier, "configure_models", configure_models)
    main([*WORDS, "--epochs=1"])
    assert load_verified(last(workdir))["state_dict"]["backbone.mask"] == float("-inf")


def test_a_loss_that_was_not_checked_yet_is_checked_before_a_save_unless_its_step_was_undone(monkeypatch):
    guard, checked = NanGuard(), []
    monkeypatch.setattr(guard, "_check", checked.append)
    trainer, module = SimpleNamespace(global_step=4), torch.nn.Identity()
    guard._pending_step = 4  # the step that follows the fourth, which failed
    guard.on_save_checkpoint(trainer, module, {})
    assert checked == []
    guard._pending_step = 3
    guard.on_save_checkpoint(trainer, module, {})
    assert checked == [trainer]


def test_a_nonfinite_validation_loss_does_not_become_the_best(workdir, monkeypatch, fails):
    monkeypatch.setattr(ImageClassifier, "validation_step", with_nan(lambda task: task.current_epoch == 1))
    assert "the validation loss is nan in epoch 2" in fails(*WORDS)
    assert load_verified(last(workdir).with_name("best.ckpt"))["global_step"] == 10


def test_a_skipped_step_changes_neither_weights_nor_statistics(workdir, monkeypatch, capsys):
    poison(monkeypatch, {(1, 3): float("nan"), (1, 7): float("inf")})
    seen: dict[int, dict[str, torch.Tensor]] = {}
    real = ImageClassifier.on_train_batch_end

    def remember(self, outputs, batch, batch_idx):
        seen[self.global_step] = {k: v.clone() for k, v in self.backbone.state_dict().items()}
        return real(self, outputs, batch, batch_idx)

    monkeypatch.setattr(ImageClassifier, "on_train_batch_end", remember)
    words = [w for w in WORDS if "backbone" not in w]  # one with batch normalisation, whose statistics count
    network = ["--model.backbone=convnet_pooled", "--model.backbone_args={widths: [4], dilations: [1]}"]
    main([*words, *network, "--skip_nonfinite_steps=2"])
    out = capsys.readouterr().out
    assert "skipped step 14: its loss or a gradient is not finite (1 of at most 2)" in out
    assert "skipped step 18" in out
    for step in (14, 18):
        assert any("running_mean" in name for name in seen[step])
        for name, before in seen[step - 1].items():
            assert torch.equal(before, seen[step][name]), (step, name)
        assert any(not torch.equal(before, seen[step + 1][name]) for name, before in seen[step].items())


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "rmsprop"])  # two that unscale gradients themselves
@pytest.mark.parametrize(("change", "number"), [(operator.mul, float("nan")), (operator.add, float("inf"))])
def test_with_a_gradient_scaler_the_scaler_skips_the_step(change, number, optimizer, workdir, monkeypatch, capsys):
    poison(monkeypatch, {(0, 3): number}, change)  # an infinity that is added has finite gradients
    seen: dict[int, dict[str, Tensor]] = {}
    real = ImageClassifier.on_train_batch_end

    def remember(self, outputs, batch, batch_idx):
        seen[self.global_step] = {k: v.clone() for k, v in self.backbone.state_dict().items()}
        return real(self, outputs, batch, batch_idx)

    monkeypatch.setattr(ImageClassifier, "on_train_batch_end", remember)
    main([*WORDS, f"--model.optimizer={optimizer}", "--epochs=1", FLOAT16, "--skip_nonfinite_steps=1"])
    assert "skipped step 4: its loss or a gradient is not finite (1 of at most 1)" in capsys.readouterr().out
    assert all(torch.equal(value, seen[4][name]) for name, value in seen[3].items())
    assert any(not torch.equal(value, seen[5][name]) for name, value in seen[4].items())


def test_more_such_steps_than_allowed_stop_the_run(workdir, monkeypatch, fails):
    poison(monkeypatch, {(1, 3): float("nan"), (1, 7): float("nan")})
    assert "not finite in 2 steps, the last in epoch 2, step 18" in fails(*WORDS, "--skip_nonfinite_steps=1")


def test_the_count_of_skipped_steps_is_resumed_and_the_bits_are_the_same(workdir, monkeypatch):
    words = [*WORDS[:-1], "--skip_nonfinite_steps=2", "--trainer.accumulate_grad_batches=2"]
    poison(monkeypatch, {(0, 2): float("nan"), (2, 4): float("nan")})
    main([*words, "--trainer.default_root_dir=straight"])
    with pytest.raises(RuntimeError, match="broken"):
        run_command(parse([*words, "--trainer.default_root_dir=parts"]), callbacks=[Fail(8, "on_before_backward")])
    main(["fit", "--resume", "--trainer.default_root_dir=parts"])
    first, second = (last(workdir / name) for name in ("straight", "parts"))
    assert load_verified(first)["callbacks"]["FiniteLoss"] == {"skipped": 2}
    assert state_differences(first, second) == []


def test_a_negative_number_of_skips_is_refused(workdir, fails):
    assert "--skip_nonfinite_steps -1: give 0 (stop) or more" in fails(*WORDS, "--skip_nonfinite_steps=-1")


@pytest.mark.parametrize("hook", ["on_before_backward", "on_train_epoch_end", "on_validation_end"])
def test_on_a_gpu_a_loss_is_read_at_the_next_step_or_before_the_next_save(hook, monkeypatch):
    losses = [torch.tensor(1.0), torch.tensor(float("nan"))]
    monkeypatch.setattr(nan_guard, "HostCopy", lambda loss: SimpleNamespace(read=lambda: losses.pop(0)))
    optimizer = SimpleNamespace(param_groups=[{"lr": 0.1}])
    trainer = SimpleNamespace(current_epoch=0, global_step=0, optimizers=[optimizer], callback_metrics={})
    guard, loss = NanGuard(), torch.ones((), device="meta")
    guard.on_before_backward(trainer, None, loss)
    assert len(losses) == 2  # nothing was read
    guard.on_before_backward(trainer, None, loss)
    with pytest.raises(NotFiniteError, match="the training loss is nan"):
        getattr(guard, hook)(*([trainer, None, loss] if hook == "on_before_backward" else [trainer, None]))
    assert losses == []
