"""What a command starts from: the run folder's root, a checkpoint, pictures."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_only

from lit_cnn import run_folder
from lit_cnn.checkpoint.record import Record, read_progress, read_record
from lit_cnn.cli.argv import Arguments
from lit_cnn.cli.config import flatten, read_config
from lit_cnn.errors import DamagedCheckpointError, UserError


def is_first_process() -> bool:
    """Whether this process prints and writes for all of a run's processes."""
    return getattr(rank_zero_only, "rank", 0) == 0


def find_record(arguments: Arguments, root: Path) -> Record | None:
    """The checkpoint that the command starts from, if any; a resume falls back to the newest one that is whole."""
    command = arguments.command
    if "--help" in arguments.bare or "-h" in arguments.bare:
        return None
    if arguments.resume is not None:
        if command != "fit":
            raise UserError(f"--resume goes with fit; {command} takes --ckpt_path")
        if arguments.ckpt_path:
            raise UserError("--resume and --ckpt_path both name a checkpoint: give one of them")
        wanted, name = arguments.resume, "last"
    elif arguments.ckpt_path:
        wanted, name = arguments.ckpt_path, "last" if command == "fit" else "best"
    elif command == "fit":
        return None
    else:
        raise UserError(
            f"{command} needs a trained model: --ckpt_path PATH, or --ckpt_path best for the newest run's best one"
        )
    if arguments.resume == "auto":
        run = run_folder.newest_run(root)
        if run is None or not run_folder.checkpoints_in(run):
            return None  # nothing to go on with: start
        wanted = ""
    path = run_folder.find_checkpoint(wanted, root, name, resume=command == "fit")
    if command != "fit":
        _say(f"checkpoint: {path}", path, wanted)
        return read_record(path)
    # a run's newest checkpoint may have another name than last.ckpt; one that the user named is that one
    candidates = by_progress(path.parent)
    if str(path) == wanted or path.stem == "best":
        candidates = [path, *(p for p in candidates if p != path)]
    damaged: list[str] = []
    for candidate in candidates:
        try:
            record = read_record(candidate)
        except DamagedCheckpointError as error:
            damaged.append(str(error))
            continue
        if is_first_process():
            for line in damaged:
                print(f"passed over: {line}", file=sys.stderr)
        _say(f"checkpoint: {candidate} (step {record.step})", candidate, wanted)
        if not record.exact and is_first_process():
            print(f"note: {candidate} was saved where a run cannot go on exactly")
        return record
    others = "; nor is any other checkpoint beside it whole" if len(damaged) > 1 else ""
    raise UserError(
        f"{damaged[0]}{others}: train anew, with lit-cnn fit --config FILE (a run folder has a config.yaml)"
    )


def by_progress(folder: Path) -> list[Path]:
    """The checkpoints of a folder to go on from: the furthest first, those that do so exactly before all others.

    Unreadable ones, which may be any, come first.
    """
    ranked = []
    for path in folder.glob("*.ckpt"):
        step, exact = float("inf"), True
        with contextlib.suppress(UserError):
            step, exact = read_progress(path)
        # of two that are equally far, last.ckpt was written later and knows more
        name = ("last", "previous").index(path.stem) if path.stem in ("last", "previous") else 2
        ranked.append((not exact, -step, name, path))
    return [path for *_, path in sorted(ranked)]


def _say(line: str, path: Path, wanted: str) -> None:
    if str(path) != wanted and is_first_process():
        print(line)


def root_folder(arguments: Arguments) -> Path:
    """The folder that holds lightning_logs: a flag's, else the last config's that names one, else this one."""
    name = "trainer.default_root_dir"
    named = [flatten(read_config(config)).get(name) for config in arguments.configs]
    named += [value for flag, value in arguments.flags if flag == f"--{name}"]
    return Path(next((root for root in reversed(named) if root), "."))


def pictures_config(record: Record, paths: list[str]) -> dict[str, Any]:
    """Data settings for pictures without labels, prepared as the model's own images were."""
    stored = record.config["data"]["init_args"]
    policy = {k: stored[k] for k in ("on_bad_image", "max_pixels") if k in stored}
    init_args = {**policy, **record.preprocessing, "class_names": record.class_names, "paths": paths}
    return {"class_path": "lit_cnn.data.Images", "init_args": init_args}
