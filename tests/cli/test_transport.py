"""Names that text would not keep reach the parser, the checkpoint and config.yaml as they are."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lit_cnn.cli import transport
from lit_cnn.cli.main import main
from lit_cnn.utils import yaml_text
from tests.conftest import load, write_pictures
from tests.utils.test_yaml_text import NASTY

from .answers import settings_parser

SMALL = ["--img-size=32", "--model.backbone=lenet_color", "-b8", "-j1", "--device=cpu", "--lr=0.01"]
QUIET = "--trainer.enable_progress_bar=false"


@pytest.mark.parametrize("text", [text for text in NASTY if text], ids=ascii)
def test_a_text_is_the_same_after_the_parser_and_config_yaml(text):
    data = {"class_path": "ImageFolder", "init_args": {"data_dir": text, "class_names": ["b", text]}}
    handed = transport.hand_over("settings of a test", {"data": data})
    parser = settings_parser()
    plain = transport.plain(parser, parser.parse_args(["fit", "--config", handed]))["fit"]
    for settings in (plain, yaml_text.load(yaml_text.dump(plain))):
        assert settings["data"]["init_args"]["data_dir"] == text
        assert settings["data"]["init_args"]["class_names"] == ["b", text]


@pytest.fixture(autouse=True)
def _nothing_is_left():
    yield
    transport.forget()


def test_what_a_command_was_handed_does_not_outlive_it(workdir):
    write_pictures(workdir / "{a: 1}" / "cat", 12, size=16)
    write_pictures(workdir / "{a: 1}" / "dog", 12, seed=1, size=16)
    main(["fit", "--data=ImageFolder", "--data-dir={a: 1}", *SMALL, QUIET, "--epochs=1"])
    assert settings_parser().parse_args(["fit", "--data=Digits", "--model.backbone_args={a: 1}"]).fit.model[
        "backbone_args"
    ] == {"a": 1}


NAMES = ["#tag", "[x]", "{a: 1}", "a: b", "- a", "&x", "1e5", "no", "📷", "caf\udce9", "a\x85b"]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_folder_of_any_name_reaches_the_data_set(name, workdir):
    (workdir / name / "cat").mkdir(parents=True)
    flags = [("--data.data_dir", name), ("--trainer.default_root_dir", name)]
    transport.keep_paths(flags)
    words = [word for flag in flags for word in flag]
    parsed = settings_parser().parse_args(["fit", "--data", "ImageFolder", *words])
    settings = transport.plain(settings_parser(), parsed)["fit"]
    assert settings["data"]["init_args"]["data_dir"] == name
    assert settings["trainer"]["default_root_dir"] == name


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="these names exist on Linux only")
def test_a_run_on_folders_of_any_name_is_tested_used_and_resumed(workdir):
    names = ["🐱", "𠮷", "a\x85b", "a\u2028b", "1e5", "no"]
    rng = np.random.default_rng(0)
    for name in names:
        folder = Path("photos📷") / name
        folder.mkdir(parents=True)
        for number in range(8):
            Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    main(["fit", "photos📷", *SMALL, QUIET, "--epochs=1"])
    run = workdir / "lightning_logs" / "version_0"
    main(["test", "--ckpt_path=best"])
    main(["predict", "--ckpt_path=best", "photos📷/🐱/1.png"])
    main(["fit", "--resume", "--epochs=2", QUIET])
    main(["fit", f"--config={run / 'config.yaml'}", "--epochs=1", QUIET])
    own = load(run / "checkpoints" / "last.ckpt")["lit_cnn"]
    assert sorted(own["class_names"]) == sorted(names)
    assert own["config"]["data"]["init_args"]["data_dir"] == "photos📷"
