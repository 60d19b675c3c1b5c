from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, EntryPoints

import pytest

from lit_cnn import plugins
from lit_cnn.cli.main import main
from lit_cnn.errors import UserError
from lit_cnn.models import MODELS
from tests.conftest import TINY

CODE = """
import lit_cnn
from torch import nn

@lit_cnn.register_model
def NAME(num_classes, in_channels):
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(in_channels, num_classes))
"""


@pytest.fixture
def module(workdir, monkeypatch):
    """Write a module in the working directory; returns its name. Registered names and the module go afterwards."""
    before = dict(MODELS)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def write(name: str, code: str = CODE) -> str:
        (workdir / f"{name}.py").write_text(code.replace("NAME", f"net_of_{name}"))
        return name

    yield write
    MODELS.clear()
    MODELS.update(before)
    for name in [name for name, found in sys.modules.items() if str(workdir) in str(getattr(found, "__file__", ""))]:
        del sys.modules[name]


def announce(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    entries = EntryPoints([EntryPoint(name, name, plugins.GROUP)])
    monkeypatch.setattr(plugins, "entry_points", lambda group: entries.select(group=group))


def test_a_module_of_the_working_directory_is_imported_by_name(module):
    plugins.import_plugins([module("mine_one")])
    assert "net_of_mine_one" in MODELS


def test_an_installed_distribution_announces_itself_and_needs_no_flag(module, workdir, monkeypatch, capsys):
    announce(monkeypatch, module("mine_two"))
    monkeypatch.syspath_prepend(str(workdir))
    main(["models", "net_of_mine*"])
    assert "net_of_mine_two" in capsys.readouterr().out
    assert plugins.provider("mine_two") == "mine_two"


def test_a_plug_in_of_several_modules_is_what_a_checkpoint_requires(module, fails):
    module("mine_nets")
    module("mine_three", "import mine_nets")
    main(["fit", *TINY, "--model.backbone=net_of_mine_nets", "--allow_import=mine_three", "--steps=1"])
    assert "add --allow_import mine_three" in fails("test", "--ckpt_path=last")
    main(["test", "--ckpt_path=last", "--allow_import=mine_three"])


def test_a_data_set_in_another_module_of_a_plug_in_is_chosen_by_its_name(module):
    module("mine_sets", "from lit_cnn.data import Digits\n\nclass MineOfAnotherModule(Digits):\n    pass\n")
    module("mine_four", "import mine_sets")
    words = [word for word in TINY if not word.startswith("--data=")]
    main(["fit", *words, "--data=MineOfAnotherModule", "--allow_import=mine_four", "--steps=1"])
    main(["test", "--ckpt_path=last", "--allow_import=mine_four"])


def test_the_provider_of_a_module_is_the_plugin_that_loaded_it():
    assert plugins.provider("lit_cnn.models.resnet") is None
    assert plugins.provider("torchvision.transforms.v2") is None
    assert plugins.provider("__main__") is None
    assert plugins.provider("imported_by_hand.nets") == "imported_by_hand"


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("no_such_module", None, "there is no package no_such_module, neither installed nor in this folder"),
        ("not a name", None, "give a package or module by name"),
        ("jsonargparse", None, "cannot be allowed"),
        ("broken_one", "import no_such_thing", "importing it failed with ModuleNotFoundError: No module named"),
        ("broken_two", "1 / 0", "importing it failed with ZeroDivisionError: division by zero"),
        ("broken_three", "def", "importing it failed with SyntaxError"),
    ],
)
def test_what_cannot_be_imported_is_one_line(name, code, message, module, fails):
    if code is not None:
        module(name, code)
    with pytest.raises(UserError, match=message):
        plugins.import_plugins([name])
    assert message.partition(":")[0] in fails("models", "--allow_import", name)


def test_a_broken_announced_package_is_named(module, workdir, monkeypatch, fails):
    announce(monkeypatch, module("broken_four", "1 / 0"))
    monkeypatch.syspath_prepend(str(workdir))
    assert "the entry point broken_four in the group lit_cnn.plugins: importing it failed" in fails("models")
