"""Running a command that is built: training or evaluating, what it leaves, and what is said at its end."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lightning.pytorch import Callback
from lightning.pytorch.trainer.states import TrainerStatus

from lit_cnn import run_folder
from lit_cnn.callbacks.best_checkpoint import BestCheckpoint
from lit_cnn.cli import checkpoint_argument
from lit_cnn.cli.errors import EXIT_INTERRUPTED, EXIT_TERMINATED
from lit_cnn.distributed.watchdog import is_connection_error
from lit_cnn.errors import Stopped

if TYPE_CHECKING:
    from lit_cnn.cli.lightning_cli import LitCLI


def execute(cli: LitCLI) -> None:
    """Run the command on the built trainer."""
    ckpt_path = str(cli.record.path) if cli.record is not None else None
    trainer, command = cli.trainer, cli.arguments.command
    try:
        if command == "fit":
            trainer.fit(cli.model, datamodule=cli.datamodule, ckpt_path=ckpt_path, weights_only=True)
            _tell_result(cli)
            return
        _note_changed_data(cli)
        if checkpoint_argument.is_first_process():
            cli.report.out_dir = _results_folder(cli)
        evaluate = getattr(trainer, command)
        quiet = {"return_predictions": False} if command == "predict" else {"verbose": False}
        evaluate(cli.model, datamodule=cli.datamodule, ckpt_path=ckpt_path, weights_only=True, **quiet)
    except BaseException:
        if checkpoint_argument.is_first_process():
            _remove_empty(cli)
        raise


def _remove_empty(cli: LitCLI) -> None:
    """A new run that failed before its first step leaves no folder behind, nor does an evaluation."""
    if cli.arguments.command != "fit":
        with contextlib.suppress(OSError):  # not made yet, or it holds results
            Path(cli.report.out_dir).rmdir()
    elif cli.run_dir is not None and cli.record is None and cli.trainer.global_step == 0:
        shutil.rmtree(cli.run_dir, ignore_errors=True)


def _note_changed_data(cli: LitCLI) -> None:
    """Say when the images are not those that the checkpoint's run saw: its split may not be theirs."""
    if cli.record is None or not checkpoint_argument.is_first_process():
        return
    before, now = cli.record.config["data"], cli.plain_config["data"]
    place = [(data["class_path"], data["init_args"]["data_dir"]) for data in (before, now)]
    if place[0] != place[1]:
        return
    split = ("split", "split_seed", "val_fraction", "test_fraction")
    changed = [k for k in split if before["init_args"].get(k) != now["init_args"].get(k)]
    if changed:
        print(
            f"note: {', '.join(f'data.{k}' for k in changed)} differ from the checkpoint's: images that it trained "
            "on may now count as validation or test images"
        )
    if cli.datamodule.fingerprint() != cli.record.fingerprint:
        print(
            f"note: the images in {now['init_args']['data_dir']} have changed since this run was trained; some "
            "that it trained on may now count as validation or test images"
        )


def _results_folder(cli: LitCLI) -> Path:
    """A fresh folder in the run folder of the checkpoint, or in a new run folder for one copied elsewhere."""
    assert cli.record is not None
    run_dir = run_folder.run_folder_of(cli.record.path) or run_folder.new_run_folder(Path(cli.trainer.default_root_dir))
    return run_folder.new_subfolder(run_dir, cli.arguments.command)


def how_to_go_on(cli: LitCLI) -> str:
    """The line that says how to go on with a training run that has saved; ``""`` for others."""
    checkpoint, epochs = _best(cli), cli.trainer.max_epochs or -1
    if checkpoint is None or 0 <= epochs <= cli.trainer.current_epoch:  # finished: the failure came after
        return ""
    saved = sorted(Path(str(checkpoint.dirpath)).glob("*.ckpt"), key=lambda path: path.stem != "last")
    allowed = "".join(f" --allow_import {name}" for name in cli.arguments.allow_import)
    return f"go on with: lit-cnn fit --resume {run_folder.shown(saved[0])}{allowed}" if saved else ""


def _best(cli: LitCLI) -> BestCheckpoint | None:
    """The callback that keeps the best checkpoint of a training run."""
    callbacks: list[Callback] = cli.trainer.callbacks  # type: ignore[attr-defined]  # untyped in Lightning
    return next((c for c in callbacks if isinstance(c, BestCheckpoint)), None)


def _tell_result(cli: LitCLI) -> None:
    checkpoint = _best(cli)
    if not checkpoint_argument.is_first_process() or checkpoint is None:
        return
    best, score = checkpoint.best_model_path, checkpoint.best_model_score
    if best and score is not None:
        print(f"best {checkpoint.monitor} {float(score):.4f}: {run_folder.shown(best)}")
    path = Path(best or Path(str(checkpoint.dirpath)) / "last.ckpt")
    if path.is_file():
        print(f"test it: lit-cnn test --ckpt_path {run_folder.shown(path)}")


@contextlib.contextmanager
def interruption_told(cli: LitCLI) -> Iterator[None]:
    """After a stop by Ctrl-C or SIGTERM, say how to go on."""
    try:
        yield
    except Stopped:
        if checkpoint_argument.is_first_process() and cli.run_dir is not None:
            print(f"saved; {how_to_go_on(cli)}", file=sys.stderr)
        raise
    except Exception as error:
        done, advice = cli.trainer.global_step, how_to_go_on(cli)
        if (
            checkpoint_argument.is_first_process() and done and advice and not is_connection_error(error)
        ):  # that one Peers tells
            print(f"the run stopped after step {done}; {advice}", file=sys.stderr)
        raise
    except SystemExit as error:
        # Lightning turns a Ctrl-C outside of training into exit status 1
        if cli.trainer.state.status is not TrainerStatus.INTERRUPTED:
            raise
        if checkpoint_argument.is_first_process():
            print("stopped", file=sys.stderr)
        raise SystemExit(EXIT_TERMINATED if error.code == EXIT_TERMINATED else EXIT_INTERRUPTED) from error
