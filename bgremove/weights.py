"""Model files: where they live, how they are fetched, and that they are what they should be.

A file is kept in ``home()/models``. Its digest is checked when it is downloaded and again before
its first use in each process, so neither a broken download nor a file changed later is ever loaded.
A download that breaks off leaves a ``.part`` file, and the next one goes on from there.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from bgremove.errors import WeightsError

if TYPE_CHECKING:
    import requests

_CHUNK = 1 << 16  # a connection that breaks loses at most this much
_TIMEOUT = (10, 60)  # seconds to connect, and between two pieces of the body
_verified: dict[Path, tuple[str, int, int]] = {}  # digest, mtime and size when last hashed
_thread_locks: dict[Path, threading.Lock] = {}


@dataclass(frozen=True)
class Weights:
    """A published model file.

    Attributes:
        url: where it is downloaded from.
        digest: ``md5:...`` or ``sha256:...``, in hexadecimal.
        size_mb: its size in megabytes (10^6 bytes), None if not known.
        file: its name in the cache; the last part of `url` if not given.
        packaged: True if it comes in the package itself, in ``bgremove/assets``; it has no `url`.
    """

    url: str
    digest: str
    size_mb: float | None = None
    file: str = ""
    packaged: bool = False

    @property
    def file_name(self) -> str:
        """The name of the file in the cache."""
        return self.file or unquote(urlsplit(self.url).path).rpartition("/")[2]


def rembg_release(file: str, md5: str, size_mb: float) -> Weights:
    """`file` of the release in which the rembg project publishes networks of many authors."""
    return Weights(
        f"https://github.com/danielgatis/rembg/releases/download/v0.0.0/{file}", f"md5:{md5}", size_mb
    )


def home() -> Path:
    """The folder of everything that is kept: ``$BGREMOVE_HOME``, or the user's cache folder."""
    chosen = os.environ.get("BGREMOVE_HOME")
    if chosen:
        return Path(chosen).expanduser()
    import pooch

    return Path(pooch.os_cache("bgremove"))


def weights_path(weights: Weights) -> Path:
    """Where the file of `weights` is, or would be, kept."""
    if weights.packaged:
        return Path(str(resources.files("bgremove") / "assets" / weights.file_name))
    return home() / "models" / weights.file_name


def is_downloaded(weights: Weights) -> bool:
    """Whether the file is there (its digest is checked when it is used)."""
    return weights_path(weights).is_file()


def fetch_weights(
    weights: Weights, *, name: str, model_file: Path | None = None, progress: bool = True
) -> Path:
    """The local file of `weights`, downloaded if need be, with the right digest.

    Safe to call from several threads and processes at once: one downloads, the others wait.

    Args:
        name: the model's name, for messages.
        model_file: use this file instead of the cached one; it is never downloaded or changed.
        progress: show a progress bar on stderr.

    Raises:
        WeightsError: if it cannot be had, or has another digest. A file with the wrong digest is
            left where it is, and not used; a wrong download is removed.
    """
    if model_file is not None:
        return _own_file(weights, name, model_file.expanduser())
    path = weights_path(weights)
    if not path.is_file():
        if weights.packaged:
            raise WeightsError(f"{path} is missing, which comes with bgremove; install bgremove again")
        _download_once(weights, name, path, progress)
    found = _digest_if_new(path, weights.digest)
    if found != weights.digest and weights.packaged:
        raise WeightsError(
            f"{path} is not the file that came with bgremove: expected {weights.digest}, got {found}; "
            "install bgremove again"
        )
    if found != weights.digest:
        raise WeightsError(
            f"{path} is not the published file of {name}: expected {weights.digest}, got {found}; "
            "delete it to download it again, or move it away to keep it"
        )
    return path


def _own_file(weights: Weights, name: str, path: Path) -> Path:
    if not path.is_file():
        where = "comes with bgremove" if weights.packaged else f"is published at {weights.url}"
        raise WeightsError(f"there is no model file {path}; {name} {where}")
    found = _digest_if_new(path, weights.digest)
    if found != weights.digest:
        raise WeightsError(
            f"{path} is not the published file of {name}: expected {weights.digest}, got {found}; "
            f"a network of your own goes as onnx:{path}"
        )
    return path


def _digest_if_new(path: Path, expected: str) -> str:
    """The file's digest; hashed once per process unless the file has changed since."""
    try:
        path = path.resolve()
        state = path.stat()
        stamp = (expected, state.st_mtime_ns, state.st_size)
        if _verified.get(path) == stamp:
            return expected
        algorithm = expected.partition(":")[0]
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False))
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror or error}") from error
    found = f"{algorithm}:{digest.hexdigest()}"
    if found == expected:
        _verified[path] = stamp
    return found


def _download_once(weights: Weights, name: str, path: Path, progress: bool) -> None:
    """Download to `path`, unless another thread or process has done so meanwhile."""
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            _thread_locks.setdefault(path, threading.Lock()),
            _process_lock(path.with_name(path.name + ".lock")),
        ):
            if not path.is_file():
                _retrieve(weights, name, path, part, progress)
    except OSError as error:  # the errors of requests are OSErrors too
        raise WeightsError(
            f"{name} needs {weights.url}{_size(weights)}, which could not be downloaded to {path} "
            f"({_reason(error, part)}): put the file there by hand, name another place with --model-file "
            "or model_file, or move the cache with BGREMOVE_HOME"
        ) from error


def _retrieve(weights: Weights, name: str, path: Path, part: Path, progress: bool) -> None:
    """Download through pooch, which moves the file to `path` only if its digest is right."""
    import pooch

    downloader = _Downloader(part, name + _size(weights), progress)
    with _quiet(pooch.get_logger()):
        try:
            pooch.retrieve(weights.url, weights.digest, path.name, path.parent, downloader=downloader)
        except ValueError as error:
            if isinstance(error, OSError):  # some errors of requests are both
                raise
            raise WeightsError(
                f"{weights.url} sent another file than {name} (expected {weights.digest}); nothing of it "
                f"was kept: try again, or put the right file at {path}"
            ) from error


class _Downloader:
    """A pooch downloader that goes on from where the last one broke off.

    Args:
        part: what has been received so far; kept when the download breaks off.
        label: what the progress bar says.
        progress: show it.
    """

    def __init__(self, part: Path, label: str, progress: bool) -> None:
        self.part, self.label, self.progress = part, label, progress

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


def _reason(error: OSError, part: Path) -> str:
    """Why the download failed, in a few words."""
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answered {error.response.status_code} {error.response.reason}".rstrip()
    if isinstance(error, requests.Timeout):
        return "the server did not answer in time"
    if not isinstance(error, requests.RequestException):
        return error.strerror or str(error)
    if part.exists() and part.stat().st_size:
        return f"the connection failed; the next try goes on from byte {part.stat().st_size}"
    return "there is no connection to the server"


def _size(weights: Weights) -> str:
    return f" ({weights.size_mb:.0f} MB)" if weights.size_mb else ""


@contextlib.contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """Only warnings from `logger` meanwhile."""
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def _process_lock(path: Path) -> Iterator[None]:
    """Hold `path` against other processes; freed by the system even if this one is killed."""
    with path.open("ab") as file:
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
