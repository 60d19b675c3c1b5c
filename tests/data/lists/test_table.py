"""CSV, TSV and Parquet files as people and programs write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from lit_cnn.data.lists.table import list_hint, lists_in, read_table
from lit_cnn.errors import UserError

WANTED = {"path": ["a.jpg", "b c.jpg"], "label": ["Käse", "x, y"]}


@pytest.mark.parametrize(
    "content",
    [
        'path,label\na.jpg,Käse\nb c.jpg,"x, y"\n'.encode(),
        'path,label\r\na.jpg,Käse\r\n\r\nb c.jpg,"x, y"\r\n'.encode("utf-8-sig"),
        "path;label\na.jpg;Käse\nb c.jpg;x, y".encode(),
        "path\tlabel\na.jpg\tKäse\nb c.jpg\tx, y\n".encode("utf-16"),
        'sep=;\npath;label\na.jpg;"Käse"\nb c.jpg;"x, y"\n'.encode(),
        ' path , label ,,\n a.jpg , Käse,,\n b c.jpg , "x, y",,\n'.encode().replace(b' "x', b'"x'),
        'path,label\na.jpg,Käse\nb c.jpg,"x, y"\n'.encode("cp1252"),
        ',path,label\n0,a.jpg,Käse\n1,b c.jpg,"x, y"\n'.encode(),  # pandas with its index
    ],
    ids=["plain", "bom-crlf", "semicolon", "utf16-tab", "excel-sep", "spaces", "cp1252", "pandas-index"],
)
def test_a_table_is_read_whatever_its_separator_and_encoding(content, tmp_path):
    path = tmp_path / "list.csv"
    path.write_bytes(content)
    table = read_table(path)
    assert table.columns == WANTED
    assert bool(table.notes) == (b"K\xe4se" in content and b"\0" not in content)  # only the guess is told


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", "is empty"),
        (b"path,label\n", "lists no images"),
        (b"path,label\na.jpg,x\nb.jpg,x,y\n", "line 3 has 3 cells, but the header 2: quote"),
        (b'path,label\na.jpg,"x\nb.jpg,y\n', "line 3: unexpected end of data; a quoted cell must end"),
        (b"path,label,label\na.jpg,x,y\n", "has two columns 'label'"),
        (b"\x00\x01\x02", "is not a text file"),
    ],
)
def test_what_is_no_table_is_one_line(content, line, tmp_path):
    path = tmp_path / "list.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=line) as error:
        read_table(path)
    assert "\n" not in str(error.value)


def test_numbers_and_missing_cells_keep_their_text(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("path,label,split\na.jpg,007\nb.jpg,1.0,val\n")
    assert read_table(path).columns == {"path": ["a.jpg", "b.jpg"], "label": ["007", "1.0"], "split": ["", "val"]}


def test_parquet_is_read_as_the_same_text(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = arrow.table(
        {
            "path": ["a.jpg", "b.jpg", "c.jpg"],
            "label": arrow.array([3, 10, None]),
            "score": [1.0, 2.5, float("nan")],
            "tags": [["x", "y"], ["x"], []],
            "kind": arrow.array(["m", "n", "m"]).dictionary_encode(),
        }
    )
    parquet.write_table(table, tmp_path / "list.parquet")
    found = read_table(tmp_path / "list.parquet")
    assert found.columns == {
        "path": ["a.jpg", "b.jpg", "c.jpg"],
        "label": ["3", "10", ""],
        "score": ["1", "2.5", ""],
        "tags": ["x|y", "x", "|"],
        "kind": ["m", "n", "m"],
    }
    assert (found.lists, found.line) == ({"tags"}, "row")
    images = arrow.table({"image": [{"bytes": b"x", "path": "a.jpg"}], "label": [1]})
    parquet.write_table(images, tmp_path / "images.parquet")
    with pytest.raises(UserError, match="holds the images themselves, in column image"):
        read_table(tmp_path / "images.parquet")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(UserError, match=r"cannot read .*broken.parquet"):
        read_table(tmp_path / "broken.parquet")


def test_other_kinds_of_tables_are_refused(tmp_path):
    (tmp_path / "list.xlsx").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"list\.xlsx is not a list that can be read here: save it as CSV"):
        read_table(tmp_path / "list.xlsx")


def test_a_list_beside_images_is_suggested(tmp_path: Path):
    (tmp_path / "train").mkdir()
    for name in ("sample_submission.csv", "train_labels.csv", ".hidden.csv"):
        (tmp_path / name).touch()
    assert [path.name for path in lists_in(tmp_path)] == ["sample_submission.csv", "train_labels.csv"]
    assert f"`data={tmp_path / 'train_labels.csv'}`" in list_hint(tmp_path / "train")
    assert list_hint(tmp_path / "train" / "deep") == ""
