"""The choice of a background: nothing, a colour, a picture, or the photo's own out of focus."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import ipywidgets as w

from bgremove.background import Background, parse_background
from bgremove.errors import OptionError
from bgremove.pipeline import OutputParams
from bgremove.widgets.fields import Form
from bgremove.widgets.photos import Photos, photos_of

_KINDS = (("None", "transparent"), ("Colour", "colour"), ("Picture", "picture"), ("Blur", "blur"))


class Backdrop:
    """Buttons for the kinds of background, and the controls of the chosen one.

    Attributes:
        kind, colour: the controls; the kinds are ``transparent``, ``colour``, ``picture`` and ``blur``.
        widget: all of it.
    """

    def __init__(self, background: Any) -> None:
        self._listeners: list[Callable[[], object]] = []
        self._read: tuple[Any, Background] | None = None
        self.kind = w.ToggleButtons(options=_KINDS)
        self.kind.style.button_width = "auto"
        self.colour = w.ColorPicker(value="#ff00ff", description="Colour", layout={"width": "auto"})
        self.colour.style.description_width = "64px"
        self.pictures = Photos(samples=False, what="a picture")
        self._picture = w.VBox([self.pictures.widget])
        self.fit = Form(OutputParams, names=["background_fit"])
        self.blur = Form(OutputParams, names=["blur_radius"])
        self.choose(background)
        self._arrange()
        self.kind.observe(lambda _: self._changed(), names="value")
        self.colour.observe(lambda _: self._changed(), names="value")
        for one in (self.pictures, self.fit, self.blur):
            one.on_change(self._changed)
        self.widget = w.VBox([self.kind, self.colour, self._picture, self.fit.widget, self.blur.widget])

    @property
    def values(self) -> dict[str, Any]:
        """The settings as the lines write them.

        Raises:
            OptionError: if a picture is wanted and none is there, or a setting is wrong.
        """
        match self.kind.value:
            case "transparent":
                return {}
            case "colour":
                return {"background": self.colour.value}
            case "blur":
                return {"background": "blur", **self.blur.changed}
        return {"background": self._photo().name, **self.fit.changed}

    def background(self) -> Background | None:
        """A picture, read once; None for what its text alone says.

        Raises:
            OptionError, ImageError: if there is no picture, or it cannot be read.
        """
        if self.kind.value != "picture":
            return None
        photo = self._photo()
        if self._read is None or self._read[0] is not photo.source:
            self._read = photo.source, parse_background(photo.source)
        return dataclasses.replace(self._read[1], fit=self.fit.values["background_fit"])

    def choose(self, background: Any) -> None:
        """Set the controls to anything that :func:`~bgremove.background.parse_background` takes.

        Raises:
            OptionError, ImageError: if it is none of these.
        """
        made = parse_background(background)
        if made.kind == "colour":
            if made.colour[3] != 255:
                raise OptionError(f"a form's background colour cannot be see-through; got {background!r}")
            self.colour.value = "#{:02x}{:02x}{:02x}".format(*made.colour[:3])
        elif made.kind == "picture":
            self.pictures.put(photos_of(background))
        self.kind.value = made.kind

    def on_change(self, listener: Callable[[], object]) -> None:
        """Call `listener` after every change."""
        self._listeners.append(listener)

    def _photo(self) -> Any:
        if not self.pictures.items:
            raise OptionError("there is no background picture yet; upload one, or choose another background")
        return self.pictures.items[0]

    def _changed(self) -> None:
        self._arrange()
        for listener in self._listeners:
            listener()

    def _arrange(self) -> None:
        """Show the controls of the chosen kind only."""
        shown = {
            "colour": [self.colour],
            "picture": [self._picture, self.fit.widget],
            "blur": [self.blur.widget],
        }
        for kind, parts in shown.items():
            for part in parts:
                part.layout.display = None if kind == self.kind.value else "none"
