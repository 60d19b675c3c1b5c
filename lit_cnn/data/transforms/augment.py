"""Augmentation of a whole batch at once, on whatever device it is; for the draws see draws.py."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_cnn.data.transforms.rng import CROP_OPS, ERASE_OPS, crop_boxes, hash_uniform, random_boxes
from lit_cnn.errors import UserError

_CACHED = 1 << 18  # values at a time that stay in a core's own cache between two passes


@dataclass(frozen=True)
class Augment:
    """Random changes to training images. Every operation is off at its zero.

    They run in this order: random resized crop, crop with padding, flips, rotation with translation and zoom,
    brightness, contrast, saturation, hue, (normalisation), erasing, cutout. One draw per sample.

    Args:
        crop_scale: Random resized crop: smallest and largest share of the image's area, e.g. [0.08, 1.0]; off: null
            or [0, 0].
        crop_ratio: Random resized crop: smallest and largest width / height of the crop.
        crop_padding: Pad by so many pixels on each side, then cut a random window of the image's size.
        padding_mode: What the padding shows: black (zeros) or the mirrored image (reflect).
        flip: Probability of a horizontal flip.
        alternate_flip: Mirror in every second epoch exactly what was not mirrored in the one before (Jordan 2024, arXiv
            2404.00498, section 3.6): draws are made for the first epoch only.
        vertical_flip: Probability of a vertical flip.
        rotation: Rotate by an angle from [-rotation, rotation] degrees; corners become black.
        translate: Shift by up to this share of the width and of the height.
        zoom: Scale by a factor from [1 - zoom, 1 + zoom].
        brightness: Multiply by a factor from [1 - brightness, 1 + brightness].
        contrast: Blend with the image's mean grey by a factor from [1 - contrast, 1 + contrast].
        saturation: Blend with the grey image by a factor from [1 - saturation, 1 + saturation].
        hue: Turn the hue by up to this share of the colour circle, at most 0.5.
        erase: Probability of erasing one random box (Zhong et al., 2017); it becomes the mean colour.
        erase_scale: Smallest and largest share of the area that is erased.
        erase_ratio: Smallest and largest width / height of the erased box.
        cutout: Side in pixels of a square that becomes the mean colour, in every image (DeVries and Taylor, 2017).
    """

    crop_scale: tuple[float, float] | None = None
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    crop_padding: int = 0
    padding_mode: str = "zeros"
    flip: float = 0.0
    alternate_flip: bool = False
    vertical_flip: float = 0.0
    rotation: float = 0.0
    translate: float = 0.0
    zoom: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    erase: float = 0.0
    erase_scale: tuple[float, float] = (0.02, 0.33)
    erase_ratio: tuple[float, float] = (0.3, 3.3)
    cutout: int = 0

    def __post_init__(self) -> None:
        if self.crop_scale is not None and tuple(self.crop_scale) == (0, 0):
            # jsonargparse 4.53 takes null for this from a config but not from the command line: hence a second off.
            object.__setattr__(self, "crop_scale", None)
        for name in ("flip", "vertical_flip", "erase", "translate"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"augment.{name} is {getattr(self, name)}: it must lie between 0 and 1")
        if self.alternate_flip and not self.flip:
            raise UserError("augment.alternate_flip is true and augment.flip 0: set flip to 0.5, or leave both out")
        for name in ("crop_padding", "rotation", "brightness", "contrast", "saturation", "cutout"):
            if getattr(self, name) < 0:
                raise UserError(f"augment.{name} is {getattr(self, name)}: it must not be negative")
        if not 0 <= self.hue <= 0.5:
            raise UserError(f"augment.hue is {self.hue}: it must lie between 0 and 0.5")
        if not 0 <= self.zoom < 1:
            raise UserError(f"augment.zoom is {self.zoom}: it must be at least 0 and below 1")
        if self.padding_mode not in ("zeros", "reflect"):
            raise UserError(f"augment.padding_mode is {self.padding_mode!r}: choose zeros or reflect")
        for name in ("crop_scale", "crop_ratio", "erase_scale", "erase_ratio"):
            pair = getattr(self, name)
            if pair is not None and not 0 < pair[0] <= pair[1]:
                raise UserError(f"augment.{name} is {list(pair)}: give two positive numbers, the smaller first")
        for name in ("crop_scale", "erase_scale"):
            pair = getattr(self, name)
            if pair is not None and pair[1] > 1:
                raise UserError(f"augment.{name} is {list(pair)}: a share of the area is at most 1")


def _resized_crop(image: Tensor, boxes: Tensor) -> Tensor:
    """Cut (N, 4) boxes out of float (N, C, H, W) and stretch each to (H, W), bilinear. It only ever enlarges."""
    height, width = image.shape[-2:]
    top, left, h, w = boxes.to(torch.float32).unbind(1)
    rows = (torch.arange(height, device=image.device) + 0.5)[None] * (h / height)[:, None] - 0.5
    cols = (torch.arange(width, device=image.device) + 0.5)[None] * (w / width)[:, None] - 0.5
    # Held inside the box, as if the crop had been cut out first.
    rows = top[:, None] + torch.minimum(rows.clamp(min=0), (h - 1)[:, None])
    cols = left[:, None] + torch.minimum(cols.clamp(min=0), (w - 1)[:, None])
    y = (2 * rows + 1) / height - 1
    x = (2 * cols + 1) / width - 1
    grid = torch.stack([x[:, None, :].expand(-1, height, -1), y[:, :, None].expand(-1, -1, width)], dim=-1)
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _mirrored(size: int, padding: int, device: torch.device) -> Tensor:
    """Return the positions 0..size-1 with ``padding`` more on each side, mirrored at the border pixels."""
    if padding >= size:
        raise UserError(f"augment.crop_padding is {padding}: to reflect, it must be below the image size of {size}")
    position = torch.arange(-padding, size + padding, device=device).abs()
    return torch.where(position < size, position, 2 * (size - 1) - position)


def _padded_crop(image: Tensor, uniform: Tensor, padding: int, mode: str) -> Tensor:
    """Pad (N, C, H, W) on each side and cut one window a sample; ``uniform`` is (2, N): rows, columns."""
    n, channels, height, width = image.shape
    if mode == "reflect":  # by index, as torch reflects no uint8
        rows, cols = _mirrored(height, padding, image.device), _mirrored(width, padding, image.device)
        padded = image.index_select(2, rows).index_select(3, cols)
    else:
        padded = F.pad(image, [padding] * 4)
    top, left = (uniform * (2 * padding + 1)).long().unbind(0)
    # Every row of a window is a run of `width` values in the padded batch: one copy per row, wherever it starts. With
    # an index per value or a window per sample the same takes two to seven times as long on the CPU.
    padded = padded.contiguous()
    runs = padded.as_strided((padded.numel() - width + 1, width), (1, 1))
    high, wide = height + 2 * padding, width + 2 * padding
    planes = torch.arange(n * channels, device=image.device).view(n, channels, 1) * (high * wide)
    row = torch.arange(height, device=image.device) + top[:, None]
    starts = planes + (row * wide + left[:, None])[:, None]
    return runs.index_select(0, starts.flatten()).view(n, channels, height, width)


def _flip(image: Tensor, chosen: Tensor, dim: int) -> Tensor:
    """Mirror the ``chosen`` ones, bool (N,), of (N, C, H, W) along ``dim``."""
    mirrored = image.flip(dim)
    if image.dtype != torch.uint8:
        return torch.where(chosen[:, None, None, None], mirrored, image)
    # The same with bits, which the CPU does on whole registers: image ^ ((mirrored ^ image) & 255 or 0).
    mask = (chosen * 255).to(torch.uint8)[:, None, None, None]
    return mirrored.bitwise_xor_(image).bitwise_and_(mask).bitwise_xor_(image)


def _affine(image: Tensor, u: Tensor, augment: Augment) -> Tensor:
    """Rotate, zoom and shift float (N, C, H, W) about the centre; ``u`` is (4, N). Outside is black."""
    height, width = image.shape[-2:]
    angle = (2 * u[0] - 1) * (augment.rotation * torch.pi / 180)
    scale = 1 + (2 * u[1] - 1) * augment.zoom
    shift_x = ((2 * u[2] - 1) * augment.translate * width).round()
    shift_y = ((2 * u[3] - 1) * augment.translate * height).round()
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
    red, green, blue = image.unbind(1)
    return (0.2989 * red + 0.587 * green + 0.114 * blue)[:, None]  # ITU-R BT.601


def _turn_hue(image: Tensor, turn: Tensor) -> Tensor:
    """Turn the hue of float (N, 3, H, W) in [0, 255] by ``turn`` (N, 1, 1), a share of the circle."""
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


def _jitter(image: Tensor, u: Tensor, augment: Augment) -> Tensor:
    """Change brightness, contrast, saturation, hue of float (N, C, H, W) in [0, 255]; ``u`` is (4, N)."""

    def factor(uniform: Tensor, amount: float) -> Tensor:
        low = max(0.0, 1 - amount)
        return (low + uniform * (1 + amount - low))[:, None, None, None]

    if augment.brightness:
        image = (image * factor(u[0], augment.brightness)).clamp(0, 255)
    if augment.contrast:
        mean = _grey(image).mean((1, 2, 3), keepdim=True)
        image = torch.lerp(mean.expand_as(image), image, factor(u[1], augment.contrast)).clamp(0, 255)
    if image.shape[1] == 3 and augment.saturation:
        grey = _grey(image).expand_as(image)
        image = torch.lerp(grey, image, factor(u[2], augment.saturation)).clamp(0, 255)
    if image.shape[1] == 3 and augment.hue:
        image = _turn_hue(image, ((2 * u[3] - 1) * augment.hue)[:, None, None])
    return image


def _blank(image: Tensor, top: Tensor, left: Tensor, height: Tensor, width: Tensor) -> Tensor:
    """Set one box a sample to 0 in normalised (N, C, H, W), in place; boxes may reach outside."""
    rows = torch.arange(image.shape[-2], device=image.device)[None]
    cols = torch.arange(image.shape[-1], device=image.device)[None]
    inside_rows = (rows >= top[:, None]) & (rows < (top + height)[:, None])
    inside_cols = (cols >= left[:, None]) & (cols < (left + width)[:, None])
    return image.masked_fill_((inside_rows[:, :, None] & inside_cols[:, None, :])[:, None], 0.0)


@contextlib.contextmanager
def _one_thread(device: torch.device) -> Iterator[None]:
    """Let torch use the calling thread alone for what follows on the CPU.

    Moving bytes takes microseconds; handing half of it to another thread takes as long, and many times longer where
    another program holds that thread up. Results do not depend on it.
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
    """Turn pixels in [0, 255], uint8 or float (N, C, H, W), into float32 ``(x / 255 - mean) / std``.

    ``mean`` and ``std`` are float32 (C,) in units of [0, 1].
    """
    shift, scale = (255 * mean)[:, None, None], (1 / (255 * std))[:, None, None]
    out = torch.empty_like(image, dtype=torch.float32)
    some = len(image) if image.device.type != "cpu" else max(1, _CACHED // max(1, image[:1].numel()))
    with _one_thread(image.device):
        for given, result in zip(image.split(max(1, some)), out.split(max(1, some)), strict=True):
            torch.sub(given, shift, out=result).mul_(scale)  # of bytes and floats it is float: no pass to convert
    return out


def augment_batch(
    image: Tensor, index: Tensor, *, augment: Augment, seed: int, epoch: int, mean: Tensor, std: Tensor
) -> Tensor:
    """Augment and normalise a batch on the device it is on.

    Args:
        image: uint8 (N, C, H, W).
        index: int64 (N,), the samples' numbers: with ``seed`` and ``epoch`` they decide every draw.
        augment: What to do.
        seed: The run's seed.
        epoch: Number of the epoch, from 0.
        mean: float32 (C,), in units of [0, 1].
        std: float32 (C,), in units of [0, 1].

    Returns:
        float32 (N, C, H, W), normalised.
    """

    def draw(*ops: str) -> Tensor:
        return hash_uniform(seed, epoch, index, ops)

    if len(image) == 0:
        return normalize(image, mean, std)
    height, width = image.shape[-2:]
    if augment.crop_scale is not None:
        boxes = crop_boxes(draw(*CROP_OPS), height, width, augment.crop_scale, augment.crop_ratio)
        image = _resized_crop(image.to(torch.float32), boxes)
    if augment.crop_padding or augment.flip or augment.vertical_flip:
        moves = draw("pad/y", "pad/x", "flip/-1", "flip/-2")  # at once, as hashing few numbers costs as much as many
        with _one_thread(image.device):
            if augment.crop_padding:
                image = _padded_crop(image, moves[:2], augment.crop_padding, augment.padding_mode)
            if augment.flip:
                chosen = moves[2] < augment.flip
                if augment.alternate_flip:
                    chosen = (hash_uniform(seed, 0, index, "flip/-1") < augment.flip) ^ bool(epoch % 2)
                image = _flip(image, chosen, -1)
            if augment.vertical_flip:
                image = _flip(image, moves[3] < augment.vertical_flip, -2)
    if augment.rotation or augment.translate or augment.zoom:
        image = _affine(image.to(torch.float32), draw("rotate", "zoom", "shift/x", "shift/y"), augment)
    if augment.brightness or augment.contrast or augment.saturation or augment.hue:
        image = _jitter(image.to(torch.float32), draw("brightness", "contrast", "saturation", "hue"), augment)
    image = normalize(image, mean, std)
    if augment.erase:
        draws, chosen = draw(*ERASE_OPS), draw("erase/do")[0] < augment.erase
        boxes, found = random_boxes(draws, height, width, augment.erase_scale, augment.erase_ratio, strict=True)
        boxes = boxes * (found & chosen)[:, None]  # a box of no height erases nothing
        _blank(image, *boxes.unbind(1))
    if augment.cutout:
        uniform = draw("cutout/y", "cutout/x")
        side = torch.full_like(index, augment.cutout)
        top, left = (
            (uniform[0] * height).long() - augment.cutout // 2,
            (uniform[1] * width).long() - augment.cutout // 2,
        )
        _blank(image, top, left, side, side)
    return image
