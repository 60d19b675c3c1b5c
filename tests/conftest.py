"""Shared by tests that run complete commands."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lit_cnn.checkpoint.diff import differences
from lit_cnn.cli.commands.verify_resume import state_of
from lit_cnn.cli.main import main

from . import figures

_SETTINGS = [
    "--data=Digits",
    "--model.optimizer=adamw",
    "--lr=0.003",
    "--model.lr_scheduler=one_cycle",
    "--batch-size=128",
    "--trainer.enable_progress_bar=false",
]
# Small enough for a third of a second, with everything on that could break an exact resume; 10 steps an epoch.
TINY = [
    *_SETTINGS,
    "--img-size=8",
    "--model.backbone=convnet_pooled",
    "--model.backbone_args={widths: [8], dilations: [1]}",
]
# The same with a network that learns to read the digits.
LENET = [*_SETTINGS, "--model.backbone=lenet_maxpool"]

# Checkpoints after every optimizer step, named by its number.
EVERY_STEP = [
    "--checkpoint.every_n_train_steps=1",
    "--checkpoint.save_top_k=-1",
    "--checkpoint.monitor=null",
    "--checkpoint.filename=step{step}",
    "--checkpoint.save_on_train_epoch_end=null",
]


def load(path: Path) -> dict[str, Any]:
    """A checkpoint as lit-cnn loads it: plain data only."""
    return torch.load(path, weights_only=True)


def state_differences(first: Path, second: Path) -> list[str]:
    """Entries in which two checkpoints differ, bit for bit; settings and file names do not count."""
    return list(differences(state_of(first), state_of(second)))


SLOW_TIMEOUT = 600  # seconds


def mostly_slow(values: Iterable[Any], *fast: Any) -> list[Any]:
    """Values for ``parametrize``, all marked slow but those in ``fast``, which must be among them."""
    values = list(values)
    assert set(fast) <= set(values)
    return [value if value in fast else pytest.param(value, marks=pytest.mark.slow) for value in values]


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """A test asked for by its name runs in this process, slow or not."""
    if any("::" in word for word in config.args) or config.option.usepdb:
        config.option.numprocesses = 0
        config.option.dist = "no"
    if any("::" in word for word in config.args) and config.option.markexpr == "not slow":
        config.option.markexpr = ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give slow tests more time."""
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SLOW_TIMEOUT))


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--faults 200``: how many runs the sweep kills."""
    parser.addoption("--faults", type=int, default=6, help="number of runs that tests/faults/test_kills.py kills")
    parser.addoption("--faults_from", type=int, default=0, help="first seed of that sweep")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each seed of the sweep."""
    if "kill_seed" in metafunc.fixturenames:
        first, count = (metafunc.config.getoption(name) for name in ("--faults_from", "--faults"))
        if "recipe" in metafunc.function.__name__:
            count = -(-count // 3)
        metafunc.parametrize("kill_seed", range(first, first + count))


@pytest.fixture(autouse=True)
def _environment() -> Iterator[None]:
    """What a test leaves in the environment (Lightning's launcher writes to it) must not reach the next one."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture(autouse=True, scope="session")
def _blank_figures() -> Iterator[None]:
    """Runs do not draw, but in tests that use ``real_figures``."""
    figures.blank()
    yield
    figures.draw()


@pytest.fixture
def real_figures() -> Iterator[None]:
    """Runs draw their figures."""
    figures.draw()
    yield
    figures.blank()


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory; nothing may be written elsewhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LIT_CNN_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder of a short training run on the digits; not to be changed."""
    root = tmp_path_factory.mktemp("trained")
    figures.draw()
    main(["fit", *LENET, "--epochs=4", f"--trainer.default_root_dir={root}"])
    figures.blank()
    return root / "lightning_logs" / "version_0"


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that must end with status 2 and one line on standard error; returns that line."""

    def run(*words: str) -> str:
        with pytest.raises(SystemExit) as stop:
            main(list(words))
        error = capsys.readouterr().err
        assert stop.value.code == 2, error
        assert "Traceback" not in error
        lines = [line for line in error.splitlines() if line.startswith("lit-cnn: error: ")]
        assert len(lines) == 1
        assert error.rstrip().endswith(lines[0])
        return lines[0].removeprefix("lit-cnn: error: ")

    return run


def write_pairs(root: Path, count: int, size: int = 24) -> Path:
    """Pairs of hazy and clear photos, as JPEG, of differing sizes: smooth colours, and the same nearer to white."""
    rng = np.random.default_rng(7)
    for side in ("hazy", "clear"):
        (root / side).mkdir(parents=True, exist_ok=True)
    for i in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8))
        clear = coarse.resize((size + i % 3, size + 1 + i % 4), Image.Resampling.BICUBIC)
        hazy = Image.blend(clear, Image.new("RGB", clear.size, "white"), 0.5)
        for side, image in (("hazy", hazy), ("clear", clear)):
            image.save(root / side / f"{i:02d}.jpg", quality=95)
    return root


def write_pictures(folder: Path, count: int, seed: int = 0, size: int = 40) -> None:
    """Random colour images, as JPEG."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for i in range(count):
        Image.fromarray(rng.integers(0, 256, (size, size + 3, 3), dtype=np.uint8)).save(folder / f"{i:02d}.jpg")
