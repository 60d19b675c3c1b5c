"""``--lr auto``: from where the loss falls, in a trial that does not change the run."""

from __future__ import annotations

import math

import numpy as np
import pytest
import yaml

from lit_cnn.cli.main import main
from lit_cnn.errors import UserError
from lit_cnn.tasks.classification import ImageClassifier
from lit_cnn.tuner import lr_finder, trial
from lit_cnn.tuner.lr_finder import RangeTest, suggest_lr
from tests.conftest import TINY, load, state_differences

RUN = [*(word for word in TINY if not word.startswith("--lr=")), "--epochs=1"]
RATES = np.geomspace(1e-6, 10, 100)


def falling(at, seed=0):
    """Losses that fall from 2.3 to 0.8 around a learning rate, are lowest at 6 times that one, and rise; with noise."""
    noise = np.random.default_rng(seed).normal(0, 0.03, len(RATES))
    away = np.log10(RATES / at)
    return 0.8 + 1.5 / (1 + np.exp(4 * away)) + np.exp(4 * (away - 1.5)) + noise


# -- the rule


@pytest.mark.parametrize("at", [1e-4, 1e-3, 1e-2, 0.1])
def test_the_learning_rate_is_between_the_steepest_descent_and_the_lowest_loss_whatever_the_noise(at):
    for seed in range(20):
        assert 1 < suggest_lr(RATES, falling(at, seed)) / at < 6


def test_an_explosion_changes_nothing_before_it():
    losses = falling(1e-2)
    calm, wild = losses[:75], [*losses[:75], 1e3, 1e6]
    assert suggest_lr(RATES, wild) == pytest.approx(suggest_lr(RATES, calm), rel=0.5)


def test_a_loss_that_never_falls_gives_no_learning_rate():
    noise = np.random.default_rng(0).normal(0, 0.03, len(RATES))
    assert suggest_lr(RATES, 2.3 + noise) is None
    assert suggest_lr(RATES, 2.3 + noise + np.linspace(0, 1, len(RATES))) is None
    assert suggest_lr(RATES[:2], [2.3, 0.1]) is None


# -- the test


def search(monkeypatch, *words):
    """Run the range test of a command, and not the command; returns it and its trainer."""
    seen = []

    def fit(trainer, model, data):
        seen.append(trainer)
        real(trainer, model, data)
        raise UserError("seen enough")

    real = trial.fit
    monkeypatch.setattr(trial, "fit", fit)
    with pytest.raises(SystemExit):
        main(["fit", *RUN, "--lr=auto", *words])
    return seen[0].callbacks[0], seen[0]


def test_learning_rates_rise_in_equal_factors_and_little_data_is_repeated(workdir, monkeypatch):
    monkeypatch.setattr(lr_finder, "STEPS", 22)
    test, trainer = search(monkeypatch, "--trainer.limit_train_batches=5", "--model.optimizer=sgd")
    factors = np.diff(np.log(test.rates))
    assert np.allclose(factors, math.log(lr_finder.HIGHEST / lr_finder.LOWEST) / (lr_finder.STEPS - 1))
    assert test.rates[0] == lr_finder.LOWEST
    assert trainer.current_epoch == (len(test.rates) - 1) // 5


def test_parameters_with_their_own_learning_rate_do_not_change(workdir, monkeypatch):
    seen = []

    def look(self, trainer, module, optimizer):
        seen.append({group["kind"]: group["lr"] for group in optimizer.param_groups})

    monkeypatch.setattr(RangeTest, "on_before_optimizer_step", look)
    monkeypatch.setattr(lr_finder, "STEPS", 3)
    search(monkeypatch, "--model.optimizer=muon", "--model.optimizer_args.head_lr=0.3")
    assert [lrs["muon"] for lrs in seen[:3]] == pytest.approx([1.23e-6, 3.5e-3, 10.0], rel=0.01)
    assert [lrs["sgd"] for lrs in seen[:3]] == [0.0, 0.0, 0.0]


def test_a_step_takes_as_many_images_as_one_of_the_run(workdir, monkeypatch):
    real = trial.device_and_world_size
    monkeypatch.setattr(trial, "device_and_world_size", lambda *given: (real(*given)[0], 3))
    monkeypatch.setattr(lr_finder, "STEPS", 5)
    monkeypatch.setattr(lr_finder, "HIGHEST", 1e-5)
    words = ["--trainer.accumulate_grad_batches=2", "--batch-size=16", "--trainer.limit_train_batches=15"]
    test, trainer = search(monkeypatch, *words)
    assert trainer.accumulate_grad_batches == 6
    # three steps an epoch, of 6, 6 and 3 batches: the losses are means all the same
    assert len(test.losses) == 5
    assert np.allclose(test.losses, math.log(10), atol=0.15)


@pytest.mark.slow
def test_the_run_has_the_bits_of_one_with_that_learning_rate_set(workdir, capsys, monkeypatch):
    extra = [
        "--model.ema_decay=0.9",
        "--model.mixup_alpha=0.2",
        "--data.augment.crop_padding=2",
        "--trainer.precision=bf16-mixed",
    ]
    main(["fit", *RUN, *extra, "--lr=auto", "--trainer.default_root_dir=found"])
    said = capsys.readouterr().out
    assert said.count("lr auto: ") == 1
    lr = float(said.split("lr auto: ")[1].split()[0])
    assert 1e-4 < lr < 1
    main(["fit", *RUN, *extra, f"--lr={lr}", "--trainer.default_root_dir=given"])
    found, given = (workdir / name / "lightning_logs" / "version_0" for name in ("found", "given"))
    last = [run / "checkpoints" / "last.ckpt" for run in (found, given)]
    assert state_differences(*last) == []
    assert load(last[0])["lit_cnn"]["config"]["model"]["lr"] == lr
    assert yaml.safe_load((found / "config.yaml").read_text())["model"]["lr"] == lr

    monkeypatch.setattr(lr_finder, "_search", None)  # with a checkpoint there is nothing to try
    main(["fit", "--resume", str(found), "--epochs=2", "--lr=auto"])
    assert f"lr auto: {lr} (that of " in capsys.readouterr().out


def test_a_nonfinite_loss_ends_the_range_test_before_it_counts(workdir, monkeypatch):
    real = ImageClassifier.training_step

    def step(self, batch, batch_idx):
        out = real(self, batch, batch_idx)
        if self.global_step >= 5 and not self.trainer.checkpoint_callback:
            out["loss"] = out["loss"] * float("nan")
        return out

    monkeypatch.setattr(ImageClassifier, "training_step", step)
    test, _ = search(monkeypatch)
    assert len(test.losses) == 5
    assert all(map(math.isfinite, test.losses))


# -- what cannot work


def test_what_cannot_work_is_one_line(workdir, fails, monkeypatch):
    assert "--model.lr: expected a number or 'auto', got 'x'" in fails("fit", *RUN, "--lr=x")
    assert "--lr auto works with one device and with ddp only" in fails(
        "fit", *RUN, "--lr=auto", "--trainer.strategy=fsdp"
    )
    monkeypatch.setattr(lr_finder, "_search", lambda config: (0.004, "tried"))
    line = fails("fit", *RUN, "--lr=auto", "--model.lr_min=0.01")
    assert line.startswith("--model.lr_min 0.01 is above the learning rate 0.004 that auto found")
    assert not list(workdir.glob("lightning_logs/*"))


def test_where_nothing_is_learned_a_learning_rate_is_requested(workdir, fails, monkeypatch):
    monkeypatch.setattr(lr_finder, "HIGHEST", 2e-6)
    monkeypatch.setattr(lr_finder, "STEPS", 20)
    line = fails("fit", *RUN, "--lr=auto", "--trainer.limit_train_batches=4")
    assert line.startswith("--lr auto: the loss fell at no learning rate from 1e-06 to 2e-06 (it was 2.")
    assert line.endswith("give a number")


def test_interrupted_is_interrupted(workdir, monkeypatch):
    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(RangeTest, "on_train_batch_start", stop)
    with pytest.raises(SystemExit) as end:
        main(["fit", *RUN, "--lr=auto"])
    assert end.value.code == 130
    assert not list(workdir.glob("lightning_logs/*"))


def test_lr_base_size_and_lr_auto_exclude_each_other(workdir, fails):
    assert "remove --model.lr_base_size" in fails("fit", *TINY, "--lr=auto", "--model.lr_base_size=256")


def test_where_the_rate_changes_nothing_that_is_refused_at_once(workdir, fails):
    words = ["--model.optimizer=muon", "--model.freeze=backbone", "--lr=auto"]
    assert "no trainable parameter uses --lr" in fails("fit", *RUN, *words)
