#!/usr/bin/env python3
"""A stand-in of ngrok's agent that forwards on this machine: with nothing but Python's own library.

It has of the agent what pyngrok 8 and 9 use: the command line, the log on stdout, and the HTTP API of
tunnels (configuration version 2) and of endpoints (3). What it opens is an address of this machine instead
of a public one, and what is asked there is really asked of the page behind it.

The token says what goes wrong: ``REFUSED`` in it is refused, ``MALFORMED`` and ``TWICE`` as ngrok does it,
``ONLINE`` is told at the endpoint, ``SILENT`` never says a word, ``DIES`` ends without one, ``PLAIN`` gets an
address without TLS, and no token at all is no account. All but the last are echoed, as ngrok does.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import sys
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

VERSION = "3.39.8"
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade"}

FAILURES = {
    "": "authentication failed: Usage of ngrok requires a verified account and authtoken.\nERR_NGROK_4018",
    "REFUSED": "authentication failed: The authtoken you specified is properly formed, but it is invalid.\n"
    "Your authtoken: {token}\nThis usually happens when:\n    - You reset your authtoken\nERR_NGROK_107",
    "MALFORMED": "authentication failed: The authtoken you specified does not look like a proper ngrok "
    "authtoken.\nYour authtoken: {token}\nERR_NGROK_105",
    "TWICE": "authentication failed: Your account is limited to 1 simultaneous ngrok agent sessions.\n"
    "Your authtoken: {token}\nERR_NGROK_108",
}


def log(level: str, message: str, **values: object) -> None:
    """One line of the log, as ngrok writes it."""
    pairs = {"t": time.strftime("%Y-%m-%dT%H:%M:%S+0000"), "lvl": level, "msg": message, **values}
    print(" ".join(f"{key}={quoted(str(value))}" for key, value in pairs.items()), flush=True)


def quoted(text: str) -> str:
    """A value of the log: in quotes if it needs them."""
    return text if re.fullmatch(r"[\w.:/+-]+", text) else json.dumps(text)


class Quiet(BaseHTTPRequestHandler):
    """Handlers that write nothing to stderr."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def body(self) -> bytes:
        """What was sent along."""
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))


class Forwarding(ThreadingHTTPServer):
    """One public address, and the page behind it."""

    daemon_threads = True

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), Forward)
        self.upstream = urllib.parse.urlsplit(upstream)
        self.count = 0
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Forward(Quiet):
    """A request to the public address, asked of the page with the headers that ngrok adds."""

    server: Forwarding

    def do_GET(self) -> None:
        self.server.count += 1
        upstream = self.server.upstream
        headers = {key: value for key, value in self.headers.items() if key.lower() not in HOP_BY_HOP}
        headers |= {"X-Forwarded-For": self.client_address[0], "X-Forwarded-Proto": "https"}
        headers |= {"X-Forwarded-Host": self.headers.get("Host", "")}
        page = http.client.HTTPConnection(upstream.hostname or "", upstream.port or 80, timeout=60)
        try:
            page.request(self.command, self.path, self.body(), headers)
            answer = page.getresponse()
            content = answer.read()
        except OSError:
            return self.send_error(502, "ERR_NGROK_8012")
        finally:
            page.close()
        self.send_response(answer.status)
        for key, value in answer.getheaders():
            if key.lower() not in HOP_BY_HOP | {"content-length", "date", "server"}:
                self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_POST = do_PUT = do_DELETE = do_HEAD = do_OPTIONS = do_GET


class Api(Quiet):
    """The agent's API: ``/api/tunnels`` and ``/api/endpoints``, and each one below it."""

    server: Control

    def do_GET(self) -> None:
        kind, name = self.place()
        if not name:
            rows = [self.row(kind, one) for one in self.server.addresses]
            return self.answer(200, {kind: rows, "uri": f"/api/{kind}"})
        if name not in self.server.addresses:
            return self.answer(404, {"status_code": 404, "msg": "not found"})
        self.answer(200, self.row(kind, name))

    def do_POST(self) -> None:
        kind, name = self.place()
        wanted = json.loads(self.body())
        known = {"name", "upstream"} if kind == "endpoints" else {"name", "addr", "proto"}
        if name or set(wanted) != known:
            return self.answer(400, {"status_code": 400, "msg": f"invalid fields: {sorted(wanted)}"})
        if "ONLINE" in self.server.token:
            sentence = "failed to start tunnel: The endpoint 'https://a.ngrok-free.app' is already online."
            return self.answer(502, {"msg": sentence, "details": {"err": f"{sentence} ERR_NGROK_334"}})
        upstream = wanted["upstream"]["url"] if kind == "endpoints" else wanted["addr"]
        self.server.addresses[wanted["name"]] = Forwarding(upstream)
        self.answer(201, self.row(kind, wanted["name"]))

    def do_DELETE(self) -> None:
        _, name = self.place()
        address = self.server.addresses.pop(name, None)
        if address is None:
            return self.answer(404, {"status_code": 404, "msg": "not found"})
        address.shutdown()
        address.server_close()
        self.send_response(204)
        self.end_headers()

    def place(self) -> tuple[str, str]:
        """``tunnels`` or ``endpoints``, and the name behind it."""
        parts = urllib.parse.unquote(self.path).strip("/").split("/", 2) + ["", ""]
        return parts[1], parts[2]

    def row(self, kind: str, name: str) -> dict[str, Any]:
        """What is told of an address."""
        address = self.server.addresses[name]
        url = "http://public.example" if "PLAIN" in self.server.token else address.url
        upstream = urllib.parse.urlunsplit(address.upstream)
        row = {"name": name, "uri": f"/api/{kind}/{name}", "metrics": {"http": {"count": address.count}}}
        if kind == "endpoints":
            return {**row, "id": f"ep_{name}", "url": url, "upstream": {"url": upstream}}
        return {**row, "ID": name, "public_url": url, "proto": "http", "config": {"addr": upstream}}

    def answer(self, status: int, content: dict[str, Any]) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class Control(ThreadingHTTPServer):
    """The agent's API on a free port.

    Attributes:
        token: the account's.
        addresses: that are open, by name.
    """

    daemon_threads = True

    def __init__(self, token: str) -> None:
        super().__init__(("127.0.0.1", 0), Api)
        self.token = token
        self.addresses: dict[str, Forwarding] = {}


def token_of(arguments: list[str]) -> str:
    """From the command line, the environment or the configuration file: the worst order for a file."""
    if "--authtoken" in arguments:
        return arguments[arguments.index("--authtoken") + 1]
    if "NGROK_AUTHTOKEN" in os.environ:
        return os.environ["NGROK_AUTHTOKEN"]
    if "--config" in arguments:
        with open(arguments[arguments.index("--config") + 1], encoding="utf-8") as file:
            text = file.read()
        found = re.search(r'authtoken"?\s*:\s*"?([^",}\s]+)', text)
        if found:
            return found[1]
    return ""


def start(token: str) -> int:
    """Run until killed; the exit status if that fails."""
    if "SILENT" in token:
        time.sleep(600)
    if "DIES" in token:
        return 1
    for word, sentence in FAILURES.items():
        if word in token if word else not token:
            said = sentence.format(token=token)
            log("eror", "failed to reconnect session", obj="csess", err=said)
            print(*(f"ERROR:  {line}" for line in said.splitlines()), sep="\n", file=sys.stderr, flush=True)
            return 1
    control = Control(token)
    log("info", "no configuration paths supplied")
    log("info", "starting web service", obj="web", addr=f"127.0.0.1:{control.server_address[1]}")
    threading.Thread(target=control.serve_forever, args=(0.05,)).start()
    log("info", "client session established", obj="csess")
    log("info", "tunnel session started", obj="tunnels.session")
    return 0


def main(arguments: list[str]) -> int:
    """What the command line asks for."""
    match arguments:
        case ["--version"]:
            print(f"ngrok version {VERSION}")
        case ["config", "add-authtoken", _, *_]:
            print("Authtoken saved to configuration file: ngrok.yml")
        case ["start", "--none", *rest]:
            return start(token_of(rest))
        case _:
            print(f"ERROR:  unknown command {arguments}", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
