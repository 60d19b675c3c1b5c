"""What a command starts from: the run folder's root, a checkpoint, pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_only

from lit_cnn import runs, settings
from lit_cnn.arguments import Arguments
from lit_cnn.checkpoint import Record, read_record
from lit_cnn.errors import UserError


def is_first_process() -> bool:
    """Whether this process prints and writes for all of a run's processes."""
    return getattr(rank_zero_only, "rank", 0) == 0


def find_record(arguments: Arguments, root: Path) -> Record | None:
    """The checkpoint that the command starts from, if any."""
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
    path = runs.find_checkpoint(wanted, root, name)
    if str(path) != wanted and is_first_process():
        print(f"checkpoint: {path}")
    return read_record(path)


def root_folder(arguments: Arguments) -> Path:
    """The folder that holds lightning_logs: a flag's, else the last config's that names one, else this one."""
    name = "trainer.default_root_dir"
    named = [settings.flatten(settings.read_config(config)).get(name) for config in arguments.configs]
    named += [value for flag, value in arguments.flags if flag == f"--{name}"]
    return Path(next((root for root in reversed(named) if root), "."))


def pictures_config(record: Record, paths: list[str]) -> dict[str, Any]:
    """Data settings for pictures without labels, prepared as the model's own images were."""
    stored = record.config["data"]["init_args"]
    policy = {k: stored[k] for k in ("on_bad_image", "max_pixels") if k in stored}
    init_args = {**policy, **record.preprocessing, "class_names": record.class_names, "paths": paths}
    return {"class_path": "lit_cnn.data.Images", "init_args": init_args}
