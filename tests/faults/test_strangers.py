"""Files from strangers: what they hold is read, never run."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import pytest
import torch

from lit_cnn.cli.main import main
from tests.cli.test_import_allowlist import CANARY
from tests.conftest import TINY, load, write_pictures

WAYS = {
    "test": ["test", "--ckpt_path=bad.ckpt"],
    "validate": ["validate", "--ckpt_path=bad.ckpt"],
    "predict": ["predict", "pictures", "--ckpt_path=bad.ckpt"],
    "resume": ["fit", "--resume", "bad.ckpt"],
    "extend": ["fit", "--ckpt_path=bad.ckpt", "--epochs=9"],
    "weights": ["fit", *TINY, "--model.weights=bad.ckpt"],
}


class Canary:
    """Unpickled, it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.fixture
def nest(workdir, monkeypatch):
    """A folder with images, and a module ``canary`` that can be imported, and records it."""
    (workdir / "site").mkdir()
    (workdir / "site" / "canary.py").write_text(CANARY)
    monkeypatch.syspath_prepend(str(workdir / "site"))
    write_pictures(workdir / "pictures", 2)
    yield workdir
    sys.modules.pop("canary", None)


def assert_untouched(folder: Path) -> None:
    assert {p.name for p in folder.iterdir()} - {"lightning_logs"} == {"bad.ckpt", "pictures", "site"}
    assert not list(folder.glob("lightning_logs/*"))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", ["own part", "weights", "the file itself"])
def test_pickled_code_is_refused_with_no_side_effect(place, way, trained, nest, fails, monkeypatch):
    # torch's own switch to trust every file does not count here
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    bad, canary = nest / "bad.ckpt", Canary(nest / "ran")
    content = load(trained / "checkpoints" / "best.ckpt")
    if place == "own part":
        content["lit_cnn"]["config"]["trainer"]["max_epochs"] = canary
        torch.save(content, bad)
    elif place == "weights":
        content["state_dict"]["backbone.fc.weight"] = canary
        torch.save(content, bad)
    else:
        bad.write_bytes(pickle.dumps(canary, protocol=2))
    line = fails(*WAYS[way])
    if place != "the file itself":  # that is none of torch's archives: no checkpoint at all
        assert "bad.ckpt" in line
        assert "code" in line
        assert "refused" in line
    assert_untouched(nest)


@pytest.mark.parametrize("way", [way for way in WAYS if way != "weights"])
def test_a_stored_setting_that_names_what_is_not_allowed_is_refused(way, trained, nest, fails):
    content = load(trained / "checkpoints" / "best.ckpt")
    own = content["lit_cnn"]
    own.pop("content_hash", None)  # whoever edits a file can leave that out
    if way in ("resume", "extend"):
        own["config"]["trainer"]["callbacks"] = [{"class_path": "canary.Sings"}]
        setting = "trainer.callbacks"
    elif way == "predict":
        own["config"]["model"]["backbone_args"] = {"x": {"class_path": "canary.run"}}
        setting = "model.backbone_args.x"
    else:
        own["config"]["data"]["class_path"] = "canary.run"
        setting = "data"
    torch.save(content, nest / "bad.ckpt")
    line = fails(*WAYS[way])
    assert line.startswith(f"bad.ckpt: {setting} names canary.")
    assert "--allow_import canary" in line
    assert_untouched(nest)


def test_a_class_to_import_in_the_hyper_parameters_is_ignored(trained, nest, capsys):
    content = load(trained / "checkpoints" / "best.ckpt")
    content["lit_cnn"].pop("content_hash", None)
    for key in ("hyper_parameters", "datamodule_hyper_parameters"):
        content.setdefault(key, {})["_instantiator"] = "canary.run"
        content[f"{key.removesuffix('parameters')}params_name"] = "canary.run"
    torch.save(content, nest / "bad.ckpt")
    main(WAYS["test"])
    assert "test: 359 images" in capsys.readouterr().out
    assert not (nest / "imported").exists()
    assert not (nest / "ran").exists()
