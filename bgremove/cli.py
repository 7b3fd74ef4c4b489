"""The command ``bgremove``. Every setting's flag is made from its one declaration."""

from __future__ import annotations

import os
import sys
import threading
import traceback
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bgremove import __version__
from bgremove.errors import BGRemoveError, OptionError
from bgremove.options import Params, Setting, settings

if TYPE_CHECKING:
    from bgremove.batch import Job, Outcome
    from bgremove.registry import RemoverInfo
    from bgremove.removers.base import Remover

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
GROUP, MODEL = "bgremove.group", "bgremove.model"


class Group(click.Group):
    """Prints the package's own errors as one sentence."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BGRemoveError as error:
            kind = WrongOption if isinstance(error, OptionError) else click.ClickException
            raise kind(str(error)) from error


class WrongOption(click.ClickException):
    """What was asked for makes no sense; exit status 2, as for click's own usage errors."""

    exit_code = 2


class SettingsCommand(click.Command):
    """A command that has, besides its own options, a flag for each setting of the chosen model.

    The model is found in the arguments first; ``--help --model NAME`` shows that model's flags.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[MODEL] = _model_in(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            owners = _owners(error.option_name)
            if not owners:
                raise
            message = f"{error.option_name} is a setting of {', '.join(owners)}; choose it with --model"
            raise click.UsageError(message, ctx) from None

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*super().get_params(ctx), *_setting_options(ctx.meta.get(MODEL, "auto"))]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record:
                sections.setdefault(getattr(parameter, "section", "Options"), []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


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
            attributes |= {"type": str, "metavar": _metavar(setting)}
        super().__init__([flag, setting.name], **attributes)


def setting_help(setting: Setting) -> str:
    """A setting's help with what it accepts and its default."""
    facts = [] if setting.kind in ("bool", "text", "choice", "choices") else [setting.expected]
    if setting.default is not None and setting.default != "":
        facts.append(f"default: {_plain(setting.default)}")
    return f"{setting.help}  [{'; '.join(facts)}]" if facts else setting.help


def _plain(value: Any) -> str:
    """A value as it is written on the command line."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return ",".join(map(_plain, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _flags(values: Mapping[str, Any]) -> str:
    """Settings as the flags that say the same."""
    return " ".join(
        f"--{'' if value is not False else 'no-'}{name.replace('_', '-')}"
        + ("" if isinstance(value, bool) else f" {_plain(value)}")
        for name, value in values.items()
    )


def _metavar(setting: Setting) -> str:
    if setting.choices:
        return "|".join(map(str, setting.choices))
    return {"int": "N", "float": "X", "numbers": ",".join(["X"] * setting.count)}.get(setting.kind, "TEXT")


def _model_in(args: Sequence[str]) -> str:
    for index, argument in enumerate(args):
        if argument in ("--model", "-m") and index + 1 < len(args):
            return args[index + 1]
        if argument.startswith("--model="):
            return argument.partition("=")[2]
        if argument.startswith("-m") and not argument.startswith("--") and len(argument) > 2:
            return argument[2:]
    return "auto"


def _setting_options(model: str) -> list[click.Parameter]:
    from bgremove.errors import UnknownRemoverError
    from bgremove.foreground import ForegroundParams
    from bgremove.io import WriteParams
    from bgremove.pipeline import OutputParams
    from bgremove.refine import RefineParams
    from bgremove.registry import remover_info

    groups: list[tuple[str, type[Params], Any]] = [
        ("Result", OutputParams, None),
        ("File", WriteParams, None),
        ("Refinement and edges", RefineParams, None),
        ("Edge colours", ForegroundParams, None),
    ]
    try:
        info = remover_info(model)
        groups.insert(0, (f"Settings of {info.name}", info.params, info.defaults))
    except UnknownRemoverError:
        pass  # said properly when the command runs
    return [
        SettingOption(setting, title)
        for title, params, defaults in groups
        for setting in settings(params, defaults)
    ]


def _owners(flag: str) -> list[str]:
    from bgremove.registry import REMOVERS

    name = flag.lstrip("-").removeprefix("no-").replace("-", "_")
    return [info.name for info in REMOVERS.values() if name in info.params.model_fields]


@click.group(cls=Group, context_settings=CONTEXT)
@click.version_option(__version__, prog_name="bgremove")
def main() -> None:
    """Remove the background of pictures.

    \b
    Try it:   bgremove demo
    A photo:  bgremove remove photo.jpg -o cutout.png
    A folder: bgremove remove photos/ -o cutouts/ --background white --format jpeg
    """


@main.command(cls=SettingsCommand)
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option(
    "-o", "--out", help="A file, a folder, a template ({stem} {model} {output} {suffix} {ext}), or - for "
    "standard output; without it, beside the input"
)  # fmt: skip
@click.option("-m", "--model", default="auto", metavar="NAME", help="See bgremove models  [default: auto]")
@click.option("--model-file", type=Path, metavar="FILE", help="The model's file, instead of downloading it")
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", help="Where networks run"
)
@click.option("--preset", metavar="NAME", help="A named set of settings; see bgremove info MODEL")
@click.option(
    "--hint", type=Path, metavar="PICTURE",
    help="For grabcut: white marks the subject, black the background, grey or transparent is undecided",
)  # fmt: skip
@click.option("-r", "--recursive", is_flag=True, help="Take folders with their subfolders")
@click.option(
    "--overwrite", "exists", flag_value="overwrite", help="Replace outputs that exist (never an input)"
)
@click.option("--skip-existing", "exists", flag_value="skip", help="Leave outputs that exist, do the others")
@click.option(
    "-j", "--jobs", type=click.IntRange(1, 64), default=None, help="Pictures at a time  [default: up to 4]"
)
@click.option(
    "--max-megapixels", type=float, default=None, metavar="N", help="Refuse larger pictures  [default: 100]"
)
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors")
def remove(
    inputs: tuple[str, ...],
    out: str | None,
    model: str,
    model_file: Path | None,
    device: Any,
    preset: str | None,
    hint: Path | None,
    recursive: bool,
    exists: Any,
    jobs: int | None,
    max_megapixels: float | None,
    quiet: bool,
    **values: Any,
) -> None:
    """Cut the subject out of pictures.

    INPUT is a file, a folder, a pattern in quotes ('photos/*.jpg'), or - for standard input.
    The settings below are those of the chosen model: add --model NAME to see another's.
    """
    from bgremove.batch import STREAM, plan_jobs, run_jobs
    from bgremove.io import MAX_MEGAPIXELS, read_hint
    from bgremove.pipeline import Settings

    limit = MAX_MEGAPIXELS if max_megapixels is None else max_megapixels
    if not limit > 0:
        raise OptionError(f"--max-megapixels must be above 0; got {limit:g}")
    given = {name: value for name, value in values.items() if value is not None}
    plan = Settings.build(model, preset=preset, **given)
    if out is None and inputs == (STREAM,):
        out = STREAM
    if out == STREAM and sys.stdout.isatty():
        raise OptionError("standard output is a terminal; send it to a file (> cutout.png) or give -o FILE")
    todo = plan_jobs(inputs, out, plan, recursive=recursive)
    workers = jobs or min(4, os.cpu_count() or 1)
    said = threading.Lock()
    made: list[Remover] = []

    def remover() -> Remover:
        with said:  # built once, by the first picture that needs it
            if not made:
                made.append(plan.create_remover(device, model_file))
                if made[0].note and not quiet:
                    _say(made[0].note)
            return made[0]

    outcomes = run_jobs(
        todo,
        remover,
        plan,
        exists=exists or "refuse",
        workers=min(workers, len(todo)),
        hint=None if hint is None else read_hint(hint),
        max_megapixels=limit,
    )
    _report(outcomes, todo, quiet=quiet)


def _report(outcomes: Iterable[Outcome], jobs: Sequence[Job], *, quiet: bool) -> None:
    """Show progress, then the summary; leave with 1 if anything failed."""
    from tqdm import tqdm

    count = {"done": 0, "skipped": 0, "failed": 0}
    failures: list[str] = []
    silent = quiet or len(jobs) < 2 or not sys.stderr.isatty()
    bar = tqdm(total=len(jobs), unit="picture", disable=silent, file=sys.stderr, leave=False)
    try:
        with bar:
            for outcome in outcomes:
                count[outcome.status] += 1
                bar.update()
                bar.set_postfix(failed=count["failed"], refresh=False)
                if outcome.status == "failed":
                    failures.append(outcome.error)
                    if os.environ.get("BGREMOVE_DEBUG") and outcome.exception:
                        traceback.print_exception(outcome.exception)
                for note in outcome.notes:
                    if not quiet:
                        tqdm.write(f"note: {note}", file=sys.stderr)
    except KeyboardInterrupt:
        left = len(jobs) - sum(count.values())
        _say(f"stopped: {_summary(count)}, {left} left; run it again with --skip-existing to finish")
        sys.exit(130)
    for failure in failures:
        _say(f"failed: {failure}")
    if len(jobs) == 1 and count["done"] and not quiet:
        for target in jobs[0].targets.values():
            if target is not None:
                _say(f"wrote {target}")
    elif len(jobs) > 1 and not quiet:
        _say(_summary(count))
    if failures:
        sys.exit(1)


def _summary(count: dict[str, int]) -> str:
    return ", ".join(f"{number} {status}" for status, number in count.items())


def _say(text: str) -> None:
    click.echo(text, err=True)


@main.command(short_help="List the models.")
def models() -> None:
    """List the models: what each is for, its size and licence, and whether it is here."""
    from bgremove.registry import ALIASES, REMOVERS

    rows = [("NAME", "KIND", "SIZE", "HERE", "LICENCE", "FOR")]
    rows += [
        (row.name, row.kind, _size(row), _here(row), row.license, row.summary) for row in REMOVERS.values()
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    for row in rows:
        left = "  ".join(text.ljust(width) for text, width in zip(row[:5], widths, strict=True))
        click.echo(f"{left}  {row[5]}")
    click.echo()
    for alias, name in ALIASES.items():
        click.echo(f"{alias} means {name}.")
    click.echo("A network of your own: --model onnx:FILE. Settings of a model: bgremove info NAME.")


def _size(info: RemoverInfo) -> str:
    if info.weights is None:
        return "your file" if info.needs_file else "-"
    size = info.weights.size_mb
    return "?" if size is None else f"{size:.0f} MB" if size >= 10 else f"{size:.1f} MB"


def _here(info: RemoverInfo) -> str:
    from bgremove.weights import is_downloaded

    if info.weights is None:
        return "-" if info.needs_file else "built in"
    return "yes" if is_downloaded(info.weights) else "no"


@main.command(short_help="Show a model's settings, presets, paper and licence.")
@click.argument("model")
def info(model: str) -> None:
    """Show a model's settings with ranges and defaults, its presets, paper and licence."""
    from bgremove.refine import RefineParams
    from bgremove.registry import remover_info
    from bgremove.weights import weights_path

    row = remover_info(model)
    facts = [("what for", row.summary), ("kind", row.kind), ("paper", row.paper), ("licence", row.license)]
    if row.weights is not None:
        facts += [
            ("download", f"{row.weights.url} ({_size(row)}, {row.weights.digest})"),
            ("kept as", f"{weights_path(row.weights)} ({'here' if _here(row) == 'yes' else 'not here yet'})"),
        ]
    click.echo(row.name if row.name == model else f"{row.name} ({model})")
    for title, text in facts:
        click.echo(f"  {title + ':':<10} {text}")
    click.echo("\nSettings (of bgremove remove, and by name in Python):")
    for setting in settings(row.params, row.defaults):
        click.echo(f"  {setting.flag} {'' if setting.kind == 'bool' else _metavar(setting)}".rstrip())
        click.echo(f"      {setting_help(setting)}")
    if row.params.presets:
        click.echo("\nPresets:")
    for name, values in row.params.presets.items():
        click.echo(f"  --preset {name}: {_flags(values)}")
    click.echo("\nPresets of the refinement, for every model:")
    for name, values in RefineParams.presets.items():
        click.echo(f"  --preset {name}: {_flags(values)}")


@main.command(short_help="Cut out the sample photographs.")
@click.option(
    "-o", "--out", type=Path, default=Path("bgremove-demo"), help="Folder  [default: bgremove-demo]"
)
def demo(out: Path) -> None:
    """Cut out the sample photographs and make a contact sheet. Needs no network."""
    from bgremove.demo import run_demo

    sheet = run_demo(out, say=click.echo)
    click.echo(f"Look at {sheet}")
