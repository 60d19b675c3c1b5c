"""A run that tests of several files resume."""

from __future__ import annotations

from pathlib import Path

import pytest

from .harness import SHORT, KillAt, run


@pytest.fixture(scope="session")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of a run killed in its second epoch; not to be changed."""
    root = tmp_path_factory.mktemp("stopped")
    assert run("fit", *SHORT, root=root, callbacks=(KillAt(18),), check=False) == -9
    return root
