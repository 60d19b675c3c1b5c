"""Mixup and CutMix on a batch, with separate random draws for every sample."""

from __future__ import annotations

import torch
from torch import Tensor

from lit_cnn.errors import UserError
from lit_cnn.tasks.losses import soft_targets
from lit_cnn.utils.tensors import to_device


class Mixer:
    """Mixup and CutMix: blend every sample of a batch with another one, drawn at random.

    Mixup (Zhang et al., "mixup: Beyond empirical risk minimization", 2018) blends pixels, CutMix (Yun et al.,
    "CutMix", 2019, section 3.1) pastes a box. With both on, each sample draws one of them with equal probability.

    Random numbers come from torch's global CPU generator, which the task seeds at every step, so they do not depend on
    the device.

    Args:
        mixup_alpha: parameter of Beta(alpha, alpha) for mixup; 0 turns it off.
        cutmix_alpha: the same for CutMix.
        num_classes: K.
    """

    def __init__(self, mixup_alpha: float, cutmix_alpha: float, num_classes: int) -> None:
        for name, alpha in (("mixup_alpha", mixup_alpha), ("cutmix_alpha", cutmix_alpha)):
            if alpha < 0:
                raise UserError(f"`model.{name}` must be 0 (off) or positive, got {alpha}")
        self.mixup_alpha = mixup_alpha
        self.cutmix_alpha = cutmix_alpha
        self.num_classes = num_classes

    def __bool__(self) -> bool:
        return self.mixup_alpha > 0 or self.cutmix_alpha > 0

    def __call__(self, image: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Mix a batch.

        Args:
            image: float (N, C, H, W).
            target: int64 (N,).

        Returns:
            Mixed images of the same shape, and class probabilities float32 (N, K).
        """
        n, _, height, width = image.shape
        partner = torch.randperm(n)
        use_cutmix = torch.rand(n) < self._cutmix_share()
        keep = torch.ones(n)  # share of the sample's own label
        if self.mixup_alpha > 0:
            keep = torch.distributions.Beta(self.mixup_alpha, self.mixup_alpha).sample((n,))
        share = keep  # of the sample's own value, in pixels outside of a box
        box = torch.zeros(4, n)
        if self.cutmix_alpha > 0:
            lam = torch.distributions.Beta(self.cutmix_alpha, self.cutmix_alpha).sample((n,))
            box = _boxes(lam, height, width)
            # a box cut at the borders covers less than 1 - lam: labels follow the area that it does cover
            area = (box[1] - box[0]) * (box[3] - box[2])
            keep = torch.where(use_cutmix, (height * width - area) / (height * width), keep)
            share = torch.where(use_cutmix, 1.0, share)
            box = torch.where(use_cutmix, box, 0.0)  # mixup: no box
        # the draws are sent, in one copy, and not the masks, which have the size of the images
        draws = to_device(torch.stack([partner.float(), keep, share, *box]), image.device)
        partner, keep, share = draws[0].long(), draws[1].view(n, 1), draws[2].view(n, 1, 1, 1)
        pixels = share.expand(n, 1, height, width)
        if self.cutmix_alpha > 0:
            pixels = torch.where(_inside(draws[3:], height, width), 0.0, pixels)
        pixels = pixels.to(image)
        onehot = soft_targets(target, self.num_classes)
        return image * pixels + image[partner] * (1 - pixels), onehot * keep + onehot[partner] * (1 - keep)

    def _cutmix_share(self) -> float:
        if self.cutmix_alpha <= 0:
            return 0.0
        return 0.5 if self.mixup_alpha > 0 else 1.0


def _boxes(lam: Tensor, height: int, width: int) -> Tensor:
    """Boxes of area (1 - lam) H W around random centers, cut at the borders.

    Returns:
        Top, bottom, left and right, float (4, N); the bottom row and the right column are outside.
    """
    n = len(lam)
    side = (1 - lam).sqrt()
    y, x = torch.rand(n) * height, torch.rand(n) * width
    ends = [
        (center + sign * length / 2).round().clamp(0, size)
        for center, length, size in ((y, side * height, height), (x, side * width, width))
        for sign in (-1, 1)
    ]
    return torch.stack(ends)


def _inside(box: Tensor, height: int, width: int) -> Tensor:
    """Masks bool (N, 1, H, W) of boxes, float (4, N)."""
    top, bottom, left, right = (end.view(-1, 1, 1, 1) for end in box)
    rows = torch.arange(height, device=box.device).view(1, 1, height, 1)
    columns = torch.arange(width, device=box.device).view(1, 1, 1, width)
    return (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)
