"""Flags that are no settings of trainer, model or data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from lit_cnn.cli.flag_values import import_names, is_truth, truth, whole_number
from lit_cnn.cli.run_name import read_run_name


class Own(NamedTuple):
    """A flag that is no setting of trainer, model or data.

    Attributes:
        attribute: of :class:`Arguments`.
        read: makes the value of the text.
        bare: the value of the flag without a text; ``None``: it needs one.
        takes: whether the next word is its text, where it may have none.
        many: further ones add to a list.
    """

    attribute: str
    read: Callable[[str], Any] = str
    bare: Any = None
    takes: Callable[[str], bool] = lambda word: not word.startswith("-")
    many: bool = False


OWN = {
    "--config": Own("configs", lambda text: [text], many=True),
    "--ckpt_path": Own("ckpt_path"),
    # true and false as other tools have it
    "--resume": Own("resume", lambda text: {"true": "", "false": None}.get(text.lower(), text), bare=""),
    "--resume_anyway": Own("resume_anyway", truth("--resume_anyway"), bare=True, takes=is_truth),
    "--verify_resume": Own("verify_resume", whole_number("--verify_resume", "steps", 8), bare=24, takes=str.isdigit),
    "--allow_import": Own("allow_import", import_names, many=True),
    "--name": Own("name", read_run_name),
    "--budget": Own("budget"),
    "--seeds": Own("seeds", whole_number("--seeds", "seeds")),
    "--raw": Own("raw", truth("--raw"), bare=True, takes=is_truth),
    "--predictions": Own("predictions"),
    "--save_images": Own("save_images", truth("--save_images"), bare=True, takes=is_truth),
    "--shards": Own("shards"),
    "--haze": Own("haze"),
    "--shard_mb": Own("shard_mb", whole_number("--shard_mb", "megabytes")),
}
# Flags of one word that the parser of settings knows, besides the aliases above.
TOP = (
    "--data", "--model", "--trainer", "--checkpoint", "--checkpoint_every", "--skip_nonfinite_steps", "--device",
    "--devices", "--seed_everything", "--patience",
)  # fmt: skip
