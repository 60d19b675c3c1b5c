"""``lit-cnn completion bash|zsh|fish``: print a completion script, made by shtab from the table of commands."""

from __future__ import annotations

import argparse
from typing import Any

import shtab

from lit_cnn.cli.argv import BARE, FLAG_ALIASES
from lit_cnn.cli.command_parser import CommandParser
from lit_cnn.cli.commands import COMMAND_ALIASES, COMMANDS
from lit_cnn.cli.commands.export import FORMATS as EXPORT_FORMATS
from lit_cnn.cli.commands.export import INPUTS as EXPORT_INPUTS
from lit_cnn.cli.commands.serve import DEVICES as SERVE_DEVICES
from lit_cnn.cli.commands.serve import FLAGS as SERVE_FLAGS
from lit_cnn.cli.help import GROUPS
from lit_cnn.cli.own_flags import OWN
from lit_cnn.cli.shipped_configs import shipped_configs

SHELLS = ("bash", "zsh", "fish")
INSTALL = """\
how to install it:
  bash  lit-cnn completion bash >> ~/.bash_completion
  zsh   lit-cnn completion zsh > ~/.zfunc/_lit-cnn
        (after fpath+=~/.zfunc and before compinit in ~/.zshrc)
  fish  lit-cnn completion fish > ~/.config/fish/completions/lit-cnn.fish
"""
FILES = {"--config", "-c", "--ckpt_path", "--resume", "--model.weights", "--weights"}
FOLDERS = {"--data_dir", "--data.data_dir", "--trainer.default_root_dir", "--project", "--shards"}


def main(words: list[str], debug: bool = False) -> None:
    """Run the command line ``words``."""
    parser = CommandParser(
        prog="lit-cnn completion",
        description="Print the completion script for a shell.",
        epilog=INSTALL,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=SHELLS)
    shell = parser.parse_args(words[1:]).shell
    print(shtab.complete(build_parser(), shell=shell))


def build_parser() -> argparse.ArgumentParser:
    """The command line as argparse sees it: all commands, and the flags of those that take settings."""
    parser = argparse.ArgumentParser(prog="lit-cnn", description="convolutional image models")
    commands = parser.add_subparsers()
    for name, command in [*COMMANDS.items(), *((alias, COMMANDS[of]) for alias, of in COMMAND_ALIASES.items())]:
        sub = commands.add_parser(name, help=command.help)
        if command.module in ("run", "prepare", "sweep"):
            _add_flags(sub)
        if name == "sweep":
            for flag in ("--grid", "--jobs", "--search", "--range", "--minimize", "--maximize"):
                sub.add_argument(flag)
            sub.add_argument("--test", action="store_true")
        if name in ("models", "inspect"):
            for flag in ("--allow_import", "--reference" if name == "models" else "--backbone_args"):
                sub.add_argument(flag)
        elif name == "runs":
            _complete(sub.add_argument("dir"), shtab.DIRECTORY)
            sub.add_argument("--json", action="store_true")
        elif name == "compare":
            _complete(sub.add_argument("runs"), shtab.FILE)
            sub.add_argument("--split", choices=("test", "validate"))
            sub.add_argument("--output", "-o")
        elif name == "report":
            _complete(sub.add_argument("run"), shtab.FILE)
            _complete(sub.add_argument("--output", "-o"), shtab.FILE)
        elif name == "explain":
            _complete(sub.add_argument("images"), shtab.FILE)
            _complete(sub.add_argument("--ckpt_path"), shtab.FILE)
            for flag in ("--layer", "--layers", "--top", "--class", "--max-images", "--out-dir", "--allow_import"):
                sub.add_argument(flag)
        elif name == "export":
            _complete(sub.add_argument("--ckpt_path"), shtab.FILE)
            for flag in ("--out", "--data-dir"):
                _complete(sub.add_argument(flag), shtab.DIRECTORY)
            sub.add_argument("--format", choices=EXPORT_FORMATS)
            sub.add_argument("--input", choices=EXPORT_INPUTS)
            sub.add_argument("--int8", action="store_true")
            for flag in ("--max-images", "--allow_import"):
                sub.add_argument(flag)
        elif name == "serve":
            _complete(sub.add_argument("--ckpt_path"), shtab.FILE)
            _complete(sub.add_argument("--data-dir"), shtab.DIRECTORY)
            sub.add_argument("--device", choices=SERVE_DEVICES)
            sub.add_argument("--nearest", action="store_true")
            for flag in SERVE_FLAGS:
                sub.add_argument(flag)
        elif name == "completion":
            sub.add_argument("shell", choices=SHELLS)
        elif name == "configs":
            sub.add_argument("name", choices=sorted(shipped_configs()))
    return parser


def _complete(argument: argparse.Action, what: Any) -> None:
    """Say what the value of an argument is."""
    argument.complete = what  # type: ignore[attr-defined]  # shtab's way to say it


def _add_flags(parser: argparse.ArgumentParser) -> None:
    texts = {}
    for setting in (setting for group in GROUPS.values() for setting in group):
        for flag in setting.flag.split(", "):
            texts[flag.split()[0]] = setting.help
    parser.add_argument("--debug", action="store_true", help="show the traceback behind an error")
    flags = {*FLAG_ALIASES, *OWN, *BARE, *texts} - {"-h", "--help"}
    for flag in sorted(flags):
        text = texts.get(flag) or texts.get(flag.replace("_", "-")) or FLAG_ALIASES.get(flag, "").lstrip("-")
        if flag in BARE:
            parser.add_argument(flag, action="store_true", help=text)
            continue
        argument = parser.add_argument(flag, help=text)
        if flag == "--data":
            argument.choices = text.split(", ")
        elif flag in FILES:
            _complete(argument, shtab.FILE)
        elif flag in FOLDERS:
            _complete(argument, shtab.DIRECTORY)
