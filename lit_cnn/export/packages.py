"""The packages that formats of exported files need, imported when they are needed."""

from __future__ import annotations

import importlib
from types import ModuleType

from lit_cnn.errors import UserError


def export_package(name: str, files: str, extra: str) -> ModuleType:
    """Import a package.

    Args:
        name: of the package.
        files: that need it, for the message.
        extra: of this package that installs it.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise UserError(f"{files} files need the {name} package: pip install 'lit-cnn[{extra}]'") from None
