"""Image operations of augmentation on batches, on any device, and normalisation.

Random numbers come in as arguments, float32 in [0, 1); images are float32 or, where it says so, uint8.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_cnn.errors import UserError

_CACHED = 1 << 18  # values at a time that stay in a core's own cache between two passes


def resized_crop(image: Tensor, boxes: Tensor) -> Tensor:
    """Crop (N, 4) boxes of float (N, C, H, W) and resize each to (H, W), bilinear. It only enlarges."""
    height, width = image.shape[-2:]
    top, left, h, w = boxes.to(torch.float32).unbind(1)
    rows = (torch.arange(height, device=image.device) + 0.5)[None] * (h / height)[:, None] - 0.5
    cols = (torch.arange(width, device=image.device) + 0.5)[None] * (w / width)[:, None] - 0.5
    # Clamped to the box, as if the crop had been cut out first.
    rows = top[:, None] + torch.minimum(rows.clamp(min=0), (h - 1)[:, None])
    cols = left[:, None] + torch.minimum(cols.clamp(min=0), (w - 1)[:, None])
    y = (2 * rows + 1) / height - 1
    x = (2 * cols + 1) / width - 1
    grid = torch.stack([x[:, None, :].expand(-1, height, -1), y[:, :, None].expand(-1, -1, width)], dim=-1)
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)


def resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (N, C, H, W), uint8 or float in [0, 255], to float (N, C, *size), bilinear and antialiased."""
    if image.shape[-2:] == size:
        return image
    return F.interpolate(image.to(torch.float32), size, mode="bilinear", antialias=True)


def _mirrored(size: int, padding: int, device: torch.device) -> Tensor:
    """Return positions 0..size-1 with ``padding`` more on each side, mirrored at the border pixels."""
    if padding >= size:
        raise UserError(
            f"`data.augment.crop_padding` is {padding}: to reflect, it must be below the image size of {size}"
        )
    position = torch.arange(-padding, size + padding, device=device).abs()
    return torch.where(position < size, position, 2 * (size - 1) - position)


def padded_crop(image: Tensor, uniform: Tensor, padding: int, mode: str) -> Tensor:
    """Pad (N, C, H, W) on each side and crop one window per sample; ``uniform`` is (2, N): rows, columns."""
    n, channels, height, width = image.shape
    if mode == "reflect":  # by index, since torch cannot reflect uint8
        rows, cols = _mirrored(height, padding, image.device), _mirrored(width, padding, image.device)
        padded = image.index_select(2, rows).index_select(3, cols)
    else:
        padded = F.pad(image, [padding] * 4)
    top, left = (uniform * (2 * padding + 1)).long().unbind(0)
    # Each row of a window is a run of `width` values in the padded batch: one copy per row, wherever it starts. With
    # an index per value or a window per sample it takes two to seven times as long on the CPU.
    padded = padded.contiguous()
    runs = padded.as_strided((padded.numel() - width + 1, width), (1, 1))
    high, wide = height + 2 * padding, width + 2 * padding
    planes = torch.arange(n * channels, device=image.device).view(n, channels, 1) * (high * wide)
    row = torch.arange(height, device=image.device) + top[:, None]
    starts = planes + (row * wide + left[:, None])[:, None]
    return runs.index_select(0, starts.flatten()).view(n, channels, height, width)


def flip(image: Tensor, chosen: Tensor, dim: int) -> Tensor:
    """Flip the ``chosen`` images, bool (N,), of (N, C, H, W) along ``dim``."""
    mirrored = image.flip(dim)
    if image.dtype != torch.uint8:
        return torch.where(chosen[:, None, None, None], mirrored, image)
    # The same with bits, which the CPU does on full registers: image ^ ((mirrored ^ image) & 255 or 0).
    mask = (chosen * 255).to(torch.uint8)[:, None, None, None]
    return mirrored.bitwise_xor_(image).bitwise_and_(mask).bitwise_xor_(image)


def affine(image: Tensor, u: Tensor, rotation: float, zoom: float, translate: float) -> Tensor:
    """Rotate, zoom and translate float (N, C, H, W) about the centre; ``u`` is (4, N). Outside is black."""
    height, width = image.shape[-2:]
    angle = (2 * u[0] - 1) * (rotation * torch.pi / 180)
    scale = 1 + (2 * u[1] - 1) * zoom
    shift_x = ((2 * u[2] - 1) * translate * width).round()
    shift_y = ((2 * u[3] - 1) * translate * height).round()
    cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
    # The inverse map, output pixel -> input pixel, in pixels; then rescaled to grid_sample's [-1, 1].
    offset_x = -(cos * shift_x - sin * shift_y) * 2 / width
    offset_y = -(sin * shift_x + cos * shift_y) * 2 / height
    theta = torch.stack(
        [
            torch.stack([cos, -sin * height / width, offset_x], dim=1),
            torch.stack([sin * width / height, cos, offset_y], dim=1),
        ],
        dim=1,
    )
    grid = F.affine_grid(theta, list(image.shape), align_corners=False)
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _grey(image: Tensor) -> Tensor:
    if image.shape[1] == 1:
        return image
    if image.shape[1] != 3:  # bands that are no colours
        return image.mean(1, keepdim=True)
    red, green, blue = image.unbind(1)
    return (0.2989 * red + 0.587 * green + 0.114 * blue)[:, None]  # ITU-R BT.601


def _turn_hue(image: Tensor, turn: Tensor) -> Tensor:
    """Shift the hue of float (N, 3, H, W) in [0, 255] by ``turn`` (N, 1, 1), a share of the circle."""
    red, green, blue = image.unbind(1)
    value, which = image.max(1)
    chroma = value - image.min(1).values
    safe = torch.where(chroma > 0, chroma, 1.0)
    sector = torch.where(
        which == 0, (green - blue) / safe, torch.where(which == 1, 2 + (blue - red) / safe, 4 + (red - green) / safe)
    )
    sector = torch.remainder(sector + 6 * turn, 6)
    # f(n) = V - chroma * max(0, min(k, 4 - k, 1)) with k = (n + sector) mod 6 and n = 5, 3, 1 for red, green, blue.
    k = torch.remainder(torch.stack([sector + 5, sector + 3, sector + 1], dim=1), 6)
    return value[:, None] - chroma[:, None] * torch.minimum(k, 4 - k).clamp(0, 1)


def jitter(image: Tensor, u: Tensor, brightness: float, contrast: float, saturation: float, hue: float) -> Tensor:
    """Change brightness, contrast, saturation, hue of float (N, C, H, W) in [0, 255]; ``u`` is (4, N)."""

    def factor(uniform: Tensor, amount: float) -> Tensor:
        low = max(0.0, 1 - amount)
        return (low + uniform * (1 + amount - low))[:, None, None, None]

    if brightness:
        image = (image * factor(u[0], brightness)).clamp(0, 255)
    if contrast:
        mean = _grey(image).mean((1, 2, 3), keepdim=True)
        image = torch.lerp(mean.expand_as(image), image, factor(u[1], contrast)).clamp(0, 255)
    if image.shape[1] == 3 and saturation:
        grey = _grey(image).expand_as(image)
        image = torch.lerp(grey, image, factor(u[2], saturation)).clamp(0, 255)
    if image.shape[1] == 3 and hue:
        image = _turn_hue(image, ((2 * u[3] - 1) * hue)[:, None, None])
    return image


def erase_boxes(image: Tensor, top: Tensor, left: Tensor, height: Tensor, width: Tensor) -> Tensor:
    """Erase one box per sample: set it to 0 in normalised (N, C, H, W), in place; boxes may extend outside."""
    rows = torch.arange(image.shape[-2], device=image.device)[None]
    cols = torch.arange(image.shape[-1], device=image.device)[None]
    inside_rows = (rows >= top[:, None]) & (rows < (top + height)[:, None])
    inside_cols = (cols >= left[:, None]) & (cols < (left + width)[:, None])
    return image.masked_fill_((inside_rows[:, :, None] & inside_cols[:, None, :])[:, None], 0.0)


@contextlib.contextmanager
def one_thread(device: torch.device) -> Iterator[None]:
    """Limit torch to the calling thread for what follows on the CPU.

    Moving bytes takes microseconds; waking another thread takes as long, and many times longer where another program
    uses its core. Results do not depend on it.
    """
    threads = torch.get_num_threads()
    if device.type != "cpu" or threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def normalize(image: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Normalise pixels in [0, 255], uint8 or float (N, C, H, W), to float32 ``(x / 255 - mean) / std``.

    ``mean`` and ``std`` are float32 (C,) in units of [0, 1].
    """
    shift, scale = (255 * mean)[:, None, None], (1 / (255 * std))[:, None, None]
    out = torch.empty_like(image, dtype=torch.float32)
    size = len(image) if image.device.type != "cpu" else max(1, _CACHED // max(1, image[:1].numel()))
    with one_thread(image.device):
        for given, result in zip(image.split(max(1, size)), out.split(max(1, size)), strict=True):
            torch.sub(given, shift, out=result).mul_(scale)  # uint8 - float32 is float32: no pass to convert
    return out
