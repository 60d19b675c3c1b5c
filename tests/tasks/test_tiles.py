"""Tiles: the result of the whole image, without a seam, and without being asked where memory is short."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lit_cnn.models import get_model
from lit_cnn.tasks.tiles import in_tiles, restore
from tests.models.test_restoration import noisy


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("srcnn", {}),
        ("aodnet", {}),
        ("unet", {"widths": [4, 8, 8]}),
        ("unet", {"widths": [4, 8, 8], "upsampling": "bilinear"}),
        ("unet", {"widths": [4, 8, 8], "upsampling": "unpooling"}),
    ],
)
@pytest.mark.parametrize("tile", [32, 50])
def test_tiles_give_the_whole_images_result_to_rounding(name: str, arguments: dict, tile: int):
    torch.manual_seed(0)
    model = noisy(get_model(name, num_classes=3, **arguments))
    x = torch.rand(2, 3, 101, 131)
    seen = []

    def network(image: Tensor) -> Tensor:
        seen.append(image.shape[-2:].numel())
        return model(image)

    with torch.no_grad():
        whole, tiled = model(x), in_tiles(network, x, tile, model)
    torch.testing.assert_close(tiled, whole, rtol=1e-5, atol=1e-6)
    assert len(seen) >= 6


def test_a_tile_without_its_surroundings_would_leave_a_seam():
    torch.manual_seed(0)
    model = noisy(get_model("unet", num_classes=3, widths=[4, 8, 8]))
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        whole = model(x)
        model.halo = 0
        assert (in_tiles(model, x, 32, model) - whole).abs().max() > 1e-3


class Small(nn.Module):
    """Runs out of memory on more than ``most`` pixels."""

    halo, multiple = 0, 1

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-2:].numel() > self.most:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return 2 * x


def test_tiles_become_smaller_until_memory_suffices_and_a_line_says_so(capsys):
    model, x = Small(300 * 300), torch.rand(1, 1, 600, 500)
    assert torch.equal(restore(model, x, None, model), 2 * x)
    said = " ".join(capsys.readouterr().out.split())
    assert "500x600 pixels do not fit into memory at once: done in tiles of 256" in said


def test_what_does_not_fit_in_the_smallest_tile_is_still_an_error():
    model = Small(100)
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        restore(model, torch.rand(1, 1, 90, 90), None, model)


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    def broken(image: Tensor) -> Tensor:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        restore(broken, torch.rand(1, 1, 8, 8), None, nn.Identity())
