"""What a command line is answered with, without running it: one parser of settings for all."""

from __future__ import annotations

import functools
import shlex
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser

from lit_cnn.cli import import_allowlist, transport, validation
from lit_cnn.cli.argv import Arguments, parse
from lit_cnn.cli.commands import COMMAND_ALIASES, COMMANDS
from lit_cnn.cli.config import contents, find_config, read_text
from lit_cnn.cli.data_argument import choose_data
from lit_cnn.cli.errors import _SHORT, as_flags
from lit_cnn.cli.lightning_cli import LitCLI
from lit_cnn.cli.main import _dispatch
from lit_cnn.cli.parser_errors import humanize_parser_error
from lit_cnn.data.registry import datasets
from lit_cnn.errors import UserError


class _Built(Exception):  # noqa: N818  # no error
    pass


@functools.lru_cache
def settings_parser(command: str = "fit") -> ArgumentParser:
    """The parser of settings of a command."""
    found: list[Any] = []

    class Probe(LitCLI):
        def parse_arguments(self, parser, args):
            found.append(parser)
            raise _Built

    try:
        Probe(Arguments(command), None, {}, [command])
    except _Built:
        return found[0]
    raise AssertionError


@functools.lru_cache
def settings_of(command: str = "fit", data: str = "ImageFolder") -> dict[str, Any]:
    """The types of all settings by name, those of a data set included."""
    inner: Any = settings_parser(command)._subcommands_action.choices[command]
    probe = ArgumentParser()
    probe.add_class_arguments(datasets()[data], "data")
    actions = [*inner._actions, *(action for action in probe._actions if action.dest != "data.seed")]
    return {action.dest: getattr(action, "_typehint", None) for action in actions if action.dest != "help"}


def read(words: list[str]) -> Arguments:
    """Parse a command line as its command does, up to what needs a checkpoint or images.

    Raises:
        UserError: for every mistake.
    """
    if COMMAND_ALIASES.get(words[0], words[0]) not in COMMANDS:
        _dispatch(words, debug=False)
    arguments = parse([COMMAND_ALIASES.get(words[0], words[0]), *words[1:]])
    if arguments.command == "predict":
        return arguments
    arguments.configs = [find_config(config) for config in arguments.configs]
    choose_data(arguments, None)
    validation.check_flags(arguments, None)
    if arguments.command != "fit":
        return arguments
    given = ["fit"]
    for config, content in contents(arguments).items():
        transport.hand_over(read_text(config), content)
        given += ["--config", config]
    flags = sorted(arguments.flags, key=lambda flag: flag[0] != "--data")
    sources = import_allowlist.sources(arguments, {}, None)
    with import_allowlist.only_allowed([]):
        import_allowlist.check(sources, [])
        try:
            settings_parser().parse_args([*given, *(word for flag in flags for word in flag)])
        except ArgumentError as error:
            if denied := import_allowlist.explain_denied(str(error), sources, []):
                raise denied from error
            known = [name for name in settings_of() if name != "data.help"]
            raise UserError(humanize_parser_error(str(error), known, datasets())) from error
    return arguments


def answer(line: str) -> str:
    """The line that a command is answered with, or the flags that it was read as."""
    try:
        arguments = read(shlex.split(line)[1:])
    except UserError as error:
        return as_flags(str(error))
    flags = [f"{_SHORT.get(flag, flag)} {value if len(value) < 40 else '...'}" for flag, value in arguments.flags]
    own = [f"--resume {arguments.resume}".strip()] * (arguments.resume is not None)
    own += [f"--name {arguments.name}"] * (arguments.name is not None)
    own += [f"--ckpt_path {arguments.ckpt_path}"] * (arguments.ckpt_path is not None)
    return f"read as `{' '.join([*own, *flags, *arguments.images])}`"
