"""Source code in an archive: read without trusting it, and checked by what git calls it.

The bytes of an archive that a code host makes are not always the same, so they have no lasting digest.
What is in it has one: git names a folder by its tree id, the digest of all names, modes and contents under
it. Nothing here writes to the disk.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bgremove.errors import WeightsError

_MOST_BYTES = 64 << 20  # unpacked
_MOST_FILES = 20_000


@dataclass(frozen=True)
class SourceFile:
    """A file of an archive.

    Attributes:
        mode: as git writes it: an ordinary file, an executable one, or a link.
        data: its bytes; where a link leads.
    """

    mode: Literal["100644", "100755", "120000"]
    data: bytes


def read_archive(path: Path) -> dict[str, SourceFile]:
    """The files of a ``.tar.gz`` or ``.zip``, by name, without the one folder that holds them all.

    Raises:
        WeightsError: if it cannot be read, is neither, is unreasonably large, or holds anything that would
            lie or lead outside of its folder.
    """
    found: dict[str, SourceFile] = {}
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise _Unsafe("it is too large")
        members = _zip_files if zipfile.is_zipfile(path) else _tar_files
        for name, file in members(path):
            if not _inside(name):
                raise _Unsafe(f"its file {name!r} would lie outside of its folder")
            if file.mode == "120000" and not _leads_inside(name, file.data):
                raise _Unsafe(f"its link {name!r} leads outside of its folder")
            if name in found or len(found) == _MOST_FILES:
                raise _Unsafe(f"it holds {name!r} twice" if name in found else "it holds too many files")
            found[name] = file
    except _Unsafe as error:
        raise WeightsError(f"{path} cannot be used: {error}; nothing of it was unpacked") from error
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError) as error:
        raise WeightsError(f"{path} is no .tar.gz or .zip, or is damaged ({error}); get it again") from error
    except OSError as error:
        if error.errno is None:  # gzip's own
            raise WeightsError(f"{path} is no .tar.gz or .zip ({error}); get it again") from error
        raise WeightsError(f"cannot read {path}: {error.strerror}") from error
    tops = {name.partition("/")[0] for name in found}
    if len(tops) == 1 and all("/" in name for name in found):
        return {name.partition("/")[2]: file for name, file in found.items()}
    return found


def tree_id(files: Mapping[str, SourceFile]) -> str:
    """What git calls a folder of `files`: its tree id, 40 hexadecimal digits.

    Raises:
        WeightsError: if a name is a file and a folder at once.
    """
    root: dict[str, Any] = {}
    for name, file in files.items():
        *folders, last = name.split("/")
        here = root
        for folder in folders:
            here = here.setdefault(folder, {})
            if isinstance(here, SourceFile):
                raise WeightsError(f"{folder!r} is a file and a folder at once; get the archive again")
        if last in here:
            raise WeightsError(f"{last!r} is a file and a folder at once; get the archive again")
        here[last] = file
    return _tree(root).hex()


def manifest(files: Mapping[str, SourceFile]) -> str:
    """A line ``mode sha256 name`` for each file, in the order of their names."""
    lines = (
        f"{file.mode} {hashlib.sha256(file.data).hexdigest()} {name}\n" for name, file in sorted_files(files)
    )
    return "".join(lines)


def sorted_files(files: Mapping[str, SourceFile]) -> list[tuple[str, SourceFile]]:
    """`files` by the bytes of their names, alike on every machine."""
    return sorted(files.items(), key=lambda item: item[0].encode())


class _Unsafe(Exception):
    """Says what is wrong with an archive."""


def _tar_files(path: Path) -> Iterator[tuple[str, SourceFile]]:
    with gzip.open(path) as file:
        data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise _Unsafe("it unpacks to too much")
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        for member in archive:
            if member.issym():
                yield member.name, SourceFile("120000", member.linkname.encode())
            elif member.isreg():
                content = archive.extractfile(member)
                assert content is not None  # of a regular file
                mode = "100755" if member.mode & stat.S_IXUSR else "100644"
                yield member.name, SourceFile(mode, content.read())  # type: ignore[arg-type]
            elif not member.isdir():
                raise _Unsafe(f"{member.name!r} in it is neither a file, a folder nor a link")


def _zip_files(path: Path) -> Iterator[tuple[str, SourceFile]]:
    with zipfile.ZipFile(path) as archive:
        if sum(info.file_size for info in archive.infolist()) > _MOST_BYTES:
            raise _Unsafe("it unpacks to too much")
        for info in archive.infolist():
            if info.is_dir():
                continue
            mode = info.external_attr >> 16
            kind = "120000" if stat.S_ISLNK(mode) else "100755" if mode & stat.S_IXUSR else "100644"
            yield info.filename, SourceFile(kind, archive.read(info))  # type: ignore[arg-type]


def _inside(name: str) -> bool:
    """Whether `name` is the plain name of something in a folder, on every system."""
    parts = name.split("/")
    return not any(part in ("", ".", "..") for part in parts) and not set(name) & set("\\:\0")


def _leads_inside(name: str, target: bytes) -> bool:
    """Whether a link of that name stays in the folder that holds everything."""
    parts = name.split("/")[:-1]
    if target.startswith(b"/") or b"\\" in target or b":" in target:
        return False
    for part in target.decode(errors="replace").split("/"):
        if part == "..":
            if not parts:
                return False
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return True


def _tree(folder: Mapping[str, Any]) -> bytes:
    """Git's digest of a folder: that of its entries, each with its own digest."""
    entries: list[tuple[bytes, str, bytes]] = []
    for name, inside in folder.items():
        if isinstance(inside, SourceFile):
            entries.append((name.encode(), inside.mode, _git_digest("blob", inside.data)))
        else:
            entries.append((name.encode() + b"/", "40000", _tree(inside)))  # folders sort as if they end so
    packed = b"".join(
        mode.encode() + b" " + name.rstrip(b"/") + b"\0" + digest for name, mode, digest in sorted(entries)
    )
    return _git_digest("tree", packed)


def _git_digest(kind: str, data: bytes) -> bytes:
    header = f"{kind} {len(data)}\0".encode()
    return hashlib.sha1(header + data, usedforsecurity=False).digest()
