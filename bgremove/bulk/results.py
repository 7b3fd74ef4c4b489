"""What became of each picture: a journal that outlives a crash, and the list made of it.

The journal is lines of JSON, each written as soon as it is known. A path's is one file that grows; at an
address, where no file can grow, it is a folder of small ones. It begins with the settings, then names every
picture with its targets and what was there before; then come the rows. A line that a crash has cut off is
passed over: what it would have said is found out again (:mod:`bgremove.bulk.work`).
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from bgremove.bulk import places
from bgremove.bulk.work import Row, Task
from bgremove.errors import DataError, MissingExtraError, OptionError, OutputError
from bgremove.io import make_folder

_CHUNK = 500  # pictures a line of the plan
_SECONDS = 1.0  # at most, until a row is safe from a power failure
_PART_SECONDS, _PART_ROWS = 5.0, 500  # until rows go to an address

TABLES = (".csv", ".parquet")
COLUMNS = tuple(one.name for one in fields(Row))


class Journal:
    """The journal of the list at `table`. Use as a context manager; one batch at a time has it.

    Args:
        table: the list of results.
        fresh: forget what is there, as soon as the new batch begins.

    Attributes:
        place: where it is.
        existed: there was one before, perhaps of a batch that is to be forgotten.
        about: the settings of the batch; None if it has not begun.
        tasks: the pictures known so far, by source.
        rows: what became of those that are over, by source.

    Raises:
        OutputError: if it cannot be written, or another process has it.
        DataError: if what is there is no journal.
    """

    def __init__(self, table: str, *, fresh: bool = False) -> None:
        folder, name = places.parent(table), f".{places.base_name(table)}.journal"
        self.place = places.join(folder, name) if folder else name
        self.about: dict[str, Any] | None = None
        self.tasks: dict[str, Task] = {}
        self.rows: dict[str, Row] = {}
        self._forgotten, self.existed = False, False
        self._log: _Log = _Parts(self.place) if places.is_address(table) else _Lines(self.place)
        try:
            self._read()
            self.existed = self.about is not None
            if fresh:
                self.forget()
        except BaseException:
            self._log.close()
            raise

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._log.close()

    def begin(self, about: dict[str, Any], tasks: Sequence[Task]) -> None:
        """Write down what is going to be done, before any of it is."""
        if self._forgotten:
            self._log.clear()
        if self.about is None:
            self._log.add({"bgremove batch": 1, "about": about})
        for start in range(0, len(tasks), _CHUNK):
            self._log.add({"plan": [asdict(task) for task in tasks[start : start + _CHUNK]]})
        self._log.add({"planned": len(tasks)})
        self._log.sync()
        self.about = about
        self.tasks |= {task.source: task for task in tasks}

    def add(self, source: str, row: Row) -> None:
        """Write down what became of a picture."""
        self.rows[source] = row
        self._log.add({"source": source, "row": row.as_dict()})

    def forget(self) -> None:
        """What is there does not count; it goes as soon as a new batch begins."""
        self.about, self.tasks, self.rows, self._forgotten = None, {}, {}, True

    def forget_failed(self) -> None:
        """Failed pictures are to be tried again; their next rows count."""
        self.rows = {source: row for source, row in self.rows.items() if row.status != "failed"}

    def _read(self) -> None:
        waiting: list[dict[str, Any]] = []
        for number, line in enumerate(self._log.lines()):
            try:
                entry = json.loads(line)
            except ValueError:
                entry = None
            if number == 0 and not (isinstance(entry, dict) and "about" in entry):
                if self._log.torn(line):
                    continue
                raise DataError(
                    f"{places.shown(self.place)} is no journal of a batch; give another --results"
                )
            match entry:
                case {"about": about}:
                    self.about = about
                case {"plan": tasks}:
                    waiting += tasks
                case {"planned": _}:
                    self.tasks |= {task["source"]: Task(**task) for task in waiting}
                    waiting = []
                case {"source": source, "row": row}:
                    self.rows[source] = Row(**row)


class _Log(Protocol):
    def clear(self) -> None: ...
    def lines(self) -> Iterator[bytes]: ...
    def torn(self, line: bytes) -> bool: ...
    def add(self, entry: dict[str, Any]) -> None: ...
    def sync(self) -> None: ...
    def close(self) -> None: ...


class _Lines:
    """One file that grows."""

    def __init__(self, path: str) -> None:
        make_folder(Path(path).parent)
        try:
            self._file = open(path, "a+b")
        except OSError as error:
            why = error.strerror or error
            raise OutputError(f"cannot write {path}: {why}; give another --results") from error
        try:
            _keep(self._file, path)
        except BaseException:
            self._file.close()
            raise
        self._synced = time.monotonic()
        self._lock = threading.Lock()

    def clear(self) -> None:
        self._file.truncate(0)

    def lines(self) -> Iterator[bytes]:
        self._file.seek(0)
        whole = 0
        for line in self._file:
            whole += len(line) if line.endswith(b"\n") else 0
            yield line
        self._file.truncate(whole)  # without what a crash has left of a line

    def torn(self, line: bytes) -> bool:
        return not line.endswith(b"\n")

    def add(self, entry: dict[str, Any]) -> None:
        with self._lock:
            self._file.write(_line(entry))
            self._file.flush()  # safe from here on, if the process is killed
            if time.monotonic() - self._synced > _SECONDS:
                self._sync()

    def sync(self) -> None:
        with self._lock:
            self._sync()

    def _sync(self) -> None:
        with contextlib.suppress(OSError):  # not every file system can
            os.fsync(self._file.fileno())
        self._synced = time.monotonic()

    def close(self) -> None:
        if not self._file.closed:
            self.sync()
            if self._file.seek(0, os.SEEK_END) == 0:  # nothing began
                with contextlib.suppress(OSError):
                    os.unlink(self._file.name)
            self._file.close()


class _Parts:
    """A folder of small files, since no file at an address can grow."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._entries: list[bytes] = []
        self._put = time.monotonic()
        self._lock = threading.Lock()
        self._number = 0

    def clear(self) -> None:
        for place in places.matching(places.join(self._folder, "*.jsonl")):
            places.remove(place)

    def lines(self) -> Iterator[bytes]:
        for place in places.matching(places.join(self._folder, "*.jsonl")):
            yield from places.read(place).splitlines(keepends=True)
            self._number = int(places.base_name(place).partition(".")[0])

    def torn(self, line: bytes) -> bool:
        return False

    def add(self, entry: dict[str, Any]) -> None:
        with self._lock:
            self._entries.append(_line(entry))
            if len(self._entries) >= _PART_ROWS or time.monotonic() - self._put > _PART_SECONDS:
                self._write()

    def sync(self) -> None:
        with self._lock:
            self._write()

    def _write(self) -> None:
        if self._entries:
            self._number += 1
            places.write(places.join(self._folder, f"{self._number:08}.jsonl"), b"".join(self._entries))
            self._entries.clear()
        self._put = time.monotonic()

    def close(self) -> None:
        self.sync()


def _line(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry, ensure_ascii=False, allow_nan=False).encode("utf-8", "surrogatepass") + b"\n"


def _keep(file: BinaryIO, path: str) -> None:
    """Keep the journal to this process; the system frees it if it is killed."""
    if sys.platform == "win32":
        return
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OutputError(
            f"another bgremove batch is writing {path}; wait for it, or give another --results"
        ) from None
    except OSError:
        pass  # some network folders cannot lock


def check_table(table: str) -> None:
    """Refuse a list that could not be written in the end.

    Raises:
        OptionError: for another extension.
        MissingExtraError: for Parquet without pyarrow.
    """
    kind = os.path.splitext(places.base_name(table))[1].lower()
    if kind not in TABLES:
        raise OptionError(f"results must be a file named .csv or .parquet; got {places.shown(table)}")
    if kind == ".parquet":
        _arrow()


def write_table(table: str, rows: Iterable[Row]) -> None:
    """The list of results, as CSV or Parquet; replaced as a whole."""
    if table.lower().endswith(".parquet"):
        data = _parquet(rows)
    else:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(row.as_dict() for row in rows)
        data = text.getvalue().encode("utf-8", "replace")
    places.write(table, data, overwrite=True)


def _parquet(rows: Iterable[Row]) -> bytes:
    arrow = _arrow()
    import pyarrow.parquet as parquet

    kinds = {"width": arrow.int32(), "height": arrow.int32(), "bytes": arrow.int64()}
    kinds |= {"coverage": arrow.float32(), "seconds": arrow.float32()}
    schema = arrow.schema([(name, kinds.get(name, arrow.string())) for name in COLUMNS])
    values = (map(_readable, row.as_dict().values()) for row in rows)
    columns = list(zip(*values, strict=True)) or [()] * len(COLUMNS)
    arrays = [arrow.array(list(cells), one.type) for cells, one in zip(columns, schema, strict=True)]
    file = io.BytesIO()
    parquet.write_table(arrow.Table.from_arrays(arrays, schema=schema), file)
    return file.getvalue()


def _readable(value: Any) -> Any:
    """Names of files can hold bytes that are no text; a table cannot."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _arrow() -> Any:
    try:
        import pyarrow
    except ImportError:
        raise MissingExtraError(
            'a list of results in Parquet needs an extra: pip install "bgremove[ray]"; or name it .csv'
        ) from None
    return pyarrow
