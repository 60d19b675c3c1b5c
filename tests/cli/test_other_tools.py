"""Words of other tools: docs/other-tools.md shows what happens, and every piece of advice works when it is followed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from lit_cnn.cli import argv, other_tools
from lit_cnn.cli.flag_values import BOOLEANS, WITHOUT_VALUE
from lit_cnn.errors import UserError

from .answers import answer, read, settings_of

PAGE = Path(__file__).parents[2] / "docs" / "other-tools.md"
ROWS = re.findall(r"^\| `(lit-cnn .+?)` \| (.+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.fixture
def images(workdir):
    """A folder ``photos`` of images."""
    (workdir / "photos" / "cat").mkdir(parents=True)
    (workdir / "photos.zip").touch()


def test_the_page_has_a_row_for_many_commands():
    assert len({command for command, _ in ROWS}) == len(ROWS) >= 80


@pytest.mark.parametrize(("command", "shown"), ROWS, ids=[command for command, _ in ROWS])
def test_the_page_shows_what_a_command_is_answered_with(command, shown, images):
    assert answer(command) == shown
    assert len(shown) <= 200


# words in advice that stand for a value
VALUES = {"N": "3", "X": "0.5", "K": "3", "FILE": "x.pth", "PATH": "x.ckpt", "DIR": "photos", "NAME": "Nesterov"}


def commands_in(text: str) -> list[str]:
    """The flags of a piece of advice, each with its value, as they would be typed."""
    found = re.findall(r"--[a-zA-Z]\S*?\+?(?:=\w+)?(?: (?:'[^']*'|[A-Z]+\b|[\w./-]*\w))?(?=[ ,;:)]|$)", text)
    return [flag for flag in found if flag.split()[0] not in ("--help", "--debug")]


def typed(flag: str) -> str:
    name, _, value = flag.partition(" ")
    if name.endswith(".NAME"):
        return ""  # any of several
    value = VALUES.get(value, value)
    return (
        name if value in ("to", "for", "or", "is", "by", "and", "shows", "restores") or not value else f"{name} {value}"
    )


@pytest.mark.parametrize("text", [*other_tools._ADVICE, *other_tools.NO_FILE.values()])
def test_advice_names_flags_that_there_are(text, images):
    for flag in commands_in(text):
        words = shlex.split(typed(flag))
        if words and words[0] not in ("--ckpt_path", "--resume"):
            together = ["--trainer.callbacks+=EarlyStopping"] if words[0].startswith("--trainer.callbacks.") else []
            needed = ["--trainer.callbacks.monitor=val/loss"] if words[0].startswith("--trainer.callbacks+") else []
            read(["fit", "--data=ImageFolder", "--data-dir=photos", *together, *words, *needed])


@pytest.mark.parametrize("alias", [*other_tools.OTHER_ALIASES, *argv.FLAG_ALIASES])
def test_every_alias_is_a_setting(alias):
    flag = argv.canonical(alias)
    known = {f"--{name}" for data in ("ImageFolder", "Digits") for name in settings_of(data=data)}
    own = flag in argv.OWN or flag in ("--device", "--model.optimizer_args.momentum")
    assert own or flag in known


def test_no_name_has_two_meanings():
    names = [name.lstrip("-") for name in (*argv.FLAG_ALIASES, *other_tools.OTHER_ALIASES, *argv.SWITCHES, *argv.OWN)]
    assert sorted(names) == sorted(set(names))
    assert not set(names) & set(other_tools._ADVICE_BY_NAME)


def test_all_settings_that_are_true_or_false_need_no_value():
    types = {**settings_of(data="Digits"), **settings_of(data="ImageFolder")}
    found = {f"--{name}" for name, kind in types.items() if kind is bool or kind == bool | None}
    found -= {"--weights_only", "--seed_everything"}
    assert found | {"--trainer.deterministic", "--trainer.fast_dev_run"} == set(BOOLEANS)
    for flag in WITHOUT_VALUE:
        assert argv.parse(["fit", flag]).flags == [(flag, WITHOUT_VALUE[flag])]


def test_values_of_other_tools_become_ones_that_the_parser_takes(images):
    for setting, values in other_tools.NAMED_VALUES.items():
        for value in values:
            read(["fit", "photos", f"--{setting}", value])


@pytest.mark.parametrize("name", ["test", "predict", "fit", "prepare", "models", "inspect"])
def test_commands_of_other_tools_lead_to_one(name):
    hints = {word: other_tools.command_hint(word) for word in other_tools._COMMAND_BY_NAME}
    assert any(f"lit-cnn {name}" in hint for hint in hints.values())


def test_a_flag_before_the_command_is_named():
    with pytest.raises(UserError, match="the command comes first, lit-cnn fit --epochs"):
        read(["--epochs", "5"])


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("--data Digits --data-dir photos", "no effect on Digits"),
        ("photos --no-pretrained", "--weights null"),
        ("photos --no-deterministic", "--trainer.deterministic false"),
        ("photos --no-shuffle", "always shuffled"),
        ("photos --pretrained imagenet", "'imagenet' after --pretrained: it takes no value"),
        ("--amp bf16", "'bf16' after --amp: it takes no value"),
        ("photos --wandb mine", "'mine' after --wandb: it takes no value"),
        ("--amp photos", "--data ImageFolder --data-dir photos"),
        ("photos ---epochs 3", "unknown flag ---epochs, did you mean --epochs?"),
        ("photos --precision BF16 --batch-size AUTO", "--precision bf16 --batch-size auto"),
        ("photos --patience none --freeze none", "--patience null --freeze null"),
    ],
)
def test_switches_and_values_are_read_as_meant(words, shown, images):
    assert shown in answer(f"lit-cnn fit {words}")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("trainer: 5", "c.yaml: trainer takes settings (lines below it), got 5"),
        ("model: [resnet20]", 'c.yaml: model takes settings (lines below it), got ["resnet20"]'),
        ("checkpoint: best.ckpt", "c.yaml: checkpoint: best.ckpt: use --resume PATH"),
        ("train: images", "unknown setting train: one folder holds train, val and test"),
        ("nc: 3", "unknown setting nc: the number of classes"),
        ("seed: yes", "--seed: expected a whole number"),
        ("patience: none\nmodel: {freeze: none}", "read as"),
    ],
)
def test_keys_of_a_config_are_answered_as_keys(text, shown, images):
    Path("c.yaml").write_text(text, encoding="utf-8")
    assert shown in answer("lit-cnn fit photos --config c.yaml")
