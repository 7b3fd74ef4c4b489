"""The parts of the form that :class:`~bgremove.widgets.app.App` fills, and where they stand."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import ipywidgets as w

from bgremove.widgets.fields import folded, style_sheet
from bgremove.widgets.style import NOTE, STYLE, message

VIEWS = {
    "compare": "Before | after",
    "result": "Result",
    "steps": "Step by step",
    "found": "Found",
    "alpha": "Alpha",
    "trimap": "Trimap",
}
"""The views and their titles; ``found`` only for models that find segments."""


class Panel:
    """Buttons, menus and places for what is said and shown.

    Attributes:
        photo, preset: menus.
        run, run_all, save, download: buttons.
        views: the choice of a view.
        view, facts, lines: HTML of the picture, of what is known of it, and of the lines to copy.
        form: a box for the settings of the model.
    """

    def __init__(self, show: Sequence[str]) -> None:
        self._show = tuple(show)
        self.photo, self.preset = _menu("Photo"), _menu("Preset")
        auto = {"width": "auto"}
        self.run = w.Button(description="Run", icon="play", button_style="primary")
        self.run.add_class("bgremove-run")
        self.save = w.Button(description="Save", icon="save", layout=auto)
        self.download = w.Button(description="Download", icon="download", layout=auto)
        self.run_all = w.Button(description="Run and save all", layout=auto)
        self.buttons = (self.run, self.save, self.download, self.run_all)
        self.views = w.ToggleButtons(options=[(VIEWS[one], one) for one in show], value=show[0])
        self.views.style.button_width = "auto"
        self.progress = w.IntProgress(layout={"width": "140px", "visibility": "hidden"})
        self._phase, self._problem, self.facts, self.lines, self.view = (w.HTML() for _ in range(5))
        self._phase.add_class("bgremove-status")
        self.form = w.VBox()

    def arrange(self, photos: Any, chooser: Any, backdrop: Any, folds: Sequence[Any], legend: Any) -> Any:
        """All of it, with what others made: settings to the left, the picture to the right."""
        first = _headed("Photo", photos, self.photo)
        first.add_class("bgremove-first")
        left = w.VBox(
            [
                first,
                _headed("Model", chooser, self.preset, self.form),
                _headed("Background", backdrop),
                _headed("More", *folds),
            ],
            layout={"flex": "0 1 400px", "min_width": "300px", "padding": "0 14px 0 0"},
        )
        row = {"flex_flow": "row wrap", "align_items": "center"}
        right = w.VBox(
            [
                w.HBox([*self.buttons, self.progress, self._phase], layout=row),
                self._problem,
                self.views,
                self.view,
                self.facts,
                legend,
                folded("The same in Python and on the command line", self.lines),
            ],
            layout={"flex": "1 1 440px", "min_width": "300px"},
        )
        body = w.HBox([left, right], layout={"flex_flow": "row wrap", "align_items": "flex-start"})
        whole = w.VBox([style_sheet(), body])
        whole.add_class(STYLE)
        return whole

    def offer_views(self, *, found: bool) -> None:
        """Offer the views; that of what was found only if the model finds segments."""
        names = [one for one in self._show if found or one != "found"] or ["result"]
        options = tuple((VIEWS[one], one) for one in names)
        if options != tuple(self.views.options):
            before = self.views.value
            self.views.options = options
            self.views.value = before if before in names else names[0]

    def say(self, text: str, percent: int | None = None) -> None:
        """What is being done now, and how far it is."""
        self._phase.value = f"<span>{html.escape(text)}</span>"
        if percent is not None:
            self.progress.value = percent

    def tell(self, text: str, kind: str = NOTE) -> None:
        """A sentence above the picture; nothing for no text."""
        self._problem.value = message(text, kind)

    def tell_html(self, content: str) -> None:
        """The same with markup."""
        self._problem.value = f'<div class="{NOTE}">{content}</div>'

    def place(self, title: str, *parts: Any, opened: bool) -> None:
        """Put the settings of a model into their place."""
        for one in self.form.children:
            _free(one)
        self.form.children = [folded(title, w.VBox(parts), opened=opened)]

    @property
    def said(self) -> str:
        """The HTML of the sentence above the picture."""
        return str(self._problem.value)

    def work(self, begins: bool) -> None:
        """Show that work begins, or is over."""
        for button in self.buttons:
            button.disabled = begins
        self.progress.layout.visibility = "visible" if begins else "hidden"
        self.say("", 0)


def show_if(widget: Any, shown: bool) -> None:
    """Show a widget, or take it from the page."""
    widget.layout.display = None if shown else "none"


def _menu(title: str) -> Any:
    menu = w.Dropdown(description=title, layout={"width": "auto", "margin": "2px 8px 2px 2px"})
    menu.style.description_width = "64px"
    return menu


def _headed(title: str, *parts: Any) -> Any:
    """Parts under a heading."""
    return w.VBox([w.HTML(f'<div class="bgremove-head">{title}</div>'), *parts])


def _free(fold: Any) -> None:
    """Free a fold, but not what the box in it holds."""
    [box] = fold.children
    for one in (fold, box):
        one.children = ()
        one.layout.close()
        one.close()
