"""Resizing inside the graph has the bits of the data modules, which are Pillow's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lit_cnn.data.decoding.geometry import Geometry, to_size
from lit_cnn.export.resize import PillowResize

SIZES = [(500, 333), (17, 90), (32, 32), (1, 1), (3, 400), (400, 3), (600, 200), (24, 40), (70, 30), (33, 32)]


@pytest.mark.parametrize("how", ["center_crop", "stretch", "letterbox"])
@pytest.mark.parametrize(("size", "channels", "crop"), [(32, 3, 0.875), ((24, 40), 1, 1.0), ((40, 24), 4, 0.9)])
def test_it_has_the_bits_of_the_data_modules_at_every_size(how, size, channels, crop):
    geometry = Geometry(size, channels, how, crop)
    resize = PillowResize(geometry)
    rng = np.random.default_rng(0)
    for height, width in SIZES:
        pixels = rng.integers(0, 256, (height, width, channels), dtype=np.uint8)
        expected = to_size(pixels, geometry)
        found = resize(torch.from_numpy(pixels).permute(2, 0, 1)[None])[0]
        assert np.array_equal(found.numpy(), expected), (height, width)
