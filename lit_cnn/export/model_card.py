"""The model card of exported weights: README.md with the front matter that the Hugging Face Hub reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from lit_cnn import __version__
from lit_cnn.checkpoint.record import CheckpointRecord
from lit_cnn.export.proof import SPLIT_NAMES, Proof
from lit_cnn.results.evaluation import format_score

FILE = "README.md"
UNKNOWN = "unknown"  # the hub's word for a licence that nobody has named
_SHOWN = ("optimizer", "lr", "weight_decay", "loss", "label_smoothing", "weights", "freeze", "ema_decay")


def model_card(record: CheckpointRecord, proof: Proof, config: dict[str, Any], license_name: str = UNKNOWN) -> str:
    """The card of a network.

    Args:
        record: of its checkpoint.
        proof: of its answers, whose accuracy is the card's.
        config: content of the folder's config.json.
        license_name: the hub's identifier of a licence, such as mit.
    """
    own, cfg = config["lit_cnn"], config["pretrained_cfg"]
    is_timm, data = own["backbone"].startswith("timm/"), _dataset(record)
    front: dict[str, Any] = {
        "license": license_name,
        "library_name": "timm" if is_timm else "lit-cnn",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "lit-cnn", *(["timm"] if is_timm else [])],
    }
    lines = [f"# {own['backbone']} for {data}", ""]
    lines += [f"{len(record.class_names)} classes: {', '.join(record.class_names)}.", "", "## Accuracy", ""]
    if proof.labelled:
        metric = {"type": "accuracy", "name": "accuracy", "value": round(proof.accuracy.value, 6)}
        task = {"type": "image-classification"}
        where = {"name": data, "type": data, "split": proof.split}
        results = [{"task": task, "dataset": where, "metrics": [metric]}]
        front["model-index"] = [{"name": f"{own['backbone']} for {data}", "results": results}]
        share, split = format_score(proof.accuracy), SPLIT_NAMES[proof.split]
        lines.append(f"{share} on {proof.labelled:,} {split} images, with its 95% interval (Wilson).")
        if proof.split == "val":
            lines.append("The checkpoint was chosen on these images, so that new ones may be answered less well.")
    else:
        lines.append("Not measured.")
    side = " x ".join(str(n) for n in cfg["input_size"][1:])
    lines += ["", "## Images", "", f"{side} pixels ({own['eval_resize']}, crop {own['eval_crop']}), bilinear filter;"]
    lines += [f"mean {cfg['mean']}, std {cfg['std']} in units of [0, 1].", "", "## Use", "", "```python"]
    lines += _use(own, config, is_timm)
    calibrated = f"The softmax of logits / {own['temperature']:.4f} gives calibrated probabilities."
    lines += ["```", "", "The sigmoid of its outputs is each label's probability." if own["multilabel"] else calibrated]
    lines += ["", "## Training", "", "| setting | value |", "|---|---|"]
    lines += [f"| {name} | {record.config['model'][name]} |" for name in _SHOWN if name in record.config["model"]]
    lines += [f"| epochs, steps | {record.epoch}, {record.step} |", f"| data fingerprint | {record.fingerprint} |"]
    lines += [f"| checkpoint, SHA-256 | {own['checkpoint_sha256']} |", f"| lit-cnn | {__version__} |", ""]
    head = yaml.safe_dump(front, sort_keys=False, allow_unicode=True)
    return f"---\n{head}---\n\n" + "\n".join(lines)


def _dataset(record: CheckpointRecord) -> str:
    """The name of the data set, or of its folder."""
    name = str(record.config["data"]["class_path"]).rpartition(".")[2]
    return Path(record.data_dir).name or name if name == "ImageFolder" else name


def _use(own: dict[str, Any], config: dict[str, Any], is_timm: bool) -> list[str]:
    if is_timm:
        return ["import timm", "", 'model = timm.create_model("local-dir:PATH", pretrained=True).eval()']
    arguments = "".join(f", {name}={value!r}" for name, value in own["backbone_args"].items())
    return [
        "from lit_cnn.models import get_model",
        "from safetensors.torch import load_file",
        "",
        f"model = get_model({own['backbone']!r}, {config['num_classes']}, {own['in_channels']}{arguments}).eval()",
        'model.load_state_dict(load_file("model.safetensors"))',
    ]
