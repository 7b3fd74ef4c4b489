"""Downloads from a real server on this machine: whole, resumed, refused, broken and wrong."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bgremove.errors import WeightsError
from bgremove.weights import Weights, fetch_weights, home, is_downloaded, rembg_release, weights_path
from tests.http_server import Server, serving

BODY = np.random.default_rng(0).bytes(3_000_000)
DIGEST = "sha256:" + hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(BODY, "net.onnx") as server:
        yield server


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty BGREMOVE_HOME."""
    monkeypatch.setenv("BGREMOVE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def weights(server: Server) -> Weights:
    return Weights(server.url, DIGEST, 3.0)


def kept(cache: Path) -> set[str]:
    """The files of the cache that hold anything."""
    return {path.name for path in (cache / "models").iterdir() if path.stat().st_size}


def test_home_is_the_folder_that_the_environment_names(
    cache: Path, weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert home() == cache
    assert weights_path(weights) == cache / "models" / "net.onnx"
    monkeypatch.setenv("BGREMOVE_HOME", "~/elsewhere")
    assert home() == Path.home() / "elsewhere"
    monkeypatch.delenv("BGREMOVE_HOME")
    assert home().name == "bgremove"


def test_file_name_comes_from_the_url_unless_given() -> None:
    assert Weights("https://example.org/a/b%20c.onnx?x=1", DIGEST).file_name == "b c.onnx"
    assert Weights("https://example.org/a/b.onnx", DIGEST, file="c.onnx").file_name == "c.onnx"
    assert rembg_release("x.onnx", "0" * 32, 1.0).digest == "md5:" + "0" * 32


def test_download_is_done_once(weights: Weights, server: Server, cache: Path) -> None:
    assert not is_downloaded(weights)
    path = fetch_weights(weights, name="net", progress=False)
    assert path == weights_path(weights) and path.read_bytes() == BODY
    assert is_downloaded(weights)
    assert fetch_weights(weights, name="net") == path
    assert server.requests == [None]
    assert kept(cache) == {"net.onnx"}


def test_md5_digests_are_checked_too(server: Server) -> None:
    good = Weights(server.url, "md5:" + hashlib.md5(BODY).hexdigest())
    assert fetch_weights(good, name="net", progress=False).read_bytes() == BODY


def test_of_some_digests_only_the_beginning_is_published(server: Server, cache: Path) -> None:
    md5 = hashlib.md5(BODY).hexdigest()
    good = Weights(server.url, f"md5-24:{md5[:6]}")
    path = fetch_weights(good, name="net", progress=False)
    assert path.read_bytes() == BODY
    path.write_bytes(BODY[:-1])
    other = hashlib.md5(BODY[:-1]).hexdigest()[:6]
    with pytest.raises(WeightsError, match=f"expected md5-24:{md5[:6]}, got md5-24:{other}; delete it"):
        fetch_weights(good, name="net")


def test_a_download_whose_digest_begins_differently_is_not_kept(server: Server, cache: Path) -> None:
    wrong = f"{int(hashlib.md5(BODY).hexdigest()[:6], 16) ^ 1:06x}"
    with pytest.raises(WeightsError, match=f"sent another file than net .expected md5-24:{wrong}"):
        fetch_weights(Weights(server.url, f"md5-24:{wrong}"), name="net", progress=False)
    assert kept(cache) == set()


@pytest.mark.parametrize("progress", [True, False])
def test_progress_goes_to_stderr(weights: Weights, progress: bool, capfd: pytest.CaptureFixture[str]) -> None:
    fetch_weights(weights, name="net", progress=progress)
    out, err = capfd.readouterr()
    assert out == ""
    assert ("net (3 MB): 100%" in err) if progress else err == ""


def test_a_cut_download_goes_on_where_it_broke_off(weights: Weights, server: Server, cache: Path) -> None:
    server.cut = 1_200_000
    with pytest.raises(WeightsError, match=r"the next try goes on from byte \d+\)"):
        fetch_weights(weights, name="net", progress=False)
    assert kept(cache) == {"net.onnx.part"}
    have = (cache / "models" / "net.onnx.part").stat().st_size
    assert 1_100_000 < have <= 1_200_000
    assert fetch_weights(weights, name="net", progress=False).read_bytes() == BODY
    assert server.requests == [None, f"bytes={have}-"]
    assert server.sent == [1_200_000, len(BODY) - have]
    assert kept(cache) == {"net.onnx"}


def test_a_server_without_ranges_sends_all_again(weights: Weights, server: Server) -> None:
    server.ranges, server.cut = False, 1 << 17
    with pytest.raises(WeightsError, match="connection failed"):
        fetch_weights(weights, name="net", progress=False)
    assert fetch_weights(weights, name="net", progress=False).read_bytes() == BODY
    assert server.requests == [None, "bytes=131072-"]
    assert server.sent == [1 << 17, len(BODY)]


def test_a_part_that_was_whole_is_not_sent_again(weights: Weights, server: Server, cache: Path) -> None:
    (cache / "models").mkdir(parents=True)
    (cache / "models" / "net.onnx.part").write_bytes(BODY)
    assert fetch_weights(weights, name="net", progress=False).read_bytes() == BODY
    assert server.sent == []


def test_a_part_longer_than_the_file_is_dropped(weights: Weights, server: Server, cache: Path) -> None:
    (cache / "models").mkdir(parents=True)
    (cache / "models" / "net.onnx.part").write_bytes(BODY + b"more")
    assert fetch_weights(weights, name="net", progress=False).read_bytes() == BODY
    assert server.requests == [f"bytes={len(BODY) + 4}-", None]


def test_a_wrong_download_is_refused_and_removed(weights: Weights, server: Server, cache: Path) -> None:
    server.body = BODY[:-1] + b"x"
    with pytest.raises(WeightsError, match=f"sent another file than net.*{DIGEST}.*{weights_path(weights)}"):
        fetch_weights(weights, name="net", progress=False)
    assert kept(cache) == set()
    server.body = BODY
    assert fetch_weights(weights, name="net", progress=False).read_bytes() == BODY


def test_a_wrong_part_spoils_one_try_only(weights: Weights, cache: Path) -> None:
    (cache / "models").mkdir(parents=True)
    (cache / "models" / "net.onnx.part").write_bytes(b"of another version")
    with pytest.raises(WeightsError, match="try again"):
        fetch_weights(weights, name="net", progress=False)
    assert fetch_weights(weights, name="net", progress=False).read_bytes() == BODY


def test_a_missing_file_says_what_to_do(server: Server) -> None:
    lost = Weights(server.url.replace("net", "lost"), DIGEST, 3.0)
    with pytest.raises(WeightsError) as caught:
        fetch_weights(lost, name="net", progress=False)
    for part in (lost.url, "3 MB", "404", str(weights_path(lost)), "--model-file", "BGREMOVE_HOME"):
        assert part in str(caught.value)


def test_no_connection_says_what_to_do(server: Server) -> None:
    with Server(BODY, "net.onnx") as closed:
        url = closed.url
    with pytest.raises(WeightsError, match="there is no connection to the server.*--model-file"):
        fetch_weights(Weights(url, DIGEST), name="net", progress=False)


def test_a_cache_that_cannot_be_written_says_so(
    weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("BGREMOVE_HOME", str(tmp_path / "file"))
    with pytest.raises(WeightsError, match="Not a directory.*BGREMOVE_HOME"):
        fetch_weights(weights, name="net", progress=False)


def test_a_file_changed_later_is_refused_and_kept(weights: Weights, server: Server) -> None:
    path = fetch_weights(weights, name="net", progress=False)
    path.write_bytes(b"something else")
    got = "sha256:" + hashlib.sha256(b"something else").hexdigest()
    with pytest.raises(WeightsError, match=f"{path}.*expected {DIGEST}, got {got}"):
        fetch_weights(weights, name="net", progress=False)
    assert path.read_bytes() == b"something else"
    assert len(server.requests) == 1


def test_a_long_process_hashes_a_file_once(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    real, hashed = hashlib.file_digest, []

    def counted(file: Any, digest: Any) -> Any:
        hashed.append(file.name)
        return real(file, digest)

    monkeypatch.setattr(hashlib, "file_digest", counted)
    for _ in range(3):
        fetch_weights(weights, name="net", progress=False)
    assert [Path(name).name for name in hashed].count("net.onnx") == 1


def test_own_copy_of_the_published_file(weights: Weights, server: Server, tmp_path: Path) -> None:
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(BODY)
    assert fetch_weights(weights, name="net", model_file=copy) == copy
    assert server.requests == [] and not is_downloaded(weights)


def test_own_file_that_is_another_network(weights: Weights, tmp_path: Path) -> None:
    other = tmp_path / "mine.onnx"
    other.write_bytes(b"mine")
    with pytest.raises(WeightsError, match=f"expected {DIGEST}, got sha256:.*onnx:{re.escape(str(other))}"):
        fetch_weights(weights, name="net", model_file=other)
    assert other.read_bytes() == b"mine"


def test_own_file_that_is_not_there(weights: Weights, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="there is no model file .*none.onnx"):
        fetch_weights(weights, name="net", model_file=tmp_path / "none.onnx")


def test_threads_share_one_download(weights: Weights, server: Server) -> None:
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda _: fetch_weights(weights, name="net", progress=False), range(8)))
    assert {path.read_bytes() for path in paths} == {BODY}
    assert server.requests == [None]


def test_processes_share_one_download(weights: Weights, server: Server) -> None:
    code = (
        "from bgremove.weights import Weights, fetch_weights;"
        f"fetch_weights(Weights({weights.url!r}, {weights.digest!r}), name='net', progress=False)"
    )
    workers = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    assert [worker.wait(timeout=60) for worker in workers] == [0, 0, 0]
    assert weights_path(weights).read_bytes() == BODY
    assert server.requests == [None]


def test_importing_is_light() -> None:
    code = (
        "import sys, bgremove.weights;"
        "print([m for m in ('requests', 'pooch', 'tqdm', 'onnxruntime') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
