"""Mean and standard deviation of the images that another zoo's published weights were trained on."""

from __future__ import annotations

from lit_cnn.models._external import timm_module, torchvision_models

Statistics = tuple[list[float], list[float]]  # mean and std per channel, in units of [0, 1]


def pretrained_statistics(name: str, channels: int) -> Statistics | None:
    """Mean and std, in units of [0, 1], that the weights of ``torchvision/NAME`` or ``timm/NAME`` expect.

    They are those of timm's ``pretrained_cfg`` and of torchvision's default weights. For another number of channels
    than 3 they are averages over the colours, as the first convolution sums over them.

    Args:
        name: of the model, with the zoo.
        channels: of the images.

    Returns:
        None for a model of no zoo, and for one without published weights.
    """
    zoo, _, short = name.partition("/")
    if zoo == "timm":
        found = timm_module().get_pretrained_cfg(short)
    elif zoo == "torchvision":
        try:
            found = torchvision_models().get_model_weights(short).DEFAULT.transforms()
        except (ValueError, AttributeError):  # no such model, or none of its weights are published
            return None
    else:
        return None
    if found is None or not found.mean or not found.std:
        return None
    values = [float(value) for value in found.mean], [float(value) for value in found.std]
    if len(values[0]) == channels == len(values[1]):
        return values
    mean, std = (round(sum(numbers) / len(numbers), 6) for numbers in values)
    return [mean] * channels, [std] * channels
