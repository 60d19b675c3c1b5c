"""``fit`` from weights of the hub: what the run keeps of them, and what it prepares images by."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import yaml
from PIL import Image

from lit_cnn.cli.main import main
from lit_cnn.models import get_model
from tests.hub_server import COMMIT, HubServer, hub  # noqa: F401

from .helpers import QUIET

BACKBONE = "test_resnet"  # one of timm's smallest
CFG = {
    "input_size": [3, 64, 64], "crop_pct": 0.95, "interpolation": "bicubic", "mean": [0.5] * 3, "std": [0.25] * 3,
}  # fmt: skip


@pytest.fixture
def served(hub: HubServer, workdir: Path) -> HubServer:  # noqa: F811
    torch.manual_seed(0)
    files = {
        "model.safetensors": safetensors.torch.save(get_model(f"timm/{BACKBONE}", num_classes=10).state_dict()),
        "config.json": json.dumps({"architecture": BACKBONE, "num_classes": 10, "pretrained_cfg": CFG}).encode(),
    }
    hub.repositories = {f"timm/{BACKBONE}.r160_in1k": files, "me/mine": files}
    for name in ("cat", "dog"):
        (workdir / "photos" / name).mkdir(parents=True)
        for number in range(10):
            Image.new("RGB", (80, 70), (12 * number, 60, 9)).save(f"photos/{name}/{number}.png")
    return hub


def fit(*words: str) -> dict[str, Any]:
    main(["fit", "photos", "--trainer.max_steps=1", "--trainer.limit_val_batches=1", *words, QUIET])
    runs = sorted(Path("lightning_logs").glob("version_*"))
    return yaml.safe_load((runs[-1] / "config.yaml").read_text())


BY_DEFAULT = [f"--model.backbone=timm/{BACKBONE}", "--pretrained"]


@pytest.mark.parametrize("words", [["--weights=hf:me/mine"], pytest.param(BY_DEFAULT, marks=pytest.mark.slow)])
def test_the_run_keeps_the_commit_and_prepares_images_as_the_weights_expect(
    served: HubServer, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    found = fit(*words)
    data = found["data"]["init_args"]
    name = "me/mine" if "me/mine" in words[0] else f"timm/{BACKBONE}.r160_in1k"
    assert found["model"]["weights"] == f"hf:{name}@{COMMIT}"
    assert found["model"]["backbone"] == f"timm/{BACKBONE}"
    assert (data["mean"], data["std"], data["image_size"]) == ([0.5] * 3, [0.25] * 3, 64)
    assert round(64 / data["eval_crop"]) == 67  # as timm: floor(64 / 0.95)
    said = " ".join(capsys.readouterr().out.split())
    for line in (
        "data.image_size - 64 weights",
        "data.eval_crop - 0.955224 weights",
        f"loaded from hf:{name}@{COMMIT}",
    ):
        assert line in said
    assert "the weights expect bicubic resizing" in said
    served.stop()  # the same again, and a resume, need no network
    assert fit(*words)["model"] == found["model"]
    main(["fit", "--resume", "--trainer.max_steps=2", QUIET])


def test_a_mean_given_by_hand_is_kept_and_told(served: HubServer, capsys: pytest.CaptureFixture[str]) -> None:
    own = ["--data.mean=[0.1, 0.1, 0.1]", "--data.std=[1.0, 1.0, 1.0]", "--img-size=32"]
    data = fit("--weights=hf:me/mine", *own)["data"]["init_args"]
    assert (data["mean"], data["image_size"]) == ([0.1] * 3, 32)
    said = " ".join(capsys.readouterr().out.split())
    assert "the weights expect mean [0.5, 0.5, 0.5], std [0.25, 0.25, 0.25]; --data.mean is [0.1, 0.1, 0.1]" in said


def test_another_name_than_the_hub_has_is_one_line(served: HubServer, fails: Any) -> None:
    assert "has no repository me/nine that you may read" in fails("fit", "photos", "--weights=hf:me/nine")
