"""Mixup and CutMix on a batch, with separate random draws for every sample."""

from __future__ import annotations

import torch
from torch import Tensor

from lit_cnn.errors import UserError
from lit_cnn.tasks.losses import soft_targets


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
        pixels = keep.view(n, 1, 1).expand(n, height, width)  # share of the sample's own value, per pixel
        if self.cutmix_alpha > 0:
            lam = torch.distributions.Beta(self.cutmix_alpha, self.cutmix_alpha).sample((n,))
            outside = 1.0 - _boxes(lam, height, width)
            pixels = torch.where(use_cutmix.view(n, 1, 1), outside, pixels)
            # a box cut at the borders covers less than 1 - lam: labels follow the area that it does cover
            keep = torch.where(use_cutmix, outside.mean((1, 2)), keep)
        pixels = pixels.unsqueeze(1).to(image)
        keep = keep.to(image.device).view(n, 1)
        partner = partner.to(image.device)
        onehot = soft_targets(target, self.num_classes)
        return image * pixels + image[partner] * (1 - pixels), onehot * keep + onehot[partner] * (1 - keep)

    def _cutmix_share(self) -> float:
        if self.cutmix_alpha <= 0:
            return 0.0
        return 0.5 if self.mixup_alpha > 0 else 1.0


def _boxes(lam: Tensor, height: int, width: int) -> Tensor:
    """Masks float (N, H, W): 1 inside a box of area (1 - lam) H W around a random center, cut at the borders."""
    n = len(lam)
    side = (1 - lam).sqrt()
    y, x = torch.rand(n) * height, torch.rand(n) * width
    rows, columns = torch.arange(height).view(1, height, 1), torch.arange(width).view(1, 1, width)

    def inside(position: Tensor, center: Tensor, length: Tensor) -> Tensor:
        low = (center - length / 2).round().view(n, 1, 1)
        return (position >= low) & (position < (center + length / 2).round().view(n, 1, 1))

    return (inside(rows, y, side * height) & inside(columns, x, side * width)).float()
