"""Names of runs, ``--name``. Standard library only."""

from __future__ import annotations

import re
import unicodedata

from lit_cnn.errors import UserError

# words that --ckpt_path and --resume take, and other folders of lightning_logs
RESERVED = ("best", "last", "previous", "auto", "checkpoints", "inspect", "lightning_logs")
LONGEST = 200  # bytes; file systems allow 255, and a number may be added


def read_run_name(text: str) -> str:
    """A name that can be a folder's on every system.

    Raises:
        UserError: it cannot.
    """
    if reason := _reason_against(text):
        raise UserError(f"--name {text!r} {reason}: give a name such as baseline or lr-0.1")
    return text


def _reason_against(name: str) -> str:
    if not name.strip():
        return "is empty"
    if "/" in name or "\\" in name:
        return "holds a slash (--project DIR sets where runs are kept)"
    if name.startswith((".", "-")):
        return f"begins with {name[0]!r}"
    if name != name.strip() or name.endswith("."):
        return "ends with a space or a dot" if name == name.lstrip() else "begins with a space"
    if found := re.search(r'[<>:"|?*]', name):
        return f"holds {found[0]!r}"
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
        return "holds a letter that is no text"
    if len(name.encode()) > LONGEST:
        return f"is longer than {LONGEST} bytes"
    if re.fullmatch(r"version_\d+", name, re.ASCII | re.IGNORECASE):
        return "is one that runs without a name get"
    if re.fullmatch(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", name, re.IGNORECASE):
        return "is a device on Windows"
    if name.lower() in RESERVED:
        return "has a meaning of its own"
    return ""
