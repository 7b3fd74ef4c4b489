"""One group of settings as a form: a control, its help and its range for each."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import ipywidgets as w

from bgremove.errors import OptionError
from bgremove.options import Params, Setting, settings
from bgremove.widgets.silence import Silenced
from bgremove.widgets.style import CSS, ERROR, HELP, STYLE, message

_LABEL = {"description_width": "148px"}
_WIDE = {"width": "auto", "margin": "2px 8px 0 2px"}
_STEPS = 200  # of a slider, at least
_DECADES = 3  # a range of that many powers of ten is easier on a logarithmic slider
_AS_DECLARED, _CHANGED = "as declared", "changed"


class Field:
    """One setting: its control, and its help below.

    Attributes:
        setting: what it was made from.
        control: the ipywidget that holds the value.
        widget: all of it, to be shown.
    """

    def __init__(self, setting: Setting, label: str = "") -> None:
        self.setting = setting
        self.control = _control(setting, label or label_of(setting.name))
        explained = w.HTML(f"<div>{html.escape(setting.help)}</div>")
        explained.add_class(HELP)
        self.widget = w.VBox([self.control, explained])
        self._exact = setting.default
        self.value = setting.default

    @property
    def value(self) -> Any:
        """The value as Python has it; None where nothing is given, which means the default."""
        value = self.control.value
        if isinstance(self.control, w.Text):
            return value.strip() or None
        if isinstance(self.control, w.SelectMultiple):
            return tuple(value) or None
        if isinstance(self.control, (w.FloatSlider, w.FloatLogSlider)):
            # A slider gives 0.012882495516931342: three digits are meant, unless the value was set exactly.
            same = math.isclose(value, self._exact, rel_tol=1e-9, abs_tol=1e-12)
            return self._exact if same else float(f"{value:.3g}")
        return value

    @value.setter
    def value(self, value: Any) -> None:
        if isinstance(self.control, w.Text):
            self.control.value = _as_text(value)
        elif isinstance(self.control, w.SelectMultiple):
            self.control.value = tuple(value or ())
        else:
            self._exact = value
            self.control.value = value


class Form(Silenced):
    """The settings of one group, or some of them.

    Attributes:
        type: the group.
        fields: by the setting's name.
        widget: all of it, to be shown; a form that ends a cell shows itself.
        error: what is wrong now, one sentence; empty if nothing is.
    """

    def __init__(
        self,
        params: type[Params],
        defaults: Mapping[str, Any] | None = None,
        names: Sequence[str] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        self.type, self._defaults = params, dict(defaults or {})
        self._start = params(**self._defaults)
        labels = labels or {}
        self.fields = {
            one.name: Field(one, labels.get(one.name, ""))
            for one in settings(params, self._start.model_dump())
            if names is None or one.name in names
        }
        self.error = ""
        self._listeners: list[Callable[[], object]] = []
        self._message = w.HTML()
        self._preset = self._preset_choice()
        for field in self.fields.values():
            field.control.observe(lambda _: self._changed(), names="value")
        self.widget = w.VBox([*self._rows(), self._message])
        self.widget.add_class(STYLE)

    @property
    def values(self) -> dict[str, Any]:
        """What the form says, by name, not validated; without what is left empty."""
        return {name: field.value for name, field in self.fields.items() if field.value is not None}

    @property
    def params(self) -> Params:
        """The settings, validated.

        Raises:
            OptionError: naming the setting that is wrong.
        """
        return self.type(**{**self._defaults, **self.values})

    @property
    def changed(self) -> dict[str, Any]:
        """Those that differ from the start, validated: what has to be written to get the same.

        Raises:
            OptionError: as :attr:`params`.
        """
        now = self.params
        return {
            name: getattr(now, name)
            for name in self.fields
            if getattr(now, name) != getattr(self._start, name)
        }

    def set(self, **values: Any) -> None:
        """Change settings.

        Raises:
            OptionError: if one is unknown or out of range; nothing is changed then.
        """
        checked = self.type(**{**self._defaults, **self.values, **values})
        with self._silently():
            for name in values:
                if name in self.fields:
                    self.fields[name].value = getattr(checked, name)
        self._changed()

    def apply_preset(self, name: str) -> None:
        """Set everything to what preset `name` says.

        Raises:
            OptionError: if there is no such preset.
        """
        self._set_all(self.type.preset(name, **self._kept_apart(name)))

    def reset(self) -> None:
        """Set everything back to the start."""
        self._set_all(self._start)

    def on_change(self, listener: Callable[[], object]) -> None:
        """Call `listener` after every change."""
        self._listeners.append(listener)

    def _ipython_display_(self) -> None:
        from IPython.display import display

        display(self.widget)  # type: ignore[no-untyped-call, unused-ignore]

    def _kept_apart(self, name: str) -> dict[str, Any]:
        """The row's own defaults that the preset says nothing about."""
        return {key: value for key, value in self._defaults.items() if key not in self.type.presets[name]}

    def _set_all(self, params: Params) -> None:
        with self._silently():
            for name, field in self.fields.items():
                field.value = getattr(params, name)
        self._changed()

    def _rows(self) -> Iterator[Any]:
        if self._preset is not None:
            yield self._preset
        yield from (one.widget for one in self.fields.values() if not one.setting.advanced)
        advanced = [one.widget for one in self.fields.values() if one.setting.advanced]
        if advanced:
            yield folded("Advanced", w.VBox(advanced))

    def _preset_choice(self) -> Any:
        """A menu of the presets that this form can set; None if there are none."""
        names = [name for name, values in self.type.presets.items() if set(values) <= set(self.fields)]
        if not names:
            return None
        choice = w.Dropdown(
            options=[(_AS_DECLARED, _AS_DECLARED), *((one.replace("-", " "), one) for one in names)],
            description="Preset",
            style=_LABEL,
            layout=_WIDE,
        )
        self._presets = tuple(choice.options)
        choice.observe(self._chosen, names="value")
        return choice

    def _chosen(self, change: Mapping[str, Any]) -> None:
        if self._silent or change["new"] in (_CHANGED, None):
            return
        if change["new"] == _AS_DECLARED:
            self.reset()
        else:
            self.apply_preset(change["new"])

    def _changed(self) -> None:
        if self._silent:
            return
        try:
            self._mark_preset(self.params)
            self.error = ""
        except OptionError as error:
            self.error = str(error)
        self._message.value = message(self.error, ERROR)
        for listener in self._listeners:
            listener()

    def _mark_preset(self, now: Params) -> None:
        """Let the menu say which preset the values are those of."""
        if self._preset is None:
            return
        known = {_AS_DECLARED: self._start}
        for _, name in self._presets[1:]:
            known[name] = self.type.preset(name, **self._kept_apart(name))
        found = next((name for name, params in known.items() if params == now), _CHANGED)
        with self._silently():
            more = ((_CHANGED, _CHANGED),) if found == _CHANGED else ()
            if tuple(self._preset.options) != (*self._presets, *more):
                self._preset.options = (*self._presets, *more)
            self._preset.value = found


def form(
    params: type[Params],
    *,
    defaults: Mapping[str, Any] | None = None,
    names: Sequence[str] | None = None,
    labels: Mapping[str, str] | None = None,
) -> Form:
    """A form for one group of settings; its ``.params`` are what was chosen.

    Args:
        params: the group, for example :class:`~bgremove.RefineParams`.
        defaults: values to start from, where they differ from the declared ones.
        names: only these settings.
        labels: other labels than the settings' names.

    Raises:
        OptionError: if `defaults` are wrong.
    """
    made = Form(params, defaults, names, labels)
    made.widget.layout.max_width = "620px"
    made.widget.children = (style_sheet(), *made.widget.children)
    return made


def label_of(name: str) -> str:
    """A setting's name as a label: ``canny_low`` as ``Canny low``."""
    return name.replace("_", " ").capitalize()


def folded(title: str, content: Any, *, opened: bool = False) -> Any:
    """Something under a title that opens and closes."""
    fold = w.Accordion([content])
    fold.set_title(0, title)
    fold.selected_index = 0 if opened else None
    return fold


def style_sheet() -> Any:
    """The style sheet of all forms; takes no room."""
    return w.HTML(f"<style>{CSS}</style>", layout={"height": "0", "margin": "0"})


def _control(setting: Setting, label: str) -> Any:
    """The ipywidget for a setting, without its value."""
    common: dict[str, Any] = {"description": label, "style": _LABEL, "layout": _WIDE}
    low, high = setting.minimum, setting.maximum
    ranged = low is not None and high is not None and setting.default is not None
    live = {"continuous_update": False}
    match setting.kind:
        case "bool":
            return w.Checkbox(description=label, indent=False, layout=_WIDE)
        case "choice" if all(isinstance(one, int) for one in setting.choices):
            return w.SelectionSlider(options=setting.choices, **live, **common)
        case "choice":
            return w.Dropdown(options=setting.choices, **common)
        case "choices":
            return w.SelectMultiple(options=setting.choices, rows=min(6, len(setting.choices)), **common)
        case "int" if ranged:
            return w.IntSlider(min=low, max=high, **live, **common)
        case "float" if ranged and low and high and math.log10(high / low) >= _DECADES:
            ends = {"min": math.log10(low), "max": math.log10(high), "step": 0.02}
            return w.FloatLogSlider(value=high, readout_format=".3g", **ends, **live, **common)
        case "float" if ranged and low is not None and high is not None:
            step = _nice(high - low)
            return w.FloatSlider(min=low, max=high, step=step, readout_format=".3g", **live, **common)
    hint = "" if setting.kind == "text" else setting.expected
    if setting.kind == "text" and setting.choices:
        return w.Combobox(options=tuple(map(str, setting.choices)), **live, **common)
    return w.Text(placeholder=hint, **live, **common)


def _nice(span: float) -> float:
    """1, 2 or 5 times a power of ten, so that `span` has at least so many steps as a slider needs."""
    power = 10.0 ** math.floor(math.log10(span / _STEPS))
    return float(f"{next(k * power for k in (5, 2, 1) if k * power * _STEPS <= span * 1.0001):.1g}")


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    return ",".join(map(_as_text, value)) if isinstance(value, (tuple, list)) else str(value)
