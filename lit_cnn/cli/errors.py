"""One line and an exit status for whatever went wrong. Standard library only."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shlex
import sys
from collections.abc import Iterator

from lit_cnn.cli.argv import FLAG_ALIASES
from lit_cnn.errors import UserError
from lit_cnn.utils.console import say

EXIT_CRASH = 1
EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells expect
EXIT_TERMINATED = 143  # 128 + SIGTERM

# what a write fails with when the disk is full, a quota or a limit is reached, or the disk is read-only
NO_SPACE = {errno.ENOSPC, errno.EFBIG, errno.EROFS, getattr(errno, "EDQUOT", errno.ENOSPC)}
# what opening a file fails with for reasons outside of the program
NO_ACCESS = {errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EMFILE, errno.ENFILE}

# A setting between backticks, alone or with a value: `data.batch_size`, `data.batch_size=32`. Other words between
# backticks, such as a user's own in a name of a class, are no settings.
_TOP = (
    "data|config|ckpt_path|resume|resume_anyway|allow_import|checkpoint_every|skip_nonfinite_steps|patience|shards"
    "|out_dir|format|int8|input|push|host|port|device"
)
_SETTING = re.compile(rf"`((?:trainer|model|data|checkpoint)(?:\.\w+)+|{_TOP})(?:=([^`]*))?`")
_SHORT = {
    **{setting: alias.replace("_", "-") for alias, setting in reversed(FLAG_ALIASES.items()) if alias.startswith("--")},
    "--trainer.max_epochs": "--epochs",
    "--data.image_size": "--img-size",
    "--trainer.default_root_dir": "--trainer.default_root_dir",
}


def as_flags(text: str) -> str:
    """Spell the settings of a message as flags: ```data.batch_size=32``` becomes ``--batch-size 32``.

    Library code names a setting as Python and YAML do, between backticks; only the command line spells flags.
    """

    def flag(found: re.Match[str]) -> str:
        name, value = f"--{found[1]}", found[2]
        name = _SHORT.get(name, name)
        return name if value is None else f"{name} {shlex.quote(value) if ' ' in value else value}"

    return _SETTING.sub(flag, text)


def describe(error: BaseException) -> tuple[str, int]:
    """One line on what went wrong, with flags, and the exit status."""
    if isinstance(error, UserError):
        return as_flags(str(error)).replace("\n", "\\n"), EXIT_USER_ERROR  # a name may hold one
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", EXIT_INTERRUPTED
    if isinstance(error, OSError) and error.errno in NO_SPACE:
        where = error.filename or "to a file or to the output"
        return f"cannot write {where}: {error.strerror}; existing checkpoints are unchanged", EXIT_USER_ERROR
    if isinstance(error, OSError) and error.errno in NO_ACCESS and error.filename is not None:
        return f"cannot open {os.fsdecode(error.filename)}: {error.strerror}", EXIT_USER_ERROR
    first_line, *more = (str(error).strip() or "no message").splitlines()
    if first_line.endswith(":") and more:
        first_line = f"{first_line} {more[0].strip()}"
    return f"{type(error).__name__}: {first_line} (add --debug for the traceback)", EXIT_CRASH


@contextlib.contextmanager
def report_errors(debug: bool) -> Iterator[None]:
    """Turn an exception into one line on standard error and an exit status.

    Args:
        debug: let it through, for its traceback.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            raise
        message, status = describe(error)
        with contextlib.suppress(OSError):  # stdout is gone or full; the error below goes to stderr
            sys.stdout.flush()
        say(f"lit-cnn: error: {message}", error=True, all_ranks=True)
        raise SystemExit(status) from None
