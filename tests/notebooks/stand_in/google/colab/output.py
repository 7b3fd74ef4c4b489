"""What a cell shows besides text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.colab import note  # type: ignore[import-untyped, import-not-found, unused-ignore]


def enable_custom_widget_manager() -> None:
    """For widgets that Colab does not know."""
    note("enable_custom_widget_manager")


callbacks: dict[str, Callable[..., Any]] = {}


def register_callback(function_name: str, callback: Callable[..., Any]) -> None:
    """What the page may call, by ``google.colab.kernel.invokeFunction``."""
    note("register_callback", function_name)
    callbacks[function_name] = callback


def serve_kernel_port_as_iframe(port: int, path: str = "/", width: str = "100%", height: str = "400") -> None:
    """A page of this machine in the notebook's."""
    note("iframe", port, path)
