from __future__ import annotations

import re
import sys
from importlib.metadata import EntryPoint, EntryPoints

import pytest

from lit_cnn import plugins
from lit_cnn.cli.main import main
from lit_cnn.errors import UserError
from lit_cnn.models import MODELS, get_model
from lit_cnn.tasks.classification import ImageClassifier
from lit_cnn.tasks.losses import LOSSES
from tests.conftest import TINY

CODE = """
import lit_cnn
from torch import nn

@lit_cnn.register_model
def NAME(num_classes, in_channels):
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(in_channels, num_classes))
"""

NO_BACKBONE = [word for word in TINY if "backbone" not in word]


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
    main(["fit", *NO_BACKBONE, "--model.backbone=net_of_mine_nets", "--allow_import=mine_three", "--steps=1"])
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
        ("leaves", "import sys; sys.exit(3)", "ends the program .sys.exit. when it is imported"),
        ("random", "", "random.py of this folder is hidden by the module random of Python itself: rename yours"),
        ("my_package.py", None, "did you mean .*my_package.?[?]"),
        ("./my_package", None, "did you mean .*my_package.?[?]"),
        ("sub/my_package.py", None, "did you mean .*sub.my_package.?[?]"),
        ("my-package", None, "did you mean .*my_package.?[?]"),
        ("/tmp/my_package.py", None, "give a package or module by name"),
        ("clash_one", CODE.replace("def NAME", "def resnet18"), "clash_one.?: there is a model 'resnet18' already"),
    ],
)
def test_what_cannot_be_imported_is_one_line(name, code, message, module, fails, monkeypatch):
    if code is not None:
        module(name, code)
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(UserError, match=message):
        plugins.import_plugins([name])
    assert re.search(message, fails("models", "--allow_import", name))


@pytest.mark.parametrize("code", ["1 / 0", "import sys; sys.exit(1)", CODE.replace("def NAME", "def resnet18")])
def test_a_broken_announced_package_is_skipped_with_one_line(code, module, workdir, monkeypatch, capsys, fails):
    monkeypatch.setattr(plugins, "_FAILED", set())
    name = module("broken_four", code)
    announce(monkeypatch, name)
    monkeypatch.syspath_prepend(str(workdir))
    main(["models", "resnet18"])
    main(["models", "resnet18"])
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("warning: skipped the installed package broken_four (entry point broken_four in the")
    assert lines[0].endswith("; upgrade broken_four, or uninstall it")
    assert fails("models", f"--allow_import={name}").startswith("--allow_import broken_four: ")


def test_python_callers_find_what_announced_packages_register(module, workdir, monkeypatch):
    monkeypatch.setattr(LOSSES, "_items", {})
    loss = "\n@lit_cnn.register_loss\ndef loss_of_mine(logits, target):\n    return logits.sum(1)\n"
    announce(monkeypatch, module("mine_five", CODE + loss))
    monkeypatch.syspath_prepend(str(workdir))
    assert ImageClassifier(2, backbone="lenet_maxpool", loss="loss_of_mine").loss.name == "loss_of_mine"
    del sys.modules["mine_five"], MODELS["net_of_mine_five"]
    LOSSES._items.clear()
    assert get_model("net_of_mine_five", 2, 3)[2].out_features == 2


def test_a_hidden_file_and_a_folder_without_init_are_pointed_out(module, workdir, capsys):
    module("yaml", "")
    (workdir / "bare_folder").mkdir()
    (workdir / "bare_folder" / "nets.py").write_text(CODE.replace("NAME", "net_of_bare_folder"))
    plugins.import_plugins(["yaml", "bare_folder", "bare_folder.nets"])
    hidden, bare = capsys.readouterr().err.splitlines()
    assert "yaml.py of this folder is hidden by the installed " in hidden
    assert "bare_folder has no __init__.py, so that nothing in it is imported" in bare
    assert "net_of_bare_folder" in MODELS


def test_empty_names_are_skipped_and_nothing_at_all_is_refused(module, fails, capsys):
    name = module("mine_six")
    main(["models", "net_of_mine_six", f"--allow_import={name},"])
    assert "net_of_mine_six" in capsys.readouterr().out
    for command in ("models", "fit"):
        assert "--allow_import needs the name of a package or module" in fails(command, "--allow_import=")
    with pytest.raises(UserError, match="`allow_import` is empty"):
        plugins.import_plugins([""])


CONTRACT = """
import torch, lit_cnn
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes, in_channels):
        super().__init__()
        self.fc = nn.Linear(in_channels, num_classes)
    def forward(self, x):
        return self.fc(x.mean((2, 3)))

@lit_cnn.register_model
class gives_dict(Net):
    def forward(self, x):
        return {"logits": super().forward(x)}

@lit_cnn.register_model
class gives_nothing(Net):
    def forward(self, x):
        return None

@lit_cnn.register_model
class empty(Net):
    def __init__(self, num_classes, in_channels):
        nn.Module.__init__(self)
        self.num_classes = num_classes
    def forward(self, x):
        return x.mean((1, 2, 3))[:, None].expand(-1, self.num_classes)

@lit_cnn.register_model
def lazy(num_classes, in_channels):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes))

@lit_cnn.register_model
def raises(num_classes, in_channels):
    raise OSError("no such disk")

@lit_cnn.register_model(image_size=2)
def small(num_classes, in_channels):
    return nn.Sequential(nn.Conv2d(in_channels, 4, 5), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes))
"""


@pytest.mark.parametrize(
    ("name", "line", "inspected"),
    [
        ("gives_dict", "gives_dict returns a dict, but logits", "gives_dict returns a dict, but logits"),
        ("gives_nothing", "gives_nothing returns a NoneType, but logits", "gives_nothing returns a NoneType"),
        ("empty", "nothing to train: the backbone has no parameters, empty", None),
        ("lazy", "lazy: the layer 1 is lazy: give it fixed sizes", "lazy: the layer 1 is lazy"),
        ("raises", "raises cannot be built with 10 classes and 1 channel: OSError: no such disk", "no such disk"),
        ("small", None, "small is registered with image_size=2, but Sequential cannot take 2x2 images; the smallest"),
    ],
)
def test_a_model_that_breaks_its_contract_is_one_line_with_its_name(name, line, inspected, module, fails):
    allowed = f"--allow_import={module('contract', CONTRACT)}"
    if line:
        words = [*NO_BACKBONE, f"--backbone={name}", "--trainer.fast_dev_run=true"]
        assert line in fails("fit", *words, allowed)
    if inspected:
        assert inspected in fails("inspect", name, allowed)
