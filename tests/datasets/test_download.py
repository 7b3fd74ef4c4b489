"""Data sets fetched from a real server on this machine: whole, resumed, wrong and refused."""

from __future__ import annotations

import hashlib
import io
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bgremove.datasets import SOURCES, Download
from bgremove.datasets.download import fetch_archive, fetch_from_kaggle
from bgremove.errors import DataError, MissingExtraError, OptionError
from tests.http_server import Server, serving


def body() -> bytes:
    """A zip with two megabytes of noise."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("noise.bin", np.random.default_rng(0).bytes(2_000_000))
    return file.getvalue()


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(body(), "set.zip", "mirror.zip") as server:
        yield server


@pytest.fixture
def download(server: Server) -> Download:
    return Download(server.url, "SET.zip", "http://its.page")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where downloads are kept in these tests."""
    monkeypatch.setenv("BGREMOVE_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "datasets"


def test_a_download_is_kept_and_its_digest_told(server: Server, download: Download, cache: Path) -> None:
    for _ in range(2):
        archive = fetch_archive(download, progress=False)
        assert archive.path == cache / "SET.zip" and archive.path.read_bytes() == server.body
        assert archive.sha256 == hashlib.sha256(server.body).hexdigest()
        assert archive.url == download.url and not archive.checked
    assert server.requests == [None]


def test_a_broken_download_goes_on(server: Server, download: Download, cache: Path) -> None:
    server.cut = 700_000
    with pytest.raises(
        DataError, match="SET.zip could not be downloaded from .*the next try goes on from byte"
    ):
        fetch_archive(download, progress=False)
    assert not (cache / "SET.zip").exists()
    kept = (cache / "SET.zip.part").stat().st_size
    assert 0 < kept <= 700_000
    assert fetch_archive(download, progress=False).path.read_bytes() == server.body
    assert server.requests == [None, f"bytes={kept}-"]


def test_a_known_digest_is_checked(server: Server, download: Download, cache: Path) -> None:
    right, wrong = hashlib.sha256(server.body).hexdigest(), "0" * 64
    with pytest.raises(DataError, match=f"its sha256 is {right}, not {wrong}; it was not kept"):
        fetch_archive(download, sha256=wrong, progress=False)
    assert not (cache / "SET.zip").exists()
    assert fetch_archive(download, sha256=right.upper(), progress=False).checked
    with pytest.raises(DataError, match="delete it to download it again"):
        fetch_archive(download, sha256=wrong, progress=False)
    assert (cache / "SET.zip").exists()
    with pytest.raises(OptionError, match="sha256 must be 64 hexadecimal digits; got '12'"):
        fetch_archive(download, sha256="12", progress=False)


def test_a_page_instead_of_a_zip_is_not_kept(server: Server, download: Download, cache: Path) -> None:
    server.body = b"<!DOCTYPE html><html>Too many users have viewed this file recently</html>"
    with pytest.raises(
        DataError, match="sent no zip .*DOCTYPE.*get it by hand from http://its.page and give"
    ):
        fetch_archive(download, progress=False)
    assert not (cache / "SET.zip").exists()


def test_no_server_and_no_such_file(server: Server, download: Download, cache: Path) -> None:
    address = server.url
    with pytest.raises(
        DataError, match=r"\(the server answered 404 Not Found\); try again, or get it by hand"
    ):
        fetch_archive(download, url=address.replace(".zip", ".tar"), progress=False)
    with pytest.raises(DataError, match="there is no connection to the server"):
        fetch_archive(Download("http://127.0.0.1:9/set.zip", "a.zip", "http://its.page"), progress=False)
    with pytest.raises(DataError, match="could not be downloaded from nonsense"):
        fetch_archive(download, url="nonsense", progress=False)
    other = address.replace("set", "mirror")
    assert fetch_archive(download, url=other, progress=False).path == cache / "mirror.zip"


# Kaggle ---------------------------------------------------------------------------------------------


def test_kaggle_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(
        MissingExtraError, match=r'aisegment needs kagglehub: pip install "bgremove\[kaggle\]"'
    ):
        fetch_from_kaggle(SOURCES["aisegment"])


@pytest.fixture
def kagglehub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of that name that answers without Kaggle; the real one needs it."""
    (tmp_path / "modules").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    monkeypatch.delitem(sys.modules, "kagglehub", raising=False)
    yield tmp_path / "modules" / "kagglehub.py"
    sys.modules.pop("kagglehub", None)


def test_kaggle_gives_a_folder(kagglehub: Path) -> None:
    kagglehub.write_text("def dataset_download(handle): return '/kept/' + handle\n")
    handle = "laurentmih/aisegmentcom-matting-human-datasets"
    assert fetch_from_kaggle(SOURCES["aisegment"]) == Path("/kept") / handle


def test_what_goes_wrong_at_kaggle_is_one_sentence(kagglehub: Path) -> None:
    kagglehub.write_text("def dataset_download(handle): raise RuntimeError('403\\n\\nlog in  first')\n")
    with pytest.raises(DataError, match=r"from Kaggle \(403 log in first\); try again, or get it by hand"):
        fetch_from_kaggle(SOURCES["aisegment"])
