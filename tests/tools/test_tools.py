"""The maintainers' scripts import, and the package does without them."""

from __future__ import annotations

import importlib
from pathlib import Path

import lit_cnn

PACKAGE = Path(lit_cnn.__file__).parent


def test_every_script_imports_from_the_repository_root() -> None:
    scripts = [path.stem for path in (PACKAGE.parent / "tools").glob("*.py")]
    assert {"measure_models", "measure_zoos", "papers"} <= set(scripts)
    for script in scripts:
        importlib.import_module(f"tools.{script}")


def test_the_package_never_imports_the_scripts() -> None:
    for path in PACKAGE.rglob("*.py"):
        lines = path.read_text(encoding="utf-8").splitlines()
        assert not [line for line in lines if line.strip().startswith(("from tools", "import tools"))], path
