from __future__ import annotations

import pytest

from lit_cnn.cli.argv import parse
from lit_cnn.cli.run_name import read_run_name
from lit_cnn.errors import UserError


@pytest.mark.parametrize(
    "name",
    ["baseline", "lr-0.1", "ResNet 18", "größe", "实验1", "version_3b", "run_1", "a" * 200, "0", "my.run", "bestof"],
)
def test_any_plain_word_names_a_run(name):
    assert parse(["fit", "--name", name]).name == name


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "is empty"),
        ("  ", "is empty"),
        ("a/b", "holds a slash"),
        ("/tmp/x", "holds a slash"),
        ("a\\b", "holds a slash"),
        ("..", "begins with '.'"),
        (".", "begins with '.'"),
        (".hidden", "begins with '.'"),
        ("-x", "begins with '-'"),
        (" a", "begins with a space"),
        ("a ", "ends with a space or a dot"),
        ("a.", "ends with a space or a dot"),
        ("a:b", "holds ':'"),
        ("a*", "holds '*'"),
        ("a\nb", "holds a letter that is no text"),
        ("a\0", "holds a letter that is no text"),
        ("a\udcff", "holds a letter that is no text"),
        ("a" * 201, "is longer than 200 bytes"),
        ("😀" * 60, "is longer than 200 bytes"),
        ("version_3", "is one that runs without a name get"),
        ("Version_03", "is one that runs without a name get"),
        ("nul", "is a device on Windows"),
        ("COM1.x", "is a device on Windows"),
        ("best", "has a meaning of its own"),
        ("last", "has a meaning of its own"),
        ("auto", "has a meaning of its own"),
        ("inspect", "has a meaning of its own"),
    ],
)
def test_what_cannot_be_a_name_is_one_line(name, reason):
    with pytest.raises(UserError, match="--name ") as error:
        read_run_name(name)
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("command", ["test", "validate", "predict", "prepare"])
def test_only_fit_takes_a_name(command):
    with pytest.raises(UserError, match=f"--name names a new run of fit and has no effect on {command}"):
        parse([command, "--name=a"])


def test_project_is_the_folder_of_lightning_logs():
    assert parse(["fit", "--project", "exp"]).flags == [("--trainer.default_root_dir", "exp")]
