"""``bgremove live``: a camera, or a file in real time, without its background."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bgremove.console import printable, say, say_nothing, stop_on_ctrl_c
from bgremove.errors import UnknownRemoverError
from bgremove.flags import ModelCommand, SettingOption, given, model_options
from bgremove.options import settings

if TYPE_CHECKING:
    from bgremove.live.params import LiveSettings
    from bgremove.live.session import LiveResult
    from bgremove.live.sinks import Sink
    from bgremove.live.sources import Source
    from bgremove.options import Params


class LiveCommand(ModelCommand):
    """Flags for the settings of one model, and for all that a live view does after it."""

    def setting_options(self, models: Sequence[str]) -> list[click.Parameter]:
        from bgremove.foreground import ForegroundParams
        from bgremove.live.params import LiveParams
        from bgremove.refine import RefineParams
        from bgremove.registry import remover_info
        from bgremove.video.temporal import SmoothParams

        groups: list[tuple[str, type[Params], Any]] = [
            ("Background and camera", LiveParams, None),
            ("Steadiness", SmoothParams, None),
            ("Refinement and edges", RefineParams, None),
            ("Edge colours", ForegroundParams, None),
        ]
        try:
            info = remover_info(models[-1])
            groups.insert(1, (f"Settings of {info.name}", info.params, info.defaults))
        except UnknownRemoverError:
            pass  # said properly when the command runs
        return [
            SettingOption(setting, title)
            for title, params, defaults in groups
            for setting in settings(params, defaults)
        ]


@click.command(cls=LiveCommand, short_help="Yourself without your background, live from a camera.")
@click.argument("source", default="0", metavar="[CAMERA|FILE]")
@click.option(
    "--to", "where", type=click.Choice(["window", "virtual", "none"]), default="window",
    metavar="window|virtual|none",
    help="A window, a virtual camera for other programs (pyvirtualcam), or nowhere, to measure  "
    "[default: window]",
)  # fmt: skip
@model_options
@click.option(
    "-o", "--out", "folder", type=click.Path(readable=False, path_type=Path), default=Path(),
    metavar="FOLDER", help="Where the key s saves pictures  [default: this folder]",
)  # fmt: skip
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors")
def live(
    source: str,
    where: Any,
    model: str,
    model_file: Path | None,
    device: Any,
    preset: str | None,
    folder: Path,
    quiet: bool,
    **values: Any,
) -> None:
    """Show a camera's picture without its background, as it happens.

    CAMERA is its number (0 is the first) or /dev/video0; FILE is a video, played as fast as it was taken.
    What comes too fast is left out, so that nothing lags behind.

    \b
    Keys in the window:
      b       background: blur, colour, picture (if --background is one), none, as it is
      + -     more and less blur; the next and the previous colour
      s       save a picture
      space   freeze, and go on
      q, Esc  end
    """
    from bgremove.io import make_folder
    from bgremove.live.params import LiveSettings
    from bgremove.live.sinks import open_sink
    from bgremove.live.sources import open_source

    plan = LiveSettings.build(model, preset=preset, **given(values))
    make_folder(folder)
    tell = say_nothing if quiet else say
    with (
        stop_on_ctrl_c(gently=True, saying="ending; Ctrl-C again stops at once") as stop,
        open_source(source, plan.live) as opened,
    ):
        for note in getattr(opened, "notes", ()):
            tell(f"note: {note}")
        with open_sink(where, rate=opened.rate) as sink:
            remover = plan.create_remover(device, model_file)
            result = _shown(plan, remover, opened, sink, folder, stop, tell, quiet=quiet)
    if not quiet:
        say(_summary(result))


def _shown(
    plan: LiveSettings,
    remover: Any,
    source: Source,
    sink: Sink,
    folder: Path,
    stop: Any,
    tell: Any,
    *,
    quiet: bool,
) -> LiveResult:
    from bgremove.live.backdrops import Backdrops
    from bgremove.live.session import LiveSession
    from bgremove.live.viewing import KEYS, View
    from bgremove.video.cutting import FrameCutter

    mirror = plan.live.mirror == "on" or (plan.live.mirror == "auto" and source.camera and sink.interactive)
    with LiveSession(source, FrameCutter(remover, plan), Backdrops.of(plan), mirror=mirror) as session:
        tell(f"{source.name} to {sink.name}; {KEYS if sink.interactive else 'Ctrl-C ends it'}")
        status = _Status(quiet or sink.interactive)
        view = View(session, sink, folder=folder, show_rate=plan.live.show_rate, say=tell, on_rate=status)
        try:
            return view.run(stop)
        finally:
            status.close()


class _Status:
    """A line of the terminal that changes; nothing where there is no terminal."""

    def __init__(self, silent: bool) -> None:
        self._silent = silent or sys.stderr is None or not sys.stderr.isatty()
        self._length = 0

    def __call__(self, text: str) -> None:
        if not self._silent:
            click.echo("\r" + printable(text).ljust(self._length), err=True, nl=False)
            self._length = len(text)

    def close(self) -> None:
        """Leave an empty line."""
        if self._length:
            click.echo("\r" + " " * self._length + "\r", err=True, nl=False)


def _summary(result: LiveResult) -> str:
    if not result.shown:
        return "no frame was shown"
    return (
        f"{result.shown} of {result.seen} frames shown, {result.rate:.1f} a second, "
        f"{1000 * result.delay:.0f} ms after they were seen"
    )
