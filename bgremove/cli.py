"""The command ``bgremove``. Every setting's flag is made from its one declaration."""

from __future__ import annotations

import importlib
import os
import pkgutil
import re
import shutil
import sys
import textwrap
import threading
import traceback
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bgremove import __version__, commands
from bgremove.console import Progress, printable, say, stop_on_ctrl_c
from bgremove.errors import BGRemoveError, OptionError, UnknownRemoverError
from bgremove.flags import (
    ModelCommand,
    SettingOption,
    complete_model,
    metavar,
    model_options,
    plain,
    setting_help,
)
from bgremove.options import Params, Setting, settings

if TYPE_CHECKING:
    from bgremove.arrays import Trimap
    from bgremove.batch import Job, Outcome
    from bgremove.pipeline import Settings
    from bgremove.removers.base import Device, Remover, RemoverInfo

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


COMMANDS = {module.name for module in pkgutil.iter_modules(commands.__path__)}
"""The commands that live in ``bgremove.commands``, each in the module of its name."""


class Group(click.Group):
    """Answers every error with one sentence, and loads the commands of ``bgremove.commands`` when used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *COMMANDS])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            module = importlib.import_module(f"bgremove.commands.{cmd_name}")
            command: click.Command = getattr(module, cmd_name)
            return command
        return super().get_command(ctx, cmd_name)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().main(*args, **kwargs)
        except OSError as error:  # files and pictures have errors of their own
            if error.filename is not None:
                raise
            click.echo(f"Error: cannot write to standard output: {error.strerror or error}", err=True)
            sys.exit(1)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            path = error.ctx.command_path if error.ctx else ctx.command_path
            raise WrongOption(f"{error.format_message().rstrip('.')}; see {path} --help") from error
        except (OptionError, UnknownRemoverError) as error:
            raise WrongOption(printable(_with_flags(str(error), _flag_names(self, ctx)))) from error
        except BGRemoveError as error:
            raise click.ClickException(printable(str(error))) from error


class WrongOption(click.ClickException):
    """What was asked for makes no sense; exit status 2, as for click's own usage errors."""

    exit_code = 2


def _flag_names(group: click.Group, ctx: click.Context) -> dict[str, str]:
    """Each setting's flag by its name: those of all models, and those of the command in work."""
    named = {setting.name: setting.flag for setting in _all_settings()}
    command = group.get_command(ctx, ctx.invoked_subcommand or "")
    commands = [*command.commands.values()] if isinstance(command, click.Group) else [command]
    options = [option for one in commands if one for option in one.get_params(click.Context(one))]
    return named | {str(option.name): option.opts[0] for option in options if option.opts[0][0] == "-"}


def _with_flags(sentence: str, named: Mapping[str, str]) -> str:
    """The names of settings as a user of the command line knows them: ``canny_low`` as ``--canny-low``."""
    first, _, rest = sentence.partition(" ")
    rest = re.sub(r"(?<= )[a-z]+(_[a-z]+)+(?=[ ;,])", lambda word: named.get(word[0], word[0]), rest)
    return f"{named.get(first, first)} {rest}"


class RemoveCommand(ModelCommand):
    """Flags for the settings of one model and for all that is done after it."""

    def setting_options(self, models: Sequence[str]) -> list[click.Parameter]:
        return _setting_options(models[-1])  # the last one named counts


def _flags(values: Mapping[str, Any]) -> str:
    """Settings as the flags that say the same."""
    return " ".join(
        f"--{'' if value is not False else 'no-'}{name.replace('_', '-')}"
        + ("" if isinstance(value, bool) else f" {plain(value)}")
        for name, value in values.items()
    )


def _groups() -> list[tuple[str, type[Params]]]:
    """The settings that all models have in common, with their titles."""
    from bgremove.foreground import ForegroundParams
    from bgremove.io import WriteParams
    from bgremove.pipeline import OutputParams
    from bgremove.refine import RefineParams

    return [
        ("Result", OutputParams),
        ("File", WriteParams),
        ("Refinement and edges", RefineParams),
        ("Edge colours", ForegroundParams),
    ]


def _setting_options(model: str) -> list[click.Parameter]:
    from bgremove.registry import remover_info

    groups: list[tuple[str, type[Params], Any]] = [(title, params, None) for title, params in _groups()]
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


def _all_settings() -> list[Setting]:
    from bgremove.registry import REMOVERS

    groups = {params for _, params in _groups()} | {info.params for info in REMOVERS.values()}
    return [setting for params in groups for setting in settings(params)]


@click.group(cls=Group, context_settings=CONTEXT)
@click.version_option(__version__, prog_name="bgremove")
def main() -> None:
    """Remove the background of pictures.

    \b
    Try it:   bgremove demo
    A photo:  bgremove remove photo.jpg -o cutout.png
    A folder: bgremove remove photos/ -o cutouts/ --background white --format jpeg
    """


FILE = click.Path(readable=False, path_type=Path)


@main.command(cls=RemoveCommand)
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...", type=click.Path(readable=False))
@click.option(
    "-o", "--out", type=click.Path(readable=False), metavar="OUT",
    help="A file, a folder, a template ({stem} {folder} {suffix} {model} {output} {ext}), or - for standard "
    "output; without it, a new file beside the input",
)  # fmt: skip
@model_options
@click.option(
    "--hint", type=FILE, metavar="PICTURE",
    help="For grabcut: white marks the subject, black the background, all else is undecided",
)  # fmt: skip
@click.option("-r", "--recursive", is_flag=True, help="Take folders with their subfolders")
@click.option(
    "--overwrite", "exists", flag_value="overwrite", help="Replace outputs that exist (never an input)"
)
@click.option("--skip-existing", "exists", flag_value="skip", help="Leave outputs that exist, do the others")
@click.option("-j", "--jobs", type=int, metavar="N", help="Pictures at a time  [1 to 64; default: up to 8]")
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
    from bgremove.batch import STREAM, keep_memory, plan_jobs, run_jobs, usual_workers
    from bgremove.io import MAX_MEGAPIXELS
    from bgremove.pipeline import Settings

    limit = MAX_MEGAPIXELS if max_megapixels is None else max_megapixels
    if jobs is not None and not 1 <= jobs <= 64:
        raise OptionError(f"--jobs must be a whole number from 1 to 64; got {jobs}")
    if not limit > 0:
        raise OptionError(f"--max-megapixels must be a number above 0; got {limit:g}")
    given = {name: value for name, value in values.items() if value is not None}
    plan = Settings.build(model, preset=preset, **given)
    if out is None and inputs == (STREAM,):
        out = STREAM
    if out == STREAM and sys.stdout is not None and sys.stdout.isatty():
        raise OptionError("standard output is a terminal; send it to a file (> cutout.png) or give -o FILE")
    marked = None if hint is None else _read_hint(hint, model, limit)
    todo = plan_jobs(inputs, out, plan, recursive=recursive, overwrite=exists == "overwrite")
    workers = min(jobs or usual_workers(len(todo), model), len(todo))
    if len(todo) > 1:
        keep_memory()
    with (
        stop_on_ctrl_c(gently=len(todo) > 1) as stop,
        Progress(len(todo), todo[0].name, quiet=quiet) as progress,
    ):
        outcomes = run_jobs(
            todo,
            _Shared(plan, device, model_file, progress, workers, quiet=quiet),
            plan,
            exists=exists or "refuse",
            workers=workers,
            hint=marked,
            max_megapixels=limit,
            stop=stop,
        )
        finished = _follow(outcomes, progress, quiet=quiet)
    sys.exit(_report(finished, todo, quiet=quiet, stopped=stop.is_set()))


class _Shared:
    """The remover of a run: built once, by the first picture that needs it; if that fails, once too."""

    def __init__(
        self,
        plan: Settings,
        device: Device,
        model_file: Path | None,
        progress: Progress,
        workers: int,
        *,
        quiet: bool,
    ) -> None:
        self._plan, self._device, self._model_file, self._workers = plan, device, model_file, workers
        self._progress, self._quiet = progress, quiet
        self._lock = threading.Lock()
        self._made: Remover | BGRemoveError | None = None

    def __call__(self) -> Remover:
        with self._lock:
            if self._made is None:
                self._made = self._make()
        if isinstance(self._made, BGRemoveError):
            raise self._made
        return self._made

    def _make(self) -> Remover | BGRemoveError:
        if not self._quiet and (needs := _needs(self._plan.model, self._model_file)):
            say(needs)
        self._progress.phase(f"loading {self._plan.model}")
        from bgremove.batch import for_workers
        from bgremove.removers.together import run_together

        try:
            with for_workers(self._workers):
                remover = self._plan.create_remover(self._device, self._model_file)
            remover = run_together(remover, self._workers)
        except BGRemoveError as error:
            return error
        finally:
            self._progress.phase("")
        if remover.note and not self._quiet:
            say(remover.note)
        return remover


def _needs(model: str, model_file: Path | None) -> str:
    """What a large model will take, said before it is downloaded and loaded; empty for others."""
    from bgremove.registry import remover_info

    row = remover_info(model)
    if row.memory_gb is None:
        return ""
    download = "" if model_file is not None or _here(row) == "yes" else f"a download of {_size(row)}, and "
    return f"{row.name} takes {download}about {row.memory_gb:g} GB of memory"


def _follow(outcomes: Iterable[Outcome], progress: Progress, *, quiet: bool) -> list[Outcome]:
    """Collect what becomes of the pictures, showing progress and notes on the way."""
    finished: list[Outcome] = []
    failed = 0
    for outcome in outcomes:
        finished.append(outcome)
        failed += outcome.status == "failed"
        progress.advance(failed)
        for note in () if quiet else outcome.notes:
            say(f"note: {note}")
        if os.environ.get("BGREMOVE_DEBUG") and outcome.exception:
            traceback.print_exception(outcome.exception)
    return finished


def _report(finished: Sequence[Outcome], jobs: Sequence[Job], *, quiet: bool, stopped: bool) -> int:
    """Say what failed, then the summary; the exit status."""
    failures = Counter(_sentence(one) for one in finished if one.status == "failed")
    for error, times in failures.items():
        say(f"failed: {error}{f' ({times} pictures)' if times > 1 else ''}")
    count = Counter(one.status for one in finished)
    left = len(jobs) - len(finished)
    if stopped and left:
        say(f"stopped: {_summary(count)}, {left} left; run it again with --skip-existing to finish")
        return 130
    if len(jobs) > 1 and not quiet:
        say(_summary(count))
    elif not quiet and not count["failed"]:
        word = "wrote {}" if count["done"] else "skipped: {} exists"
        for target in finished[0].written or filter(None, jobs[0].targets.values()):
            say(word.format(target))
    return 1 if count["failed"] else 0


def _sentence(outcome: Outcome) -> str:
    if not isinstance(outcome.exception, OptionError):
        return outcome.error
    return _with_flags(outcome.error, {setting.name: setting.flag for setting in _all_settings()})


def _summary(count: Counter[Any]) -> str:
    return ", ".join(f"{count[status]} {status}" for status in ("done", "skipped", "failed"))


def _read_hint(path: Path, model: str, max_megapixels: float) -> Trimap:
    """The hint, if the model takes one; said before anything is downloaded."""
    from bgremove.io import read_hint
    from bgremove.registry import remover_class, remover_info
    from bgremove.removers.base import HintedRemover

    if not issubclass(remover_class(remover_info(model)), HintedRemover):
        raise OptionError(f"{model} takes no --hint; leave it out, or take --model grabcut")
    return read_hint(path, max_megapixels=max_megapixels)


@main.command(short_help="List the models.")
def models() -> None:
    """List the models: what each is for, its size and licence, and whether it is here."""
    from bgremove.registry import ALIASES, REMOVERS

    zoo = [row for row in REMOVERS.values() if row.kind == "detectron2"]
    _table([row for row in REMOVERS.values() if row not in zoo])
    click.echo(
        "\nKind detectron2, its model zoo; needs bgremove setup detectron2. Mask AP and PQ are COCO's,"
    )
    click.echo("of 100, the higher the better; seconds are for a picture on a V100:")
    _table(zoo, "KIND")
    click.echo()
    for alias, name in ALIASES.items():
        click.echo(f"{alias} means {name}.")
    click.echo("A network of your own: --model onnx:FILE. Settings of a model: bgremove info NAME.")
    click.echo("* There is more to say about this licence: bgremove info NAME.")


def _table(infos: Sequence[RemoverInfo], without: str = "") -> None:
    """One line for each model, or more where the terminal is narrow."""
    titles = ("NAME", "KIND", "SIZE", "HERE", "LICENCE", "FOR")
    rows = [titles]
    rows += [(row.name, row.kind, _size(row), _here(row), _licence(row), row.summary) for row in infos]
    shown = [column for column, title in enumerate(titles[:-1]) if title != without]
    widths = {column: max(len(row[column]) for row in rows) for column in shown}
    for row in rows:
        left = "  ".join(row[column].ljust(width) for column, width in widths.items())
        click.echo(_fold(f"{left}  ", row[-1]))


def _fold(left: str, text: str) -> str:
    """`text` to the right of `left`, in lines that fit the terminal; as it is if this is none."""
    width = shutil.get_terminal_size().columns - len(left)
    if sys.stdout is None or not sys.stdout.isatty() or len(text) <= width:
        return left + text
    if width < 24:  # no room beside it
        left, width = left.rstrip() + "\n    ", width + len(left) - 4
    lines = textwrap.wrap(text, width)
    return left + f"\n{' ' * len(left.rpartition(chr(10))[2])}".join(lines)


def _licence(info: RemoverInfo) -> str:
    name, more, _ = info.license.partition(" (")
    return f"{name} *" if more else name


def _size(info: RemoverInfo) -> str:
    if info.weights is None:
        return "your file" if info.needs_file else "-"
    size = info.weights.size_mb
    return "?" if size is None else f"{size:.0f} MB" if size >= 10 else f"{size:.1f} MB"


def _here(info: RemoverInfo) -> str:
    from bgremove.weights import is_downloaded

    if info.weights is None:
        return "-" if info.needs_file else "built in"
    if info.weights.packaged:
        return "built in"
    return "yes" if is_downloaded(info.weights) else "no"


@main.command(short_help="Show a model's settings, presets, paper and licence.")
@click.argument("model", shell_complete=complete_model)
def info(model: str) -> None:
    """Show a model's settings with ranges and defaults, its presets, paper and licence."""
    from bgremove.refine import RefineParams
    from bgremove.registry import remover_info
    from bgremove.weights import weights_path

    row = remover_info(model)
    facts = [("what for", row.summary), ("kind", row.kind), ("paper", row.paper), ("licence", row.license)]
    if row.weights is not None and row.weights.packaged:
        facts.append(("file", f"{weights_path(row.weights)} ({_size(row)}, {row.weights.digest})"))
    elif row.weights is not None:
        facts += [
            ("download", f"{row.weights.url} ({_size(row)}, {row.weights.digest})"),
            ("kept as", f"{weights_path(row.weights)} ({'here' if _here(row) == 'yes' else 'not here yet'})"),
        ]
    if row.memory_gb is not None:
        facts.append(("memory", f"about {row.memory_gb:g} GB"))
    click.echo(row.name if row.name == model else f"{row.name} ({model})")
    for title, text in facts:
        click.echo(_fold(f"  {title + ':':<10} ", text))
    click.echo("\nSettings (of bgremove remove, and by name in Python):")
    for setting in settings(row.params, row.defaults):
        shown = f"/ --no-{setting.flag[2:]}" if setting.kind == "bool" else metavar(setting)
        click.echo(f"  {setting.flag} {shown}")
        click.echo(_fold("      ", setting_help(setting)))
    if row.params.presets:
        click.echo("\nPresets:")
    for name, values in row.params.presets.items():
        click.echo(f"  --preset {name}: {_flags(values)}")
    click.echo("\nPresets of the refinement, for every model:")
    for name, values in RefineParams.presets.items():
        click.echo(f"  --preset {name}: {_flags(values)}")


@main.command(short_help="Cut out the sample photographs.")
@click.option(
    "-o",
    "--out",
    type=FILE,
    metavar="FOLDER",
    default=Path("bgremove-demo"),
    help="Folder  [default: bgremove-demo]",
)
def demo(out: Path) -> None:
    """Cut out the sample photographs and make a contact sheet. Needs no network."""
    from bgremove.demo import run_demo

    sheet = run_demo(out, say=click.echo)
    click.echo(f"Look at {sheet}")
