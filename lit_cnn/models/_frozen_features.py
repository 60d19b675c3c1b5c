"""Features that a frozen backbone gives for an image: the input of the head, which can be computed once and kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lit_cnn.errors import UserError
from lit_cnn.models._freeze import find_head


def only_trained_layer(model: nn.Module, num_classes: int | None = None) -> str:
    """Return the name of the head of a network in which nothing else trains.

    Args:
        model: the network, frozen.
        num_classes: K, to find the head by; by default the width of the last layer.

    Raises:
        UserError: there is no head, or other layers train too.
    """
    head = find_head(model, num_classes)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and not name.startswith(f"{head}."):
            layer = name.rpartition(".")[0] or name
            raise UserError(
                f"only the head ({head}) may train, but {layer} does too; `model.freeze=backbone` leaves heads"
            )
    return head


class FrozenFeatures:
    """A network in which the head alone trains, split into frozen layers, which give features, and the head.

    Called with features, float (N, D), it gives logits, float (N, K). Dropout that the network's ``forward`` applies
    right before the head is drawn anew at every call, as in training without a cache. That nothing else is between
    features and logits, and that the frozen layers do the same in training and in evaluation, is tried on some images.

    Args:
        model: the network; its layers are in the modes that they train in.
        images: float (N, C, H, W), as the network gets them.
        num_classes: K, to find the head by; by default the width of the last layer.

    Attributes:
        width: number D of features.
        dtype: of the features.

    Raises:
        UserError: the logits are not a function of the head's input alone, or that is no vector; says why.
    """

    def __init__(self, model: nn.Module, images: Tensor, num_classes: int | None = None) -> None:
        self.model, self.dropout = model, 0.0
        self.head = only_trained_layer(model, num_classes)
        network, dropout = type(model).__name__, _Dropout()
        with torch.no_grad(), torch.random.fork_rng(devices=[]), dropout:
            inputs, head_outputs, outputs = self._run(images)
        features = self.features(images)
        if features.ndim != 2:
            shape = " x ".join(map(str, features.shape[1:]))
            raise UserError(f"the head of {network} takes {shape} numbers of an image, not a vector of features")
        if not isinstance(outputs, Tensor) or not torch.equal(outputs, head_outputs):
            raise UserError(f"{network} changes the outputs of its head ({self.head}), so that it cannot train alone")
        if [source is inputs for _, source in dropout.calls] not in ([], [True]) or not torch.allclose(
            inputs.float(), features.float(), rtol=1e-3, atol=1e-5
        ):
            raise UserError(f"frozen layers of {network} give other features in training than in evaluation")
        if dropout.calls:
            self.dropout = dropout.calls[0][0]
        self.width, self.dtype = features.shape[1], features.dtype

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Features float (N, D) of images float (N, C, H, W), by the network in evaluation mode, not compiled."""
        with _evaluation_mode(self.model):
            return self._run(images)[0]

    def __call__(self, features: Tensor) -> Tensor:
        """Logits float (N, K) of features float (N, D)."""
        dropped = F.dropout(features.to(self.dtype), self.dropout, training=self.model.training and self.dropout > 0)
        return self.model.get_submodule(self.head)(dropped)

    def _run(self, images: Tensor) -> tuple[Tensor, Tensor, Any]:
        """Input and output of the head, and output of the network."""
        calls: list[tuple[Tensor, Tensor]] = []
        hook = self.model.get_submodule(self.head).register_forward_hook(
            lambda _, inputs, output: calls.append((inputs[0], output))
        )
        try:
            outputs = self.model.forward(images)  # not called: a compiled graph has no hooks
        finally:
            hook.remove()
        if len(calls) != 1:
            raise UserError(f"{type(self.model).__name__} runs its head ({self.head}) {len(calls)} times, not once")
        return *calls[0], outputs


class _Dropout(TorchFunctionMode):
    """Leaves out dropout, and records its probability and its input."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[float, Tensor]] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        if func is F.dropout:
            given = dict(zip(("input", "p", "training"), args, strict=False)) | (kwargs or {})
            if given.get("training", True) and given.get("p", 0.5) > 0:
                self.calls.append((given.get("p", 0.5), given["input"]))
                return given["input"]
        return func(*args, **(kwargs or {}))


@contextmanager
def _evaluation_mode(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
