"""The subcommands, one file each; this table names them all. Standard library only.

A command's file has ``main(words, debug)``; ``words`` begin with the command's name. ``--help``, the hints for mistyped
names and shell completion are made from the table.
"""

from __future__ import annotations

from typing import NamedTuple


class Command(NamedTuple):
    """A subcommand.

    Attributes:
        module: in :mod:`lit_cnn.cli.commands`, whose ``main(words, debug)`` runs it.
        help: one line.
        alias: another name.
    """

    module: str
    help: str
    alias: str = ""


COMMANDS = {
    "fit": Command("run", "train a model, or resume a run", alias="train"),
    "sweep": Command("sweep", "train over a grid of settings, several seeds, or a search"),
    "validate": Command("run", "evaluate a checkpoint on the validation images", alias="val"),
    "test": Command("run", "evaluate a checkpoint on the test images"),
    "predict": Command("run", "classify image files and folders"),
    "prepare": Command("prepare", "fetch and check images, write shards, or add haze"),
    "check": Command("check", "find duplicates, leaks, broken files and wrong labels"),
    "average": Command("average", "average the weights of checkpoints into one file"),
    "runs": Command("runs", "list the training runs with their best scores and states"),
    "report": Command("report", "write the page of a run again: curves, scores, mistakes"),
    "compare": Command("compare", "compare runs on the same images: paired tests, settings, curves"),
    "explain": Command("explain", "show what a network looks at: heat maps, feature maps, filters"),
    "export": Command("export", "write a network to a file for other programs, with a proof"),
    "serve": Command("serve", "serve a page and a JSON API that classify pictures"),
    "models": Command("models", "list the backbones, or suggest some for your images"),
    "inspect": Command("inspect", "show a backbone's layers, parameters and receptive fields"),
    "configs": Command("configs", "list the shipped configs, or print one"),
    "completion": Command("completion", "print the completion script for bash, zsh or fish"),
}
COMMAND_ALIASES = {command.alias: name for name, command in COMMANDS.items() if command.alias}
