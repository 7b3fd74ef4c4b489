"""Flags of the command line, made from the one declaration of each setting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from bgremove.options import Params, Setting, settings

_MODELS = "bgremove.models"

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


class ModelCommand(SectionedCommand):
    """A command that has, besides its own options, a flag for each setting of the models it is given.

    They are found in the arguments first; ``--help --model NAME`` shows that model's flags.
    """

    def setting_options(self, models: Sequence[str]) -> list[click.Parameter]:
        """The flags that go with `models`, of which there is at least one."""
        raise NotImplementedError

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_MODELS] = _models_in(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            owners = _owners(error.option_name)
            if not owners:
                raise
            message = f"{error.option_name} is a setting of {', '.join(owners)}; choose it with --model"
            raise click.UsageError(message, ctx) from None

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*super().get_params(ctx), *self.setting_options(ctx.meta.get(_MODELS) or ["auto"])]


def _models_in(args: Sequence[str]) -> list[str]:
    """Every model that is named."""
    models = []
    for argument, following in zip(args, [*args[1:], "auto"], strict=False):
        if argument == "--":
            break
        if argument in ("--model", "-m"):
            models.append(following)
        elif argument.startswith("--model="):
            models.append(argument.partition("=")[2])
        elif argument.startswith("-m") and len(argument) > 2:
            models.append(argument[2:])
    return models


def _owners(flag: str) -> list[str]:
    """The models that have a setting of that flag."""
    from bgremove.registry import REMOVERS

    name = flag.lstrip("-").removeprefix("no-").replace("-", "_")
    return [info.name for info in REMOVERS.values() if name in info.params.model_fields]


def complete_model(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """For the shell: the models that begin so, each with what it is for."""
    from bgremove.registry import ALIASES, REMOVERS

    help_of = {name: f"means {meant}" for name, meant in ALIASES.items()}
    help_of |= {name: info.summary for name, info in REMOVERS.items()}
    return [CompletionItem(name, help=text) for name, text in help_of.items() if name.startswith(incomplete)]


def model_options(command: F) -> F:
    """A decorator: which model, its file, where it runs, and a preset: the same flags for every command."""
    kind = click.Path(readable=False, path_type=Path)
    options = [
        click.option(
            "-m", "--model", default="auto", metavar="NAME", shell_complete=complete_model,
            help="How to find the subject; bgremove models lists them  [default: auto]",
        ),
        click.option(
            "--model-file", type=kind, metavar="FILE", help="The model's file, instead of downloading it"
        ),
        click.option(
            "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", metavar="auto|cpu|cuda",
            help="Where networks run  [default: auto]",
        ),
        click.option("--preset", metavar="NAME", help="A named set of settings; see bgremove info MODEL"),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


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
