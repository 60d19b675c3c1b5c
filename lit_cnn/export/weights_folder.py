"""A folder of weights and their description, as the Hugging Face Hub has them: model.safetensors and config.json.

timm loads it where the backbone is one of timm's: ``timm.create_model("local-dir:PATH", pretrained=True)``.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from lit_cnn import __version__
from lit_cnn.checkpoint.record import CheckpointRecord
from lit_cnn.data.datamodule import ImageDataModule
from lit_cnn.data.decoding.bands import PHOTO
from lit_cnn.data.decoding.geometry import Geometry, plain, to_size
from lit_cnn.errors import UserError
from lit_cnn.export import model_card
from lit_cnn.export.classification import prove
from lit_cnn.export.graph import DECODED, RESIZED, geometry_of
from lit_cnn.export.proof import Proof
from lit_cnn.models import get_model
from lit_cnn.tasks.classification import ImageClassifier
from lit_cnn.tasks.tta import average_logits
from lit_cnn.utils.files import file_checksum

WEIGHTS, CONFIG, OWN = "model.safetensors", "config.json", "lit_cnn"
STYLES = ("safetensors", "timm")
_CROP_MODES = {"center_crop": "center", "stretch": "squash", "letterbox": "border"}  # in timm's words


class FolderRunner:
    """The network that a folder holds, loaded by timm or, of other networks, by lit-cnn.

    Attributes:
        metadata: the folder's config.json.
        network: in evaluation mode.
        by_timm: whether images are prepared by timm's transforms too.
    """

    def __init__(self, folder: Path, record: CheckpointRecord, task: ImageClassifier) -> None:
        self.metadata: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        self._own, self._geometry = self.metadata[OWN], geometry_of(record.preprocessing)
        self._tta = task.hparams.get("tta", "none")
        self.by_timm = self._own["backbone"].startswith("timm/") and _timm_prepares(self._geometry)
        self.network, self._transform = _load(folder, self._own, self._geometry, self.by_timm)
        if task.hparams["channels_last"]:  # sums in another order give other roundings
            self.network.to(memory_format=torch.channels_last)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Map uint8 (N, H, W, C) to probabilities float32 (N, K)."""
        with torch.inference_mode():
            x = torch.stack([self._transform(image) for image in images])
            logits = average_logits(self.network, x, self._tta)
            return (logits.sigmoid() if self._own["multilabel"] else self._softmax(logits)).numpy()

    def _softmax(self, logits: Tensor) -> Tensor:
        return (logits / self._own["temperature"]).softmax(1)


def export_folder(
    record: CheckpointRecord,
    task: ImageClassifier,
    data: ImageDataModule,
    style: str,
    folder: Path,
    most: int = 0,
    license_name: str = model_card.UNKNOWN,
) -> tuple[Proof, FolderRunner]:
    """Write weights and description of a checkpoint's network to a folder, and prove it.

    Args:
        record: of the checkpoint.
        task: of the checkpoint, on the CPU and in evaluation mode.
        data: the run's data module, whose validation images are used.
        style: ``timm``: timm must be able to load the folder; ``safetensors``: any network.
        folder: to be written; an earlier one that this function wrote is replaced.
        most: images of the proof; 0: all.
        license_name: for the model card.

    Raises:
        UserError: timm has no such network, another folder is in the way, a package is missing, or the folder's
            answers are not the checkpoint's; nothing is left.
    """
    try:
        from safetensors.torch import save_file
    except ModuleNotFoundError:
        raise UserError("writing weights needs the safetensors package: pip install 'lit-cnn[hub]'") from None
    backbone = str(record.config["model"]["backbone"])
    if style == "timm" and not backbone.startswith("timm/"):
        raise UserError(f"timm has no network {backbone}: `format=safetensors` writes its weights")
    if folder.exists() and OWN not in _read(folder / CONFIG):
        raise UserError(f"{folder} is in the way and was not written by this export: remove it, or choose another")
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a killed process
    partial.mkdir()
    try:
        # each in memory of its own, and in the usual layout
        tensors = {name: tensor.detach().contiguous().clone() for name, tensor in task.backbone.state_dict().items()}
        save_file(tensors, partial / WEIGHTS, metadata={"format": "pt"})
        text = json.dumps(describe_folder(record, task), indent=2, ensure_ascii=False)
        (partial / CONFIG).write_text(text + "\n", encoding="utf-8")
        runner = FolderRunner(partial, record, task)
        takes = DECODED if "eval_resize" in record.preprocessing else RESIZED
        proof = prove(runner, task, data, record, takes, most)
        if not proof.holds:
            raise UserError(f"refused: the weights answer otherwise than {record.path}: {proof.sentence()}")
        card = model_card.model_card(record, proof, runner.metadata, license_name)
        (partial / model_card.FILE).write_text(card, encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return proof, runner


def describe_folder(record: CheckpointRecord, task: ImageClassifier) -> dict[str, Any]:
    """The content of config.json: in timm's form for its own networks, and what it has no word for under lit_cnn."""
    model, preprocessing = record.config["model"], record.preprocessing
    geometry, backbone = geometry_of(preprocessing), str(model["backbone"])
    args = model.get("backbone_args") or {}
    cfg: Mapping[str, Any] = getattr(task.backbone, "pretrained_cfg", None) or {}
    is_timm = backbone.startswith("timm/")
    found: dict[str, Any] = {
        "architecture": backbone.partition("/")[2].partition(".")[0] if is_timm else _full_name(backbone),
        "num_classes": len(record.class_names),
        **({"num_features": task.backbone.num_features} if is_timm else {}),
        "label_names": record.class_names,
        **({"model_args": args} if is_timm and args else {}),
        "pretrained_cfg": {
            "input_size": [geometry.channels, geometry.height, geometry.width],
            "fixed_input_size": bool(cfg.get("fixed_input_size", False)),
            "interpolation": "bilinear",
            "crop_pct": crop_pct(geometry),
            "crop_mode": _CROP_MODES[geometry.eval_resize],
            "mean": list(preprocessing["mean"]),
            "std": list(preprocessing["std"]),
            "num_classes": len(record.class_names),
            "pool_size": None,
            "first_conv": cfg.get("first_conv"),
            "classifier": cfg.get("classifier"),
        },
    }
    found[OWN] = {
        "version": __version__,
        "backbone": backbone,
        "backbone_args": args,
        "in_channels": geometry.channels,
        "image_size": plain(geometry.size),
        "eval_resize": geometry.eval_resize,
        "eval_crop": geometry.eval_crop,
        "multilabel": bool(preprocessing.get("multilabel")),
        "temperature": record.calibration.get("temperature", 1.0),
        "tta": task.hparams.get("tta", "none"),
        "checkpoint_sha256": file_checksum(record.path),
        "data_fingerprint": record.fingerprint,
    }
    return found


def crop_pct(geometry: Geometry) -> float:
    """The share of a crop by which timm, which rounds the resized side down, resizes as the run did."""
    if geometry.eval_resize != "center_crop":
        return 1.0
    side = min(geometry.height, geometry.width)
    resized = max(side, round(side / geometry.eval_crop))
    share = geometry.eval_crop
    return share if math.floor(side / share) == resized else round(side / (resized + 0.5), 6)


def _timm_prepares(geometry: Geometry) -> bool:
    """Whether timm's transforms can do what the run did."""
    square = geometry.height == geometry.width
    return geometry.channels in PHOTO and geometry.eval_resize != "letterbox" and square


def _load(
    folder: Path, own: dict[str, Any], geometry: Geometry, by_timm: bool
) -> tuple[nn.Module, Callable[[np.ndarray], Tensor]]:
    """The network, and what makes its input, float (C, height, width), of an image, uint8 (H, W, C)."""
    cfg = _read(folder / CONFIG)["pretrained_cfg"]
    if own["backbone"].startswith("timm/"):
        import timm
        from timm.data.config import resolve_data_config
        from timm.data.transforms_factory import create_transform

        network: nn.Module = timm.create_model(f"local-dir:{folder}", pretrained=True)
        transform = create_transform(**resolve_data_config({}, model=network))
    else:
        from safetensors.torch import load_file

        network = get_model(own["backbone"], cfg["num_classes"], own["in_channels"], **own["backbone_args"])
        network.load_state_dict(load_file(folder / WEIGHTS))
    if by_timm:
        return network.eval(), lambda image: transform(
            Image.fromarray(image[:, :, 0] if len(cfg["mean"]) == 1 else image)
        )
    mean, std = (torch.tensor(cfg[name])[:, None, None] for name in ("mean", "std"))
    return network.eval(), lambda image: (torch.from_numpy(to_size(image, geometry)).float() - 255 * mean) / (255 * std)


def _full_name(backbone: str) -> str:
    """A name that is none of timm's."""
    return backbone if "/" in backbone else f"lit_cnn/{backbone}"


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
