"""What a cell shows besides text."""

from __future__ import annotations

from google.colab import note  # type: ignore[import-untyped, import-not-found, unused-ignore]


def enable_custom_widget_manager() -> None:
    """For widgets that Colab does not know."""
    note("enable_custom_widget_manager")


def serve_kernel_port_as_iframe(port: int, path: str = "/", width: str = "100%", height: str = "400") -> None:
    """A page of this machine in the notebook's."""
    note("iframe", port, path)
