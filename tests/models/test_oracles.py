"""Networks of the course notes against plain ones built from their layer lists."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lit_cnn.models import get_model

from .oracles import ORACLES, outputs, row
from .test_parameters import count

LARGE = 20_000_000  # parameters; the outputs of such networks take seconds


def by_cost() -> list[object]:
    return [pytest.param(k, marks=pytest.mark.slow) if o.parameters > LARGE else k for k, o in ORACLES.items()]


@pytest.mark.parametrize("key", list(ORACLES))
def test_parameters_are_those_of_the_notes(key: str) -> None:
    oracle = ORACLES[key]
    with torch.device("meta"):
        model = get_model(oracle.name, oracle.classes, oracle.image[0], **oracle.arguments)
        assert count(oracle.plain()) == oracle.parameters
    assert count(model) == oracle.parameters


@pytest.mark.parametrize("key", by_cost())
def test_outputs_equal_those_of_the_plain_network(key: str) -> None:
    for mine, expected in outputs(ORACLES[key]):
        assert expected.std() > 1e-3  # it computes something
        torch.testing.assert_close(mine, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("key", list(ORACLES))
def test_the_table_in_the_docs_has_the_network(key: str) -> None:
    docs = Path(__file__).parents[2] / "docs" / "models.md"
    assert row(key, "").removesuffix(" |") in docs.read_text(encoding="utf-8")
