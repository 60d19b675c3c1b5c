"""How large the gradient is along GoogLeNet, with each weight of the auxiliary heads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from lit_cnn.models import get_model

_BLOCKS = ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")
STAGES = ("conv1", "conv2", "conv3", *(f"inception{name}" for name in _BLOCKS))
BATCHES, BATCH = 2, 32


def batches(folder: Path, size: int) -> list[tuple[Tensor, Tensor]]:
    """Images of class folders, scaled to [-1, 1], (32, 3, size, size) each, with their classes."""
    files = [(path, k) for k, group in enumerate(sorted(folder.iterdir())) for path in sorted(group.iterdir())]
    order = torch.randperm(len(files), generator=torch.Generator().manual_seed(0)).tolist()
    found = []
    for start in range(0, BATCHES * BATCH, BATCH):
        chosen = [files[i] for i in order[start : start + BATCH]]
        images = [Image.open(path).convert("RGB").resize((size, size)) for path, _ in chosen]
        pixels = torch.stack([torch.frombuffer(bytearray(i.tobytes()), dtype=torch.uint8) for i in images])
        x = pixels.view(len(images), size, size, 3).permute(0, 3, 1, 2).float() / 127.5 - 1
        found.append((x, torch.tensor([k for _, k in chosen])))
    return found


def relative_gradient(network: nn.Module, data: Sequence[tuple[Tensor, Tensor]], weight: float) -> list[float]:
    """Norm of the gradient over the norm of the weights of each stage, the mean over batches."""
    network.train()
    torch.manual_seed(0)  # the same dropout for all
    sums = [0.0] * len(STAGES)
    for x, target in data:
        network.zero_grad()
        logits, *others = network(x)
        loss = F.cross_entropy(logits, target) + weight * sum(F.cross_entropy(other, target) for other in others)
        loss.backward()
        for i, stage in enumerate(STAGES):
            convolutions = [m.weight for m in network.get_submodule(stage).modules() if isinstance(m, nn.Conv2d)]
            pairs = [(w.grad.norm(), w.detach().norm()) for w in convolutions if w.grad is not None]
            above, below = (torch.stack(part).norm() for part in zip(*pairs, strict=True))
            sums[i] += float(above / below) / len(data)
    return sums


def untrained(name: str, classes: int) -> nn.Module:
    """The network as it starts, from seed 42."""
    torch.manual_seed(42)
    return get_model(name, num_classes=classes)
