"""Augmentation of all samples of a batch at once, on its device; for the random numbers see ``rng``."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from lit_cnn.data.sampling import rows
from lit_cnn.data.transforms import image_ops as ops
from lit_cnn.data.transforms.progressive import progressive_size
from lit_cnn.data.transforms.registered import build_policy, build_transform, transform_samples
from lit_cnn.data.transforms.rng import CROP_OPS, ERASE_OPS, counter_uniform, crop_boxes, crop_ratio, random_boxes
from lit_cnn.errors import UserError

# settings that say how an operation is done, if another one turns it on
_ARGUMENTS = ("crop_ratio", "padding_mode", "erase_scale", "erase_ratio", "policy_args", "transform_args")


@dataclass(frozen=True)
class Augment:
    """Random augmentation of training images. Every operation is off at its zero.

    The order is: random resized crop, ``policy``, ``transform``, crop with padding, flips, rotation with translation
    and zoom, brightness, contrast, saturation, hue, ``progressive_size``, (normalisation), erasing, cutout. Random
    numbers are drawn per sample.

    Args:
        crop_scale: Random resized crop: smallest and largest share of the image's area, e.g. [0.08, 1.0]; off: null
            or [0, 0].
        crop_ratio: Random resized crop: smallest and largest width / height of the crop; times that of image_size,
            where it is no square.
        crop_padding: Pad by this many pixels on each side, then crop a random window of the image's size.
        padding_mode: Padding with black (zeros) or the mirrored image (reflect).
        flip: Probability of a horizontal flip.
        alternate_flip: In every second epoch, flip exactly the images that were not flipped in the one before (Jordan
            2024, arXiv 2404.00498, section 3.6): random numbers are those of the first epoch.
        vertical_flip: Probability of a vertical flip.
        rotation: Rotate by an angle from [-rotation, rotation] degrees; corners become black.
        translate: Shift by up to this share of the width and of the height.
        zoom: Scale by a factor from [1 - zoom, 1 + zoom].
        brightness: Multiply by a factor from [1 - brightness, 1 + brightness].
        contrast: Blend with the image's mean grey by a factor from [1 - contrast, 1 + contrast].
        saturation: Blend with the grey image by a factor from [1 - saturation, 1 + saturation].
        hue: Shift the hue by up to this share of the colour circle, at most 0.5.
        erase: Probability of erasing one random box (Zhong et al., 2017); it becomes the mean colour.
        erase_scale: Smallest and largest share of the area that is erased.
        erase_ratio: Smallest and largest width / height of the erased box.
        cutout: Side in pixels of a square that becomes the mean colour, in every image (DeVries and Taylor, 2017).
        policy: rand_augment (Cubuk et al. 2020, arXiv 1909.13719), trivial_augment (Müller and Hutter 2021, arXiv
            2103.10158), augmix (Hendrycks et al. 2020, arXiv 1912.02781) or auto_augment (Cubuk et al. 2019, arXiv
            1805.09501), as torchvision has them.
        policy_args: Keyword arguments of torchvision's class, such as {num_ops: 2, magnitude: 9} of RandAugment.
        progressive_size: Share of image_size that training starts at: it grows in steps of some pixels, and is reached
            after two thirds of the epochs (progressive resizing; Tan and Le 2021, arXiv 2104.00298); 0: always full.
        transform: Name of a transform of your own, see ``register_transform``.
        transform_args: Keyword arguments of that transform.
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
    policy: str | None = None
    policy_args: dict[str, Any] | None = None
    progressive_size: float = 0.0
    transform: str | None = None
    transform_args: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.crop_scale is not None and tuple(self.crop_scale) == (0, 0):
            # jsonargparse 4.53 takes null for this from a config but not from the command line.
            object.__setattr__(self, "crop_scale", None)
        for name in ("flip", "vertical_flip", "erase", "translate", "progressive_size"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"`data.augment.{name}` is {getattr(self, name)}: it must lie between 0 and 1")
        if self.alternate_flip and not self.flip:
            raise UserError(
                "`data.augment.alternate_flip` is true and `data.augment.flip` 0: set flip to 0.5, or remove both"
            )
        for name in ("crop_padding", "rotation", "brightness", "contrast", "saturation", "cutout"):
            if getattr(self, name) < 0:
                raise UserError(f"`data.augment.{name}` is {getattr(self, name)}: it must not be negative")
        if not 0 <= self.hue <= 0.5:
            raise UserError(f"`data.augment.hue` is {self.hue}: it must lie between 0 and 0.5")
        if not 0 <= self.zoom < 1:
            raise UserError(f"`data.augment.zoom` is {self.zoom}: it must be at least 0 and below 1")
        if self.padding_mode not in ("zeros", "reflect"):
            raise UserError(f"`data.augment.padding_mode` is {self.padding_mode!r}: choose zeros or reflect")
        for name in ("crop_scale", "crop_ratio", "erase_scale", "erase_ratio"):
            pair = getattr(self, name)
            if pair is not None and not 0 < pair[0] <= pair[1]:
                raise UserError(f"`data.augment.{name}` is {list(pair)}: give two positive numbers, the smaller first")
        for name in ("crop_scale", "erase_scale"):
            pair = getattr(self, name)
            if pair is not None and pair[1] > 1:
                raise UserError(f"`data.augment.{name}` is {list(pair)}: a share of the area is at most 1")
        if self.policy is not None:
            build_policy(self.policy, self.policy_args)
        elif self.policy_args:
            raise UserError("`data.augment.policy_args` are given without `data.augment.policy`")
        if self.transform is not None:
            build_transform(self.transform, self.transform_args)
        elif self.transform_args:
            raise UserError("`data.augment.transform_args` are given without `data.augment.transform`")

    def changes(self) -> list[str]:
        """Names of the settings that change training images; empty if every epoch sees the same pixels."""
        return [
            field.name
            for field in fields(self)
            if field.name not in _ARGUMENTS and getattr(self, field.name) != field.default
        ]


def augment_batch(
    image: Tensor,
    index: Tensor,
    *,
    augment: Augment,
    seed: int,
    epoch: int,
    mean: Tensor,
    std: Tensor,
    epochs: int | None = None,
) -> Tensor:
    """Augment and normalise a batch on the device it is on.

    Args:
        image: uint8 (N, C, H, W).
        index: int64 (N,), the samples' indices (or keys, see ``lit_cnn.data.sampling``): with seed and epoch they
            decide all random numbers.
        augment: The operations.
        seed: The run's seed.
        epoch: Number of the epoch, from 0.
        mean: float32 (C,), in units of [0, 1].
        std: float32 (C,), in units of [0, 1].
        epochs: Of the whole run, for ``progressive_size``; None or -1: not known, which means full size.

    Returns:
        float32 (N, C, H, W), normalised; smaller than the images in early epochs with ``progressive_size``.
    """

    def draw(*ops: str) -> Tensor:
        return counter_uniform(seed, epoch, index, ops)

    if len(image) == 0:
        return ops.normalize(image, mean, std)
    height, width = image.shape[-2:]
    if augment.crop_scale is not None:
        ratio = crop_ratio(augment.crop_ratio, height, width)
        boxes = crop_boxes(draw(*CROP_OPS), height, width, augment.crop_scale, ratio)
        image = ops.resized_crop(image.to(torch.float32), boxes)
    if augment.policy is not None:
        policy = build_policy(augment.policy, augment.policy_args)
        image = transform_samples(image, index, policy, "policy", augment.policy, seed, epoch)
    if augment.transform is not None:
        transform = build_transform(augment.transform, augment.transform_args)
        image = transform_samples(image, index, transform, "transform", augment.transform, seed, epoch)
    if augment.crop_padding or augment.flip or augment.vertical_flip:
        moves = draw("pad/y", "pad/x", "flip/-1", "flip/-2")  # at once: few numbers cost as much as many
        with ops.one_thread(image.device):
            if augment.crop_padding:
                image = ops.padded_crop(image, moves[:2], augment.crop_padding, augment.padding_mode)
            if augment.flip:
                chosen = moves[2] < augment.flip
                if augment.alternate_flip:
                    chosen = (counter_uniform(seed, 0, rows(index), "flip/-1") < augment.flip) ^ bool(epoch % 2)
                image = ops.flip(image, chosen, -1)
            if augment.vertical_flip:
                image = ops.flip(image, moves[3] < augment.vertical_flip, -2)
    if augment.rotation or augment.translate or augment.zoom:
        turns = draw("rotate", "zoom", "shift/x", "shift/y")
        image = ops.affine(image.to(torch.float32), turns, augment.rotation, augment.zoom, augment.translate)
    if augment.brightness or augment.contrast or augment.saturation or augment.hue:
        amounts = (augment.brightness, augment.contrast, augment.saturation, augment.hue)
        image = ops.jitter(image.to(torch.float32), draw("brightness", "contrast", "saturation", "hue"), *amounts)
    if augment.progressive_size:
        image = ops.resize(image, progressive_size((height, width), augment.progressive_size, epoch, epochs))
        height, width = image.shape[-2:]
    image = ops.normalize(image, mean, std)
    if augment.erase:
        draws, chosen = draw(*ERASE_OPS), draw("erase/do")[0] < augment.erase
        boxes, found = random_boxes(draws, height, width, augment.erase_scale, augment.erase_ratio, strict=True)
        boxes = boxes * (found & chosen)[:, None]  # a box of height 0 erases nothing
        ops.erase_boxes(image, *boxes.unbind(1))
    if augment.cutout:
        _cut_out(image, draw("cutout/y", "cutout/x"), augment.cutout)
    return image


def _cut_out(image: Tensor, uniform: Tensor, side: int) -> None:
    """Set a square of each image to 0, in place; its centre by ``uniform``, float32 (2, N) in [0, 1)."""
    height, width = image.shape[-2:]
    top, left = (uniform[0] * height).long() - side // 2, (uniform[1] * width).long() - side // 2
    sides = torch.full_like(top, side)
    ops.erase_boxes(image, top, left, sides, sides)
