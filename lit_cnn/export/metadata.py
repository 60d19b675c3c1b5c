"""What an exported file says about itself: text by key, as the formats' own metadata are."""

from __future__ import annotations

import json
from typing import Any

import numpy
import PIL
import torch
from torch import nn

from lit_cnn import __version__
from lit_cnn.checkpoint.record import CheckpointRecord
from lit_cnn.data.decoding.geometry import height_width
from lit_cnn.export.graph import DECODED, geometry_of, mode_of
from lit_cnn.export.int8 import CALIBRATION_IMAGES, accuracy_drop
from lit_cnn.export.proof import TOLERANCE, Proof
from lit_cnn.utils.files import file_checksum

Metadata = dict[str, Any]  # plain types
RUN_FIELDS = ("preprocessing", "fingerprint", "requires", "data_dir", "epoch", "step")  # of a checkpoint's record


def _common(record: CheckpointRecord) -> Metadata:
    geometry, backbone = geometry_of(record.preprocessing), record.config["model"]["backbone"]
    return {
        "producer": f"lit-cnn {__version__}",
        "channels": geometry.channels,
        "mode": mode_of(geometry.channels),
        "layout": "NHWC",
        "backbone": backbone,
        "checkpoint": record.path.name,
        "checkpoint_sha256": file_checksum(record.path),
        # what an evaluation of the file needs besides
        "run": {
            "config": {name: record.config[name] for name in ("seed_everything", "model", "data")},
            **{name: getattr(record, name) for name in RUN_FIELDS},
        },
        "versions": {
            "lit-cnn": __version__,
            "torch": torch.__version__,
            "numpy": numpy.__version__,
            "pillow": PIL.__version__,
        },
    }


def describe(record: CheckpointRecord, takes: str, tta: str) -> Metadata:
    """What a file that holds the network of a checkpoint says about itself, before its proof.

    Args:
        record: of the checkpoint.
        takes: ``decoded`` or ``resized`` images.
        tta: test-time augmentation inside the graph.
    """
    preprocessing = record.preprocessing
    geometry, multilabel = geometry_of(preprocessing), bool(preprocessing.get("multilabel"))
    resizing = {"eval_resize": geometry.eval_resize, "eval_crop": geometry.eval_crop}
    return {
        **_common(record),
        "task": "multilabel" if multilabel else "classify",
        "description": f"{record.config['model']['backbone']}: images to probabilities of {len(record.class_names)} "
        f"{'labels' if multilabel else 'classes'}",
        "names": {str(number): name for number, name in enumerate(record.class_names)},
        "imgsz": list(height_width(geometry.size)),
        "input": takes,
        "resize": {**resizing, "filter": "bilinear, antialiased, as Pillow", "inside": takes == DECODED},
        "mean": list(preprocessing["mean"]),
        "std": list(preprocessing["std"]),
        "temperature": 1.0 if multilabel else record.calibration.get("temperature", 1.0),
        "threshold": record.calibration.get("threshold", 0.0),
        "tta": tta,
    }


def describe_restorer(record: CheckpointRecord, network: nn.Module) -> Metadata:
    """As :func:`describe`, of a file that gives images for images.

    Args:
        record: of the checkpoint.
        network: the backbone, which may say how far it sees.
    """
    reach = {name: getattr(network, name) for name in ("halo", "multiple") if hasattr(network, name)}
    return {
        **_common(record),
        "task": "restore",
        "description": f"{record.config['model']['backbone']}: images to images of the same size",
        "names": {},
        "input": DECODED,
        "any_size": True,
        **reach,
    }


def describe_proof(proof: Proof) -> Metadata:
    """The proof and the accuracy on its images."""
    score = proof.accuracy
    accuracy = {"value": score.value, "low": score.low, "high": score.high, "images": proof.labelled}
    return {
        "proof": {
            "images": proof.images,
            "split": proof.split,
            "tolerance": TOLERANCE,
            "largest_difference": proof.largest,
            "same_answer": proof.same,
        },
        "answers": proof.answers,
        **({"accuracy": {**accuracy, "split": proof.split}} if proof.labelled else {}),
    }


def describe_int8(proof: Proof, milliseconds: list[float]) -> Metadata:
    """What quantization costs and gains.

    Args:
        proof: of the quantized file.
        milliseconds: for an image, of the file before and after.
    """
    drop = accuracy_drop(proof.lost, proof.gained, max(proof.labelled, 1))
    return {
        "int8": {
            "calibration_images": CALIBRATION_IMAGES,
            "accuracy_drop": {"value": drop.value, "low": drop.low, "high": drop.high},
            "milliseconds": [round(value, 3) for value in milliseconds],
        }
    }


def to_text(metadata: Metadata) -> dict[str, str]:
    """Values as text: a text as it is, others as JSON."""
    return {
        key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for key, value in metadata.items()
    }


_TEXTS = {"producer", "task", "description", "mode", "layout", "input", "tta", "backbone", "checkpoint"}
_TEXTS |= {"checkpoint_sha256"}


def from_text(texts: dict[str, str]) -> Metadata:
    """The values back; what is no JSON, and may be another program's, stays text."""
    return {key: text if key in _TEXTS else _value(text) for key, text in texts.items()}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
