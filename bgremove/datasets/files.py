"""The files of a folder or a zip, read one by one. Nothing is ever unpacked to a place that a zip names."""

from __future__ import annotations

import contextlib
import os
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from bgremove.errors import DataError
from bgremove.io import READABLE_EXTENSIONS
from bgremove.pairs import picture_files

MAX_FILE = 512 * 10**6
"""A file in a zip may have so many bytes."""
MAX_TOTAL = 200 * 10**9
"""All pictures of a zip together may have so many bytes."""


@dataclass(frozen=True)
class Entry:
    """A picture in a folder or in a zip.

    Attributes:
        name: its place inside, with ``/``.
        place: the folder or the zip.
        size: in bytes.
    """

    name: str
    place: Path
    size: int
    _zip: zipfile.ZipFile | None = field(default=None, repr=False, compare=False)
    _info: zipfile.ZipInfo | None = field(default=None, repr=False, compare=False)

    @property
    def label(self) -> str:
        """What messages call it."""
        return f"{self.place}/{self.name}"

    @property
    def path(self) -> Path | None:
        """Its file, if it is one."""
        return None if self._zip else self.place / self.name

    @property
    def suffix(self) -> str:
        """Its extension in lower case."""
        return PurePosixPath(self.name).suffix.lower()

    def read(self) -> bytes:
        """All of it.

        Raises:
            DataError: if it cannot be read, or is too large.
        """
        try:
            if self._zip is None or self._info is None:
                return (self.place / self.name).read_bytes()
            with self._zip.open(self._info) as file:
                data = file.read(MAX_FILE + 1)
        except (OSError, zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise DataError(f"{self.label} cannot be read: {_why(error)}") from error
        except (RuntimeError, NotImplementedError) as error:  # a password, or an unknown compression
            raise DataError(
                f"{self.label} cannot be read: {error}; unpack the zip and give its folder"
            ) from error
        if len(data) > MAX_FILE:
            raise DataError(f"{self.label} is larger than {MAX_FILE // 10**6} MB; this is no picture")
        return data

    def checksum(self) -> int:
        """The CRC-32 of its bytes; a zip knows it without reading."""
        return zlib.crc32(self.read()) if self._info is None else self._info.CRC


@dataclass(frozen=True)
class Contents:
    """What was found in some places.

    Attributes:
        entries: the pictures, sorted.
        problems: a sentence for each that is left out.
    """

    entries: tuple[Entry, ...]
    problems: tuple[str, ...]


@contextlib.contextmanager
def open_places(paths: Sequence[Path], *, without: Path | None = None) -> Iterator[Contents]:
    """The pictures of folders and zips; zips stay open meanwhile.

    Args:
        paths: what to list.
        without: a folder that does not count, the output's.

    Raises:
        DataError: if a path is neither a folder nor a zip, or a zip holds more than it should.
    """
    with contextlib.ExitStack() as stack:
        entries: list[Entry] = []
        problems: list[str] = []
        for path in dict.fromkeys(path.expanduser() for path in paths):
            if path.is_dir():
                entries += _files_of(path, without)
            else:
                archive = stack.enter_context(_open_zip(path))
                entries += _members_of(archive, path, problems)
        yield Contents(tuple(entries), tuple(problems))


def _files_of(folder: Path, without: Path | None) -> Iterator[Entry]:
    hidden = None if without is None else without.resolve()
    for path in picture_files(folder):
        if hidden is not None and hidden in path.resolve().parents:
            continue
        yield Entry(path.relative_to(folder).as_posix(), folder, path.stat().st_size)


def _open_zip(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except FileNotFoundError:
        raise DataError(f"there is no {path}; give a folder or a zip") from None
    except (OSError, zipfile.BadZipFile, ValueError) as error:
        raise DataError(f"{path} cannot be read as a zip: {_why(error)}; is it complete?") from error


def _members_of(archive: zipfile.ZipFile, path: Path, problems: list[str]) -> Iterator[Entry]:
    """The pictures of a zip, whose names are only taken if they stay inside it."""
    total = 0
    for info in sorted(archive.infolist(), key=lambda one: one.filename):
        name = info.filename.replace("\\", "/")
        parts = PurePosixPath(name).parts
        if info.is_dir() or os.path.splitext(name)[1].lower() not in READABLE_EXTENSIONS:
            continue
        if any(part.startswith(".") and part != ".." or part == "__MACOSX" for part in parts):
            continue
        if ".." in parts or name.startswith("/") or re.match(r"[A-Za-z]:", name):
            problems.append(f"{path}/{name} is left out: its name leads out of the zip")
            continue
        if info.file_size > MAX_FILE:
            problems.append(f"{path}/{name} is left out: it would have {info.file_size / 1e6:.0f} MB")
            continue
        total += info.file_size
        if total > MAX_TOTAL:
            raise DataError(
                f"{path} would unpack to more than {MAX_TOTAL / 1e9:.0f} GB; if you trust it, unpack it "
                "and give its folder"
            )
        yield Entry("/".join(parts), path, info.file_size, archive, info)


def _why(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error)
