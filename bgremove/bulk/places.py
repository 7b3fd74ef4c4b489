"""Files of this machine, and those at addresses such as ``s3://bucket/photos``, by one set of functions.

A place is a text: a path, or an address with ``://`` in it, which fsspec opens. Paths need no package.
"""

from __future__ import annotations

import contextlib
import glob
import os
import posixpath
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from bgremove.errors import BGRemoveError, ImageError, MissingExtraError, OutputError
from bgremove.io import READABLE_EXTENSIONS, make_folder, write_bytes

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_SECRET = re.compile(r"(?<=://)[^/@\s]+@")
_WHOLE_PUTS = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss"}
"""Where an object appears only when all of it is there, and a rename is a copy."""


def is_address(place: str) -> bool:
    """Is it one that fsspec opens? A path with a drive, ``C:\\photos``, is none."""
    return _ADDRESS.match(place) is not None


def local(place: str) -> str:
    """``file:///photos/a.jpg`` as a path; all else as it is."""
    return unquote(urlsplit(place).path) if place.lower().startswith("file://") else place


def shown(place: str) -> str:
    """For messages and lists: without a user's name and password, ``http://me:secret@host``."""
    return _SECRET.sub("", place) if is_address(place) else place


def join(folder: str, name: str) -> str:
    """`name`, with slashes, inside a folder."""
    return posixpath.join(folder, name) if is_address(folder) else os.path.join(folder, *name.split("/"))


def parent(place: str) -> str:
    """The folder it is in."""
    return posixpath.dirname(place) if is_address(place) else os.path.dirname(place)


def base_name(place: str) -> str:
    """The last part, of an address without its query."""
    if not is_address(place):
        return os.path.basename(place)
    path = urlsplit(place).path if place.lower().startswith("http") else place
    return unquote(posixpath.basename(path.rstrip("/")))


def is_folder(place: str) -> bool:
    """Is it one? Addresses of the web never are, since there one cannot look."""
    if not is_address(place):
        return os.path.isdir(place)
    if place.lower().startswith("http"):
        return False
    fs, path = _opened(place)
    with _said(place, "read"):
        return bool(fs.isdir(path))


def is_pattern(place: str) -> bool:
    """Does it stand for several files (``*``, ``?``, ``[``), and is no file itself?"""
    if not glob.has_magic(place) or place.lower().startswith("http"):
        return False
    return is_address(place) or not os.path.exists(place)


def matching(pattern: str) -> list[str]:
    """The files that a pattern stands for, sorted."""
    if not is_address(pattern):
        return sorted(one for one in glob.glob(pattern, recursive=True) if os.path.isfile(one))
    fs, path = _opened(pattern)
    with _said(pattern, "read"):
        found = fs.glob(path, detail=True)
    return sorted(fs.unstrip_protocol(one) for one, info in found.items() if info["type"] == "file")


def pictures_in(folder: str) -> Iterator[str]:
    """Pictures under a folder and its subfolders, by their extension, each as its name in it, with slashes.

    Hidden files and folders are left out.
    """
    if is_address(folder):
        fs, path = _opened(folder)
        with _said(folder, "read"):
            found = fs.find(path)
        root = fs._strip_protocol(path).rstrip("/") + "/"
        names: Iterator[str] = iter(sorted(str(one).removeprefix(root) for one in found))
    else:
        names = _names_under(folder)
    for name in names:
        hidden = any(part.startswith(".") for part in name.split("/"))
        if posixpath.splitext(name)[1].lower() in READABLE_EXTENSIONS and not hidden:
            yield name


def names_in(folder: str) -> set[str]:
    """What is in a folder at an address; nothing if it is not there."""
    fs, path = _opened(folder)
    try:
        with _said(folder, "read"):
            fs.invalidate_cache(path)
            return {posixpath.basename(str(one).rstrip("/")) for one in fs.ls(path, detail=False)}
    except ImageError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return set()
        raise


def _names_under(folder: str) -> Iterator[str]:
    def refuse(error: OSError) -> None:
        raise ImageError(
            f"the folder {error.filename} cannot be opened: {error.strerror or error}; check its permissions"
        )

    for where, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(one for one in folders if not one.startswith("."))
        inside = os.path.relpath(where, folder).replace(os.sep, "/")
        yield from (name if inside == "." else f"{inside}/{name}" for name in sorted(names))


def source(place: str) -> str | bytes:
    """What :func:`~bgremove.io.open_picture` takes: a path as it is, what lies at an address as bytes."""
    return read(place) if is_address(place) else place


def read(place: str) -> bytes:
    """All of a file.

    Raises:
        ImageError: if it is not there, or cannot be read.
    """
    if not is_address(place):
        with _said(place, "read"):
            return Path(place).read_bytes()
    fs, path = _opened(place)
    with _said(place, "read"):
        data: bytes = fs.cat_file(path)
        return data


def state(place: str) -> str:
    """A text that changes when the file there does; empty if there is none."""
    if not is_address(place):
        try:
            found = os.stat(place)
        except OSError:
            return ""
        return f"{found.st_ino}:{found.st_mtime_ns}:{found.st_size}"
    fs, path = _opened(place)
    try:
        with _said(place, "read"):
            fs.invalidate_cache(posixpath.dirname(path))
            info = fs.info(path)
    except ImageError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return ""
        raise
    # Whatever the file system tells; without what changes by looking.
    known = ("ETag", "etag", "LastModified", "updated", "mtime", "created", "size", "md5Hash", "generation")
    return ":".join(str(info[key]) for key in known if key in info)


def write(place: str, data: bytes, *, overwrite: bool = False) -> None:
    """Write a file whole or not at all: under another name first, then renamed.

    Raises:
        OutputError: if it exists and may not be overwritten, or cannot be written.
    """
    if not is_address(place):
        make_folder(Path(place).parent)
        return write_bytes(Path(place), data, overwrite=overwrite)
    if not overwrite and state(place):
        raise OutputError(f"{shown(place)} exists; add --overwrite to replace it, or --skip-existing")
    fs, path = _opened(place)
    protocols = {fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)
    with _said(place, "written"):
        if protocols & _WHOLE_PUTS:
            return fs.pipe_file(path, data)  # type: ignore[no-any-return]
        folder, name = posixpath.split(path)
        fs.makedirs(folder, exist_ok=True)
        temporary = posixpath.join(folder, f".bgremove-{secrets.token_hex(8)}.part")
        try:
            fs.pipe_file(temporary, data)
            if fs.exists(path):
                fs.rm_file(path)  # not every file system renames over another file
            fs.mv(temporary, posixpath.join(folder, name))
        finally:
            with contextlib.suppress(Exception):
                if fs.exists(temporary):
                    fs.rm_file(temporary)


def remove(place: str) -> None:
    """Remove a file at an address."""
    fs, path = _opened(place)
    with _said(place, "written"):
        fs.rm_file(path)


def _opened(place: str) -> tuple[Any, str]:
    """The file system of an address, and the path in it."""
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise MissingExtraError(
            f'{shown(place)} needs the package fsspec: pip install "bgremove[ray]", or pip install fsspec'
        ) from None
    scheme = place.partition("://")[0]
    try:
        fs, path = url_to_fs(place)
    except ImportError as error:  # says which package has it
        raise MissingExtraError(f"{scheme}:// cannot be opened here: {_line(error)}") from None
    except ValueError as error:
        raise ImageError(f"{shown(place)} cannot be opened: {_line(error)}; check the address") from None
    except Exception as error:
        raise ImageError(
            f"{shown(place)} cannot be opened: {_line(error)}; check the access to it"
        ) from error
    return fs, str(path)


@contextlib.contextmanager
def _said(place: str, done: str) -> Iterator[None]:
    """Each store fails in a way of its own; the user gets one sentence."""
    kind = ImageError if done == "read" else OutputError
    try:
        yield
    except BGRemoveError:
        raise
    except FileNotFoundError as error:
        raise kind(f"{shown(place)} does not exist; check the path or the address") from error
    except Exception as error:
        raise kind(f"{shown(place)} cannot be {done}: {_line(error)}; check the access to it") from error


def _line(error: BaseException) -> str:
    """The first line of what an error says, or its kind."""
    text = getattr(error, "strerror", None) or str(error)
    lines = str(text).strip().splitlines() or [type(error).__name__]
    return _SECRET.sub("", lines[0]).rstrip(".")
