"""The parser of commands that take no settings. Standard library only."""

from __future__ import annotations

import argparse
from typing import NoReturn

from lit_cnn.errors import UserError


class CommandParser(argparse.ArgumentParser):
    """A parser whose mistakes are one line, as those of all commands."""

    def error(self, message: str) -> NoReturn:
        """Report a mistake.

        Raises:
            UserError: always.
        """
        raise UserError(f"{message}; see {self.prog} --help")
