"""How the web page and its API are served; the flags of ``bgremove serve`` are made from this."""

from __future__ import annotations

import ipaddress
import os
import re
from typing import Literal

from pydantic import Field, field_validator

from bgremove.options import Params


class ServeParams(Params):
    """Where the page is served, to whom, and how much it takes on."""

    host: str = Field(
        "127.0.0.1", description="Address to listen on; 0.0.0.0 lets other machines in, with a token"
    )
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes any free one")
    model: str = Field("auto", description="The model that is used unless a visitor chooses another")
    token: str = Field(
        "",
        description="Ask for this token, on this machine, too; where others could come, one is made",
    )
    tunnel: Literal["none", "ngrok"] = Field(
        "none", description="Open a public address; it needs an account there"
    )
    max_upload_mb: float = Field(25.0, ge=0.1, le=2000, description="Refuse larger uploads, megabytes")
    max_megapixels: float = Field(50.0, ge=0.01, le=1000, description="Refuse larger pictures, megapixels")
    workers: int | None = Field(
        None,
        ge=1,
        le=64,
        description="Pictures at work at once; empty: as many as there are cores, at most 4",
    )
    queue: int = Field(
        16, ge=0, le=1000, description="Requests that may wait for their turn; others are told to come again"
    )
    seconds: float = Field(
        120.0, ge=1, le=3600, description="Give a request up after this time, waiting included"
    )
    keep_minutes: float = Field(
        30.0, ge=0.1, le=1440, description="Forget a visitor's pictures after this time without a request"
    )
    pictures: int = Field(50, ge=1, le=1000, description="Pictures kept for one visitor")
    visitor_mb: float = Field(
        250.0, ge=1, le=10000, description="Memory for the pictures of one visitor, megabytes"
    )
    store_mb: float = Field(
        1000.0, ge=1, le=100000, description="Memory for the pictures of all visitors, megabytes"
    )
    video_mb: float = Field(200.0, ge=0.1, le=10000, description="Refuse larger videos, megabytes")
    video_seconds: float = Field(
        60.0, ge=1, le=3600, description="The most of a video that is cut out, seconds"
    )
    video_megapixels: float = Field(
        9.0, ge=0.01, le=100, description="Refuse videos with larger frames, megapixels; 4K has 8.3"
    )
    video_minutes: float = Field(
        30.0, ge=0.1, le=1440, description="Stop the work on a video after this time, minutes"
    )
    videos: int = Field(
        8, ge=0, le=1000, description="Videos kept for all visitors, on disk; 0 takes no videos"
    )
    live: int = Field(4, ge=0, le=100, description="Visitors at once in the live view; 0 has none")
    live_model: str = Field("lite", description="The model of the live view, which must be quick")
    rate: int = Field(120, ge=0, le=100000, description="Pictures a minute and visitor; 0: no limit")
    image_urls: bool = Field(
        False, description="Let the API fetch pictures by image_url, from public addresses only"
    )

    @field_validator("token")
    @classmethod
    def _usable(cls, token: str) -> str:
        if token and not re.fullmatch(r"[A-Za-z0-9._~-]{8,200}", token):
            raise ValueError(
                "token must be 8 to 200 letters, digits and . _ ~ - to fit a link; without it one is made"
            )
        return token

    @field_validator("host")
    @classmethod
    def _named(cls, host: str) -> str:
        if not host.strip():
            raise ValueError("host must be an address as 127.0.0.1 or 0.0.0.0; got none")
        return host.strip()

    @property
    def at_work(self) -> int:
        """Pictures at work at once."""
        return self.workers or min(4, os.cpu_count() or 1)

    @property
    def needs_token(self) -> bool:
        """Whether visitors must show a token: where it was asked for, and where strangers could come."""
        return bool(self.token) or self.tunnel != "none" or not is_loopback(self.host)

    @property
    def upload_bytes(self) -> int:
        """The largest file, in bytes."""
        return int(self.max_upload_mb * 1e6)

    @property
    def body_bytes(self) -> int:
        """The largest body of a request: a file, other fields, and what multipart adds."""
        return self.upload_bytes + 1_000_000

    @property
    def video_bytes(self) -> int:
        """The largest video, in bytes."""
        return int(self.video_mb * 1e6)

    @property
    def video_body_bytes(self) -> int:
        """The largest body of a request that brings a video, with a background picture and other fields."""
        return self.video_bytes + self.body_bytes


def is_loopback(host: str) -> bool:
    """Whether an address or name is this machine's own, that nobody else can reach."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
