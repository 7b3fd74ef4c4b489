"""Model files: where they live, how they are fetched, and that they are what they should be.

A file is kept in ``home()/models``. Its digest is checked when it is downloaded and again before
its first use in each process, so neither a broken download nor a file changed later is ever loaded.
A download that breaks off leaves a ``.part`` file, and the next one goes on from there.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bgremove.downloads import digest_like, failure, process_lock, retrieve
from bgremove.errors import WeightsError

_verified: dict[Path, tuple[str, int, int]] = {}  # digest, mtime and size when last hashed
_thread_locks: dict[Path, threading.Lock] = {}


@dataclass(frozen=True)
class Weights:
    """A published model file.

    Attributes:
        url: where it is downloaded from.
        digest: ``md5:...`` or ``sha256:...`` in hexadecimal, or ``md5-24:...`` where no more than the first
            24 bits are published.
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

    @property
    def size_text(self) -> str:
        """Its size in words, ``176 MB`` or ``4.6 MB``; empty if not known."""
        size = self.size_mb
        return f"{size:.0f} MB" if size and size >= 10 else f"{size:.1f} MB" if size else ""


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
        found = digest_like(path, expected)
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror or error}") from error
    if found == expected:
        _verified[path] = stamp
    return found


def _download_once(weights: Weights, name: str, path: Path, progress: bool) -> None:
    """Download to `path`, unless another thread or process has done so meanwhile."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _thread_locks.setdefault(path, threading.Lock()), process_lock(path):
            if not path.is_file():
                _retrieve(weights, name, path, progress)
    except OSError as error:  # the errors of requests are OSErrors too
        raise WeightsError(
            f"{name} needs {weights.url}{_size(weights)}, which could not be downloaded to {path} "
            f"({failure(error, path)}): put the file there by hand, name another place with --model-file "
            "or model_file, or move the cache with BGREMOVE_HOME"
        ) from error


def _retrieve(weights: Weights, name: str, path: Path, progress: bool) -> None:
    """Download to `path`; a file with another digest is not kept."""
    try:
        retrieve(weights.url, path, weights.digest, label=name + _size(weights), progress=progress)
    except ValueError as error:
        if isinstance(error, OSError):  # some errors of requests are both
            raise
        raise WeightsError(
            f"{weights.url} sent another file than {name} (expected {weights.digest}); nothing of it "
            f"was kept: try again, or put the right file at {path}"
        ) from error


def _size(weights: Weights) -> str:
    return f" ({weights.size_mb:.0f} MB)" if weights.size_mb else ""
