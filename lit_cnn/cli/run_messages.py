"""Lines printed at the end of a run: results, how to resume, and how it was interrupted."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.profilers import Profiler
from lightning.pytorch.trainer.states import TrainerStatus

from lit_cnn.callbacks.best_checkpoint import BestCheckpoint
from lit_cnn.callbacks.stop_report import StopReport
from lit_cnn.checkpoint.record import CheckpointRecord, load_verified
from lit_cnn.cli.errors import EXIT_INTERRUPTED, EXIT_TERMINATED
from lit_cnn.distributed.watchdog import is_connection_error
from lit_cnn.errors import Stopped, UnreadableImageError
from lit_cnn.results.run_state import FAILED, FINISHED, STOPPED, TRAINING, read_state, write_state
from lit_cnn.run_folder import format_path, shell_path
from lit_cnn.utils.console import say
from lit_cnn.utils.datamodule import DataModule, datamodule
from lit_cnn.utils.rank import is_rank_zero

EVALUATIONS = {"test": "test", "validate": "val"}  # command and its split, the better one first
SPLIT_SETTINGS = ("split", "split_seed", "val_fraction", "test_fraction")


def how_to_resume(trainer: Trainer, allow_import: Sequence[str]) -> str:
    """The line that says how to resume a training run that has saved; ``""`` for others."""
    checkpoint, epochs = _best(trainer), trainer.max_epochs or -1
    finished = 0 <= epochs <= trainer.current_epoch and not _timed_out(trainer)  # the failure came after
    if checkpoint is None or finished:
        return ""
    saved = sorted(Path(str(checkpoint.dirpath)).glob("*.ckpt"), key=lambda path: path.stem != "last")
    allowed = "".join(f" --allow_import {name}" for name in allow_import)
    return f"resume with: lit-cnn fit --resume {shell_path(saved[0])}{allowed}" if saved else ""


def _best(trainer: Trainer) -> BestCheckpoint | None:
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]  # untyped in Lightning
    return next((c for c in callbacks if isinstance(c, BestCheckpoint)), None)


def _timed_out(trainer: Trainer) -> bool:
    """Whether a limit of the time ended the run, maybe within its last epoch."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]  # untyped in Lightning
    return any(isinstance(callback, StopReport) and callback.timed_out for callback in callbacks)


def print_result(trainer: Trainer, allow_import: Sequence[str]) -> None:
    """After training: the best score, and the command that tests it."""
    checkpoint = _best(trainer)
    if checkpoint is None:
        return
    best, score = best_checkpoint(trainer)
    if best and score is not None:
        say(f"best {checkpoint.monitor} {float(score):.4f}: {format_path(best)}")
    if _timed_out(trainer):
        say(how_to_resume(trainer, allow_import))
    path = Path(best or Path(str(checkpoint.dirpath)) / "last.ckpt")
    if path.is_file():
        allowed = "".join(f" --allow_import {name}" for name in allow_import)
        data = datamodule(trainer)
        command = next((name for name, split in EVALUATIONS.items() if data.has_split(split)), "predict")
        images = "" if command in EVALUATIONS else " IMAGES"
        say(f"{command} it: lit-cnn {command} --ckpt_path {shell_path(path)}{allowed}{images}")


def best_checkpoint(trainer: Trainer) -> tuple[str, float | None]:
    """Path of the best checkpoint, best.ckpt if it has that name too, and its score; empty where there is none."""
    checkpoint = _best(trainer)
    if checkpoint is None:
        return "", None
    path, score = checkpoint.best_model_path, checkpoint.best_model_score
    if not path or checkpoint.monitor is None:
        return path, None
    if score is None and Path(path).is_file():  # the ranks were forked, and only the path has come back from them
        states = load_verified(Path(path))["callbacks"]
        score = states.get(checkpoint.state_key, {}).get("best_model_score")
    link = Path(path).with_name("best.ckpt")
    return str(link if link.is_file() else path), None if score is None else float(score)


def print_profile(trainer: Trainer) -> None:
    """Say where the report of a profiler is, if it wrote a file."""
    profiler: Profiler = trainer.profiler  # type: ignore[attr-defined]  # untyped in Lightning
    if profiler.dirpath is not None and profiler.filename is not None:
        stage = trainer.state.fn.value if trainer.state.fn else ""
        for path in sorted(Path(profiler.dirpath).glob(f"{stage}-{profiler.filename}*.txt")):
            say(f"profile: {format_path(path)}")


def end_run(run: Path | None, trainer: Trainer, error: BaseException | None = None) -> None:
    """Write to run.json how training ended, unless it did not start.

    Args:
        run: the run folder; ``None`` where there is none.
        trainer: of the run.
        error: that ended it.
    """
    if run is None or not is_rank_zero() or read_state(run).get("state") != TRAINING:
        return
    counts = {"epoch": trainer.current_epoch, "step": trainer.global_step} if trainer.global_step else {}
    state, reason = FINISHED, None
    if isinstance(error, (SystemExit, KeyboardInterrupt)):
        state = STOPPED
    elif error is not None:
        state, reason = FAILED, (str(error).strip() or type(error).__name__).splitlines()[0][:300]
    with contextlib.suppress(OSError):  # the error matters more; a finished run has its results
        write_state(run, state=state, reason=reason, **counts)


def note_changed_data(record: CheckpointRecord, data: dict[str, Any], images: DataModule) -> None:
    """Before an evaluation: say when images that the run trained on may be among those evaluated.

    Args:
        record: the checkpoint.
        data: the settings of the data set now.
        images: the data set.
    """
    before = record.config["data"]
    given = [settings["init_args"]["data_dir"] for settings in (before, data)]
    same = given[0] == given[1] or Path(record.data_dir) == Path(given[1]).absolute()
    if before["class_path"] != data["class_path"] or not same:  # other images, not the same ones changed
        return
    changed = [k for k in SPLIT_SETTINGS if before["init_args"].get(k) != data["init_args"].get(k)]
    if changed:
        say(
            f"note: {', '.join(f'data.{k}' for k in changed)} differ from the checkpoint's: images that it trained "
            "on may now count as validation or test images"
        )
    if images.fingerprint() != record.fingerprint:
        say(
            f"note: the images read from {given[1]} have changed since this run was trained; some that it trained on "
            "may now count as validation or test images"
        )


@contextlib.contextmanager
def report_interrupt(trainer: Trainer, allow_import: Sequence[str]) -> Iterator[None]:
    """After a stop by Ctrl-C, SIGTERM or an error, say how to resume.

    Raises:
        SystemExit: with the shell's status for the signal.
    """
    try:
        yield
    except Stopped:
        say(f"saved; {how_to_resume(trainer, allow_import)}", error=True)
        raise
    except Exception as error:
        done, advice = trainer.global_step, how_to_resume(trainer, allow_import)
        if done and advice and not is_connection_error(error):  # that one the watchdog reports
            if isinstance(error, UnreadableImageError):  # one command that works whatever the user does with the file
                advice += " --data.on_bad_image skip --resume_anyway"
            say(f"the run stopped after step {done}; {advice}", error=True)
        raise
    except SystemExit as error:
        # Lightning turns a Ctrl-C outside of training into exit status 1
        if trainer.state.status is not TrainerStatus.INTERRUPTED:
            raise
        say("stopped", error=True)
        raise SystemExit(EXIT_TERMINATED if error.code == EXIT_TERMINATED else EXIT_INTERRUPTED) from error
    finally:
        sys.stderr.flush()
