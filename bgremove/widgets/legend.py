"""What a model found, as a list to click: each segment is taken or left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipywidgets as w

from bgremove.segments import Segments
from bgremove.widgets.silence import Silenced
from bgremove.widgets.views import colour


class Legend(Silenced):
    """A button for each segment, in its colour; pressed ones are in the result.

    Attributes:
        buttons: those in use, in the order of the segments.
        widget: all of it.
    """

    def __init__(self, on_choice: Callable[[tuple[int, ...]], object]) -> None:
        self._on_choice = on_choice
        self._rows: list[tuple[Any, Any, Any]] = []  # swatch, button, both: kept, as widgets are never freed
        self._count = 0
        self._box = w.HBox(layout={"flex_flow": "row wrap"})
        title = w.HTML('<div class="bgremove-hint">Click what belongs to the subject:</div>')
        self.widget = w.VBox([title, self._box], layout={"display": "none"})

    @property
    def buttons(self) -> list[Any]:
        return [row[1] for row in self._rows[: self._count]]

    def show(self, found: Segments | None, chosen: Segments | None) -> None:
        """Show these; nothing if there are none."""
        items = found.items if found else ()
        kept = set(map(id, chosen.items)) if chosen else set()
        while len(self._rows) < len(items):
            self._rows.append(self._row(len(self._rows)))
        with self._silently():
            for (_, button, _), one in zip(self._rows, items, strict=False):
                share = one.area / (one.mask.size or 1)
                button.description = f"{one} · {share:.0%}"
                button.value = id(one) in kept
        if len(items) != self._count:
            self._count = len(items)
            self._box.children = [row[2] for row in self._rows[: self._count]]
        self.widget.layout.display = None if items else "none"

    def _row(self, number: int) -> tuple[Any, Any, Any]:
        red, green, blue = colour(number)
        swatch = w.HTML(
            f'<div class="bgremove-swatch" style="background:rgb({red},{green},{blue})">{number}</div>'
        )
        button = w.ToggleButton(layout={"width": "auto"})
        button.observe(lambda _: self._clicked(button), names="value")
        return (
            swatch,
            button,
            w.HBox([swatch, button], layout={"align_items": "center", "margin": "0 6px 0 0"}),
        )

    def _clicked(self, button: Any) -> None:
        if self._silent:
            return
        chosen = tuple(number for number, one in enumerate(self.buttons) if one.value)
        if chosen:
            self._on_choice(chosen)
        else:  # with no number given, everything would be kept
            with self._silently():
                button.value = True
