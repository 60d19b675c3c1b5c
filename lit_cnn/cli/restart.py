"""``--resume`` where there is nothing to resume: a run that stopped before its first checkpoint starts afresh."""

from __future__ import annotations

from pathlib import Path

from lit_cnn import run_folder
from lit_cnn.checkpoint.find import find_run
from lit_cnn.cli.argv import Arguments
from lit_cnn.utils.console import say
from lit_cnn.utils.files import expand_home


def restarts(arguments: Arguments, root: Path) -> bool:
    """Whether ``fit --resume`` starts a new run, since the one that it means has saved nothing.

    Settings come from that run's config.yaml; where no folder of it is left, from the command line, if that says what
    to train on.

    Args:
        arguments: the command line; the config is added in place.
        root: folder that holds ``lightning_logs``.
    """
    if arguments.command != "fit" or arguments.resume is None or arguments.ckpt_path:
        return False
    if arguments.resume in ("", "auto"):
        run = run_folder.newest_run(root, arguments.name)
    else:
        word = Path(expand_home(arguments.resume))
        run = None if word.is_file() else find_run(word, root)
        if run is None:
            return False
    settings = arguments.names()
    named = bool(arguments.configs) or any(name == "data" or name == "data.data_dir" for name in settings)
    if run is None:
        if not named:
            return False
        say(f"nothing to resume: no run under {root / run_folder.LOGS} has a checkpoint; this is a new run")
    else:
        config = run / "config.yaml"
        if not config.is_file() or any(run.rglob("*.ckpt")):
            return False
        say(f"nothing to resume: {run} stopped before its first checkpoint; this is a new run with its settings")
        arguments.configs.insert(0, str(config))
    arguments.resume_anyway = False
    return True
