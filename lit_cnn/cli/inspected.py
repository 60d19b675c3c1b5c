"""What ``lit-cnn inspect`` shows of a config or a checkpoint: its network, on images like those it is trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lit_cnn.cli.shipped_configs import shipped_configs
from lit_cnn.errors import UserError
from lit_cnn.run_folder import LOGS


class Inspected(NamedTuple):
    """A network as a config or a checkpoint has it.

    Attributes:
        backbone: name of the model.
        backbone_args: its arguments.
        image_size: side in pixels, or (height, width); ``None`` where the config does not say it.
        in_channels, num_classes: of the data, likewise.
    """

    backbone: str
    backbone_args: dict[str, Any]
    image_size: int | tuple[int, int] | None
    in_channels: int | None
    num_classes: int | None


def find_inspected(word: str, allowed: Sequence[str]) -> Inspected | None:
    """The network of a config or a checkpoint; ``None`` where ``word`` is the name of a model.

    Args:
        word: name of a model; a config file or the name of a shipped one; a checkpoint file, a run folder or a run's
            name, or ``best`` or ``last`` of the newest run.
        allowed: packages of the user's that may be imported.

    Raises:
        UserError: a file that cannot be read or names no network.
    """
    from lit_cnn.models import MODELS

    if word in MODELS:
        return None
    path = Path(word)
    if path.suffix in (".yaml", ".yml") or word in shipped_configs():
        return _of_config(word)
    if word in ("best", "last") or path.suffix == ".ckpt" or path.is_dir() or (Path(LOGS) / word).is_dir():
        return _of_checkpoint(word, allowed)
    return None


def _of_config(word: str) -> Inspected:
    from lit_cnn.cli.config import find_config, read_config
    from lit_cnn.data.registry import find_dataset

    config = read_config(find_config(word))
    model, data = config.get("model") or {}, config.get("data") or {}
    if not isinstance(model, dict) or not isinstance(model.get("backbone"), str):
        raise UserError(f"{word} names no `model.backbone`: give the name of a model, as lit-cnn models lists them")
    settings = data.get("init_args") or {}
    cls = find_dataset(str(data.get("class_path", "")))
    side, channels = getattr(cls, "SHAPE", (None, None))
    size = settings.get("image_size") or side
    return Inspected(
        model["backbone"],
        model.get("backbone_args") or {},
        tuple(size) if isinstance(size, list) else size,
        settings.get("channels") or channels,
        len(getattr(cls, "CLASSES", ())) or None,
    )


def _of_checkpoint(word: str, allowed: Sequence[str]) -> Inspected:
    from lit_cnn.cli.checkpoint_argument import open_checkpoint

    record = open_checkpoint(word, allowed)
    model, size = record.config["model"], record.preprocessing["image_size"]
    return Inspected(
        model["backbone"],
        model.get("backbone_args") or {},
        tuple(size) if isinstance(size, list) else size,
        record.preprocessing["channels"],
        len(record.class_names),
    )
