"""Every exception of the package, and spelling hints for their messages. Imports nothing of lit_cnn."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake the user can fix. The message is plain English: what is wrong, where, and what to do.

    Settings in it are spelled as in Python and YAML, between backticks: ```data.max_pixels```, or
    ```data.on_bad_image=skip``` with a value. The command line prints the message without a traceback, with these as
    flags, and exits with status 2.
    """


class NotFiniteError(UserError):
    """The loss or the weights are NaN or infinite: there is nothing worth saving."""


class DamagedCheckpointError(UserError):
    """A checkpoint is not what was written: truncated, or changed since."""


class CheckpointWriteError(UserError):
    """A checkpoint could not be written; existing ones are unchanged."""


class UnreadableImageError(UserError):
    """An image file cannot be decoded.

    Args:
        image: its path or name.
        reason: why not.
        advice: what to do.
    """

    def __init__(self, image: str, reason: str, advice: str) -> None:
        super().__init__(f"cannot read image {image}: {reason}; {advice}")
        self.image, self.reason = image, reason


class Stopped(SystemExit):
    """The run was stopped by a signal, after saving. The exit status is 128 + the signal's number, as shells expect."""


def nearest(name: str, choices: Iterable[str], limit: int = 3) -> str:
    """Return ``", did you mean 'a' or 'b'?"`` for the choices spelled most like ``name``, or ``""``.

    Upper and lower case count as the same. Only choices that are about as close as the closest one are named, and none
    that share no more than some letters with a name of more than four.
    """
    by_lower: dict[str, str] = {}
    for choice in choices:
        by_lower.setdefault(choice.lower(), choice)
    lower = name.lower()
    if lower in by_lower:
        close = [lower]
    else:
        close = difflib.get_close_matches(lower, by_lower, n=limit, cutoff=0.6 if len(lower) <= 4 else 0.7)
        ratios = [difflib.SequenceMatcher(None, choice, lower).ratio() for choice in close]
        close = [choice for choice, ratio in zip(close, ratios, strict=True) if ratio > ratios[0] - 0.1]
    if not close and len(lower) > 2:
        close = [choice for choice in by_lower if choice.startswith(lower)][:limit]
    if not close:
        return ""
    return ", did you mean " + " or ".join(repr(by_lower[choice]) for choice in close) + "?"
