"""Knowledge distillation: a trained network's probabilities as further targets.

Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network", 2015 (arXiv 1503.02531); the teacher sees the
same augmented images as the student (Beyer et al., "Knowledge distillation: a good teacher is patient and consistent",
2022, arXiv 2106.05237).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_cnn.checkpoint.record import CheckpointRecord, load_verified, read_record
from lit_cnn.errors import UserError
from lit_cnn.models import get_model
from lit_cnn.utils.datamodule import DataModule
from lit_cnn.utils.files import file_checksum

CLASSIFIER = "backbone."  # what the names of a classifier's weights begin with in a checkpoint


def distillation_loss(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Kullback-Leibler divergence of the student's from the teacher's softened probabilities, times temperature².

    Args:
        logits: of the student, float (N, K).
        teacher: logits of the teacher, float (N, K).
        temperature: divides both; the factor keeps the size of the gradients (section 2 of the paper).

    Returns:
        Mean over the samples, a scalar.
    """
    student = F.log_softmax(logits.float() / temperature, dim=1)
    target = F.log_softmax(teacher.float() / temperature, dim=1)
    return F.kl_div(student, target, reduction="batchmean", log_target=True) * temperature**2


def label_distillation_loss(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """:func:`distillation_loss` for several labels an image: the divergence of each label's two probabilities.

    Args:
        logits: of the student, float (N, K).
        teacher: logits of the teacher, float (N, K).
        temperature: divides both.

    Returns:
        Mean over samples and labels, as of binary cross-entropy, a scalar.
    """
    softened, target = logits.float() / temperature, (teacher.float() / temperature).sigmoid()
    own = F.binary_cross_entropy_with_logits(teacher.float() / temperature, target)  # the least that it can be
    return (F.binary_cross_entropy_with_logits(softened, target) - own) * temperature**2


def check_distillation(weight: float, temperature: float) -> None:
    """Refuse settings that make no sense.

    Raises:
        UserError: naming the setting.
    """
    if not 0 <= weight <= 1:
        raise UserError(f"`model.distill_weight` must lie between 0 and 1, got {weight}")
    if temperature <= 0:
        raise UserError(f"`model.distill_temperature` must be positive, got {temperature}: 4 is usual")


class Teacher:
    """A trained classifier that labels the images of a batch. It is no part of the task's modules or checkpoints.

    Args:
        given: a checkpoint of lit-cnn, or a run folder, whose best one is taken.
        data: what the student is trained on.

    Raises:
        UserError: there is no such checkpoint, or its classes or channels are not those of the data.
    """

    def __init__(self, given: str, data: DataModule) -> None:
        path = Path(given)
        path = path / "checkpoints" / "best.ckpt" if path.is_dir() else path
        if not path.is_file():
            raise UserError(f"`model.teacher={given}`: there is no such checkpoint or run folder")
        record = read_record(path)
        if missing := [name for name in data.class_names if name not in record.class_names]:
            raise UserError(f"`model.teacher={given}` does not know class {', '.join(missing[:3])}")
        if record.preprocessing["channels"] != data.in_channels:
            raise UserError(
                f"`model.teacher={given}` takes {record.preprocessing['channels']} channels, these images have "
                f"{data.in_channels}"
            )
        self.checksum = file_checksum(path)
        self._network = _network(record)
        self._columns = torch.tensor([record.class_names.index(name) for name in data.class_names])
        own, theirs = data.preprocessing(), record.preprocessing
        size = theirs["image_size"]
        self._shape = (size, size) if isinstance(size, int) else tuple(size)
        same = all(list(own[key]) == list(theirs[key]) for key in ("mean", "std"))
        self._statistics = (
            [] if same else [_per_channel(part[key]) for part in (own, theirs) for key in ("mean", "std")]
        )

    def move_to(self, device: torch.device) -> None:
        """Move network and constants to ``device``."""
        self._network.to(device)
        self._columns = self._columns.to(device)
        self._statistics = [value.to(device) for value in self._statistics]

    @torch.no_grad()
    def logits(self, image: Tensor) -> Tensor:
        """Logits (N, K), in the order of the student's classes, for images float (N, C, H, W) as the student sees them.

        They are normalized and resized as the teacher was trained.
        """
        if self._statistics:
            mean, std, other_mean, other_std = self._statistics
            image = (image * std + mean - other_mean) / other_std
        if tuple(image.shape[2:]) != self._shape:
            image = F.interpolate(image, self._shape, mode="bilinear", antialias=True)
        logits: Tensor = self._network(image)
        return logits.index_select(1, self._columns)


def _per_channel(values: Any) -> Tensor:
    return torch.tensor(list(values), dtype=torch.float32).view(1, -1, 1, 1)


def _network(record: CheckpointRecord) -> nn.Module:
    """The trained network of a checkpoint, in evaluation mode and without gradients."""
    model = record.config["model"]
    network = get_model(
        model["backbone"],
        num_classes=len(record.class_names),
        in_channels=record.preprocessing["channels"],
        **(model.get("backbone_args") or {}),
    )
    state = load_verified(record.path)["state_dict"]
    found = {name.removeprefix(CLASSIFIER): value for name, value in state.items() if name.startswith(CLASSIFIER)}
    network.load_state_dict(found)
    return network.eval().requires_grad_(False)
