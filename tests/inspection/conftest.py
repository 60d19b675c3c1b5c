import pytest
import torch

from tests.models.helpers import registry  # noqa: F401


@pytest.fixture(autouse=True, scope="package")
def _one_thread() -> None:
    """Tiny layers run no faster on several threads, and far slower where cores are shared."""
    torch.set_num_threads(1)
