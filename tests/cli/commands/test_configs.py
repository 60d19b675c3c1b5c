from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from lit_cnn.cli.commands.configs import header
from lit_cnn.cli.main import main
from lit_cnn.cli.shipped_configs import shipped_configs
from tests.conftest import TINY

FOLDER = Path(__file__).parents[3] / "configs"


def test_every_shipped_config_is_listed_with_its_result(capsys):
    main(["configs"])
    out = capsys.readouterr().out
    for path in FOLDER.glob("*.yaml"):
        assert f"{path.stem}\n" in out
        description, result = header(path)
        assert description
        assert result.startswith("Result: ")
    assert max(map(len, out.splitlines())) <= 80


def test_a_config_is_printed_as_it_is_and_what_was_printed_can_be_run(workdir, capsys):
    main(["configs", "lenet_digits"])
    text = capsys.readouterr().out
    assert text == shipped_configs()["lenet_digits"].read_text()
    Path("my.yaml").write_text(text)
    main(["fit", "--config", "my.yaml", *TINY, "--epochs=1"])
    assert Path("lightning_logs/version_0/checkpoints/best.ckpt").is_file()


def test_a_bare_name_finds_the_shipped_config(workdir):
    main(["fit", "--config", "lenet_digits", *TINY, "--epochs=1"])
    config = yaml.safe_load(Path("lightning_logs/version_0/config.yaml").read_text())
    assert config["model"]["weight_decay"] == 0.01  # only the config says so
    main(["test", "--ckpt_path=best", "--trainer.enable_progress_bar=false"])
    assert json.loads(Path("lightning_logs/version_0/test/metrics.json").read_text())["images"] == 359


def test_a_file_of_that_name_wins_over_the_shipped_config(workdir):
    Path("lenet_digits").write_text("data: Digits\nmodel:\n  weight_decay: 0.125\n")
    main(["fit", "--config", "lenet_digits", *TINY, "--epochs=1"])
    config = yaml.safe_load(Path("lightning_logs/version_0/config.yaml").read_text())
    assert config["model"]["weight_decay"] == 0.125


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["configs", "lenet_digit"], "no shipped config 'lenet_digit', did you mean 'lenet_digits'"),
        (["fit", "--config", "lenet_digit"], "no config 'lenet_digit', neither a file nor a shipped one, did you mean"),
        (["fit", "--config", "configs/nothing.yaml"], "no config file at configs/nothing.yaml"),
    ],
)
def test_an_unknown_name_is_one_line(words, message, workdir, fails):
    assert message in fails(*words)


def test_the_name_of_a_shipped_config_may_have_its_ending(workdir):
    main(["fit", "--config", "lenet_digits.yaml", *TINY, "--steps=1"])
    config = yaml.safe_load(Path("lightning_logs/version_0/config.yaml").read_text())
    assert config["model"]["weight_decay"] == 0.01
    assert config["data"]["class_path"] == "lit_cnn.data.Digits"  # what older versions read too
