"""Objects beside the tensors of a weights file: inert ones are passed over, all others refused; none is built."""

from __future__ import annotations

import argparse
import collections
import datetime
import decimal
import enum
import io
import os
import pathlib
import pickle
import subprocess
import sys
import types
import uuid
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
import torchvision.models
from torch import nn

from lit_cnn.errors import UserError
from lit_cnn.models._safe_load import Inert, load_content
from lit_cnn.models._weight_files import read_tensors


class Kind(enum.Enum):
    """An enumeration."""

    ONE = 1


FAKES: list[type] = []


def of_module(module: str, base: type = object, **attributes: Any) -> Any:
    """An object whose class claims to come from a package that need not be installed."""
    path, _, name = module.rpartition(".")
    FAKES.append(type(name, (base,), {"__module__": path, "__qualname__": name}))
    item = FAKES[-1]()
    item.__dict__.update(attributes)
    return item


def layer() -> nn.Linear:
    return nn.Linear(2, 3)


INERT = {
    "Namespace": lambda: argparse.Namespace(lr=0.1, sizes=[1, 2], out=pathlib.PurePosixPath("x")),
    "SimpleNamespace": lambda: types.SimpleNamespace(a=1),
    "numpy number": lambda: np.float64(91.2),
    "numpy int": lambda: np.int64(3),
    "numpy array": lambda: np.arange(3.0),
    "numpy dtype": lambda: np.dtype("float32"),
    "random state": lambda: np.random.RandomState(0).get_state(),
    "Path": lambda: Path("runs/1"),
    "defaultdict": lambda: collections.defaultdict(list, {"a": [1]}),
    "deque": lambda: collections.deque([1, 2], maxlen=3),
    "Counter": lambda: collections.Counter("ab"),
    "datetime": lambda: datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc),
    "timedelta": lambda: datetime.timedelta(3),
    "Decimal": lambda: decimal.Decimal("0.1"),
    "UUID": lambda: uuid.UUID(int=3),
    "slice": lambda: slice(1, 2),
    "torch.Size": lambda: torch.Size([1]),
    "torch.dtype": lambda: torch.bfloat16,
    "torch.device": lambda: torch.device("cpu"),
    "optimizer": lambda: torch.optim.SGD(layer().parameters(), 0.1, momentum=0.9),
    "scheduler": lambda: torch.optim.lr_scheduler.StepLR(torch.optim.SGD(layer().parameters(), 0.1), 3),
    "optimizer class": lambda: torch.optim.AdamW,
    "loss": nn.CrossEntropyLoss,
    "network of torch's": lambda: nn.Sequential(layer(), nn.ReLU()),
    "omegaconf": lambda: of_module("omegaconf.dictconfig.DictConfig", _content={"a": 1}),
    "yacs": lambda: of_module("yacs.config.CfgNode", dict, a=1),
    "easydict": lambda: of_module("easydict.EasyDict", dict, a=1),
    "mmengine": lambda: of_module("mmengine.logging.history_buffer.HistoryBuffer", history=np.ones(2)),
    "Lightning": lambda: of_module("pytorch_lightning.utilities.parsing.AttributeDict", dict, a=1),
    "callback class as a key": lambda: {type(of_module("pytorch_lightning.callbacks.ModelCheckpoint")): {"best": 1}},
}


def save(content: Any, path: Path, zipped: bool = True) -> Path:
    with patch.dict(sys.modules):
        for fake in FAKES:
            parts = fake.__module__.split(".")
            for end in range(1, len(parts) + 1):
                sys.modules[".".join(parts[:end])] = types.ModuleType(".".join(parts[:end]))
            setattr(sys.modules[fake.__module__], fake.__name__, fake)
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
    FAKES.clear()
    return path


@pytest.mark.parametrize("kind", INERT)
def test_inert_objects_beside_the_tensors_are_passed_over(kind: str, tmp_path: Path) -> None:
    state = {"fc.weight": torch.arange(6.0).reshape(3, 2)}
    # the old format holds the source code of networks, which PyTorch never reads
    for zipped in (True, False) if kind not in ("loss", "network of torch's") else (True,):
        content = {"epoch": 3, "args": INERT[kind](), "state_dict": state}
        found = read_tensors(save(content, tmp_path / "w.pth", zipped))
        assert torch.equal(found["state_dict.fc.weight"], state["fc.weight"])


@pytest.mark.parametrize("base", ["collections.defaultdict", "easydict.EasyDict", "yacs.config.CfgNode"])
def test_a_subclass_of_dict_may_hold_the_tensors(base: str, tmp_path: Path) -> None:
    state = collections.defaultdict(int) if "default" in base else of_module(base, dict)
    state["fc.bias"] = torch.ones(2)
    assert read_tensors(save({"model": state}, tmp_path / "w.pth")).keys() == {"model.fc.bias"}


def test_nothing_of_an_inert_object_is_built_and_its_package_not_imported(tmp_path: Path) -> None:
    content = {"x": of_module("yacs.config.CfgNode", dict), "n": INERT["omegaconf"](), "w": torch.ones(1)}
    found = load_content(save(content, tmp_path / "w.pth"))
    assert (type(found["x"]), type(found["n"])) == (collections.OrderedDict, Inert)
    assert not {"yacs", "omegaconf"} & sys.modules.keys()
    content = load_content(save(argparse.Namespace(lr=0.1), tmp_path / "w.pth"))
    assert isinstance(content, Inert)
    assert not vars(content)


class Evil:
    """What a file may ask to be called."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> tuple:
        return self.call


@pytest.mark.parametrize(
    ("function", "named"),
    [
        (os.system, "system"), (eval, "builtins.eval"), (exec, "builtins.exec"), (Path.touch, "getattr"),
        (subprocess.call, "subprocess.call"), (io.open, "open"), (__import__, "__import__"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)  # fmt: skip
@pytest.mark.parametrize("zipped", [True, False])
def test_code_is_refused_by_name_and_does_not_run(function: Any, named: str, zipped: bool, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    argument = Path(canary) if function is Path.touch else f"open({str(canary)!r}, 'w')"
    path = save({"state_dict": {"a": torch.ones(2)}, "x": Evil(function, argument)}, tmp_path / "w.pth", zipped)
    with pytest.raises(UserError, match=rf"refused: it holds Python objects beside tensors \(.*{named}") as error:
        read_tensors(path)
    assert "\n" not in str(error.value)
    assert not canary.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda: torchvision.models.squeezenet1_1(num_classes=2), r"whole \(torchvision.models.squeezenet.Fire, "),
        (lambda: {"model": torchvision.models.squeezenet1_1(num_classes=2), "epoch": 1}, r"whole \(torchvision"),
        (lambda: nn.Sequential(layer()), "a network pickled as a whole, and"),
        (lambda: {"ema": None, "model": nn.Sequential(layer())}, "a network pickled as a whole, and"),
        (
            lambda: {"state_dict": {"a": torch.ones(2)}, "x": Kind.ONE},
            r"objects beside tensors \(.*test_safe_load.Kind\)",
        ),
        (lambda: {"fc.weight": np.ones((3, 2))}, "holds NumPy arrays, not tensors"),
        (lambda: {"epoch": 1, "lr": 0.1}, "holds no tensors, only epoch, lr"),
        (dict, "holds no tensors, only nothing"),
        (lambda: [1, 2], "holds no state dict but a list"),
        (lambda: argparse.Namespace(a=1), "holds no state dict but an object"),
    ],
)
def test_what_a_file_holds_instead_of_tensors_is_named(content: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message) as error:
        read_tensors(save(content(), tmp_path / "w.pth"))
    assert "\n" not in str(error.value)


def test_another_pickle_protocol_is_named(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2), "b": 1}, tmp_path / "w.pth", pickle_protocol=5)
    with pytest.raises(UserError, match="pickled with another protocol"):
        read_tensors(tmp_path / "w.pth")
    (tmp_path / "w.pkl").write_bytes(pickle.dumps({"a": [1]}))
    with pytest.raises(UserError, match="a pickle that torch"):
        read_tensors(tmp_path / "w.pkl")
