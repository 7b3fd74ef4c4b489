"""``bgremove evaluate``: models measured on pictures whose truth is known."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from bgremove.console import Progress, say, stop_on_ctrl_c
from bgremove.flags import ModelCommand, SettingOption, complete_model, given
from bgremove.options import settings

_FOLDER = click.Path(readable=False, path_type=Path)


class EvaluateCommand(ModelCommand):
    """Flags for the settings of the models that are named, and of what all models have in common."""

    def setting_options(self, models: Sequence[str]) -> list[click.Parameter]:
        return _setting_options(models)


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
    "-m", "--model", "models", multiple=True, metavar="NAME", shell_complete=complete_model,
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
    from bgremove.evaluation import EvaluateParams, Output, plan_evaluation, run_evaluation
    from bgremove.reports import LEGEND, table

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
