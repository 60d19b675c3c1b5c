"""The examples run as they stand, and the documentation shows their code."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml

from lit_cnn.cli.main import main
from lit_cnn.models import MODELS

ROOT = Path(__file__).parent.parent
OWN = ROOT / "examples" / "own_package"
WORDS = ["--trainer.enable_progress_bar=false", "--allow_import=my_package"]


@pytest.fixture
def package(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the example, copied; the network that it registers does not outlive the test."""
    shutil.copytree(OWN, workdir, dirs_exist_ok=True, ignore=shutil.ignore_patterns("lightning_logs", "__pycache__"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = dict(MODELS)
    yield workdir
    MODELS.clear()
    MODELS.update(before)
    sys.modules.pop("my_package", None)


def test_the_documentation_shows_the_code_of_the_example():
    page = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    for file in ("my_package.py", "config.yaml"):
        assert (OWN / file).read_text(encoding="utf-8") in page, file


@pytest.mark.parametrize("name", ["classify_onnx.py", "classify_onnx.mjs"])
def test_the_documentation_shows_the_program_that_runs_an_exported_file(name):
    example = (ROOT / "examples" / name).read_text(encoding="utf-8")
    assert example in (ROOT / "docs" / "export.md").read_text(encoding="utf-8")


def test_a_users_network_data_set_loss_and_augmentation_train_test_and_predict(package, fails, capsys):
    main(["fit", "--config", "config.yaml", "--epochs=1", *WORDS])
    assert "test it: lit-cnn test --ckpt_path" in (said := capsys.readouterr().out)
    assert "--allow_import my_package" in said
    config = yaml.safe_load(Path("lightning_logs/version_0/config.yaml").read_text())
    assert config["model"]["backbone"] == "tiny_net"
    assert config["model"]["loss"] == "focal"
    assert config["data"]["init_args"]["augment"]["transform"] == "blur"
    main(["test", "--ckpt_path=best", *WORDS])
    metrics = json.loads(Path("lightning_logs/version_0/test/metrics.json").read_text())
    assert set(metrics["per_class"]) == {"even", "odd"}
    # without the flag every command says which one is missing, before anything of it is imported
    for words in (["test", "--ckpt_path=best"], ["fit", "--resume", "--epochs=2"]):
        line = fails(*words)
        assert "was trained with code of my_package: add --allow_import my_package" in line
    content = torch.load("lightning_logs/version_0/checkpoints/best.ckpt", weights_only=True)
    assert content["lit_cnn"]["requires"] == ["my_package"]


def test_a_stopped_run_with_a_users_augmentation_resumes_to_the_same_bits(package):
    from tests.conftest import state_differences

    words = ["fit", "--config", "config.yaml", "--model.lr_scheduler=constant", *WORDS]
    for root, limits in (("whole", [["--epochs=2"]]), ("parts", [["--steps=13"], ["--epochs=2", "--steps=-1"]])):
        for number, limit in enumerate(limits):
            resumed = ["fit", "--resume", *WORDS] if number else words
            main([*resumed, *limit, f"--trainer.default_root_dir={root}"])
    last = "lightning_logs/version_0/checkpoints/last.ckpt"
    assert state_differences(Path("whole", last), Path("parts", last)) == []


def _run(command: list[str], folder: Path) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": path}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
def test_the_shell_example_runs_unchanged(package):
    out = _run(["bash", "run.sh", "--trainer.enable_progress_bar=false"], package)
    assert "even" in out
    metrics = json.loads((package / "lightning_logs/version_0/test/metrics.json").read_text())
    assert metrics["test/acc"] > 0.8


@pytest.mark.slow
def test_the_python_example_runs_unchanged(workdir):
    out = _run([sys.executable, str(ROOT / "examples" / "python_api.py")], workdir)
    lines = [line for line in out.splitlines() if line[:3] in {f"{n}: " for n in range(10)}]
    assert sum(line[0] == line[3] for line in lines) >= 8
    assert (workdir / "lightning_logs" / "version_0" / "results.png").is_file()
