"""The global rank of this process."""

from __future__ import annotations

import sys


def is_rank_zero() -> bool:
    """Whether this process is global rank 0: the one that prints, and writes the run folder.

    Lightning reads the rank from the environment when it is imported and sets it again when it launches processes.
    Where Lightning has not been imported there is one process.
    """
    if "lightning" not in sys.modules:
        return True
    from lightning.pytorch.utilities import rank_zero_only

    return getattr(rank_zero_only, "rank", 0) == 0
