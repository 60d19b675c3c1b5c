"""Dense classifier heads, as in AlexNet and VGG."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
}


def activation_class(name: str) -> type[nn.Module]:
    """Return the module class of an activation by name.

    Raises:
        ValueError: there is none of that name.
    """
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {name!r}")
    return ACTIVATIONS[name]


def dense_head(
    in_features: int,
    hidden: Sequence[int],
    num_classes: int,
    *,
    dropout: float = 0.5,
    activation: str = "relu",
    dropout_first: bool = False,
    batch_norm: bool = False,
) -> nn.Sequential:
    """Dense layers of the given widths with activation and dropout, then one to the logits. (N, in) -> (N, K).

    Args:
        dropout_first: drop the inputs of each hidden layer instead of its outputs. It changes the numbering of the
            layers and so the keys of the state dict, as ``batch_norm`` does.
        batch_norm: BN between each hidden layer and its activation.
    """
    layers: list[nn.Module] = []
    act = activation_class(activation)
    for width in hidden:
        layer: list[nn.Module] = [nn.Linear(in_features, width)]
        layer += [nn.BatchNorm1d(width), act()] if batch_norm else [act()]
        drop: list[nn.Module] = [nn.Dropout(dropout)]
        layers += drop + layer if dropout_first else layer + drop
        in_features = width
    return nn.Sequential(*layers, nn.Linear(in_features, num_classes))
