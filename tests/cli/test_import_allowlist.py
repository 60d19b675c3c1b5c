"""Settings name classes of a few packages only: nothing else is imported, let alone run."""

from __future__ import annotations

import sys

import pytest
import yaml

from lit_cnn.cli import import_allowlist
from lit_cnn.cli.main import main
from lit_cnn.errors import UserError
from tests.conftest import TINY

CANARY = """
from pathlib import Path
from lightning.pytorch.callbacks import Callback

Path("imported").touch()

def run(*args, **kwargs):
    Path("ran").touch()

class Sings(Callback):
    def on_fit_start(self, trainer, pl_module):
        print("tweet")
"""


@pytest.fixture
def canary(workdir, monkeypatch):
    """A module ``canary`` that can be imported, and records it."""
    (workdir / "site").mkdir()
    (workdir / "site" / "canary.py").write_text(CANARY)
    monkeypatch.syspath_prepend(str(workdir / "site"))
    monkeypatch.setattr(sys, "path", sys.path[:])
    yield workdir
    sys.modules.pop("canary", None)


def callback(path: str, **init_args: str) -> dict:
    return {"trainer": {"callbacks": [{"class_path": path, "init_args": init_args}]}}


@pytest.mark.parametrize(
    ("config", "setting", "path"),
    [
        (callback("os.system", command="touch ran"), "trainer.callbacks", "os.system"),
        (callback("subprocess.Popen", args="touch ran"), "trainer.callbacks", "subprocess.Popen"),
        (callback("functools.partial"), "trainer.callbacks", "functools.partial"),
        (callback("canary.Sings"), "trainer.callbacks", "canary.Sings"),
        (callback("torch.hub.load"), "trainer.callbacks", "torch.hub.load"),
        # through an allowed module into another one
        (callback("lit_cnn.cli.main.sys.exit"), "trainer.callbacks", "lit_cnn.cli.main.sys.exit"),
        (callback("torchvision.extension.os.system"), "trainer.callbacks", "which is posix.system"),
        (callback("lightning.pytorch.callbacks.timer.logging.FileHandler"), "trainer.callbacks", "FileHandler"),
        # a function, even an allowed package's own
        (callback("lit_cnn.cli.main.main"), "trainer.callbacks", "lit_cnn.cli.main.main, which is no class"),
        # a setting that takes a function as text
        (
            callback("lightning.pytorch.callbacks.LambdaCallback", on_fit_start="canary.run"),
            "trainer.callbacks.on_fit_start",
            "canary.run",
        ),
        (
            callback("lightning.pytorch.callbacks.LambdaCallback", on_fit_start="lit_cnn.cli.main.sys.exit"),
            "trainer.callbacks.on_fit_start",
            "sys.exit",
        ),
        (
            callback("lightning.pytorch.callbacks.LambdaCallback", on_fit_start="lit_cnn.cli.main.main"),
            "trainer.callbacks.on_fit_start",
            "lit_cnn.cli.main.main, which is no class",
        ),
        ({"trainer": {"logger": {"class_path": "canary.run"}}}, "trainer.logger", "canary.run"),
        ({"trainer": {"strategy": "canary.run"}}, "trainer.strategy", "canary.run"),
        ({"trainer": {"profiler": "canary.run"}}, "trainer.profiler", "canary.run"),
        ({"data": {"class_path": "canary.run"}}, "data", "canary.run"),
        ({"data": {"init_args": {"augment": {"class_path": "canary.run"}}}}, "data.augment", "canary.run"),
        (
            {"model": {"backbone_args": {"stem": {"class_path": "canary.run"}}}},
            "model.backbone_args.stem",
            "canary.run",
        ),
    ],
    ids=lambda item: item if isinstance(item, str) else "",
)
def test_a_config_that_names_what_is_not_allowed_is_refused_before_anything_runs(config, setting, path, canary, fails):
    (canary / "bad.yaml").write_text(yaml.safe_dump(config))
    line = fails("fit", *TINY, "--config=bad.yaml")
    assert line.startswith(f"bad.yaml: {setting} names ")
    assert path in line
    assert "--allow_import " in line
    assert sorted(p.name for p in canary.iterdir()) == ["bad.yaml", "site"]


@pytest.mark.parametrize(
    "flag",
    [
        "--trainer.callbacks+=canary.run",
        "--trainer.callbacks=canary.run",
        '--trainer.callbacks=[{"class_path": "canary.run"}]',
        '--trainer={"callbacks": "canary.run"}',
        "--trainer.logger=canary.run",
        "--trainer.plugins=canary.run",
        "--data=canary.run",
        "--data.class_path=canary.run",
        "--data.augment=canary.run",
        "--data.help=canary.run",
        "--trainer.callbacks.help=canary.run",
        "--model.backbone_args.stem.class_path=canary.run",
    ],
)
def test_a_flag_that_names_what_is_not_allowed_is_refused_before_anything_runs(flag, canary, fails):
    line = fails("fit", *TINY, flag)
    assert line.startswith(flag.partition("=")[0].rstrip("+").replace(".help", "").replace(".class_path", ""))
    assert "names canary.run" in line
    assert "--allow_import canary" in line
    assert [p.name for p in canary.iterdir()] == ["site"]


@pytest.mark.parametrize("path", ["canary.run", "lit_cnn.cli.main.main"])
def test_a_config_inside_a_config_is_refused_too(path, canary, fails):
    inner = callback("lightning.pytorch.callbacks.LambdaCallback", on_fit_start=path)
    (canary / "inner.yaml").write_text(yaml.safe_dump(inner["trainer"]["callbacks"]))
    (canary / "outer.yaml").write_text("trainer: {callbacks: inner.yaml}\n")
    line = fails("fit", *TINY, "--config=outer.yaml")
    assert "--trainer.callbacks.on_fit_start names " in line
    assert path in line
    assert not (canary / "imported").exists()
    assert not (canary / "lightning_logs").exists()


def test_a_checkpoint_cannot_allow_its_own_imports(canary, fails, capsys):
    run = [*TINY, "--epochs=1", "--trainer.callbacks+=canary.Sings"]
    main(["fit", *run, "--allow_import=torch.nn,canary"])
    assert "tweet" in capsys.readouterr().out
    del sys.modules["canary"]
    (canary / "imported").unlink()
    line = fails("fit", "--resume", "--epochs=2")
    assert line.startswith("lightning_logs/version_0/checkpoints/last.ckpt: trainer.callbacks names canary.Sings")
    assert "--allow_import canary" in line
    assert not (canary / "imported").exists()
    main(["fit", "--resume", "--epochs=2", "--allow_import", "torch.nn", "--allow_import", "canary"])
    assert "tweet" in capsys.readouterr().out
    # an evaluation does not build the run's callbacks
    main(["test", "--ckpt_path=last"])


def test_functions_that_are_defaults_of_allowed_classes_are_no_obstacle(workdir, fails):
    text = "from lightning.pytorch.callbacks import BackboneFinetuning\nclass Unfreezes(BackboneFinetuning): pass\n"
    (workdir / "with_function_default.py").write_text(text)
    own = ["--trainer.callbacks+=with_function_default.Unfreezes", "--allow_import=with_function_default"]
    line = fails("fit", *TINY, "--epochs=1", *own, "--trainer.max_steps=0")
    assert "trains nothing" in line  # the check that comes after


def test_a_module_of_this_folder_can_be_allowed(canary, monkeypatch, capsys):
    (canary / "site" / "canary.py").rename(canary / "mine_alone.py")
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p not in ("", str(canary))])
    words = ["fit", *TINY, "--trainer.fast_dev_run=1", "--trainer.callbacks+=mine_alone.Sings"]
    main([*words, "--allow_import=mine_alone"])
    assert "tweet" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_package", "there is no package no_such_package"),
        ("*", "give a package or module by name"),
        ("jsonargparse", "cannot be allowed"),
    ],
)
def test_what_cannot_be_allowed_is_refused(name, message, workdir, fails):
    assert message in fails("fit", *TINY, "--allow_import", name)


def test_a_class_that_is_not_there_is_named(workdir, fails):
    line = fails("fit", *TINY, "--trainer.callbacks+=lightning.pytorch.callbacks.Early")
    assert line.startswith("--trainer.callbacks: there is no class lightning.pytorch.callbacks.Early: ")


def test_short_names_and_full_paths_of_what_is_allowed_work(workdir, capsys):
    main(
        [
            *("fit", *TINY, "--epochs=1", "--data=lit_cnn.data.Digits"),
            *("--trainer.callbacks+=EarlyStopping", "--trainer.callbacks.monitor=val/acc"),
            *("--trainer.logger=CSVLogger", "--trainer.logger.save_dir=logs"),
            "--trainer.plugins=lightning.pytorch.plugins.TorchCheckpointIO",
            "--trainer.profiler=lightning.pytorch.profilers.PassThroughProfiler",
        ]
    )
    assert list(workdir.glob("logs/**/metrics.csv"))


@pytest.mark.parametrize("package", import_allowlist.ALLOWED)
def test_every_class_that_an_allowed_package_shows_is_allowed(package):
    with import_allowlist.only_allowed([]):
        module = pytest.importorskip(package)
        names = [n for n in getattr(module, "__all__", []) if isinstance(getattr(module, n), type)]
        import_allowlist.check({"": [{"class_path": f"{package}.{name}"} for name in names]}, [])


def test_a_class_from_elsewhere_is_refused_under_an_allowed_name():
    with pytest.raises(UserError, match="which is collections"):
        import_allowlist.check({"a.yaml": {"class_path": "torch.optim.optimizer.defaultdict"}}, [])
