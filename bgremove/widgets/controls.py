"""What can be chosen for a photo: a model, its settings, the refinement, the background, the file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bgremove.errors import OptionError
from bgremove.foreground import ForegroundParams
from bgremove.io import WriteParams
from bgremove.options import split_settings
from bgremove.pipeline import OutputParams, Settings
from bgremove.refine import RefineParams
from bgremove.segments import SelectParams
from bgremove.widgets.backdrop import Backdrop
from bgremove.widgets.bench import shown_output
from bgremove.widgets.chooser import Chooser
from bgremove.widgets.fields import Field, Form

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "detectron2": {
        "use-default": {
            "model": "mask_rcnn_X_101_32x8d_FPN_3x",
            "background": "#ffffff",
            "size": "500",
        }
    }
}
"""Presets of a kind of model, of more than one group of settings."""


class Controls:
    """Every form of settings there is, and what they amount to.

    Attributes:
        chooser, backdrop: the choice of a model, and of a background.
        refine, colours, output, file: the settings that all models share.
    """

    def __init__(self, chooser: Chooser, backdrop: Backdrop, labels: Mapping[str, str]) -> None:
        self.chooser, self.backdrop, self._labels = chooser, backdrop, labels
        self._remover_forms: dict[Any, Form] = {}
        self._remover_listener: Callable[[], object] = lambda: None
        self.refine = Form(RefineParams, labels=labels)
        self.colours = Form(ForegroundParams, labels=labels)
        self.output = Form(OutputParams, names=["output", "crop", "padding", "size"], labels=labels)
        self.file = Form(WriteParams, labels=labels)

    @property
    def remover(self) -> Form:
        """The settings of the chosen model; one form for all models that have the same."""
        info = self.chooser.info
        key = info.params, tuple(info.defaults.items())
        if key not in self._remover_forms:
            made = Form(info.params, info.defaults, labels=self._labels)
            made.on_change(lambda: self._remover_listener())
            self._remover_forms[key] = made
        return self._remover_forms[key]

    @property
    def presets(self) -> tuple[str, ...]:
        """Those of the chosen kind of model."""
        return tuple(PRESETS.get(self.chooser.info.kind, {}))

    def field(self, name: str) -> Field:
        """The field of a setting, by name.

        Raises:
            OptionError: if there is none of that name now.
        """
        for one in self._forms:
            if name in one.fields:
                return one.fields[name]
        raise OptionError(f"the form has no field {name!r} now; it depends on the model")

    def values(self, index: Sequence[int] | None = None) -> dict[str, Any]:
        """Settings that differ from the defaults, as a line of Python or a command writes them.

        Args:
            index: segments that were clicked, in place of what the model's form says of them.

        Raises:
            OptionError: naming the setting that is wrong.
        """
        values = dict(self.remover.changed)
        if index is not None:
            kept = {"min_score"} | (set(values) - set(SelectParams.model_fields))
            values = {name: value for name, value in values.items() if name in kept}
            values["index"] = ",".join(map(str, index))
        for one in (self.refine, self.colours, self.output, self.file):
            values |= one.changed
        return self.backdrop.values | values

    def settings(self, index: Sequence[int] | None = None) -> Settings:
        """All that is chosen, validated.

        Raises:
            OptionError, ImageError: with one sentence.
        """
        values = self.values(index)
        picture = self.backdrop.background()
        if picture is not None:
            values["background"] = picture
        made = Settings.build(self.chooser.model, **values)
        shown_output(made)
        return made

    def set(self, values: Mapping[str, Any]) -> None:
        """Set the fields of these names.

        Raises:
            OptionError: if one is unknown or out of range.
        """
        groups = [form for form in self._forms if form.fields]
        kinds = tuple(dict.fromkeys(form.type for form in groups))
        for kind, some in zip(kinds, split_settings(values, *kinds), strict=True):
            for one in groups:
                if one.type is kind:
                    one.set(**{name: value for name, value in some.items() if name in one.fields})

    def apply(self, preset: str) -> None:
        """Set the fields to a preset of the kind of model, of the model, or of the refinement.

        Raises:
            OptionError: if none of them has it.
        """
        info = self.chooser.info
        if preset in self.presets:
            values = dict(PRESETS[info.kind][preset])
            self.chooser.select(values.pop("model"))
            self.backdrop.choose(values.pop("background"))
            self.output.set(**values)
        elif preset in info.params.presets:
            self.remover.apply_preset(preset)
        elif preset in RefineParams.presets:
            self.refine.apply_preset(preset)
        else:
            known = [*self.presets, *info.params.presets, *RefineParams.presets]
            raise OptionError(f"unknown preset {preset!r} for {info.name}; known: {', '.join(known)}")

    def on_change(
        self, model: Callable[[], object], remover: Callable[[], object], other: Callable[[], object]
    ) -> None:
        """Call one of these after another model was chosen, one of its settings, or anything else."""
        self.chooser.on_change(model)
        self._remover_listener = remover
        for one in (self.backdrop, self.refine, self.colours, self.output, self.file):
            one.on_change(other)

    @property
    def _forms(self) -> list[Form]:
        more = [self.backdrop.fit, self.backdrop.blur]
        return [self.remover, self.refine, self.colours, self.output, self.file, *more]
