"""``lit-cnn fit … --verify_resume``: does a killed and resumed run end with the bits of one that was not killed?

It uses real processes and ``kill -9``: whatever a process remembers outside of its checkpoint is lost.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from lit_cnn.checkpoint.compatibility import NUMERICS, needed_to_repeat
from lit_cnn.checkpoint.diff import content_hash, differences
from lit_cnn.checkpoint.record import HASH, KEY, load_verified
from lit_cnn.cli.argv import Arguments, parse
from lit_cnn.cli.commands.run import run
from lit_cnn.cli.config import find_config, last_value
from lit_cnn.cli.errors import as_flags, report_errors
from lit_cnn.errors import UserError
from lit_cnn.utils.console import say, spell_settings_by

EVERY = 2  # steps between two saves; the kills fall between, so that steps are lost and repeated
# Folders and settings are not state, nor is the last score, which Lightning does not restore.
NOT_STATE = ("dirpath", "best_model_path", "kth_best_model_path", "last_model_path", "current_score")


class KillAt(Callback):
    """Kill this process after a number of optimizer steps, as a power cut would.

    Args:
        step: optimizer steps.
    """

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Kill after the step."""
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)


def main(words: list[str], debug: bool = False) -> None:
    """Run the command line ``words``, which has ``--verify_resume``."""
    arguments = parse(words)
    assert arguments.verify_resume is not None
    verify_resume(arguments, arguments.verify_resume)


def verify_resume(arguments: Arguments, steps: int) -> None:
    """Train some steps without a stop, again with two kills, and compare everything the two runs leave.

    Args:
        arguments: the command line.
        steps: optimizer steps, at least 8 for three epochs and two kills. Epochs are limited to a third of them, so
            that the kills fall past the first.

    Raises:
        UserError: when the command does not start a new training run, or one of the runs fails.
        SystemExit: with status 1 when the two differ.
    """
    if arguments.command != "fit" or arguments.resume is not None or arguments.ckpt_path:
        raise UserError("--verify_resume tries a new training run: use it with fit, without --resume and --ckpt_path")
    arguments.configs = [str(Path(find_config(config)).resolve()) for config in arguments.configs]
    kills = (steps // 2 - 1 | 1, steps * 3 // 4 | 1)  # odd, so that something is lost
    batches = _accumulation(arguments) * max(2, steps // 3)
    with tempfile.TemporaryDirectory(prefix="lit_cnn-verify-") as folder:
        short = [
            *arguments.words(),
            f"--trainer.max_steps={steps}",
            "--trainer.max_epochs=-1",
            f"--trainer.limit_train_batches={batches}",
            "--trainer.limit_val_batches=2",
            f"--checkpoint_every={EVERY}",
            "--trainer.enable_progress_bar=false",
        ]
        say(f"uninterrupted: {steps} steps in epochs of {batches} batches")
        uninterrupted = _train(short, Path(folder) / "uninterrupted")
        killed = Path(folder) / "killed"
        say(f"again: killed after step {kills[0]}, resumed, killed after step {kills[1]}, resumed")
        allowed = [f"--allow_import={name}" for name in arguments.allow_import]
        _train(short, killed, kills[0])
        _train(["fit", "--resume", *allowed], killed, kills[1])
        resumed = _train(["fit", "--resume", *allowed], killed)
        found = _compare(uninterrupted, resumed)
        key = load_verified(_last(uninterrupted))[KEY]["order"]
        if not found:
            digest = content_hash(state_of(_last(uninterrupted)))
            say(f"identical: weights, optimizer, schedule, counters and metrics.csv (SHA-256 {digest[:16]})")
            if note := _where_it_holds(key):
                say(note)
            return
        say(f"different: {found[0]}" + (f"; and {len(found) - 1} more" if len(found) > 1 else ""))
        again = _compare(uninterrupted, _train(short, Path(folder) / "again"))
        if again:
            needed = needed_to_repeat(key)
            why = f"on {key['device']} equal bits need {needed}" if needed else "something in them is random"
            say(f"two uninterrupted runs differ too: {why}")
        raise SystemExit(1)


def _where_it_holds(key: dict[str, Any]) -> str:
    """On a GPU, what an identical resume depends on; ``""`` on CPUs.

    Args:
        key: resume key of the runs.
    """
    if "deterministic" not in key:
        return ""
    where = f"on {key['device']}, torch {key['torch']}, precision {key['precision']}"
    if needed := needed_to_repeat(key):
        return f"note: {where}; other runs can differ without {needed}"
    return f"{where}, deterministic algorithms: other runs there have the same bits"


def _train(words: list[str], root: Path, kill_at: int = 0) -> Path:
    """Run one training process until it ends or is killed; returns its run folder."""
    command = [
        sys.executable,
        "-m",
        "lit_cnn.cli.commands.verify_resume",
        str(kill_at),
        *words,
        f"--trainer.default_root_dir={root}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if kill_at and done.returncode == 0:
        raise UserError(
            f"--verify_resume: the run ended before step {kill_at}: remove what stops it early "
            "(a callback, a limit), or give fewer steps"
        )
    if not kill_at and done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise UserError(f"--verify_resume: a run failed: {lines[-1].removeprefix('lit-cnn: error: ')}")
    if kill_at and not (root / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt").is_file():
        lines = done.stderr.strip().splitlines() or ["it left no checkpoint"]
        raise UserError(f"--verify_resume: a run failed: {lines[-1].removeprefix('lit-cnn: error: ')}")
    return root / "lightning_logs" / "version_0"


def _compare(first: Path, second: Path) -> list[str]:
    found = list(differences(state_of(_last(first)), state_of(_last(second))))
    tables = [(run / "metrics.csv").read_text(encoding="utf-8").splitlines() for run in (first, second)]
    if tables[0] != tables[1]:
        pairs = zip(*tables, strict=False)
        found.append(next((f"metrics.csv: {a} and {b}" for a, b in pairs if a != b), "metrics.csv has other rows"))
    return found


def state_of(checkpoint: Path) -> dict[str, Any]:
    """What two runs must have in common: a checkpoint's content without settings, folders and the like."""
    content = load_verified(checkpoint)
    own = {name: value for name, value in content[KEY].items() if name not in ("config", "data_dir", HASH)}
    own["order"] = {name: value for name, value in own.get("order", {}).items() if name not in NUMERICS}
    callbacks: dict[str, Any] = {}
    for name, state in content["callbacks"].items():
        if name == "Timer":  # how long a run took is no state
            continue
        if isinstance(state, dict) and "best_k_models" in state:
            best = {Path(path).name: score for path, score in state["best_k_models"].items()}
            state = {**{k: v for k, v in state.items() if k not in NOT_STATE}, "best_k_models": best}
        callbacks[name] = state
    return {**content, KEY: own, "callbacks": callbacks}


def _last(run: Path) -> Path:
    return run / "checkpoints" / "last.ckpt"


def _accumulation(arguments: Arguments) -> int:
    """Batches per optimizer step that the user asked for."""
    given = str(last_value(arguments, "trainer.accumulate_grad_batches") or 1)
    return max(1, int(given)) if given.isdigit() else 1


def run_and_die() -> None:
    """One run of a comparison: ``python -m lit_cnn.cli.commands.verify_resume STEP fit …``.

    The process is killed after STEP optimizer steps; 0 lets it end.
    """
    with report_errors(debug=False):
        step = int(sys.argv[1])
        run(parse(sys.argv[2:]), callbacks=[KillAt(step)] if step else [])


if __name__ == "__main__":
    spell_settings_by(as_flags)
    run_and_die()
