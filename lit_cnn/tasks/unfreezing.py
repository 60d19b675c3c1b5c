"""Layers that are frozen for the first epochs of a run (``model.freeze_epochs``), then train."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from lit_cnn.models._freeze import Frozen


class Unfreezing:
    """Which layers are frozen in which epoch: a pure function of the epoch.

    On one device frozen parameters ask for no gradient, so nothing is computed for them. With several ranks they keep
    asking for it, as DistributedDataParallel reduces only what asked for a gradient when it was built, and
    :meth:`drop_gradients` drops what was computed.

    Args:
        backbone: the network.
        frozen: what was frozen.
        epochs: how many epochs it is; ``None``: all.
        statistics: names of normalizations that keep their statistics in all epochs.
    """

    def __init__(self, backbone: nn.Module, frozen: Frozen, epochs: int | None, statistics: Sequence[str] = ()) -> None:
        self.frozen, self.epochs, self._statistics = frozen, epochs, list(statistics)
        self._names = [] if epochs is None else [n for n, _ in backbone.named_parameters() if n in frozen.tensors]
        if epochs is not None:
            self._require_gradients(backbone, True)  # the optimizer takes parameters that do

    @property
    def lasting(self) -> Frozen:
        """What never trains."""
        return self.frozen if self.epochs is None else Frozen([], set())

    def modules(self, epoch: int) -> list[str]:
        """Names of the modules that are in evaluation mode while training in ``epoch``."""
        return (self.frozen.modules if self.epochs is None or epoch < self.epochs else []) + self._statistics

    def start_epoch(self, backbone: nn.Module, epoch: int, ranks: int) -> None:
        """Freeze or unfreeze for ``epoch``, on one of ``ranks``."""
        if self.epochs is not None and ranks == 1:
            self._require_gradients(backbone, epoch >= self.epochs)

    def drop_gradients(self, backbone: nn.Module, epoch: int, ranks: int) -> None:
        """Forget gradients of what is frozen in ``epoch``: an optimizer skips parameters without one."""
        if self.epochs is not None and epoch < self.epochs and ranks > 1:
            for name in self._names:
                backbone.get_parameter(name).grad = None

    def _require_gradients(self, backbone: nn.Module, value: bool) -> None:
        for name in self._names:
            backbone.get_parameter(name).requires_grad_(value)
