"""The choice of a remover: its kind, its name, what it is for and what it downloads."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import cast, get_args

import ipywidgets as w

from bgremove.errors import OptionError
from bgremove.registry import REMOVERS, full_name, remover_info
from bgremove.removers.base import Device, RemoverInfo
from bgremove.weights import is_downloaded
from bgremove.widgets.style import HELP

KINDS = {"network": "Networks", "detectron2": "Detectron2", "classical": "Classical"}
"""The kinds of removers as a form names them."""

_LABEL = {"description_width": "64px"}
_WIDE = {"width": "auto", "margin": "2px 8px 2px 2px"}


class Chooser:
    """Menus of removers.

    Attributes:
        rows: the removers on offer.
        choice: the menu of names.
        device: the menu of devices, which stands with the model's settings.
        widget: all the rest.
    """

    def __init__(self, model: str, models: str | Sequence[str] | None, device: Device) -> None:
        self.rows = _rows(model, models)
        name, _, own = full_name(model).partition(":")
        kinds = [kind for kind in KINDS if any(row.kind == kind for row in self.rows)]
        self._listeners: list[Callable[[], object]] = []
        self.kind = w.ToggleButtons(
            options=[(KINDS[kind], kind) for kind in kinds], value=remover_info(model).kind
        )
        self.kind.style.button_width = "auto"
        self.kind.layout.display = None if len(kinds) > 1 else "none"
        self.choice = w.Dropdown(description="Model", style=_LABEL, layout=_WIDE)
        self.own = w.Text(own, description="File", style=_LABEL, layout=_WIDE, continuous_update=False)
        self.device = w.Dropdown(
            options=get_args(Device), value=device, description="Device", style=_LABEL, layout=_WIDE
        )
        self._told = w.HTML()
        self._told.add_class(HELP)
        self._fill(name)
        self._tell()
        self.kind.observe(lambda _: self._fill(""), names="value")
        self.choice.observe(lambda _: self._changed(), names="value")
        for one in (self.own, self.device):
            one.observe(lambda _: self._changed(), names="value")
        self.widget = w.VBox([self.kind, self.choice, self.own, self._told])

    @property
    def info(self) -> RemoverInfo:
        """The row of the chosen remover."""
        return REMOVERS[self.choice.value]

    @property
    def model(self) -> str:
        """The chosen remover's name, with its file if it is the user's own.

        Raises:
            OptionError: if it needs a file and none is named.
        """
        if not self.info.needs_file:
            return self.info.name
        if not self.own.value.strip():
            raise OptionError(f"{self.info.name} needs a file of your own; write its path into File")
        return f"{self.info.name}:{self.own.value.strip()}"

    @property
    def where(self) -> Device:
        """The chosen device; ``auto`` for what runs on the CPU only."""
        return "auto" if self.info.kind == "classical" else cast(Device, self.device.value)

    def select(self, name: str) -> None:
        """Choose the remover `name`."""
        self.kind.value = REMOVERS[name].kind
        self.choice.value = name

    def refresh(self) -> None:
        """Say anew what is here and what must be downloaded."""
        self._tell()

    def on_change(self, listener: Callable[[], object]) -> None:
        """Call `listener` after every change."""
        self._listeners.append(listener)

    def _fill(self, name: str) -> None:
        names = [row.name for row in self.rows if row.kind == self.kind.value]
        self.choice.options = names
        self.choice.value = name if name in names else names[0]

    def _changed(self) -> None:
        if self.choice.value is None:
            return  # the menu is being filled
        self._tell()
        for listener in self._listeners:
            listener()

    def _tell(self) -> None:
        info = self.info
        self.own.layout.display = None if info.needs_file else "none"
        self.own.placeholder = "CONFIG.yaml@WEIGHTS" if info.kind == "detectron2" else "network.onnx"
        self.device.layout.display = "none" if info.kind == "classical" else None
        parts = [f"<b>{html.escape(need_of(info))}</b>", html.escape(info.summary), html.escape(info.license)]
        self._told.value = f"<div>{'. '.join(parts)}.</div>"


def need_of(info: RemoverInfo) -> str:
    """What must be downloaded first."""
    if info.needs_file:
        return "Your own file"
    if info.weights is None:
        return "No download"
    much = f", {info.weights.size_text}" if info.weights.size_text else ""
    if info.weights.packaged:
        return f"Comes with the package{much}"
    return f"Already here{much}" if is_downloaded(info.weights) else f"Downloaded at its first run{much}"


def _rows(model: str, models: str | Sequence[str] | None) -> list[RemoverInfo]:
    """The removers on offer, `model` always among them.

    Raises:
        UnknownRemoverError: for a name that is neither a kind's nor a remover's.
    """
    names = [models] if isinstance(models, str) else list(models or KINDS)
    offered = {remover_info(name).name for name in names if name not in KINDS}
    offered |= {row.name for row in REMOVERS.values() if row.kind in names}
    offered.add(remover_info(model).name)
    return [row for row in REMOVERS.values() if row.name in offered]
