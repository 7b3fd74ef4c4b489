"""Downloads that go on where the last one broke off, for one process at a time.

What has come so far is kept beside the file to be, as ``.part``.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import requests

_CHUNK = 1 << 16  # a connection that breaks loses at most this much
_TIMEOUT = (10, 60)  # seconds to connect, and between two pieces of the body


def retrieve(url: str, path: Path, digest: str | None = None, *, label: str, progress: bool = True) -> None:
    """Download `url` to `path`, which appears only once all of it is there.

    Args:
        url: its address.
        path: where it goes; its folder is there.
        digest: as for :func:`digest_like`, which it must have, or None. A file with another one is removed.
        label: what the progress bar says.
        progress: show a progress bar on stderr.

    Raises:
        OSError: if it cannot be had, or not be written; :func:`failure` says why in a few words.
        ValueError: if it has another digest.
    """
    import pooch

    downloader = _Downloader(_part(path), label, progress, digest)
    with _quiet(pooch.get_logger()):
        pooch.retrieve(url, None, path.name, path.parent, downloader=downloader)


def digest_like(path: Path, expected: str) -> str:
    """The digest of a file, written as `expected` is: it has the expected one if the two are equal.

    Args:
        expected: ``md5:...`` or ``sha256:...`` in hexadecimal, or ``md5-24:...``, of which the first 24
            bits are known only. That finds broken files, but not one made on purpose.

    Raises:
        OSError: if the file cannot be read.
    """
    kind = expected.partition(":")[0]
    algorithm, _, bits = kind.partition("-")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()
    return f"{kind}:{digest[: int(bits) // 4] if bits else digest}"


def failure(error: OSError, path: Path) -> str:
    """Why the download of `path` failed, in a few words."""
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answered {error.response.status_code} {error.response.reason}".rstrip()
    if isinstance(error, requests.Timeout):
        return "the server did not answer in time"
    if not isinstance(error, requests.RequestException):
        return error.strerror or str(error)
    part = _part(path)
    if part.exists() and part.stat().st_size:
        return f"the connection failed; the next try goes on from byte {part.stat().st_size}"
    return "there is no connection to the server"


@contextlib.contextmanager
def process_lock(path: Path) -> Iterator[None]:
    """Keep `path` to this process meanwhile, by a ``.lock`` beside it; others wait.

    The system frees it even if this process is killed.

    Raises:
        OSError: if the ``.lock`` cannot be written.
    """
    with path.with_name(path.name + ".lock").open("ab") as file:
        if sys.platform == "win32":
            import msvcrt

            while True:
                try:
                    msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
                    break
                except OSError:  # it gives up after ten seconds
                    continue
        else:
            import fcntl

            # Some network folders cannot lock. There two processes may spoil each other's part
            # file, which the digest then refuses.
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")


class _Downloader:
    """A pooch downloader that goes on from where the last one broke off.

    Args:
        part: what has been received so far; kept when the download breaks off.
        label: what the progress bar says.
        progress: show it.
        digest: what the whole file must have, or None.
    """

    def __init__(self, part: Path, label: str, progress: bool, digest: str | None) -> None:
        self.part, self.label, self.progress, self.digest = part, label, progress, digest

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        import requests

        start = self.part.stat().st_size if self.part.exists() else 0
        with requests.Session() as session:
            response = _get(session, url, start)
            if response.status_code == 416 and not _is_whole(response, start):
                response.close()
                response = _get(session, url, 0)
            with response:
                if response.status_code != 416:  # else the part file is whole already
                    self._receive(response)
        os.replace(self.part, output_file)
        found = self.digest and digest_like(Path(output_file), self.digest)
        if found != self.digest:
            raise ValueError(f"expected {self.digest}, got {found}")

    def _receive(self, response: requests.Response) -> None:
        """Write the body into the part file, at the place where it belongs."""
        from requests import ConnectionError
        from tqdm import tqdm

        response.raise_for_status()
        start, total = _span(response)
        with (
            self.part.open("r+b" if start else "wb") as file,
            tqdm(
                desc=self.label,
                total=total,
                initial=start,
                unit="B",
                unit_scale=True,
                file=sys.stderr,
                disable=not self.progress,
            ) as bar,
        ):
            file.seek(start)
            file.truncate()
            for chunk in response.iter_content(_CHUNK):
                bar.update(file.write(chunk))
            received = file.tell()
        if total is not None and received != total:
            raise ConnectionError(f"received {received} of {total} bytes")


def _get(session: requests.Session, url: str, start: int) -> requests.Response:
    """Ask for the bytes of `url` from `start` on, as they are, not compressed."""
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    return session.get(url, headers=headers, stream=True, timeout=_TIMEOUT)


def _is_whole(response: requests.Response, size: int) -> bool:
    """Whether a "range not satisfiable" was answered because all `size` bytes are here."""
    return size > 0 and response.headers.get("Content-Range", "").rpartition("/")[2] == str(size)


def _span(response: requests.Response) -> tuple[int, int | None]:
    """Where in the file the body starts, and the file's size if the server says."""
    if response.status_code == 206:
        found = re.match(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
        if found:
            return int(found[1]), int(found[2])
    length = response.headers.get("Content-Length")
    return 0, int(length) if length else None


@contextlib.contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """Only warnings from `logger` meanwhile."""
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
