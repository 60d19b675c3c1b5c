"""``fit … --verify_resume``: is a run that was killed and resumed the same, bit for bit, as one that was not?

Real processes, really killed: what a process would have to remember outside of its checkpoint is gone.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from lit_cnn.checkpoint.diff import content_hash, differences
from lit_cnn.checkpoint.record import HASH, KEY, load_verified
from lit_cnn.cli.argv import Arguments, parse
from lit_cnn.cli.config import flatten, read_config
from lit_cnn.errors import UserError

EVERY = 2  # steps between two saves; the kills fall between, so that steps are lost and done again
# Where a run lives and what it was asked is not its state, nor is the last score, which Lightning does not restore.
NOT_STATE = ("dirpath", "best_model_path", "kth_best_model_path", "last_model_path", "current_score")


class KillAt(Callback):
    """Kill this process after so many optimizer steps, as a power cut would.

    Args:
        step: optimizer steps after which to die.
    """

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Die if it is time."""
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)


def verify_resume(words: Sequence[str], arguments: Arguments, steps: int) -> None:
    """Train a few steps straight, again with two kills, and compare everything the two leave.

    Args:
        words: the command line without ``--verify_resume``.
        arguments: the same, taken apart.
        steps: optimizer steps; epochs are cut to a third of them, so that the kills fall past the first.

    Raises:
        UserError: when the command is no new training run, or one of the runs fails.
        SystemExit: with status 1 when the two differ.
    """
    if arguments.command != "fit" or arguments.resume is not None or arguments.ckpt_path:
        raise UserError("--verify_resume tries a new training run: it goes with fit, without --resume and --ckpt_path")
    if steps < 8:
        raise UserError(f"--verify_resume {steps}: give at least 8 steps, of three epochs and two stops")
    kills = (steps // 2 - 1 | 1, steps * 3 // 4 | 1)  # odd, so that something is lost
    batches = _accumulated(arguments) * max(2, steps // 3)
    with tempfile.TemporaryDirectory(prefix="lit_cnn-verify-") as folder:
        short = [
            *words,
            f"--trainer.max_steps={steps}",
            "--trainer.max_epochs=-1",
            f"--trainer.limit_train_batches={batches}",
            "--trainer.limit_val_batches=2",
            f"--checkpoint_every={EVERY}",
            "--trainer.enable_progress_bar=false",
        ]
        print(f"straight: {steps} steps in epochs of {batches} batches", flush=True)
        straight = _train(short, Path(folder) / "straight")
        killed = Path(folder) / "killed"
        print(f"again: killed after step {kills[0]}, resumed, killed after step {kills[1]}, resumed", flush=True)
        allowed = [word for flag in ("--allow_import",) for word in _given(words, flag)]
        _train(short, killed, kills[0])
        _train(["fit", "--resume", *allowed], killed, kills[1])
        resumed = _train(["fit", "--resume", *allowed], killed)
        found = _compare(straight, resumed)
        if not found:
            whole = content_hash(state_of(_last(straight)))
            print(f"identical: weights, optimizer, schedule, counters and metrics.csv (SHA-256 {whole[:16]})")
            return
        print(f"different: {found[0]}" + (f"; and {len(found) - 1} more" if len(found) > 1 else ""))
        again = _compare(straight, _train(short, Path(folder) / "again"))
        if again:
            print("two straight runs differ as well: something in them is random (on GPUs, try --deterministic)")
        raise SystemExit(1)


def _train(words: list[str], root: Path, kill_at: int = 0) -> Path:
    """Run one training process to its end or its death; returns its run folder."""
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
            f"--verify_resume: the run ended by itself before step {kill_at}: leave out what stops it early "
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
    """All that two runs must have in common: a checkpoint's content without settings, folders and the like."""
    content = load_verified(checkpoint)
    own = {name: value for name, value in content[KEY].items() if name not in ("config", HASH)}
    callbacks: dict[str, Any] = {}
    for name, state in content["callbacks"].items():
        if isinstance(state, dict) and "best_k_models" in state:
            best = {Path(path).name: score for path, score in state["best_k_models"].items()}
            state = {**{k: v for k, v in state.items() if k not in NOT_STATE}, "best_k_models": best}
        callbacks[name] = state
    return {**content, KEY: own, "callbacks": callbacks}


def _last(run: Path) -> Path:
    return run / "checkpoints" / "last.ckpt"


def _accumulated(arguments: Arguments) -> int:
    """Batches per optimizer step that the user asked for."""
    name = "trainer.accumulate_grad_batches"
    said = [flatten(read_config(config)).get(name) for config in arguments.configs]
    said += [value for flag, value in arguments.flags if flag == f"--{name}"]
    last = str(next((value for value in reversed(said) if value), 1))
    return max(1, int(last)) if last.isdigit() else 1


def _given(words: Sequence[str], flag: str) -> list[str]:
    found = []
    for position, word in enumerate(words):
        name, equals, _ = word.partition("=")
        if name.replace("-", "_") == flag.replace("-", "_"):
            found += [word] if equals else list(words[position : position + 2])
    return found


def main() -> None:
    """One run of a comparison: ``python -m lit_cnn.cli.commands.verify_resume STEP fit …``; 0 is never killed."""
    from lit_cnn.cli.errors import report_errors

    with report_errors(debug=False):
        from lit_cnn.cli import lightning_cli

        step = int(sys.argv[1])
        lightning_cli.run(parse(sys.argv[2:]), callbacks=[KillAt(step)] if step else [])


if __name__ == "__main__":
    main()
