from __future__ import annotations

import re

import pytest

from lit_cnn.cli import help as pages
from lit_cnn.cli.argv import FLAG_ALIASES, OWN, Arguments
from lit_cnn.cli.commands import COMMAND_ALIASES, COMMANDS
from lit_cnn.cli.lightning_cli import LitCLI
from lit_cnn.cli.main import main
from lit_cnn.data.registry import datasets

SETTINGS = [setting for group in pages.GROUPS.values() for setting in group]


OF_THE_SET = {"data.image_size", *(f"data.augment.{name}" for name in ("crop_scale", "crop_padding", "flip"))}


OTHERS = {"--data", "--data.download", "--print_config", "--deterministic", "--device", "--model.backbone_args.K"}


@pytest.fixture(scope="module")
def defaults() -> dict[str, object]:
    """Defaults of all settings of ``fit`` on an image folder, by name."""
    found: dict[str, object] = {}

    class Parsed(Exception):  # noqa: N818  # no error
        pass

    class Probe(LitCLI):
        def parse_arguments(self, parser, args):
            defaults = self._parser("fit").parse_object({"data": "ImageFolder"})
            found.update(dict(defaults.items()))
            raise Parsed

    with pytest.raises(Parsed):
        Probe(Arguments("fit"), None, {}, ["fit"])
    return {name.replace(".init_args", ""): value for name, value in found.items()}


@pytest.mark.parametrize("setting", [s for s in SETTINGS if s.name], ids=lambda s: s.name)
def test_the_page_of_fit_shows_the_defaults_that_hold(setting, defaults):
    value = defaults[setting.name]
    words = {
        "data.workers": "cores, <= 8",
        "checkpoint_every": "1epoch",
        "trainer.default_root_dir": ".",
        "model.weights": "random",
        "model.lr": "sgd 0.1",
        "model.freeze": "nothing",
        "model.backbone_args": "",
        "trainer.precision": "32-true",
        "trainer.deterministic": "false",
    }
    if setting.default == "of the set":
        assert setting.name in OF_THE_SET
    elif value is None:
        assert setting.default == words.get(setting.name, "off")
    elif value == -1:
        assert setting.default == "no limit"
    elif isinstance(value, float):
        assert float(setting.default) == value
    else:
        assert setting.default == (str(value).lower() if isinstance(value, bool) else str(value))


def test_the_page_of_fit_names_every_data_set_and_fits_a_terminal(capsys):
    main(["fit", "--help"])
    page = capsys.readouterr().out
    assert all(name in page for name, cls in datasets().items() if cls.__module__.startswith("lit_cnn."))
    assert max(map(len, page.splitlines())) <= 80
    assert 35 <= len(SETTINGS) <= 56


def test_flags_on_the_page_are_flags():
    names = {s.name for s in SETTINGS}
    for setting in SETTINGS:
        for flag in re.findall(r"--?[\w.-]+", setting.flag):
            flag = flag.replace("-", "_").replace("__", "--", 1) if flag.startswith("--") else flag
            known = flag in OWN or flag in FLAG_ALIASES or flag.lstrip("-") in names
            assert known or flag in OTHERS
            if flag in FLAG_ALIASES:
                assert FLAG_ALIASES[flag].lstrip("-") == setting.name or FLAG_ALIASES[flag] == "--config"


def test_the_main_page_lists_every_command_and_fits_a_terminal(capsys):
    main(["--help"])
    page = capsys.readouterr().out
    assert all(f"\n  {name} " in page and command.help in page for name, command in COMMANDS.items())
    assert all(f"{alias} ({name})" in page for alias, name in COMMAND_ALIASES.items())
    assert max(map(len, page.splitlines())) <= 80


@pytest.mark.parametrize("words", [["test"], ["validate"], ["predict"], ["fit", "--verify_resume"], ["val"]])
def test_every_command_that_runs_a_trainer_has_a_page_that_fits_a_terminal(words, capsys):
    main([*words, "--help"])
    page = capsys.readouterr().out
    assert page.startswith(f"usage: lit-cnn {COMMAND_ALIASES.get(words[0], words[0])} ")
    assert "--ckpt_path" in page
    assert max(map(len, page.splitlines())) <= 80
    assert ("--epochs" in page) == (words[0] == "fit")


def test_flags_named_for_a_page_exist():
    flags = {setting.flag.split()[0].rstrip(",") for setting in SETTINGS}
    assert all(flags.issuperset(names) for _, _, names in pages.PAGES.values())


def test_help_all_is_the_parsers_own(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--help", "all"])
    assert stop.value.code == 0
    page = capsys.readouterr().out
    assert "--trainer.limit_train_batches" in page
    assert "--checkpoint.save_top_k" in page
