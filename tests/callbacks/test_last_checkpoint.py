"""When last.ckpt is saved, and what an exception costs."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Callback

from lit_cnn.callbacks.last_checkpoint import LastCheckpoint
from lit_cnn.cli.argv import parse
from lit_cnn.cli.commands.run import run as run_command
from lit_cnn.cli.main import main
from tests.conftest import TINY, load, state_differences
from tests.faults.harness import RESUME, KillAt, last, run, scalars

# a small network with batch normalisation and dropout, everything on; 5 optimizer steps an epoch
ALL = [
    *(word for word in TINY if "backbone" not in word and "batch-size" not in word),
    "--data.test_fraction=0.8",
    "--batch-size=32",
    "--img-size=8",
    "--model.backbone=convnet_pooled",
    "--model.backbone_args={widths: [4, 8], dilations: [1, 1], dropout: 0.1}",
    "--epochs=3",
    "--model.ema_decay=0.9",
    "--model.mixup_alpha=0.2",
    "--trainer.accumulate_grad_batches=2",
]


class Fail(Callback):
    """Raise in the step that follows ``step``, at one of several points."""

    def __init__(self, step: int, hook: str) -> None:
        self.step = step
        self.hook = hook
        setattr(self, hook, self._fail)

    def _fail(self, trainer, *args) -> None:
        if trainer.global_step == self.step:
            raise RuntimeError(f"broken in {self.hook}")


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("straight")
    main(["fit", *ALL, f"--trainer.default_root_dir={root}"])
    return root


@pytest.mark.parametrize(
    ("hook", "step"),  # inside the second epoch, and right at the start of the third (5 steps an epoch)
    [
        ("on_train_batch_start", 7),
        ("on_before_backward", 10),
        ("on_after_backward", 7),
        ("on_before_optimizer_step", 6),
    ],
)
def test_an_exception_in_a_step_loses_nothing_before_it_and_the_resume_has_the_same_bits(
    hook: str, step: int, straight: Path, workdir: Path
) -> None:
    with pytest.raises(RuntimeError, match="broken in"):
        run_command(parse(["fit", *ALL, "--checkpoint_every=2epochs"]), callbacks=[Fail(step, hook)])
    assert load(last(workdir))["global_step"] == step
    main(["fit", "--resume"])
    # the schedule of saves is a setting, not state
    assert state_differences(last(straight), last(workdir)) == []


def test_an_exception_after_the_weights_have_changed_saves_nothing_half_done(workdir: Path, monkeypatch) -> None:
    real, calls = torch.optim.AdamW.step, []

    def step(self, *args, **kwargs):
        calls.append(real(self, *args, **kwargs))
        if len(calls) == 8:
            raise RuntimeError("broken in the update")

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    with pytest.raises(RuntimeError, match="broken"):
        main(["--debug", "fit", *ALL])
    assert load(last(workdir))["global_step"] == 5, "the end of the first epoch"


def test_how_to_resume_is_printed_after_an_exception(workdir: Path, capsys) -> None:
    with pytest.raises(RuntimeError):
        run_command(parse(["fit", *ALL]), callbacks=[Fail(7, "on_before_backward")])
    assert f"{RESUME}lightning_logs/version_0/checkpoints/last.ckpt" in capsys.readouterr().err


def saves(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Steps at which last.ckpt is saved."""
    steps: list[int] = []
    real = LastCheckpoint._save

    def watched(self, trainer) -> None:
        steps.append(trainer.global_step)
        real(self, trainer)

    monkeypatch.setattr(LastCheckpoint, "_save", watched)
    return steps


@pytest.mark.parametrize(
    ("every", "expected"),
    [
        ("null", [10, 20, 30]),
        ("4", [4, 8, 12, 16, 20, 24, 28, 30]),
        ("7", [7, 14, 21, 28, 30]),
        ("10", [10, 20, 30]),  # an epoch's last batch: saved after the epoch's end
        ("2epochs", [20, 30]),
        ("1h", [30]),
    ],
)
def test_last_is_saved_on_the_schedule_and_at_the_end(every, expected, workdir, monkeypatch) -> None:
    steps = saves(monkeypatch)
    main(["fit", *TINY, "--epochs=3", f"--checkpoint_every={every}"])
    assert steps == expected


def test_a_schedule_in_time_counts_from_the_last_save(workdir, monkeypatch) -> None:
    steps = saves(monkeypatch)
    clock = iter(range(0, 10_000, 25))  # every reading of the clock is 25 seconds after the one before
    monkeypatch.setattr("lit_cnn.callbacks.last_checkpoint.time", SimpleNamespace(monotonic=lambda: next(clock)))
    main(["fit", *TINY, "--epochs=3", "--checkpoint_every=1m"])
    assert len(steps) > 5
    assert steps[-1] == 30
    assert all(b - a == 3 for a, b in itertools.pairwise(steps[:4])), steps


def test_where_validation_follows_a_step_the_save_waits_for_the_next(workdir, monkeypatch) -> None:
    steps = saves(monkeypatch)
    main(["fit", *TINY, "--epochs=2", "--checkpoint_every=5", "--trainer.val_check_interval=5"])
    assert steps == [6, 10, 16, 20]  # validation after 5, 10, 15, 20


@pytest.mark.slow
def test_a_resume_from_a_save_between_validations_repeats_the_uninterrupted_run(workdir) -> None:
    words = ["fit", *ALL, "--trainer.val_check_interval=4", "--checkpoint_every=1"]
    main([*words, "--trainer.default_root_dir=straight"])
    for step in (6, 9, 11):
        root = f"--trainer.default_root_dir=stopped{step}"
        with pytest.raises(RuntimeError):
            run_command(parse([*words, root]), callbacks=[Fail(step, "on_train_batch_start")])
        main(["fit", "--resume", root])
        assert state_differences(last(workdir / "straight"), last(workdir / f"stopped{step}")) == []
        tables = [last(workdir / name).parent.parent / "metrics.csv" for name in ("straight", f"stopped{step}")]
        assert tables[0].read_bytes() == tables[1].read_bytes()


def assert_same_runs(first: Path, second: Path) -> None:
    """State, metrics.csv and what TensorBoard shows are the same for two runs, given by their last.ckpt."""
    assert state_differences(first, second) == []
    first, second = first.parent.parent, second.parent.parent
    assert (first / "metrics.csv").read_bytes() == (second / "metrics.csv").read_bytes()
    assert scalars(first) == scalars(second)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``uninterrupted(*words)``: last.ckpt of a run of FLAT and these words that nothing stops; not to be changed."""
    runs: dict[tuple[str, ...], Path] = {}

    def run_once(*words: str) -> Path:
        if words not in runs:
            root = tmp_path_factory.mktemp("uninterrupted")
            main(["fit", *FLAT, *words, f"--trainer.default_root_dir={root}"])
            runs[words] = last(root)
        return runs[words]

    return run_once


FLAT = [w for w in ALL if "one_cycle" not in w and "epochs" not in w] + ["--model.lr_scheduler=constant"]
OFTEN = "--trainer.val_check_interval=4"  # validation after steps 2, 4, 7, 9, 12, 14 of 5 an epoch


@pytest.mark.parametrize(
    ("first", "more"),
    [
        ("--trainer.max_steps=5", []),  # an epoch's end
        ("--trainer.max_steps=7", []),  # inside one
        ("--trainer.max_steps=7", [OFTEN]),  # right where it is validated
        ("--trainer.max_steps=8", [OFTEN]),
    ],
)
def test_a_run_stopped_by_max_steps_continues_as_if_never_stopped(first, more, uninterrupted, workdir) -> None:
    straight = uninterrupted(*more, "--trainer.max_steps=15")
    main(["fit", *FLAT, *more, first, "--trainer.default_root_dir=raised"])
    steps = int(first.split("=")[1])
    assert load(last(workdir / "raised"))["global_step"] == steps
    main(["fit", "--resume", "--trainer.max_steps=15", "--trainer.default_root_dir=raised"])
    assert_same_runs(straight, last(workdir / "raised"))


def test_a_run_extended_by_more_epochs_continues_as_if_never_stopped(uninterrupted, workdir) -> None:
    straight = uninterrupted("--epochs=3")
    main(["fit", *FLAT, "--epochs=1", "--trainer.default_root_dir=raised"])
    main(["fit", "--resume", "--epochs=3", "--trainer.default_root_dir=raised"])
    assert_same_runs(straight, last(workdir / "raised"))


STOP_EARLY = (
    '--trainer.callbacks=[{"class_path": "EarlyStopping", "init_args": '
    '{"monitor": "val/loss", "patience": 1, "min_delta": 100.0}}]'
)


def test_a_run_that_stops_early_inside_an_epoch_is_saved_there_and_resumes(uninterrupted, workdir) -> None:
    straight = uninterrupted("--epochs=3", OFTEN)
    main(["fit", *FLAT, "--epochs=3", OFTEN, STOP_EARLY, "--trainer.default_root_dir=early"])
    assert load(last(workdir / "early"))["global_step"] == 4
    main(["fit", "--resume", "--trainer.callbacks=null", "--trainer.default_root_dir=early"])
    assert_same_runs(straight, last(workdir / "early"))


def test_a_run_resumes_exactly_from_the_best_of_a_truncated_epoch(uninterrupted, workdir) -> None:
    straight = uninterrupted(OFTEN, "--trainer.max_steps=15")
    main(["fit", *FLAT, OFTEN, "--trainer.max_steps=7", "--trainer.default_root_dir=cut"])
    best = last(workdir / "cut").with_name("best.ckpt")
    assert load(best)["global_step"] == 7
    last(workdir / "cut").write_bytes(b"damaged")
    main(["fit", "--resume", "--trainer.max_steps=15", "--trainer.default_root_dir=cut"])
    weights = [load(straight), load(last(workdir / "cut"))]
    for part in ("state_dict", "current_model_state"):
        assert all(torch.equal(value, weights[1][part][name]) for name, value in weights[0][part].items())


def test_the_same_command_with_an_added_callback_resumes_with_resume_auto(workdir) -> None:
    words = ["fit", *TINY, "--trainer.callbacks+=EarlyStopping", "--trainer.callbacks.monitor=val/loss"]
    words += ["--trainer.callbacks+=LearningRateMonitor", "--resume", "auto"]
    main([*words, "--epochs=1"])
    main([*words, "--epochs=2"])
    assert load(last(workdir))["global_step"] == 20


def test_a_users_own_checkpoint_callback_does_not_move_last(workdir) -> None:
    main(["fit", *TINY, "--epochs=1", "--trainer.callbacks+=ModelCheckpoint", "--trainer.callbacks.monitor=val/loss"])
    assert last(workdir).is_file()
    assert [path.name for path in workdir.iterdir()] == ["lightning_logs"]
    main(["fit", "--resume", "--epochs=2"])
    assert load(last(workdir))["global_step"] == 20


def test_rows_that_another_callback_logs_are_not_lost_in_a_kill(tmp_path) -> None:
    words = ["fit", *TINY, "--epochs=2", "--trainer.callbacks+=LearningRateMonitor", "--trainer.log_every_n_steps=3"]
    run(*words, "--checkpoint_every=1", root=tmp_path / "straight")
    killed = (KillAt(8),)
    assert run(*words, "--checkpoint_every=1", root=tmp_path / "killed", callbacks=killed, check=False) == -9
    run("fit", "--resume", root=tmp_path / "killed")
    assert_same_runs(last(tmp_path / "straight"), last(tmp_path / "killed"))
    assert len(scalars(last(tmp_path / "killed").parent.parent)["lr-AdamW"]) == 6


def test_the_same_command_gives_the_same_bits(straight: Path, workdir: Path) -> None:
    main(["fit", *ALL])
    assert state_differences(last(straight), last(workdir)) == []
    tables = [path.parent.parent / "metrics.csv" for path in (last(straight), last(workdir))]
    assert tables[0].read_bytes() == tables[1].read_bytes()


def test_another_seed_gives_others(straight: Path, workdir: Path) -> None:
    main(["fit", *ALL, "--seed=7"])
    assert any("state_dict" in line for line in state_differences(last(straight), last(workdir)))
