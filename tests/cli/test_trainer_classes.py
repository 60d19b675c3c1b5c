"""Every callback, logger, profiler and strategy of Lightning is classified, and what is refused is refused by name."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
from lightning.pytorch import callbacks, loggers, profilers
from lightning.pytorch.strategies import StrategyRegistry

from lit_cnn.cli import trainer_classes
from lit_cnn.cli.argv import parse
from lit_cnn.cli.trainer_classes import CALLBACKS, LOGGERS, PROFILERS, check, given, strategy_reason
from lit_cnn.errors import UserError

PAGE = (Path(__file__).parents[2] / "docs" / "callbacks.md").read_text(encoding="utf-8")
TABLES = {"callbacks": CALLBACKS, "logger": LOGGERS, "profiler": PROFILERS}
ALL = [(setting, name, reason) for setting, table in TABLES.items() for name, reason in table.items()]
REFUSED = [(setting, name, reason) for setting, name, reason in ALL if reason]


def refusal(*words: str) -> str:
    with pytest.raises(UserError) as error:
        check(parse(["fit", *words]))
    assert len(str(error.value)) <= 240
    return str(error.value)


@pytest.mark.parametrize(
    ("table", "module", "removed"),
    [(CALLBACKS, callbacks, set()), (LOGGERS, loggers, {"NeptuneLogger"}), (PROFILERS, profilers, set())],
)
def test_every_name_that_lightning_ships_is_classified(table, module, removed):
    assert table.keys() - removed == set(module.__all__)


@pytest.mark.parametrize(("setting", "name", "reason"), REFUSED, ids=[name for _, name, _ in REFUSED])
def test_what_is_refused_is_refused_by_name_with_what_to_use_instead(setting, name, reason, tmp_path):
    config = tmp_path / "c.yaml"
    for value in (f"{{class_path: {name}}}", f"[{{class_path: lightning.pytorch.x.{name}}}]", name):
        config.write_text(f"trainer:\n  {setting}: {value}\n", encoding="utf-8")
        assert refusal(f"--config={config}") == f"--trainer.{setting} {name}: {reason}"
    assert refusal(f"--trainer.{setting}={name}") == f"--trainer.{setting} {name}: {reason}"
    assert refusal(f"--trainer.{setting}+={name}") == f"--trainer.{setting} {name}: {reason}"


@pytest.mark.parametrize(("setting", "name", "reason"), ALL, ids=[name for _, name, _ in ALL])
def test_the_page_says_the_same(setting, name, reason):
    row = re.search(rf"^\| {name} \| (.*) \|$", PAGE, re.MULTILINE)
    assert row is not None
    says = row[1].replace("`", "")
    assert says.startswith("works") if not reason else says == f"refused: {reason}"
    if name in trainer_classes.PACKAGES:
        assert f"pip install {trainer_classes.PACKAGES[name][1]}" in says


@pytest.mark.parametrize("name", trainer_classes.PACKAGES)
def test_a_missing_package_is_named_with_the_command_that_installs_it(name, monkeypatch):
    monkeypatch.setattr(trainer_classes.importlib.util, "find_spec", lambda module: None)
    setting = "logger" if name in LOGGERS else "callbacks"
    package = trainer_classes.PACKAGES[name][1]
    assert refusal(f"--trainer.{setting}={name}").endswith(f"{name} needs the package {package}: pip install {package}")


REQUIRED = [
    (name, parameter.name)
    for name in callbacks.__all__
    if not CALLBACKS[name]
    for parameter in inspect.signature(getattr(callbacks, name).__init__).parameters.values()
    if parameter.default is parameter.empty
    and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    and parameter.name != "self"
]


@pytest.mark.parametrize(("name", "argument"), REQUIRED)
def test_a_required_argument_is_named(name, argument):
    line = refusal(f"--trainer.callbacks+={name}")
    assert line.startswith(f"{name} needs {argument}: add --trainer.callbacks.{argument} ")


def test_required_arguments_are_there_for_some():
    assert {"EarlyStopping", "GradientAccumulationScheduler", "ThroughputMonitor"} == {name for name, _ in REQUIRED}


def test_own_classes_and_what_a_checkpoint_brings_are_not_judged():
    check(parse(["fit", "--trainer.callbacks=mine.BatchSizeFinder", "--trainer.profiler=mine.Profiler"]))


@pytest.mark.parametrize("name", ["simpel", "line_profiler", "Simple Profiler"])
def test_an_unknown_profiler_is_refused(name):
    assert refusal(f"--trainer.profiler={name}").startswith(f"unknown --trainer.profiler {name!r}")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--trainer.callbacks=A"], [("A", {})]),
        (["--trainer.callbacks+=A", "--trainer.callbacks+=B"], [("A", {}), ("B", {})]),
        (["--trainer.callbacks+=A", "--trainer.callbacks.x=1", "--trainer.callbacks+=B"], [("A", {"x": 1}), ("B", {})]),
        (["--trainer.callbacks=A", "--trainer.callbacks.init_args.x=1"], [("A", {"x": 1})]),
        (["--trainer.callbacks.class_path=A", "--trainer.callbacks.x=max"], [("A", {"x": "max"})]),
        (['--trainer.callbacks=["A", {"class_path": "B", "init_args": {"x": 2}}]'], [("A", {}), ("B", {"x": 2})]),
        (["--trainer.callbacks=A", "--trainer.callbacks.x=1", "--trainer.callbacks=A"], [("A", {"x": 1})]),
        (["--trainer.callbacks=A", "--trainer.callbacks.x=1", "--trainer.callbacks=B"], [("B", {})]),
        (["--trainer.callbacks=A", "--trainer.callbacks=null"], []),
    ],
)
def test_classes_are_found_in_flags_as_the_parser_reads_them(words, expected):
    found = given("callbacks", parse(["fit", *words]), {})
    assert [(item.name, item.init_args) for item in found] == expected


def test_flags_come_after_configs_and_these_after_the_checkpoint(tmp_path):
    base = {"trainer": {"callbacks": [{"class_path": "Old", "init_args": {"a": 1}}]}}
    assert [item.short for item in given("callbacks", parse(["fit"]), base)] == ["Old"]
    config = tmp_path / "c.yaml"
    config.write_text("trainer:\n  callbacks:\n  - class_path: x.New\n", encoding="utf-8")
    words = ["fit", f"--config={config}", "--trainer.callbacks.b=2"]
    assert [(item.short, item.init_args) for item in given("callbacks", parse(words), base)] == [("New", {"b": 2})]


@pytest.mark.parametrize("name", StrategyRegistry.available_strategies())
def test_every_strategy_works_or_is_refused_with_another(name):
    refused = "spawn" in name or name.startswith("deepspeed") or "xla" in name or "tpu" in name
    assert bool(strategy_reason(name)) == refused
    assert not refused or "use " in strategy_reason(name)
