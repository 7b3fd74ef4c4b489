"""Which pictures a batch has: a folder, a pattern, a list, one picture; here or at an address."""

from __future__ import annotations

import csv
import io
import json
import os
import posixpath
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bgremove.bulk import places
from bgremove.errors import DataError, MissingExtraError, OptionError

LISTS = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".txt")
COLUMNS = ("path", "image", "file", "filename", "url", "uri", "source")
"""Those that name the picture, if nobody says which does: the first that is there."""


@dataclass(frozen=True)
class Entry:
    """A picture of a batch.

    Attributes:
        source: a path or an address.
        name: its place among the results, with slashes and the picture's own extension.
        exact: the list itself names the result so; its extension, if any, is that of the result.
    """

    source: str
    name: str
    exact: bool = False


def entries(sources: Iterable[str], column: str = "") -> list[Entry]:
    """The pictures, each once, in order.

    Args:
        sources: folders (with their subfolders), patterns, lists (CSV, TSV, JSON lines, Parquet, or text with
            a path a line) and pictures; paths or addresses. What a list names is counted from the list's
            folder. A column ``output`` of a list names results.
        column: of a list, that names the pictures.

    Raises:
        DataError: if there are no pictures, or a list cannot be read.
        OptionError: if a list has no such column.
    """
    found: dict[str, Entry] = {}
    for text in sources:
        for entry in _entries_of(places.local(text), column):
            found.setdefault(_key(entry.source), entry)
    return list(found.values())


def _key(source: str) -> str:
    return source if places.is_address(source) else os.path.abspath(source)


def _entries_of(source: str, column: str) -> Iterator[Entry]:
    if not source:
        raise OptionError("a source is empty text; give a folder, a pattern, a list or an address")
    kind = posixpath.splitext(places.base_name(source))[1].lower()
    if places.is_folder(source):
        found = [Entry(places.join(source, name), name) for name in places.pictures_in(source)]
        if not found:
            raise DataError(f"{places.shown(source)} holds no pictures; check the folder")
        yield from found
    elif places.is_pattern(source):
        names = places.matching(source)
        if not names:
            raise DataError(f"{places.shown(source)} matches no file; check the pattern")
        yield from _named(names)
    elif kind in LISTS:
        yield from _listed(source, kind, column)
    else:
        if not places.is_address(source) and not os.path.exists(source):
            raise DataError(f"{source} does not exist; check the path")
        yield Entry(source, places.base_name(source))


def _named(sources: Iterable[str]) -> Iterator[Entry]:
    """Entries whose names are what is left of their places without the folder that all have in common."""
    found = list(sources)
    plain = [_slashes(one) for one in found]
    folders = [posixpath.dirname(one).split("/") for one in plain]
    common = os.path.commonprefix(folders) if folders else []
    for source, path in zip(found, plain, strict=True):
        yield Entry(source, "/".join(path.split("/")[len(common) :]))


def _slashes(place: str) -> str:
    """A place with slashes only, without the question at the end of a web address."""
    if not places.is_address(place):
        return os.path.abspath(place).replace(os.sep, "/")
    return posixpath.join(places.parent(place.partition("?")[0]), places.base_name(place))


def _listed(place: str, kind: str, column: str) -> Iterator[Entry]:
    """What a list names."""
    rows = [row for row in _rows(place, kind) if any(row.values())]
    if not rows:
        raise DataError(f"{places.shown(place)} lists no pictures; put a path on each line")
    name = _column(place, list(rows[0]), column)
    sources = []
    for number, row in enumerate(rows, 1):
        value = row.get(name)
        if not isinstance(value, str) or not value.strip():
            raise DataError(
                f"{places.shown(place)} has no path in row {number}, column {name}; got {value!r}: fill it "
                "in, or take the row out"
            )
        sources.append(_from(place, value.strip()))
    for entry, row in zip(_named(sources), rows, strict=True):
        output = row.get("output")
        yield Entry(entry.source, _inside(str(output), place), exact=True) if output else entry


def _from(listing: str, path: str) -> str:
    """What a list means by a path: counted from where the list lies."""
    if places.is_address(path):
        return places.local(path)
    if os.path.isabs(path):
        return path
    return places.join(places.parent(listing), path) if places.parent(listing) else path


def _inside(name: str, place: str) -> str:
    """`name`, if it stays inside the folder of the results."""
    plain = posixpath.normpath(name.replace("\\", "/"))
    if plain.startswith(("/", "..")) or plain == "." or places.is_address(name) or ":" in plain:
        raise DataError(
            f"{places.shown(place)} names the output {name}, which is not inside the folder of the results; "
            "give a relative path"
        )
    return plain


def _column(place: str, there: list[str], wanted: str) -> str:
    names = {str(name).strip().lower(): name for name in there}
    if wanted:
        if wanted.lower() not in names:
            raise OptionError(
                f"column must be one of {', '.join(there)} for {places.shown(place)}; got {wanted}"
            )
        return names[wanted.lower()]
    for name in COLUMNS:
        if name in names:
            return names[name]
    raise OptionError(
        f"{places.shown(place)} has no column {', '.join(COLUMNS[:-1])} or {COLUMNS[-1]}, but "
        f"{', '.join(there)}; say which names the pictures with --column"
    )


def _rows(place: str, kind: str) -> Iterator[Mapping[str, Any]]:
    data = places.read(place)
    if kind == ".parquet":
        yield from _parquet_rows(data, place)
        return
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{places.shown(place)} is no UTF-8 text; save it as UTF-8") from None
    if kind == ".txt":
        lines = (line.strip() for line in text.splitlines())
        yield from ({"path": line} for line in lines if line and not line.startswith("#"))
    elif kind in (".jsonl", ".ndjson"):
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                yield _json_row(line, number, place)
    else:
        delimiter = "\t" if kind == ".tsv" else _delimiter(text)
        yield from csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, restkey="")


def _delimiter(text: str) -> str:
    """What separates the columns: a comma, or what spreadsheets of other countries write."""
    first = text.partition("\n")[0]
    return max(",;\t", key=first.count)


def _json_row(line: str, number: int, place: str) -> Mapping[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise DataError(f"{places.shown(place)}, line {number}, is no JSON: {error}; correct it") from None
    if isinstance(row, str):
        return {"path": row}
    if isinstance(row, dict):
        return row
    raise DataError(
        f"{places.shown(place)}, line {number}, must be an object or a path; got {line.strip()[:40]}"
    )


def _parquet_rows(data: bytes, place: str) -> Iterator[Mapping[str, Any]]:
    try:
        import pyarrow as arrow
        import pyarrow.parquet as parquet
    except ImportError:
        raise MissingExtraError('Parquet files need an extra: pip install "bgremove[ray]"') from None
    try:
        file = parquet.ParquetFile(arrow.BufferReader(data))
        names = [name for name in file.schema_arrow.names if _is_text(file.schema_arrow.field(name), arrow)]
        for part in file.iter_batches(columns=names):
            yield from part.to_pylist()
    except arrow.ArrowException as error:
        raise DataError(
            f"{places.shown(place)} cannot be read as Parquet: {error}; is it complete?"
        ) from None


def _is_text(field: Any, arrow: Any) -> bool:
    """Of all the columns, pictures' bytes among them perhaps, only text can name a picture."""
    kinds = arrow.types
    kind = field.type.value_type if kinds.is_dictionary(field.type) else field.type
    return bool(kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_string_view(kind))
