"""``bgremove evaluate``: models measured on pictures whose truth is known."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from bgremove.console import Progress, say, stop_on_ctrl_c
from bgremove.flags import SectionedCommand, SettingOption, given
from bgremove.options import settings

_FOLDER = click.Path(readable=False, path_type=Path)


class EvaluateCommand(SectionedCommand):
    """Has a flag for each setting of the models that are named, and of what all models have in common."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own = [one for one in self.params if not isinstance(one, SettingOption)]
        self.params = [*own, *_setting_options(_models_in(args))]
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            owners = _owners(error.option_name)
            if not owners:
                raise
            message = f"{error.option_name} is a setting of {', '.join(owners)}; name one with --model"
            raise click.UsageError(message, ctx) from None


def _owners(flag: str) -> list[str]:
    """The models that have a setting of that flag."""
    from bgremove.registry import REMOVERS

    name = flag.lstrip("-").removeprefix("no-").replace("-", "_")
    return [info.name for info in REMOVERS.values() if name in info.params.model_fields]


def _models_in(args: Sequence[str]) -> list[str]:
    """Every model that is named; ``auto`` if none is."""
    models = []
    for argument, following in zip(args, [*args[1:], ""], strict=False):
        if argument == "--":
            break
        if argument in ("--model", "-m"):
            models.append(following)
        elif argument.startswith("--model="):
            models.append(argument.partition("=")[2])
        elif argument.startswith("-m") and len(argument) > 2:
            models.append(argument[2:])
    return models or ["auto"]


def _setting_options(models: Sequence[str]) -> list[click.Parameter]:
    from bgremove.errors import UnknownRemoverError
    from bgremove.evaluation import EvaluateParams
    from bgremove.foreground import ForegroundParams
    from bgremove.refine import RefineParams
    from bgremove.registry import remover_info

    groups: dict[Any, tuple[str, Any]] = {EvaluateParams: ("Measuring", None)}
    for model in models:
        try:
            info = remover_info(model)
        except UnknownRemoverError:
            continue  # said properly when the command runs
        # Models of one kind have one set of flags; where their defaults differ, none is shown.
        title, defaults = groups.get(info.params, (f"Settings of {info.name}", info.defaults))
        if defaults != info.defaults:
            names = {**(defaults or {}), **info.defaults}
            title, defaults = "Settings of networks", dict.fromkeys(names)
        groups[info.params] = title, defaults
    groups |= {
        RefineParams: ("Refinement and edges", None),
        ForegroundParams: ("Edge colours", None),
    }
    return [
        SettingOption(setting, title)
        for params, (title, defaults) in groups.items()
        for setting in settings(params, defaults)
    ]


@click.command(cls=EvaluateCommand, short_help="Measure models on pictures with masks.")
@click.option(
    "--data", required=True, metavar="FOLDER", type=_FOLDER,
    help="Has images/ and masks/, or folders that have: each of these is a set",
)  # fmt: skip
@click.option(
    "-m", "--model", "models", multiple=True, metavar="NAME",
    help="What to measure; may be given several times. A network of your own: onnx:FILE  [default: auto]",
)  # fmt: skip
@click.option(
    "-o", "--out", metavar="FOLDER", type=_FOLDER,
    help="Write summary.csv, images.csv and a contact sheet for each set and model",
)  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace these files if they exist")
@click.option(
    "--format", "style", type=click.Choice(["table", "markdown"]), default="table", metavar="table|markdown",
    help="How the table is printed  [default: table]",
)  # fmt: skip
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", metavar="auto|cpu|cuda",
    help="Where networks run  [default: auto]",
)  # fmt: skip
@click.option("--preset", metavar="NAME", help="A named set of settings; see bgremove info MODEL")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors and the table")
def evaluate(
    data: Path,
    models: tuple[str, ...],
    out: Path | None,
    overwrite: bool,
    style: Any,
    device: Any,
    preset: str | None,
    quiet: bool,
    **values: Any,
) -> None:
    """Measure models on pictures whose masks are known: how good, and how quick.

    What is measured is the matte after the refinement, as bgremove remove makes it; --raw measures the
    model alone. The exit status is 1 if anything was left out.

    \b
    bgremove evaluate --data bench/ --model grabcut --model u2netp --out report/
    """
    from bgremove.evaluation import (
        LEGEND,
        EvaluateParams,
        Output,
        plan_evaluation,
        run_evaluation,
        table,
    )

    chosen = given(values)
    own = {name: chosen.pop(name) for name in EvaluateParams.model_fields if name in chosen}
    plan = plan_evaluation(data, models or ("auto",), EvaluateParams(**own), preset=preset, **chosen)
    output = None if out is None else Output.prepare(out, plan, overwrite=overwrite)
    with (
        stop_on_ctrl_c(gently=True) as stop,
        Progress(plan.total, "measuring", quiet=quiet) as progress,
    ):
        found = run_evaluation(
            plan,
            device=device,
            output=output,
            progress=progress,
            stop=stop,
            tell=say,
            note=(lambda _: None) if quiet else say,
        )
    if found.summaries:
        click.echo(table(found.summaries, style))
        if not quiet:
            click.echo(f"\n{LEGEND}")
    for file in () if quiet else found.files:
        say(f"wrote {file}")
    if not found.complete:
        say(f"stopped: {len(found.pictures)} of {plan.total} pictures measured")
        sys.exit(130)
    sys.exit(1 if found.problems else 0)
