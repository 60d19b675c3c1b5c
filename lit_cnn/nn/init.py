"""Weight initialisation schemes by name, for constructors that take one as an argument."""

from __future__ import annotations

from torch import nn

SCHEMES = ("torch", "kaiming", "xavier", "normal")
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d)


def init_weights(model: nn.Module, scheme: str) -> None:
    """Initialise the weights of every convolution and dense layer of ``model``, in place; norm layers are skipped.

    - ``torch``: keeps what PyTorch's constructors drew (uniform, bound 1/sqrt(fan_in)).
    - ``kaiming``: convolutions N(0, 2 / fan_out) (He et al. 2015, arXiv 1502.01852, section 2.2: the backward
      case, which keeps the size of gradients through ReLU); dense layers N(0, 0.01²), the usual choice.
      It does not keep the size of activations where layers narrow: a 1x1 layer from 832 to 32 channels makes them 5
      times as large, and without batch norm they stay so.
    - ``xavier``: uniform with variance 2 / (fan_in + fan_out) everywhere (Glorot and Bengio 2010, eq. 16).
    - ``normal``: N(0, 0.01²) everywhere (AlexNet, section 5).

    Biases become 0 in all schemes but ``torch``.

    Raises:
        ValueError: another name.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"init must be one of {', '.join(SCHEMES)}, got {scheme!r}")
    if scheme == "torch":
        return
    for module in model.modules():
        if not isinstance(module, _CONVOLUTIONS) and not isinstance(module, nn.Linear):
            continue
        if scheme == "xavier":
            nn.init.xavier_uniform_(module.weight)
        elif scheme == "kaiming" and isinstance(module, _CONVOLUTIONS):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        else:
            nn.init.normal_(module.weight, 0.0, 0.01)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
