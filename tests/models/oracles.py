"""Plain networks from the course notes' layer lists, written anew from ``torch.nn``, to compare the package's with.

Each entry names the network as a user does, gives the number of parameters and a plain network whose tensors come in
the same order. ``python -m tests.models.oracles`` prints the table of docs/models.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Flatten, Linear, ReLU, Sequential

from lit_cnn.models import get_model
from tests.models.helpers import randomise


@dataclass(frozen=True)
class Oracle:
    """A network of the notes.

    Attributes:
        where: in the notes.
        name, arguments: as a user gives them.
        plain: the same network from the layer list.
        parameters: the number printed, or summed over the layer list.
        image: channels, height and width of the notes' images.
        classes: number of logits.
    """

    where: str
    name: str
    plain: Callable[[], nn.Module]
    parameters: int
    image: tuple[int, int, int]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    classes: int = 10


def pair(oracle: Oracle) -> tuple[nn.Module, nn.Module]:
    """The package's network with random weights and statistics, and the plain one that shares its tensors."""
    torch.manual_seed(0)
    with torch.device("meta"):
        model = get_model(oracle.name, oracle.classes, oracle.image[0], **oracle.arguments)
        plain = oracle.plain()
    randomise(model)
    values = [v for key, v in model.state_dict().items() if not key.endswith("num_batches_tracked")]
    keys = [key for key in plain.state_dict() if not key.endswith("num_batches_tracked")]
    state = {k: v.reshape(plain.state_dict()[k].shape).clone() for k, v in zip(keys, values, strict=True)}
    counters = {k: torch.zeros((), dtype=torch.long) for k in plain.state_dict() if k not in state}
    plain.load_state_dict(state | counters, assign=True)
    return model, plain


def outputs(oracle: Oracle) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits of both networks, (2, K): in evaluation, and in training with the same draws of dropout."""
    model, plain = pair(oracle)
    x = torch.randn(2, *oracle.image)
    with torch.no_grad():
        for training in (False, True):
            both = []
            for network in (model, plain):
                torch.manual_seed(1)
                both.append(network.train(training)(x.clone()))
            yield both[0], both[1]


def mlp() -> nn.Module:
    return Sequential(Flatten(), Linear(784, 256), ReLU(), Linear(256, 10))


ORACLES: dict[str, Oracle] = {
    "MLP 784-256-10": Oracle("lab, optional exercise", "mlp", mlp, 203_530, (1, 28, 28)),
}
