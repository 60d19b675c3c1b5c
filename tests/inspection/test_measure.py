from __future__ import annotations

import pytest
import torch
from torch import nn

from lit_cnn.inspection import model_table
from lit_cnn.inspection.measure import build_on_meta, measure, measure_or_blank
from lit_cnn.models import MODELS, register_model
from lit_cnn.models._input_check import output_shape
from tools import figure_files, measure_models
from tools.pretrained import pretrained

MEASURED = model_table.read_figures(model_table.OWN).figures
AGAIN = "run python -m tools.measure_models"


@pytest.mark.slow
def test_the_stored_figures_are_what_measuring_gives_and_all_that_the_file_holds() -> None:
    figures = {
        name: measure(name, MEASURED[name].smallest)._replace(**pretrained(name)) for name in MODELS if name in MEASURED
    }
    assert list(MEASURED) == list(MODELS), AGAIN
    assert figures == MEASURED, AGAIN
    text = figure_files.table_text(model_table.OWN, "", figures, measure_models.SCRIPT)
    assert model_table.table_path(model_table.OWN).read_text(encoding="utf-8") == text, AGAIN


def test_the_stored_smallest_input_of_every_kind_of_network_works_and_one_pixel_less_does_not() -> None:
    # A model for each size stored of each class: rows of one class and size differ in depth and width.
    kinds = {}
    for name, figures in MEASURED.items():
        factory = MODELS[name].factory
        kinds.setdefault((getattr(factory, "func", factory), figures.smallest), name)
    assert len({network for network, _ in kinds}) > 10
    for (_, smallest), name in kinds.items():
        model = build_on_meta(name).train()
        output_shape(model, 2, MODELS[name].in_channels, smallest, smallest)
        with pytest.raises((RuntimeError, ValueError)):
            output_shape(model, 2, MODELS[name].in_channels, smallest - 1, smallest - 1)


def test_a_registered_model_without_an_image_size_is_measured_at_one_that_it_accepts(registry: None) -> None:
    @register_model(in_channels=1, num_classes=10)
    class FixedSize(nn.Module):
        def __init__(self, num_classes: int, in_channels: int) -> None:
            super().__init__()
            self.fc = nn.Linear(32 * 32 * in_channels, num_classes)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(x.flatten(1))

    figures = measure("FixedSize")
    assert figures == (10 * 1024 + 10, 10 * 1024, (1, 32, 32), 10, 32, None, "", None, "", "", None)
    assert measure_or_blank("FixedSize") == figures


def test_a_registered_model_that_cannot_run_on_shapes_has_no_figures(registry: None) -> None:
    @register_model(paper="mine")
    def broken(num_classes: int, in_channels: int) -> nn.Module:
        raise RuntimeError("broken")

    assert measure_or_blank("broken") == model_table.Figures(classes=1000, paper="mine")
