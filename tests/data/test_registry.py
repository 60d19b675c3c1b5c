"""Data sets by name: which are listed, and a user's own from subclass to training run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lit_cnn.cli.main import main
from lit_cnn.data import ArrayDataModule, registry
from lit_cnn.errors import UserError
from tests.conftest import load, write_pictures

OWN = '''
import csv
from pathlib import Path

import torch

from lit_cnn.data import ArrayDataModule, ArraySource, ImageDataModule, ImageFolder, LabelledFile, Split


class Stripes(ArrayDataModule):
    """Stripes that lie or stand."""

    CLASSES = ("lying", "standing")
    SHAPE = (28, 1)

    def read(self, split):
        stripes = (torch.arange(28) // 2 % 2 * 255).byte().expand(28, 28)
        images = torch.stack([stripes.T, stripes]).repeat(20, 1, 1)[:, None]
        return images, torch.arange(2).repeat(20)


class Noise(ImageDataModule):
    """Noise of two kinds."""

    def __init__(self, count: int = 60, **kwargs):
        super().__init__(**kwargs)
        self.count = count

    def default_shape(self):
        return 28, 1

    def data_classes(self):
        return ["dark", "bright"]

    def build_splits(self, names):
        targets = torch.arange(self.count) % 2
        pixels = torch.randint(0, 128, (self.count, 1, 28, 28), generator=torch.Generator().manual_seed(0))
        images = (pixels + 128 * targets.view(-1, 1, 1, 1)).byte()
        source = ArraySource(images, self.remap_targets(targets), "noise", self.channels, self.image_size)
        return dict(zip(("train", "val", "test"), (Split(source, i) for i in torch.arange(self.count).chunk(3))))

    def fingerprint(self):
        return f"noise {self.count}"


class Listed(ImageFolder):
    """Files and classes of a CSV file."""

    def data_classes(self):
        return ["a", "b"]

    def list_files(self):
        with Path(self.data_dir, "labels.csv").open(newline="") as file:
            return {"all": [LabelledFile(path, label) for path, label in csv.reader(file)]}
'''
RUN = ["--model.backbone=lenet_maxpool", "-b=8", "--epochs=1", "--trainer.enable_progress_bar=false"]


@pytest.fixture
def own(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module with a user's data sets in the working directory; forgotten after the test."""
    monkeypatch.setattr(registry, "_CLASSES", dict(registry._CLASSES))
    monkeypatch.syspath_prepend(str(workdir))
    monkeypatch.delitem(__import__("sys").modules, "own_sets", raising=False)
    (workdir / "own_sets.py").write_text(OWN)
    return workdir


def test_the_built_in_data_sets_are_listed_without_bases_and_internal_ones() -> None:
    names = [
        *("CIFAR10", "DehazePairs", "Digits", "FashionMNIST", "Flowers", "ImageFolder", "ImageList", "MNIST", "Stream"),
        "Vehicles",
    ]
    built_in = [name for name, cls in registry.datasets().items() if cls.__module__.startswith("lit_cnn.")]
    assert built_in == names
    assert registry.find_dataset("lit_cnn.data.Images") is not None
    assert registry.find_dataset("Nothing") is None


def test_a_second_data_set_of_a_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_CLASSES", dict(registry._CLASSES))
    with pytest.raises(UserError, match=r"a data set 'Digits' already, in lit_cnn\.data\.arrays"):
        type("Digits", (ArrayDataModule,), {"__module__": "mine", "__qualname__": "Digits"})

    class Digits(ArrayDataModule):  # in a function: no config can name it
        pass

    assert registry.find_dataset("Digits") is not Digits


@pytest.mark.parametrize(
    ("name", "settings"),
    [("Stripes", []), ("Noise", ["--data.count=30"]), ("Listed", ["--data-dir=photos", "--img-size=32"])],
)
def test_a_data_set_of_the_users_own_trains_tests_and_resumes(name: str, settings: list[str], own: Path) -> None:
    for label in ("a", "b"):
        write_pictures(own / "photos" / label, 10, seed=ord(label))
    files = sorted((own / "photos").rglob("*.jpg"))
    lines = [f"{file.relative_to(own / 'photos').as_posix()},{file.parent.name}" for file in files]
    (own / "photos" / "labels.csv").write_text("\n".join(lines) + "\n")
    allowed, words = "--allow_import=own_sets", [*RUN, *settings]
    if name == "Listed":
        words[0] = "--model.backbone=lenet_color"
    main(["fit", f"--data=own_sets.{name}", *words, allowed])
    checkpoint = load(own / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt")
    assert checkpoint["lit_cnn"]["config"]["data"]["class_path"] == f"own_sets.{name}"
    main(["test", "--ckpt_path=last", allowed])
    main(["fit", "--resume", "--epochs=2", allowed])
    assert name in registry.datasets()


def test_wrong_data_of_a_subclass_is_one_line() -> None:
    class Own(ArrayDataModule):
        CLASSES = ("a", "b")
        returned = (torch.zeros(4, 3, 8, 8), torch.zeros(4, dtype=torch.int64))

        def read(self, split: str) -> tuple[torch.Tensor, torch.Tensor]:
            return self.returned

    with pytest.raises(UserError, match=r"Own\.read\('train'\) returned images of torch\.float32 \(4, 3, 8, 8\), not"):
        Own().setup("fit")
    Own.returned = (Own.returned[0].byte(), torch.zeros(4))
    with pytest.raises(UserError, match=r"returned targets of torch\.float32 \(4,\), not torch\.int64 \(4,\)"):
        Own().setup("fit")
    Own.returned = (Own.returned[0], torch.full((4,), 2))
    with pytest.raises(UserError, match=r"returned targets outside of 0 to 1"):
        Own().setup("fit")


@pytest.mark.parametrize(
    ("returned", "got"),
    [
        (torch.zeros(2), "a Tensor"),
        ((torch.zeros(2),), r"a tuple of \(Tensor\)"),
        ((torch.zeros(2), [1, 2]), r"a tuple of \(Tensor, list\)"),
        (None, "a NoneType"),
    ],
)
def test_anything_but_a_pair_of_tensors_is_one_line(returned: Any, got: str) -> None:
    class Own(ArrayDataModule):
        CLASSES = ("a", "b")

        def read(self, split: str) -> Any:
            return returned

    for use in (lambda: Own().setup("fit"), lambda: Own().fingerprint()):
        with pytest.raises(UserError, match=rf"Own\.read\('train'\) returned {got}, not two tensors"):
            use()


BROKEN = """
from lit_cnn.data import ArrayDataModule, ImageDataModule


class Unfinished(ImageDataModule):
    def default_shape(self):
        return 28, 1


class Demanding(ArrayDataModule):
    def __init__(self, foo: int, **kwargs):
        super().__init__(**kwargs)

    def read(self, split): ...


class Cut(Demanding):
    def __init__(self, foo: int = 1):
        pass


class CutAll(Demanding):
    def __init__(self, **kwargs):
        pass
"""


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("Unfinished", "Unfinished lacks the methods build_splits, data_classes, fingerprint, see ImageDataModule"),
        ("own_sets.Unfinished", "Unfinished lacks the methods build_splits, data_classes, fingerprint, see"),
        ("Demanding", "--data.foo is required by Demanding"),
        ("Cut -b=8", "Cut does not take --data.batch_size: let its __init__ take **kwargs and pass them on"),
        ("Cut", "Cut.__init__ does not call super().__init__(**kwargs)"),
        ("CutAll", "CutAll.__init__ must take **kwargs and pass them on"),
        ("ArrayDataModule", "ArrayDataModule is a base class: known data sets are CIFAR10, "),
    ],
)
def test_a_subclass_that_cannot_be_made_is_one_line(name: str, line: str, own: Path, fails: Any) -> None:
    (own / "own_sets.py").write_text(BROKEN)
    words = [RUN[0], *RUN[2:], "--allow_import=own_sets"]
    assert fails("fit", *f"--data={name}".split(), *words).startswith(line)


def test_statistics_of_a_data_set_without_published_ones_are_computed() -> None:
    class Own(ArrayDataModule):
        CLASSES = ("a", "b")
        SHAPE = (8, 3)

        def read(self, split: str) -> tuple[torch.Tensor, torch.Tensor]:
            return (torch.arange(20 * 3 * 8 * 8) % 251).byte().view(20, 3, 8, 8), torch.arange(20) % 2

    data = Own()
    data.setup("fit")
    assert data.preprocessing()["mean"] == pytest.approx([0.48, 0.48, 0.48], abs=0.02)
