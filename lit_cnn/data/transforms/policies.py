"""Augmentation policies of torchvision by name: RandAugment, TrivialAugment, AugMix and AutoAugment."""

from __future__ import annotations

from typing import Any

from lit_cnn.errors import UserError

CLASSES = {  # in torchvision.transforms.v2
    "rand_augment": "RandAugment",
    "trivial_augment": "TrivialAugmentWide",
    "augmix": "AugMix",
    "auto_augment": "AutoAugment",
}
AUTO_AUGMENT = ("imagenet", "cifar10", "svhn")  # the sets that its policies were found on


def make_policy(name: str, args: dict[str, Any] | None = None) -> Any:
    """Make a policy, which takes and returns an image, uint8 (C, H, W), of one or three channels.

    Its random numbers come from torch's default generator alone.

    Args:
        name: One of ``CLASSES``.
        args: Keyword arguments of torchvision's class.

    Raises:
        UserError: There is no such policy, or it does not take these arguments.
    """
    if name not in CLASSES:
        raise UserError(f"`data.augment.policy` is {name!r}: choose {', '.join(CLASSES)}, or null")
    from torchvision.transforms import v2

    given = dict(args or {})
    if name == "auto_augment" and "policy" in given:
        if given["policy"] not in AUTO_AUGMENT:
            raise UserError(f"`data.augment.policy_args` of auto_augment: policy is one of {', '.join(AUTO_AUGMENT)}")
        given["policy"] = v2.AutoAugmentPolicy(given["policy"])
    try:
        return getattr(v2, CLASSES[name])(**given)
    except (TypeError, ValueError) as error:
        raise UserError(f"`data.augment.policy` {name} cannot be made with {args}: {error}") from error
