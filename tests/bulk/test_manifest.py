"""Folders, patterns, lists and addresses as pictures of a batch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bgremove.bulk.manifest import Entry, entries
from bgremove.errors import BGRemoveError, DataError, OptionError
from tests.cli_helpers import is_one_sentence, save_disc


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "sub/b.jpg", "sub/deep/c.webp", ".hidden/d.png", "sub/.e.png"):
        save_disc(tmp_path / "in" / name, 12, 16)
    (tmp_path / "in" / "notes.md").write_text("no picture")
    return tmp_path / "in"


@pytest.fixture
def memory(folder: Path) -> Iterator[str]:
    """The same folder where fsspec keeps it in memory."""
    fsspec = pytest.importorskip("fsspec")
    fs = fsspec.filesystem("memory")
    for path in folder.rglob("*"):
        if path.is_file():
            fs.pipe_file(f"/in/{path.relative_to(folder).as_posix()}", path.read_bytes())
    yield "memory://in"
    fs.rm("/in", recursive=True)


def names(found: list[Entry]) -> list[str]:
    return [entry.name for entry in found]


def test_a_folder_with_its_subfolders(folder: Path) -> None:
    found = entries([str(folder)])
    assert names(found) == ["a.png", "sub/b.jpg", "sub/deep/c.webp"]
    assert [Path(entry.source) for entry in found] == [folder / entry.name for entry in found]


def test_a_folder_at_an_address(memory: str) -> None:
    found = entries([memory])
    assert names(found) == ["a.png", "sub/b.jpg", "sub/deep/c.webp"]
    assert found[1].source == "memory://in/sub/b.jpg"


def test_patterns(folder: Path, memory: str) -> None:
    assert names(entries([f"{folder}/sub/**/*.*"])) == ["b.jpg", "deep/c.webp"]
    assert names(entries([f"{memory}/*/*.jpg"])) == ["b.jpg"]


def test_what_two_sources_name_is_done_once(folder: Path) -> None:
    assert names(entries([str(folder), str(folder / "a.png"), f"{folder}/*.png"])) == [
        "a.png", "sub/b.jpg", "sub/deep/c.webp"
    ]  # fmt: skip


def write_list(path: Path, kind: str, rows: list[dict[str, str]]) -> Path:
    """The rows as a list of any kind."""
    target = path.with_suffix(kind)
    if kind == ".parquet":
        arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        parquet.write_table(arrow.Table.from_pylist([{"number": 1, **row} for row in rows]), target)
        return target
    if kind in (".jsonl", ".ndjson"):
        text = "\n".join(json.dumps(row) for row in rows)
    elif kind == ".txt":
        text = "# photos\n\n" + "\n".join(row["path"] for row in rows)
    else:
        mark = {".tsv": "\t", ".csv": ","}[kind]
        text = "\n".join(mark.join(line) for line in [list(rows[0]), *(list(row.values()) for row in rows)])
    target.write_text(f"{text}\n", "utf-8")
    return target


@pytest.mark.parametrize("kind", [".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".txt"])
def test_lists_count_from_their_own_folder(folder: Path, kind: str) -> None:
    listing = write_list(folder / "list", kind, [{"path": "sub/b.jpg"}, {"path": "sub/deep/c.webp"}])
    found = entries([str(listing)])
    assert [Path(entry.source) for entry in found] == [folder / "sub/b.jpg", folder / "sub/deep/c.webp"]
    assert names(found) == ["b.jpg", "deep/c.webp"]


def test_semicolons_and_the_mark_of_spreadsheets(folder: Path) -> None:
    (folder / "list.csv").write_bytes("\ufeffSKU;Image\n1;sub/b.jpg\n".encode())
    assert names(entries([str(folder / "list.csv")])) == ["b.jpg"]


def test_a_column_of_ones_own_and_names_of_results(folder: Path) -> None:
    rows = [{"sku": "7", "shot": "a.png", "output": "shop/7.webp"}]
    listing = write_list(folder / "list", ".csv", rows)
    assert entries([str(listing)], "Shot") == [Entry(str(folder / "a.png"), "shop/7.webp", exact=True)]
    with pytest.raises(OptionError, match="--column"):
        entries([str(listing)])
    with pytest.raises(OptionError, match="column must be one of sku, shot, output"):
        entries([str(listing)], "nothing")


def test_a_list_at_an_address_counts_from_there(memory: str) -> None:
    fsspec = pytest.importorskip("fsspec")
    fsspec.filesystem("memory").pipe_file(
        "/in/list.csv", b"path\nsub/b.jpg\nhttps://example.com/x/y.jpg?v=2\n"
    )
    found = entries([f"{memory}/list.csv"])
    assert [entry.source for entry in found] == ["memory://in/sub/b.jpg", "https://example.com/x/y.jpg?v=2"]
    assert found[1].name.endswith("y.jpg") and "?" not in found[1].name


@pytest.mark.parametrize(
    "name", ["../out.png", "/etc/out.png", "a/../../out.png", "s3://b/out.png", "C:\\o.png"]
)
def test_results_stay_inside_their_folder(folder: Path, name: str) -> None:
    listing = write_list(folder / "list", ".csv", [{"path": "a.png", "output": name}])
    with pytest.raises(DataError, match="not inside the folder"):
        entries([str(listing)])


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("none.csv", b"path\n", "lists no pictures"),
        ("none.txt", b"", "lists no pictures"),
        ("gap.csv", b"path,x\na.png,1\n,2\n", "no path in row 2"),
        ("odd.jsonl", b'{"path": "a.png"}\n{oops\n', "line 2, is no JSON"),
        ("odd.jsonl", b"[1]\n", "must be an object or a path"),
        ("odd.csv", b"path\n\xff\xfe\n", "no UTF-8"),
        ("odd.parquet", b"PAR1 no table", "cannot be read as Parquet"),
    ],
)
def test_bad_lists_get_a_sentence(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BGRemoveError, match=sentence) as caught:
        entries([str(tmp_path / name)])
    assert is_one_sentence(str(caught.value))


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("", "empty text"),
        ("missing", "does not exist"),
        ("missing.csv", "does not exist"),
        ("missing/*.jpg", "matches no file"),
        ("nosuchscheme://bucket/x", "cannot be opened"),
        ("memory://nothing/here.csv", "does not exist"),
    ],
)
def test_bad_sources_get_a_sentence(source: str, sentence: str) -> None:
    with pytest.raises(BGRemoveError, match=sentence) as caught:
        entries([source])
    assert is_one_sentence(str(caught.value))


def test_an_empty_folder_gets_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no pictures"):
        entries([str(tmp_path)])
