"""Dense classifier heads, as in AlexNet and VGG."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

DROPOUT_AT = ("after", "before", "all")
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
    dropout_at: str = "after",
    batch_norm: bool = False,
) -> nn.Sequential:
    """Dense layers of the given widths with activation and dropout, then one to the logits. (N, in) -> (N, K).

    Args:
        dropout_at: ``after`` drops the outputs of each hidden layer, ``before`` its inputs, ``all`` the inputs of every
            layer, the last one's too. It changes the numbering of the layers and so the keys of the state dict, as
            ``batch_norm`` does.
        batch_norm: BN between each hidden layer and its activation.
    """
    layers: list[nn.Module] = []
    act = activation_class(activation)
    for width in hidden:
        layer: list[nn.Module] = [nn.Linear(in_features, width)]
        layer += [nn.BatchNorm1d(width), act()] if batch_norm else [act()]
        drop: list[nn.Module] = [nn.Dropout(dropout)]
        layers += layer + drop if dropout_at == "after" else drop + layer
        in_features = width
    last = [nn.Dropout(dropout)] if dropout_at == "all" else []
    return nn.Sequential(*layers, *last, nn.Linear(in_features, num_classes))
