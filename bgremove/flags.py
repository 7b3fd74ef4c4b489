"""Flags of the command line, made from the one declaration of each setting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from bgremove.options import Params, Setting, settings

F = TypeVar("F", bound=Callable[..., Any])


class SectionedCommand(click.Command):
    """A command whose help lists its flags by section, the settings apart from its own options."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record and isinstance(parameter, click.Option):
                sections.setdefault(getattr(parameter, "section", "Options"), []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records, col_max=26)


def params_options(params: type[Params], section: str = "Settings") -> Callable[[F], F]:
    """A decorator that gives a command one flag for each setting of `params`.

    The command gets them as keyword arguments, None where they were not given; :func:`given` keeps
    the others, for ``params(**given(values))``.
    """

    def decorate(command: F) -> F:
        for setting in reversed(settings(params)):
            option = SettingOption(setting, section)
            if isinstance(command, click.Command):
                command.params.insert(0, option)
            else:
                # What click.option does with the parameters it makes.
                command.__dict__.setdefault("__click_params__", []).append(option)
        return command

    return decorate


def given(values: dict[str, Any]) -> dict[str, Any]:
    """The settings that were given on the command line."""
    return {name: value for name, value in values.items() if value is not None}


class SettingOption(click.Option):
    """A flag made from a :class:`~bgremove.options.Setting`, listed under a section of its own."""

    def __init__(self, setting: Setting, section: str) -> None:
        self.section = section
        flag = setting.flag
        attributes: dict[str, Any] = {"default": None, "help": setting_help(setting)}
        if setting.kind == "bool":
            flag = f"{flag}/--no-{flag[2:]}"
        else:
            # The text goes to the model as it is, so that every door answers a wrong value alike.
            attributes |= {"type": str, "metavar": metavar(setting)}
        self.values = [str(choice) for choice in setting.choices]
        super().__init__([flag, setting.name], **attributes)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The choices; any file for a background."""
        if self.name == "background":
            return [CompletionItem(incomplete, type="file")]
        return [CompletionItem(value) for value in self.values if value.startswith(incomplete)]


def setting_help(setting: Setting) -> str:
    """A setting's help with what it accepts and its default."""
    facts = [setting.span] if setting.span else []
    if setting.default is not None and setting.default != "":
        facts.append(f"default: {plain(setting.default)}")
    return f"{setting.help}  [{'; '.join(facts)}]" if facts else setting.help


def plain(value: Any) -> str:
    """A value as it is written on the command line."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return ",".join(map(plain, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def metavar(setting: Setting) -> str:
    """What stands for a setting's value in its help: ``N``, ``X,X,X``, or its choices."""
    if setting.choices:
        return "|".join(map(str, setting.choices))
    return {"int": "N", "float": "X", "numbers": ",".join(["X"] * setting.count)}.get(setting.kind, "TEXT")
