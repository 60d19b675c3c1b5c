"""Read a CSV, TSV or Parquet file as columns of text."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lit_cnn.errors import UserError

SUFFIXES = (".csv", ".tsv", ".parquet", ".pq")
_PARQUET = (".parquet", ".pq")
_OTHER_TABLES = (".xlsx", ".xls", ".ods", ".jsonl", ".ndjson", ".feather", ".arrow", ".npy", ".pkl")
_SEPARATORS = (",", "\t", ";", "|")  # of cells
_INDEX = re.compile(r"(unnamed: \d+|__index_level_\d+__)?", re.IGNORECASE)  # what pandas calls a column of row numbers
JOINED = "|"  # between the items of a cell that is a list


@dataclass
class Table:
    """A table of text.

    Attributes:
        path: of the file.
        columns: cells by column, without surrounding spaces; an empty one is "".
        lines: of the file, for messages, by row.
        line: what they are called: "line" or "row".
        lists: columns whose cells are lists, with the items joined by ``JOINED``.
        notes: lines for the user.
    """

    path: Path
    columns: dict[str, list[str]]
    lines: list[int]
    line: str = "line"
    lists: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.lines)


def is_list(path: str | Path) -> bool:
    """Whether a path is that of a list of images, by its extension."""
    return str(path).lower().endswith(SUFFIXES)


def lists_in(folder: Path) -> list[Path]:
    """Lists in a folder, sorted."""
    return sorted(p for p in folder.glob("*") if is_list(p) and p.is_file() and not p.name.startswith("."))


def list_hint(folder: Path) -> str:
    """Advice on images without class folders where a list lies in their folder or the one above, or ""."""
    found = [path for place in (folder, folder.parent) for path in lists_in(place)]
    if not found:
        return ""
    named = [path for path in found if re.search(r"label|train|class|annot|target|meta", path.stem.lower())]
    return f"; if {(named or found)[0]} tells their classes, give it: `data={(named or found)[0]}`"


def read_table(path: Path) -> Table:
    """Read a table.

    Raises:
        UserError: it cannot be read, or is no table with a header.
    """
    if path.suffix.lower() in _OTHER_TABLES or not is_list(path):
        raise UserError(f"{path} is not a list that can be read here: save it as CSV or Parquet")
    try:
        table = _read_parquet(path) if path.suffix.lower() in _PARQUET else _read_csv(path)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    for name in [name for name in table.columns if _INDEX.fullmatch(name)]:
        del table.columns[name]
    if not table.columns or not len(table):
        raise UserError(f"{path} lists no images: it needs a header and one line an image, such as path,label")
    return table


# CSV ----


def _read_csv(path: Path) -> Table:
    text, note = _decode(path)
    separator, skipped = None, 0
    if found := re.match(r"sep=(.)\r?\n", text):  # Excel's
        separator, skipped, text = found[1], 1, text[found.end() :]
    records = _records(path, text, separator or _separator(text), skipped)
    try:
        header, _ = next(records)
    except StopIteration:
        raise UserError(f"{path} is empty") from None
    if twice := next((name for name in header if name and header.count(name) > 1), None):
        raise UserError(f"{path} has two columns {twice!r}: rename one")
    rows: list[list[str]] = []
    lines: list[int] = []
    for cells, line in records:
        if len(cells) > len(header):
            if any(cells[len(header) :]):
                raise UserError(
                    f"{path} line {line} has {len(cells)} cells, but the header {len(header)}: quote cells that hold "
                    "the separator"
                )
            cells = cells[: len(header)]  # such as a separator at the line's end
        rows.append(cells + [""] * (len(header) - len(cells)))
        lines.append(line)
    columns = dict(zip(header, map(list, zip(*rows, strict=True)), strict=True)) if rows else {}
    return Table(path, columns, lines, notes=[note] if note else [])


def _decode(path: Path) -> tuple[str, str]:
    """The text of a file, and a note where its encoding is a guess."""
    content = path.read_bytes()
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if content.startswith(mark):
            return content.decode(encoding, errors="replace"), ""
    if b"\0" in content:
        raise UserError(f"{path} is not a text file: save the list as CSV, in UTF-8")
    try:
        return content.decode("utf-8"), ""
    except UnicodeDecodeError:
        text = content.decode("cp1252", errors="replace")
        return text, f"{path} is not in UTF-8: read as Windows-1252; save it as UTF-8 if names look wrong"


def _separator(text: str) -> str:
    """The separator that divides the first line into most cells."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    return max(_SEPARATORS, key=lambda separator: len(next(csv.reader([first], delimiter=separator), [])))


def _records(path: Path, text: str, separator: str, skipped: int) -> Iterator[tuple[list[str], int]]:
    """Cells and line number of each line that is not blank."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    csv.field_size_limit(max(csv.field_size_limit(), 1 << 24))
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if any(stripped):
                yield stripped, reader.line_num + skipped
    except csv.Error as error:
        raise UserError(
            f"{path} line {reader.line_num + skipped}: {error}; a quoted cell must end with its quote, and quotes in "
            "it are doubled"
        ) from error


# Parquet ----


def _read_parquet(path: Path) -> Table:
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError:
        raise UserError(
            f"{path}: reading Parquet needs pyarrow: pip install 'lit-cnn[parquet]', or save the list as CSV"
        ) from None
    try:
        schema = parquet.read_schema(path)
        plain = [f.name for f in schema if not arrow.types.is_nested(f.type) or arrow.types.is_list(f.type)]
        plain = [n for n in plain if not arrow.types.is_binary(schema.field(n).type)]
        if len(plain) < len(schema.names) and any(arrow.types.is_struct(f.type) for f in schema):
            nested = next(f.name for f in schema if arrow.types.is_struct(f.type))
            raise UserError(
                f"{path} holds the images themselves, in column {nested}: write them to files, and list their paths"
            )
        content = parquet.read_table(path, columns=plain)
    except arrow.ArrowException as error:
        raise UserError(f"cannot read {path}: {str(error).splitlines()[0]}") from error
    columns = {name.strip(): [_text(cell) for cell in content[name].to_pylist()] for name in plain}
    lists = {name.strip() for name in plain if arrow.types.is_list(schema.field(name).type)}
    return Table(path, columns, list(range(1, content.num_rows + 1)), "row", lists)


def _text(cell: Any) -> str:
    """A cell as a CSV file would have it; whole numbers that pandas made floats beside empty cells are whole."""
    if cell is None or cell != cell:
        return ""
    if isinstance(cell, (list, tuple)):
        return JOINED.join(map(_text, cell)) or JOINED  # an empty list: no class
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell).strip()
