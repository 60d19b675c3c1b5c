"""What the project promises about itself: dependencies, README, config headers, the CI workflow."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from lit_cnn.cli import argv

ROOT = Path(__file__).parent.parent
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
# no TOML reader in Python 3.10: a requirement is a line of its own, or an extra's only one
BOUND = r'^(?:    |[\w-]+ = \[)"([\w-]+(?:\[\w+\])?[<>=!][^"]*)"'
REQUIREMENTS = [Requirement(found) for found in re.findall(BOUND, PYPROJECT, re.MULTILINE)]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))


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
        if re.match(BOUND, line):
            assert "#" in line or lines[number - 1].lstrip().startswith("#"), line


def test_the_quick_start_is_two_command_lines():
    quick_start = README.partition("## Quick start")[2].partition("\n## ")[0]
    blocks = re.findall(r"```bash\n(.+?)```", quick_start, re.DOTALL)
    assert [len(block.strip().splitlines()) for block in blocks] == [1, 1]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_a_config_begins_with_what_it_trains_its_result_and_its_command(config):
    title, result, command = config.read_text(encoding="utf-8").splitlines()[:3]
    assert re.match(r"# \w", title)
    assert re.match(r"# Result: (not measured$|(test|validation) (accuracy 0\.\d{3}\b|PSNR \d\d\.\d\d dB))", result)
    assert command.startswith(f"# Command: lit-cnn fit --config {config.stem}")
    for part in command.removeprefix("# Command: ").split(" && "):
        argv.parse(shlex.split(part)[1:])


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
@pytest.mark.parametrize("page", ["README.md", "docs/results.md"])
def test_tables_of_results_agree_with_the_configs(page, config):
    row = re.search(rf"^\| `{config.stem}`.*$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
    if row is None:  # README has some of them; one epoch only: in a sentence
        assert page == "README.md" or config.stem == "nin_cifar"
        return
    found = re.search(r"# Result: .*?(0\.\d{3}|\d\d\.\d\d dB|not measured)", config.read_text(encoding="utf-8"))
    assert found is not None
    assert found[1] in row[0]


def test_the_workflow_runs_scripts_that_exist():
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    scripts = re.findall(r"run: (\.ci/\w+)", workflow)
    assert ".ci/run" in scripts
    assert all((ROOT / script).is_file() for script in scripts)


def test_the_workflow_fits_the_schema_of_github():
    words = ["-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows"]
    workflows = sorted(str(path) for path in (ROOT / ".github" / "workflows").glob("*.yml"))
    assert workflows
    check = subprocess.run([sys.executable, *words, *workflows], capture_output=True, text=True, check=False)
    assert check.returncode == 0, check.stdout + check.stderr
