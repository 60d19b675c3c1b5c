"""Print the lowest version that pyproject.toml allows of every package that the wheel and its extras need.

As pip constraints, one a line: ``numpy==1.26``.
"""

from __future__ import annotations

import re
from pathlib import Path

TABLES = ("dependencies", "timm", "stream")


def main() -> None:
    table = ""
    for line in (Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8").splitlines():
        if head := re.match(r"([\w-]+) = \[", line):  # Python 3.10 has no TOML reader
            table = head[1]
        if table in TABLES and (bound := re.search(r'"([\w-]+)(?:\[\w+\])?>=([\d.]+)', line)):
            print(f"{bound[1]}=={bound[2]}")


if __name__ == "__main__":
    main()
