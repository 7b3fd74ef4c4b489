"""``bgremove video``: the subject of a video, transparent or over another background."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bgremove.console import VideoBar, say, say_nothing, stop_on_ctrl_c
from bgremove.errors import BGRemoveError, UnknownRemoverError
from bgremove.flags import ModelCommand, SettingOption, given, model_options
from bgremove.options import Params, settings

if TYPE_CHECKING:
    from bgremove.removers.base import Remover
    from bgremove.video.run import VideoResult

FILE = click.Path(readable=False, path_type=Path)


class VideoCommand(ModelCommand):
    """Flags for the settings of one model, and for all that is done with a video."""

    def setting_options(self, models: Sequence[str]) -> list[click.Parameter]:
        from bgremove.foreground import ForegroundParams
        from bgremove.refine import RefineParams
        from bgremove.registry import remover_info
        from bgremove.video.params import VideoParams, smoothing_of
        from bgremove.video.temporal import SmoothParams
        from bgremove.video.writing import VideoWriteParams

        groups: list[tuple[str, type[Params], Any]] = [
            ("Video", VideoParams, None),
            ("File", VideoWriteParams, None),
            ("Steadiness", SmoothParams, None),
            ("Refinement and edges", RefineParams, None),
            ("Edge colours", ForegroundParams, None),
        ]
        try:
            info = remover_info(models[-1])
            groups[2] = ("Steadiness", SmoothParams, smoothing_of(info))
            groups.insert(2, (f"Settings of {info.name}", info.params, info.defaults))
        except UnknownRemoverError:
            pass  # said properly when the command runs
        return [
            SettingOption(setting, title)
            for title, params, defaults in groups
            for setting in settings(params, defaults)
        ]


@click.command(cls=VideoCommand, short_help="Cut the subject out of a video.")
@click.argument("source", metavar="INPUT", type=click.Path(readable=False))
@click.option(
    "-o", "--out", type=FILE, metavar="OUT",
    help="FILE.webm (transparent), .mov (transparent, for editing), .mp4 (over a background), .gif, .webp, "
    "or frames/%06d.png; without it, a new file beside the input",
)  # fmt: skip
@model_options
@click.option(
    "--overwrite",
    is_flag=True,
    help="Replace OUT if it exists (never the input); of pictures, all with its pattern",
)
@click.option("--resume", is_flag=True, help="Go on where the same command was stopped")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors")
def video(
    source: str,
    out: Path | None,
    model: str,
    model_file: Path | None,
    device: Any,
    preset: str | None,
    overwrite: bool,
    resume: bool,
    quiet: bool,
    **values: Any,
) -> None:
    """Cut the subject out of a video.

    INPUT is a video, a GIF or another animation, a folder of pictures, or a pattern as 'frames/%06d.png'.
    Sound is copied. Ctrl-C ends the video where it is, playable; --resume goes on from there.

    \b
    bgremove video clip.mp4 -o cutout.webm
    bgremove video clip.mp4 -o beach.mp4 --background beach.jpg
    bgremove video clip.mp4 -o try.mp4 --background blur --preview 5s
    """
    from bgremove.batch import opencv_alone
    from bgremove.video.params import VideoSettings
    from bgremove.video.run import beside, cut_video

    tell = say_nothing if quiet else say
    plan = VideoSettings.build(model, preset=preset, **given(values))
    target = out or beside(source, plan)
    with (
        opencv_alone(),  # each frame has a thread already
        stop_on_ctrl_c(
            gently=True,
            saying="finishing the frames in work, so that the file can be played; Ctrl-C again stops at once",
        ) as stop,
        VideoBar(target.name, quiet=quiet) as bar,
    ):

        def load() -> Remover:
            bar.phase(f"loading {plan.model}")
            remover = plan.create_remover(device, model_file)
            if remover.note:
                tell(remover.note)
            bar.phase("")
            return remover

        began = time.monotonic()
        try:
            result = cut_video(
                source, target, plan, load,
                overwrite=overwrite, resume=resume, on_progress=bar.show, stop=stop,
                model_file=model_file,
            )  # fmt: skip
        except BGRemoveError:
            if bar.done:
                tell(f"{bar.done} frames were done; the same command with --resume goes on from there")
            raise
    for note in result.notes:
        tell(f"note: {note}")
    sys.exit(_report(result, time.monotonic() - began, tell))


def _report(result: VideoResult, seconds: float, tell: Any) -> int:
    from bgremove.video.reading import clock

    if result.path is None:
        tell("stopped before the first frame; nothing was written")
        return 130
    rate = f", {result.made / seconds:.1f} frames a second" if seconds > 0.5 else ""
    frames = "1 frame" if result.frames == 1 else f"{result.frames} frames"
    tell(f"wrote {result.path}: {frames}, {clock(result.duration)}{rate}")
    if result.frames and result.empty:
        share = "any frame" if result.empty == result.made else f"{result.empty} of {result.made} frames"
        tell(f"note: no subject was found in {share}; another --model may see it")
    if result.complete:
        return 0
    tell(
        f"stopped after {clock(result.duration)}, which can be played; the same command with --resume goes on"
    )
    return 130
