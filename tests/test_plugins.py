from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, EntryPoints

import pytest

from lit_cnn import plugins
from lit_cnn.cli.main import main
from lit_cnn.errors import UserError
from lit_cnn.models import MODELS

CODE = """
import lit_cnn
from torch import nn

@lit_cnn.register_model
def NAME(num_classes, in_channels):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes))
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
    assert plugins.provider("mine_two", []) == "mine_two"


def test_a_module_belongs_to_the_plugin_that_it_lies_in():
    assert plugins.provider("pack.sub", ["pack"]) == "pack"
    assert plugins.provider("package", ["pack"]) is None
    assert plugins.provider("lit_cnn.models.resnet", ["pack"]) is None


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
