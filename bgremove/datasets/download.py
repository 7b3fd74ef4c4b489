"""Fetches published data sets: kept in the cache, gone on with after a break, checked where possible."""

from __future__ import annotations

import hashlib
import importlib
import re
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bgremove.datasets import DataSource, Download
from bgremove.downloads import failure, process_lock, retrieve
from bgremove.errors import DataError, MissingExtraError, OptionError
from bgremove.weights import home


@dataclass(frozen=True)
class Archive:
    """A downloaded file.

    Attributes:
        path: where it is kept.
        url: where it came from.
        sha256: its digest.
        checked: whether the digest is the one that was expected; False where none is known.
    """

    path: Path
    url: str
    sha256: str
    checked: bool


def fetch_archive(download: Download, *, url: str = "", sha256: str = "", progress: bool = True) -> Archive:
    """The published zip, downloaded if it is not in the cache.

    Args:
        download: what is published, and where.
        url: another address to take it from.
        sha256: its digest, if you know it; overrides the table's.
        progress: show a progress bar on stderr.

    Raises:
        OptionError: if `sha256` is no digest.
        DataError: if it cannot be had, is no zip, or has another digest. A wrong download is not kept.
    """
    expected = (sha256 or download.sha256).lower().removeprefix("sha256:")
    if expected and not re.fullmatch(r"[0-9a-f]{64}", expected):
        raise OptionError(f"sha256 must be 64 hexadecimal digits; got {sha256!r}")
    if url:
        name = unquote(urlsplit(url).path).rpartition("/")[2] or download.file
        download = replace(download, url=url, file=name)
    path = home() / "datasets" / download.file
    fresh = _fetch(download, path, progress)
    found = _digest(path)
    if expected and found != expected:
        if fresh:
            path.unlink()
        raise DataError(
            f"{path} is not the file that was expected: its sha256 is {found}, not {expected}; "
            + ("it was not kept: try again" if fresh else "delete it to download it again")
        )
    return Archive(path, download.url, found, bool(expected))


def _fetch(download: Download, path: Path, progress: bool) -> bool:
    """Download to `path` unless it is there; whether it was downloaded now."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with process_lock(path):
            if path.is_file():
                return False
            retrieve(download.url, path, label=download.file, progress=progress)
    except (OSError, ValueError) as error:  # the errors of requests are OSErrors; ValueError is a bad URL
        why = failure(error, path) if isinstance(error, OSError) else error
        raise DataError(
            f"{download.file} could not be downloaded from {download.url} ({why}); try again, or get it by "
            f"hand from {download.page} and give its path"
        ) from error
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            head = file.read(16)
        path.unlink()
        raise DataError(
            f"{download.url} sent no zip (it begins with {head!r}), as a server does that asks to log in or "
            f"to wait; get it by hand from {download.page} and give its path"
        )
    return True


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch_from_kaggle(source: DataSource) -> Path:
    """The folder of a data set of Kaggle, downloaded into kagglehub's own cache if it is not there.

    Raises:
        MissingExtraError: without the extra ``kaggle``.
        DataError: if it cannot be had.
    """
    try:
        kagglehub = importlib.import_module("kagglehub")
    except ImportError as error:
        raise MissingExtraError(
            f'downloading {source.name} needs kagglehub: pip install "bgremove[kaggle]"'
        ) from error
    try:
        return Path(kagglehub.dataset_download(source.kaggle))
    except Exception as error:  # it has a dozen kinds, and passes on those of requests
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(
            f"{source.kaggle} could not be downloaded from Kaggle ({why}); try again, or get it by hand from "
            f"https://www.kaggle.com/datasets/{source.kaggle} and give its path"
        ) from error
