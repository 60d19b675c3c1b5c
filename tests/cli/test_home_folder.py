"""A tilde that the shell did not expand is the home folder, in every setting that is a path."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import lit_cnn
from lit_cnn.cli.main import main
from lit_cnn.errors import UserError
from lit_cnn.utils.files import cache_folder, expand_home
from tests.conftest import LENET, TINY, write_pictures


@pytest.fixture
def home(workdir: Path, trained: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home folder with a checkpoint, a config and photos; the working folder beside it is empty."""
    made = workdir / "home"
    made.mkdir()
    monkeypatch.setenv("HOME", str(made))
    for seed, name in enumerate(("cat", "dog")):
        write_pictures(made / "photos" / name, 10, seed, size=10)
    shutil.copytree(trained, made / "runs" / "lightning_logs" / "version_0")
    (made / "c.yaml").write_text("trainer: {default_root_dir: ~/new}\ndata: lit_cnn.data.Digits\n")
    (workdir / "work").mkdir()
    monkeypatch.chdir(workdir / "work")
    yield made
    assert not list(workdir.rglob("~*"))


PHOTOS = ["--data=ImageFolder", "--data-dir=~/photos", *TINY[1:], "--batch-size=8"]
NO_STEPS = ["fit", *TINY, "--epochs=1", "--trainer.limit_train_batches=1", "--trainer.limit_val_batches=1"]


def slow(*values: object) -> object:
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("words", "made"),
    [
        ([*NO_STEPS, "--trainer.default_root_dir=~/new"], "new/lightning_logs/version_0/log.txt"),
        slow([*NO_STEPS, "--trainer.default_root_dir", "~/new"], "new/lightning_logs/version_0/log.txt"),
        ([*NO_STEPS, "--config=~/c.yaml"], "new/lightning_logs/version_0/log.txt"),
        slow([*NO_STEPS, "--trainer.logger=CSVLogger", "--trainer.logger.save_dir=~/csv"], "csv/lightning_logs"),
        (["fit", *PHOTOS, "--epochs=1", "--trainer.default_root_dir=~"], "lightning_logs"),
        slow(["fit", "--resume=~/runs", "--epochs=5"], "runs/lightning_logs/version_0/log.txt"),
        (["test", "--ckpt_path=~/runs/lightning_logs/version_0"], "runs/lightning_logs/version_0/test/metrics.json"),
        slow(["test", "--ckpt_path=best", "--trainer.default_root_dir=~/runs"], "runs/lightning_logs/version_0/test"),
        (["predict", "--ckpt_path=~/runs", "~/photos/cat", "~/photos/dog/00.jpg"], "runs"),
        (["prepare", *PHOTOS[:2], "--shards=~/shards"], "shards/manifest.json"),
        slow(["inspect", "lenet", "--out-dir=~/plots"], "plots"),
    ],
    ids=lambda value: " ".join(word for word in value if "~" in word) if isinstance(value, list) else "",
)
def test_a_tilde_is_the_home_folder(words: list[str], made: str, home: Path) -> None:
    main(words)
    assert (home / made).exists()


def test_weights_by_a_tilde_are_loaded(home: Path) -> None:
    weights = "--model.weights=~/runs/lightning_logs/version_0/checkpoints/best.ckpt"
    main(["fit", *LENET, "--epochs=1", "--trainer.limit_train_batches=1", "--trainer.limit_val_batches=1", weights])


def test_python_takes_a_tilde_too(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = lit_cnn.load(Path("~/runs"))
    assert len(model.predict(["~/photos/cat/00.jpg", Path("~/photos/dog/00.jpg")])) == 2
    assert len(lit_cnn.ImageFolder(data_dir="~/photos").splits()["train"].indices) > 0
    monkeypatch.setenv("LIT_CNN_CACHE", "~/cached")
    assert cache_folder() == home / "cached"


@pytest.mark.parametrize("path", ["~other/x", "a~", "./~", "~~", "https://host/~user/set"])
def test_other_tildes_stay_as_they_are(path: str) -> None:
    assert expand_home(path) == path


def test_without_a_home_a_tilde_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    for path in ("~", "~/x"):
        with pytest.raises(UserError, match="no home folder"):
            expand_home(path)
    monkeypatch.delenv("LIT_CNN_CACHE", raising=False)
    with pytest.raises(UserError, match="set LIT_CNN_CACHE"):
        cache_folder()
