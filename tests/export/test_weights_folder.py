"""Weights and their description in a folder: timm loads it with the checkpoint's outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import yaml
from huggingface_hub import ModelCard
from PIL import Image

from lit_cnn.checkpoint.record import read_record
from lit_cnn.cli.main import main
from lit_cnn.cli.trained_task import trained_task
from lit_cnn.data.decoding.geometry import Geometry
from lit_cnn.export.weights_folder import crop_pct
from tests.cli.helpers import QUIET

FAST = ["--epochs=1", "--trainer.limit_train_batches=1", "--name=run", QUIET]
BEST = Path("lightning_logs/run/checkpoints/best.ckpt")
EXPORT = Path("lightning_logs/run/export")


def network() -> torch.nn.Module:
    """The checkpoint's, in the usual layout: channels_last sums in another order."""
    return trained_task(read_record(BEST)).backbone.to(memory_format=torch.contiguous_format)


def test_timm_loads_the_folder_with_equal_outputs_classes_and_preprocessing(
    workdir: Path, capsys: pytest.CaptureFixture[str], fails: Any
) -> None:
    for name in ("cat", "dog"):
        (workdir / "photos" / name).mkdir(parents=True)
        for number in range(10):
            Image.effect_noise((80, 70), 9 * number + 5).convert("RGB").save(f"photos/{name}/{number}.png")
    own = ["--data.mean=[0.5, 0.4, 0.3]", "--data.std=[0.2, 0.2, 0.1]", "--data.eval_crop=0.9"]
    main(["fit", "photos", "--model.backbone=timm/test_resnet", "--img-size=40", *own, *FAST])
    main(["export", "--ckpt_path=run", "--format=timm"])
    said = capsys.readouterr().out
    assert "proof: 2 validation images" in said
    assert "prepared by timm's transforms, the network was built by timm" in said
    folder = EXPORT / "best_timm"
    loaded = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    x = torch.randn(4, 3, 40, 40)
    with torch.inference_mode():
        assert torch.equal(loaded(x), network()(x))
    cfg = loaded.pretrained_cfg
    assert cfg["label_names"] == ["cat", "dog"]
    assert (cfg["mean"], cfg["std"], cfg["input_size"]) == ([0.5, 0.4, 0.3], [0.2, 0.2, 0.1], [3, 40, 40])
    assert (cfg["interpolation"], int(40 / cfg["crop_pct"])) == ("bilinear", 44)

    front = yaml.safe_load((folder / "README.md").read_text().split("---\n")[1])
    assert (front["license"], front["library_name"]) == ("unknown", "timm")
    (result,) = front["model-index"][0]["results"]
    assert result["dataset"] == {"name": "photos", "type": "photos", "split": "val"}
    assert f"accuracy on them: {result['metrics'][0]['value']:.3f}" in said
    assert ModelCard.load(folder / "README.md").data.eval_results  # as the hub reads it

    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text("{}")  # a folder of someone else
    assert "best_timm is in the way" in fails("export", "--ckpt_path=run", "--format=timm")
    (folder / "config.json").write_text(json.dumps(config))
    main(["export", "--ckpt_path=run", "--format=timm"])  # its own is replaced
    assert [path.name for path in EXPORT.iterdir()] == ["best_timm"]


def test_a_network_that_timm_cannot_name_is_written_with_a_description_of_lit_cnn(
    workdir: Path, capsys: pytest.CaptureFixture[str], fails: Any
) -> None:
    main(["fit", "--data=Digits", "--model.backbone=lenet", *FAST])
    assert "timm has no network lenet: --format safetensors writes its weights" in fails(
        "export", "--ckpt_path=run", "--format=timm"
    )
    assert not EXPORT.exists()
    main(["export", "--ckpt_path=run", "--format=safetensors", "--max-images=50", "--license=mit"])
    said = capsys.readouterr().out
    assert "proof: 50 validation images" in said
    assert "timm has no network lenet: config.json is lit-cnn's own" in said
    config = json.loads((EXPORT / "best_safetensors" / "config.json").read_text())
    assert config["architecture"] == "lit_cnn/lenet"
    card = (EXPORT / "best_safetensors" / "README.md").read_text()
    assert card.startswith("---\nlicense: mit\nlibrary_name: lit-cnn\n")
    assert "get_model('lenet', 10, 1).eval()" in card
    assert "--license is for the model card" in fails("export", "--ckpt_path=run", "--license=mit")
    assert config["lit_cnn"]["backbone"] == "lenet"
    for flag in ("--int8", "--input=resized"):
        assert "has no effect on --format safetensors" in fails(
            "export", "--ckpt_path=run", "--format=safetensors", flag
        )


def test_weights_that_answer_otherwise_are_refused_and_nothing_is_left(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, fails: Any
) -> None:
    main(["fit", "--data=Digits", "--model.backbone=lenet", *FAST])
    import safetensors.torch

    save = safetensors.torch.save_file

    def sabotaged(tensors: dict[str, torch.Tensor], path: Path, **options: Any) -> None:
        save({name: tensor * 1.1 for name, tensor in tensors.items()}, path, **options)

    monkeypatch.setattr(safetensors.torch, "save_file", sabotaged)
    assert "refused: the weights answer otherwise" in fails("export", "--ckpt_path=run", "--format=safetensors")
    assert not EXPORT.exists()


@pytest.mark.parametrize(("side", "share"), [(224, 0.875), (224, 0.9), (240, 0.9), (288, 0.95), (32, 1.0), (160, 0.97)])
def test_timm_resizes_to_the_same_side_although_it_rounds_down(side: int, share: float) -> None:
    found = crop_pct(Geometry(side, 3, eval_crop=share))
    assert int(side / found) == max(side, round(side / share))
