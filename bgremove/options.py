"""One declaration per setting, read by every door.

A group of settings is a frozen pydantic model derived from :class:`Params`. :func:`settings` lists
its fields as :class:`Setting` objects, from which the command line makes flags, the notebook makes
widgets and the web page makes form fields; all of them validate through the model itself and show
the same sentence when that fails.
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo

from bgremove.errors import OptionError

Kind = Literal["choice", "choices", "bool", "int", "float", "numbers", "text"]


class Params(BaseModel):
    """Base of every group of settings: frozen, unknown names refused, no NaN.

    `presets` are named sets of values, shown in every door.

    Raises:
        OptionError: naming the setting, what it accepts, what came, and the nearest name if the
            name is unknown.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, coerce_numbers_to_str=True)

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise OptionError(_sentence(type(self), error)) from None

    @field_validator("*", mode="before")
    @classmethod
    def _from_text(cls, value: Any, info: ValidationInfo) -> Any:
        """Command lines and forms bring text: take "3" for 3 and "1,2" for (1, 2)."""
        if not isinstance(value, str):
            return value
        setting = _setting(info.field_name or "", cls.model_fields[info.field_name or ""])
        if setting.kind == "choice":
            return next((choice for choice in setting.choices if str(choice) == value), value)
        if setting.kind in ("numbers", "choices"):
            parts = [part.strip() for part in value.split(",")]
            return [part for part in parts if part] or None
        return value

    @classmethod
    def preset(cls, name: str, **values: Any) -> Self:
        """The settings of preset `name`, with `values` in place of its own.

        Raises:
            OptionError: if there is no such preset.
        """
        if name not in cls.presets:
            known = ", ".join(cls.presets) or "none"
            raise OptionError(f"unknown preset {name!r}; these settings have: {known}")
        return cls(**{**cls.presets[name], **values})


@dataclass(frozen=True)
class Setting:
    """What a flag, a widget or a form field needs to know of one setting.

    Attributes:
        name: the field's name, as in Python.
        kind: ``numbers`` is a tuple of fixed length, ``choices`` one of any length; both are written
            with commas where only text can be given.
        default: used when nothing is given; None means "worked out from the picture".
        minimum, maximum: the ends of the range, both allowed, where there is one.
        choices: all the allowed values of a ``choice`` or ``choices``; the known ones of a ``text``
            (``names`` in the field's `json_schema_extra`).
        count: how many numbers a ``numbers`` has.
        advanced: True for what a form may fold away.
    """

    name: str
    kind: Kind
    default: Any
    help: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[Any, ...] = ()
    count: int = 0
    advanced: bool = False

    @property
    def flag(self) -> str:
        """The setting's name on the command line, ``--canny-low``."""
        return "--" + self.name.replace("_", "-")

    @property
    def expected(self) -> str:
        """What the setting accepts, in words."""
        match self.kind:
            case "choice":
                return "one of " + ", ".join(map(str, self.choices))
            case "choices":
                return "one or more, separated by commas, of " + ", ".join(map(str, self.choices))
            case "bool":
                return "true or false"
            case "text":
                return "text"
            case "numbers":
                return f"{self.count} numbers separated by commas"
        noun = "a whole number" if self.kind == "int" else "a number"
        if self.minimum is not None and self.maximum is not None:
            return f"{noun} from {self.span}"
        return f"{noun} of {self.span}" if self.span else noun

    @property
    def span(self) -> str:
        """The range in words, ``1 to 20`` or ``at least 0``; empty where there is none."""
        if self.minimum is not None and self.maximum is not None:
            return f"{_digits(self.minimum)} to {_digits(self.maximum)}"
        if self.minimum is not None:
            return f"at least {_digits(self.minimum)}"
        return f"at most {_digits(self.maximum)}" if self.maximum is not None else ""


def _digits(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"


def settings(params: type[Params], defaults: Mapping[str, Any] | None = None) -> tuple[Setting, ...]:
    """The settings of `params` in declared order, with `defaults` over the declared ones."""
    return tuple(
        _setting(name, field, (defaults or {}).get(name, field.get_default()))
        for name, field in params.model_fields.items()
    )


def split_settings(values: Mapping[str, Any], *groups: type[Params]) -> list[dict[str, Any]]:
    """`values` sorted into the groups that declare them, in the order of `groups`.

    Raises:
        OptionError: for a name that no group declares, with the nearest names.
    """
    known = [name for group in groups for name in group.model_fields]
    for name in values:
        if name not in known:
            raise OptionError(unknown_setting(name, known))
    return [{k: v for k, v in values.items() if k in group.model_fields} for group in groups]


def unknown_setting(name: str, known: list[str]) -> str:
    """The sentence for a setting that does not exist."""
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
    return f"unknown setting {name!r}; {hint}"


def _setting(name: str, field: FieldInfo, default: Any = None) -> Setting:
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    kind, choices, count = _kind(field.annotation)
    names = extra.get("names")
    if isinstance(names, list):
        choices = tuple(names)
    low = high = None
    for rule in field.metadata:
        low = getattr(rule, "ge", low)
        high = getattr(rule, "le", high)
    return Setting(
        name=name,
        kind=kind,
        default=default,
        help=field.description or "",
        minimum=low,
        maximum=high,
        choices=choices,
        count=count,
        advanced=bool(extra.get("advanced", False)),
    )


def _kind(annotation: Any) -> tuple[Kind, tuple[Any, ...], int]:
    origin, args = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        [inner] = [arg for arg in args if arg is not type(None)]
        return _kind(inner)
    if origin is Literal:
        return "choice", args, 0
    if origin is tuple and args[-1] is Ellipsis:
        return "choices", _kind(args[0])[1], 0
    if origin is tuple:
        return "numbers", (), len(args)
    kinds: dict[Any, Kind] = {bool: "bool", int: "int", float: "float", str: "text"}
    if annotation not in kinds:
        raise TypeError(f"no kind of setting for {annotation!r}; known: {', '.join(map(repr, kinds))}")
    return kinds[annotation], (), 0


def _sentence(params: type[Params], error: ValidationError) -> str:
    """One sentence for the first thing that is wrong."""
    first = error.errors()[0]
    name = str(first["loc"][0]) if first["loc"] else ""
    if first["type"] == "extra_forbidden":
        return unknown_setting(name, list(params.model_fields))
    if name in params.model_fields and not first["type"].startswith(("value_error", "assertion")):
        setting = _setting(name, params.model_fields[name])
        value = first["input"]
        if isinstance(value, list) and setting.kind in ("numbers", "choices"):
            value = ",".join(map(str, value))
        return f"{name} must be {setting.expected}; got {value if isinstance(value, str) else repr(value)}"
    return str(first["msg"]).removeprefix("Value error, ")
