"""README, CONTRIBUTING and docs/: links lead somewhere, commands parse, files that are named exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from lit_cnn.cli import argv

ROOT = Path(__file__).parent.parent
DOCS_DIR = ROOT / "docs"
DOCS = sorted(DOCS_DIR.rglob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *DOCS]
SHIPPED = {path.stem for path in (ROOT / "configs").glob("*.yaml")}
# Commands whose words after the name are settings and flags; the others have parsers of their own.
SETTINGS_COMMANDS = {"fit", "train", "validate", "val", "test", "predict", "prepare"}
OTHER_COMMANDS = {
    "average",
    "check",
    "compare",
    "explain",
    "export",
    "serve",
    "report",
    "runs",
    "sweep",
    "models",
    "inspect",
    "configs",
    "completion",
}
THEIR_OWN = {"my.yaml", "config.yaml"}  # configs that a reader writes


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def without_code(page: Path) -> str:
    return re.sub(r"```.*?```", "", text_of(page), flags=re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and mkdocs make them."""
    headings = re.findall(r"^#+ (.+)$", without_code(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


LINKS = [(page, link) for page in PAGES for link in re.findall(r"\]\(([^)\s]+)\)", without_code(page))]
# in blocks of bash, one command a line or joined by &&
COMMANDS = [
    (page, command)
    for page in PAGES
    for block in re.findall(r"```bash\n(.*?)```", text_of(page), re.DOTALL)
    for command in re.findall(r"(?:^|(?:\.venv/bin/|&& |srun |-m )+)lit[-_]cnn ([^&\n]+)", block, re.MULTILINE)
]


@pytest.mark.parametrize(("page", "link"), LINKS, ids=[f"{name(page)}-{link}" for page, link in LINKS])
def test_links_lead_to_files_and_headings_that_exist(page, link):
    if link.startswith("https://github.com/lit-cnn/lit-cnn/blob/main/"):
        link = "../" * len(page.relative_to(ROOT).parents[:-1]) + link.partition("/blob/main/")[2]
    elif link.startswith("https://"):
        return
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    assert target.is_file()
    if anchor:
        assert anchor in anchors(target)


def test_pages_of_the_docs_link_to_no_file_outside_of_them():
    # mkdocs publishes docs/ alone
    pages = [(page, link) for page, link in LINKS if page in DOCS and not link.startswith(("https://", "#"))]
    outside = [
        (name(page), link) for page, link in pages if not (page.parent / link).resolve().is_relative_to(DOCS_DIR)
    ]
    assert outside == []


@pytest.mark.parametrize(("page", "command"), COMMANDS, ids=[f"{name(page)}-{command}" for page, command in COMMANDS])
def test_commands_parse_and_name_configs_that_exist(page, command):
    words = shlex.split(command)
    if words[0] in OTHER_COMMANDS:
        assert words[0] != "configs" or words[1:2] == [] or words[1] in {*SHIPPED, "NAME"}
        return
    assert words[0] in SETTINGS_COMMANDS
    for config in argv.parse(words).configs:
        assert config in SHIPPED or config in THEIR_OWN or (ROOT / config).is_file()


def test_readme_is_read_at_one_sitting():
    assert len(text_of(ROOT / "README.md").splitlines()) <= 150


@pytest.mark.parametrize("page", [ROOT / "CONTRIBUTING.md", *DOCS], ids=name)
def test_files_that_are_named_exist(page):
    named = re.findall(r"\b(?:lit_cnn|tests|benchmarks|tools|configs|examples)/[\w/.]*\w/?", text_of(page))
    yours = {"lit_cnn/models/mynet.py", "lit_cnn/cli/commands/mycommand.py"}
    assert [path for path in named if path not in yours and not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", DOCS, ids=name)
def test_benchmarks_that_are_named_exist(page):
    for benchmark in re.findall(r"python -m benchmarks\.(\w+)", text_of(page)):
        there = [ROOT / "benchmarks" / f"{benchmark}.py", ROOT / "benchmarks" / benchmark / "__main__.py"]
        assert benchmark == "NAME" or any(path.is_file() for path in there)


def test_every_page_is_in_the_navigation():
    navigation = re.findall(r": ([\w/-]+\.md)$", text_of(ROOT / "mkdocs.yml"), re.MULTILINE)
    assert sorted(navigation) == sorted(page.relative_to(DOCS_DIR).as_posix() for page in DOCS)
