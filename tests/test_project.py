"""What the project promises about itself: dependencies and the README's commands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from lit_cnn.cli import argv

ROOT = Path(__file__).parent.parent
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
# no TOML reader in Python 3.10: the list is one requirement a line
REQUIREMENTS = [Requirement(line) for line in re.findall(r'^    "(.+)",(?: *#.*)?$', PYPROJECT, re.MULTILINE)]


@pytest.mark.parametrize("name", ["lightning", "pytorch-lightning"])
def test_the_compromised_releases_can_never_be_resolved(name):
    required = [r for r in REQUIREMENTS if r.name == name]
    assert required
    for version in ("2.6.2", "2.6.3"):
        assert not all(r.specifier.contains(Version(version)) for r in required)
    assert all(r.specifier.contains(Version("2.6.6")) for r in required)


def test_torch_has_the_fix_for_weights_only_loading():
    (torch,) = (r for r in REQUIREMENTS if r.name == "torch")
    assert not torch.specifier.contains(Version("2.9.1"))


def test_every_bound_has_its_reason():
    lines = PYPROJECT.splitlines()
    for number, line in enumerate(lines):
        if re.match(r'    "[\w-]+(\[\w+\])?[<>=!]', line):
            assert "#" in line or lines[number - 1].lstrip().startswith("#"), line


COMMANDS = re.findall(r"^(?:.*\.venv/bin/)?lit-cnn (.+)$", README, re.MULTILINE)


@pytest.mark.parametrize("command", [c for c in COMMANDS if not c.startswith(("models", "inspect"))])
def test_commands_in_the_readme_are_understood_and_name_configs_that_exist(command):
    parsed = argv.parse(shlex.split(command))
    assert all((ROOT / config).is_file() for config in parsed.configs)


def test_the_quick_start_is_two_command_lines():
    quick_start = README.partition("## Quick start")[2].partition("\n## ")[0]
    blocks = re.findall(r"```bash\n(.+?)```", quick_start, re.DOTALL)
    assert [len(block.strip().splitlines()) for block in blocks] == [1, 1]
