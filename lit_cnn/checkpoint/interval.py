"""Save interval: how often ``last.ckpt`` is written, in optimizer steps, minutes or epochs."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lit_cnn.errors import UserError

_SECONDS = {"s": 1, "sec": 1, "second": 1, "m": 60, "min": 60, "minute": 60, "h": 3600, "hour": 3600}
_FORMS = "500 (optimizer steps), 5m or 90s or 2h (time), 10epochs"


@dataclass(frozen=True)
class SaveInterval:
    """A number of optimizer steps, seconds, or epochs; the other two are 0."""

    steps: int = 0
    seconds: int = 0
    epochs: int = 0

    @classmethod
    def parse(cls, text: str | int | None) -> SaveInterval:
        """Parse the setting ``checkpoint_every``; ``None`` means every epoch.

        Raises:
            UserError: when it is none of the forms.
        """
        if text is None:
            return cls(epochs=1)
        found = re.fullmatch(r"(\d+) *([a-z]*)", str(text).strip().lower())
        if found is None or int(found[1]) == 0:
            raise UserError(f"`checkpoint_every={text}`: expected {_FORMS}")
        number, unit = int(found[1]), found[2]
        if unit in ("", "step", "steps"):
            return cls(steps=number)
        if unit in ("e", "epoch", "epochs"):
            return cls(epochs=number)
        for name in (unit, unit.removesuffix("s")):
            if name in _SECONDS:
                return cls(seconds=number * _SECONDS[name])
        raise UserError(f"`checkpoint_every={text}`: unknown unit {unit!r}, expected {_FORMS}")
