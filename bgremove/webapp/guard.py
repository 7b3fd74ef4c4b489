"""Who may enter: tokens, hosts, other sites, and how often."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from flask import Flask

from bgremove.webapp.config import ServeParams


class Guard:
    """Lets requests in or refuses them.

    Attributes:
        token: what visitors must show; empty if nobody is asked.
        hosts: more names under which this app may be called; ``.example.com`` is every name below.
    """

    def __init__(self, params: ServeParams, hosts: Sequence[str] = ()) -> None:
        self.params = params
        self.hosts = tuple(hosts)
        self.token = (params.token or secrets.token_urlsafe(24)) if params.needs_token else ""

    def allowed(self) -> bool:
        """Whether the request at hand showed the token, or needs none."""
        return True

    def init_app(self, app: Flask) -> None:
        """Stand before every request of `app`."""
