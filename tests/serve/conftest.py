from __future__ import annotations

from pathlib import Path

import pytest

from lit_cnn.checkpoint.record import read_record
from lit_cnn.cli.serve_run import open_model
from lit_cnn.serve.models import ServedModel


@pytest.fixture(scope="session")
def lenet(trained: Path) -> ServedModel:
    """The network of the short run on the digits, served."""
    return open_model(read_record(trained / "checkpoints" / "best.ckpt"), "cpu", 1_000_000)
