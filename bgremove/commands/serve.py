"""``bgremove serve``: the web page and its API, from this machine."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from bgremove.console import say, say_nothing, stop_on_ctrl_c
from bgremove.flags import SectionedCommand, given, params_options
from bgremove.webapp.config import ServeParams

if TYPE_CHECKING:
    from bgremove.webapp.tunnel import Tunnel


TOKEN = "BGREMOVE_TOKEN"


@click.command(cls=SectionedCommand, short_help="Serve the web page and its API.")
@params_options(ServeParams)
@click.option("-v", "--verbose", is_flag=True, help="Say a line for every request")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but the link and errors")
def serve(verbose: bool, quiet: bool, **values: Any) -> None:
    """Serve the web page and its HTTP API.

    Drop photos on the page, and get them back without their background. The API is described at /api.

    On this machine's own address anybody who is at this machine may come in; on any other, and through a
    tunnel, only who has the token, which is part of the link. A token can also be given as BGREMOVE_TOKEN in
    the environment, where no list of processes shows it.
    """
    from bgremove.webapp import create_app  # says what is missing, before anything needs it

    if os.environ.get(TOKEN) and values["token"] is None:
        values["token"] = os.environ[TOKEN]
    params = ServeParams(**given(values))
    create_app(params)
    from bgremove.webapp.server import Server

    if verbose:
        _log_requests()
    tell = say_nothing if quiet else say
    with stop_on_ctrl_c(gently=True) as stop, Server(params) as server:
        tell(f"loading {params.model} ...")
        tell(server.parts.service.load())
        click.echo(server.link)
        if params.host in ("0.0.0.0", "::"):
            tell(f"from other machines: {server.link_at(f'http://{_own_address()}:{server.port}/')}")
        tunnel = _tunnel(server.port, server.link_at) if params.tunnel == "ngrok" else None
        try:
            tell(
                f"it runs on {params.host}:{server.port}, {params.at_work} pictures at once; Ctrl-C stops it"
            )
            stop.wait()
        finally:
            if tunnel is not None:
                tunnel.close()


def _own_address() -> str:
    """This machine's address for others, as its routes say; nothing is sent."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as route:
        route.connect(("192.0.2.1", 9))
        return str(route.getsockname()[0])
    return socket.gethostname()


def _tunnel(port: int, link_at: Callable[[str], str]) -> Tunnel:
    """A public address; its link is said, and its QR code for a phone."""
    from bgremove.webapp.tunnel import open_tunnel, qr

    tunnel = open_tunnel(port, say=say, on_url=lambda url: click.echo(link_at(url)))
    link = link_at(tunnel.url)
    if sys.stdout is not None and sys.stdout.isatty():
        click.echo(qr(link, "text"))
    click.echo(link)
    return tunnel


def _log_requests() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    log = logging.getLogger("bgremove.webapp")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
