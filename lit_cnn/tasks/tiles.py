"""Images in tiles: a network that gives images runs on overlapping windows, with the result of the whole image."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import Tensor, nn

from lit_cnn.utils.console import say
from lit_cnn.utils.oom import is_out_of_memory

LARGEST, SMALLEST = 1024, 64  # pixels: sides of the tiles that are tried where whole images need too much memory
HALO = 64  # pixels around a tile for a network that does not say how far it sees


def restore(network: Callable[[Tensor], Tensor], image: Tensor, tile: int | None, backbone: nn.Module) -> Tensor:
    """Outputs of a network for images, whole or in tiles.

    Args:
        network: maps float (N, C, H, W) to the same shape.
        image: float (N, C, H, W).
        tile: side of the tiles in pixels; None: whole images, and tiles where memory does not suffice, half as large
            as long as it does not.
        backbone: its ``halo`` and ``multiple`` say how tiles overlap and where they may begin.

    Returns:
        float (N, C, H, W).
    """
    if tile is not None:
        return in_tiles(network, image, tile, backbone)
    try:
        return network(image)
    except Exception as error:  # devices and allocators have errors of their own: is_out_of_memory knows them
        if not is_out_of_memory(error):
            raise
    for side in _smaller(max(image.shape[-2:])):  # outside of the handler, which holds on to what did not fit
        try:
            found = in_tiles(network, image, side, backbone)
        except Exception as error:  # as above
            if not is_out_of_memory(error) or side == SMALLEST:
                raise
        else:
            height, width = image.shape[-2:]
            say(f"{width}x{height} pixels do not fit into memory at once: done in tiles of {side} (`model.tile`)")
            return found
    raise AssertionError  # the last one has raised or returned


def in_tiles(network: Callable[[Tensor], Tensor], image: Tensor, tile: int, backbone: nn.Module) -> Tensor:
    """Outputs of a network that are computed tile by tile.

    Each tile is read with so much around it as its output depends on, so that nothing but rounding tells the result
    from that of the whole image. A network that looks at the whole image (global pooling) gives another one.
    """
    halo, multiple = int(getattr(backbone, "halo", HALO)), int(getattr(backbone, "multiple", 1))
    tile = -(-tile // multiple) * multiple
    halo = -(-halo // multiple) * multiple
    out = None
    height, width = image.shape[-2:]
    for top, bottom in _parts(height, tile):
        for left, right in _parts(width, tile):
            first, start = max(0, top - halo), max(0, left - halo)
            found = network(image[..., first : bottom + halo, start : right + halo])
            if out is None:
                out = found.new_empty((*found.shape[:-2], height, width))
            out[..., top:bottom, left:right] = found[..., top - first : bottom - first, left - start : right - start]
    assert out is not None
    return out


def _parts(length: int, tile: int) -> Iterator[tuple[int, int]]:
    for start in range(0, length, tile):
        yield start, min(start + tile, length)


def _smaller(side: int) -> Iterator[int]:
    tile = LARGEST
    while tile >= SMALLEST:
        if tile < side or tile == SMALLEST:
            yield tile
        tile //= 2
