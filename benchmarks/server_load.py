"""``bgremove serve`` against rembg's server, the same network, under the same load.

    python benchmarks/server_load.py --peer-python PYTHON --photo JPEG [--requests 200] [--connections 16]

Both servers run all the time, and get their requests in turns (A B, A B ...): while one is at work the
other one waits. Every request brings a JPEG and wants a PNG back. Where a network is named, both
use it; without one, a network of U-2-Net-P's shape is made (`benchmarks/twelve_megapixels.py`). At last,
the shipped network alone.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from measure import OURS, ROOT, machine, table
from twelve_megapixels import build_network, enlarge


@dataclass
class Server:
    """A server that runs, and what was seen of it.

    Attributes:
        query, fields: what goes with each request besides the photo.
        seconds: of each request that was answered with a picture.
        wall: of each block of requests.
        answers: HTTP status by number.
        resident: megabytes after each block.
    """

    name: str
    process: subprocess.Popen[bytes]
    port: int
    query: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    answers: Counter[int] = field(default_factory=Counter)
    resident: list[float] = field(default_factory=list)

    def memory(self, key: str) -> float:
        """``VmRSS`` or ``VmHWM`` of it and its children, MB."""
        return sum(_status(pid, key) for pid in _family(self.process.pid))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--peer-python", required=True, help="of an environment that has rembg[cpu,cli]")
    parser.add_argument("--photo", type=Path, required=True)
    parser.add_argument("--megapixels", type=float, default=2.0, help="the photo is made that large")
    parser.add_argument("--network", type=Path, help="ONNX file that takes 1x3x320x320; default: made here")
    parser.add_argument("--requests", type=int, default=200, help="in each block")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--blocks", type=int, default=3)
    parser.add_argument("--shipped", type=int, default=1000, help="requests to the shipped network; 0: none")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        network, photo = folder / "network.onnx", folder / "photo.jpg"
        if options.network is None:
            build_network(network)
        else:
            network.write_bytes(options.network.read_bytes())
        enlarge(options.photo, photo, megapixels=options.megapixels)
        data = photo.read_bytes()
        with rembg(options.peer_python, network) as peer, ours(f"onnx:{network}") as mine:
            mine.fields = {"activation": "none", "output_channel": "0"}
            raw = Server("bgremove, raw", mine.process, mine.port)
            raw.fields = {**mine.fields, "preset": "raw", "foreground": "none"}
            servers = [peer, mine, raw]
            for server in servers:
                block(server, data, 2, 1)
                server.seconds.clear()
                server.wall.clear()
            for number in range(options.blocks):
                for server in servers:
                    block(server, data, options.requests, options.connections)
                    print(f"{number + 1}/{options.blocks} {server.name}", file=sys.stderr)
            print(report(servers, options.requests))
        if options.shipped:
            with ours("lite") as lite:
                block(lite, data, 100, options.connections)
                lite.seconds.clear()
                lite.wall.clear()
                block(lite, data, options.shipped, options.connections)
                print(report([lite], options.shipped))
    print(machine())


def report(servers: Sequence[Server], requests: int) -> str:
    """Figures of all, as ratios to the first."""
    rows = []
    first = requests / statistics.median(servers[0].wall)
    for one in servers:
        rate = requests / statistics.median(one.wall)
        ordered = sorted(one.seconds)
        rows.append(
            (
                one.name,
                rate,
                rate / first,
                1000 * statistics.median(ordered),
                1000 * ordered[int(0.95 * (len(ordered) - 1))],
                "-".join(f"{value:.0f}" for value in (one.resident[0], one.resident[-1])),
                one.memory("VmHWM"),
                ", ".join(f"{count} x {status}" for status, count in sorted(one.answers.items())),
            )
        )
    header = (
        "server", "requests/s", "ratio", "median ms", "95 % ms", "MB after the first and last block",
        "peak MB", "answers",
    )  # fmt: skip
    return table(header, rows)


# Load -----------------------------------------------------------------------------------------------


def block(server: Server, photo: bytes, requests: int, connections: int) -> None:
    """`requests` of them over so many connections, each kept open."""
    body, content_type = form(photo, server.fields)
    left, lock = iter(range(requests)), threading.Lock()

    def work() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=300)
        while True:
            with lock:
                if next(left, None) is None:
                    break
            began = time.perf_counter()
            connection.request("POST", f"/api/remove{server.query}", body, {"Content-Type": content_type})
            answer = connection.getresponse()
            png = answer.read()
            with lock:
                server.answers[answer.status] += 1
                if answer.status == 200:
                    assert png.startswith(b"\x89PNG"), png[:60]
                    server.seconds.append(time.perf_counter() - began)
                elif answer.status != 429:
                    print(answer.status, png[:200], file=sys.stderr)
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(connections)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    server.wall.append(time.perf_counter() - began)
    server.resident.append(server.memory("VmRSS"))


def form(photo: bytes, fields: Mapping[str, str]) -> tuple[bytes, str]:
    """A multipart body, and its type."""
    boundary = uuid.uuid4().hex
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="photo.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    ).encode()
    body = b"".join([*parts, head, photo, f"\r\n--{boundary}--\r\n".encode()])
    return body, f"multipart/form-data; boundary={boundary}"


# Servers --------------------------------------------------------------------------------------------


@contextlib.contextmanager
def rembg(python: str, network: Path) -> Iterator[Server]:
    """rembg's server with a network of one's own."""
    environment = {**os.environ, "U2NET_HOME": str(network.parent)}
    environment.pop("PYTHONPATH", None)
    port = free_port()
    command = [
        python, "-c", "from rembg.cli import main; main()", "s", "--host", "127.0.0.1", "--port", str(port),
        "--log_level", "error", "--no-ui",
    ]  # fmt: skip
    extras = urllib.parse.quote(json.dumps({"model_path": str(network)}))
    query = f"?model=u2net_custom&extras={extras}"
    with running("rembg", command, port, environment, "/openapi.json") as server:
        server.query = query
        server.fields = {"model": "u2net_custom"}
        yield server


@contextlib.contextmanager
def ours(model: str) -> Iterator[Server]:
    """``bgremove serve``, with room for all that wait."""
    port = free_port()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [
        OURS, "-m", "bgremove", "serve", "--port", str(port), "--model", model, "--queue", "64", "--rate",
        "100000",
    ]  # fmt: skip
    name = "bgremove" if model.startswith("onnx") else f"bgremove, {model}"
    with running(name, command, port, environment, "/healthz") as server:
        yield server


@contextlib.contextmanager
def running(
    name: str, command: Sequence[str], port: int, environment: Mapping[str, str], path: str
) -> Iterator[Server]:
    """A server's process, from when it answers until it is ended."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            for _ in range(240):
                if process.poll() is not None or answers(port, path):
                    break
                time.sleep(0.5)
            if not answers(port, path):
                log.seek(0)
                raise SystemExit(f"{name} does not answer:\n{log.read()[-2000:].decode(errors='replace')}")
            yield Server(name, process, port)
        finally:
            process.terminate()
            process.wait(30)


def answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def _family(pid: int) -> list[int]:
    children: list[Any] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        children += task.read_text().split()
    return [pid, *(other for child in children for other in _family(int(child)))]


def _status(pid: int, key: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) / 1024
    return 0.0


if __name__ == "__main__":
    main()
