"""``bgremove batch``: more pictures than one should have to begin again with."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from bgremove.bulk.params import BatchParams
from bgremove.console import Progress, say, stop_on_ctrl_c
from bgremove.flags import ModelCommand, SettingOption, given, model_options
from bgremove.options import settings

_SHOWN = 10  # failures that are told; all are in the list


class BatchCommand(ModelCommand):
    """Flags of the batch itself, and those of ``bgremove remove`` for the settings of every picture."""

    def setting_options(self, models: Sequence[str]) -> list[click.Parameter]:
        from bgremove.cli import remove

        assert isinstance(remove, ModelCommand)
        own: list[click.Parameter] = [SettingOption(setting, "Batch") for setting in settings(BatchParams)]
        return own + list(remove.setting_options(models))


@click.command(cls=BatchCommand, short_help="Cut out very many pictures, restartable.")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...", type=str)
@click.option(
    "-o", "--out", required=True, metavar="FOLDER", help="Folder of the results, a path or an address (s3://...)"
)  # fmt: skip
@click.option(
    "--results", metavar="FILE", help="The list of results, .csv or .parquet  [default: FOLDER/results.csv]"
)
@model_options
@click.option("--overwrite", "exists", flag_value="overwrite", help="Replace results that were there before")
@click.option("--skip-existing", "exists", flag_value="skip", help="Leave results that were there before")
@click.option(
    "--max-megapixels", type=float, default=None, metavar="N", help="Refuse larger pictures  [default: 100]"
)
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors")
def batch(
    sources: tuple[str, ...],
    out: str,
    results: str | None,
    model: str,
    model_file: Path | None,
    device: Any,
    preset: str | None,
    exists: Any,
    max_megapixels: float | None,
    quiet: bool,
    **values: Any,
) -> None:
    """Cut the subject out of very many pictures.

    SOURCE is a folder (with its subfolders), a pattern in quotes, a list (.csv, .tsv, .jsonl, .parquet, or
    .txt with a path a line) or a picture; each a path or an address (s3://, gs://, https:// ...). Every
    result is written once, and listed with its size, coverage, seconds and error. The same command, given
    again after a crash or Ctrl-C, does what is left; bad pictures are listed, and tried again with --retry.

    \b
    bgremove batch products/ -o cutouts/ --background white --format jpeg
    bgremove batch products.csv -o s3://shop/cutouts --results results.parquet --engine ray
    """
    from bgremove.batch import keep_memory
    from bgremove.bulk.run import run_batch
    from bgremove.bulk.work import Row
    from bgremove.errors import OptionError
    from bgremove.io import MAX_MEGAPIXELS
    from bgremove.pipeline import Settings

    limit = MAX_MEGAPIXELS if max_megapixels is None else max_megapixels
    if not limit > 0:
        raise OptionError(f"--max-megapixels must be a number above 0; got {limit:g}")
    chosen = given(values)
    own = {name: chosen.pop(name) for name in BatchParams.model_fields if name in chosen}
    params, plan = BatchParams(**own), Settings.build(model, preset=preset, **chosen)
    keep_memory()
    failures: Counter[str] = Counter()
    bars: list[Progress] = []
    with stop_on_ctrl_c(gently=True) as stop:

        def on_start(total: int, before: int) -> None:
            if before == total and not quiet:
                say(f"all {total} pictures are over already; add --retry for what failed, or --fresh")
            elif before and not quiet:
                say(f"going on: {before} of {total} pictures are over, {total - before} are left")
            bars.append(Progress(max(total - before, 2), "", quiet=quiet))
            bars[0].__enter__()

        def on_row(row: Row) -> None:
            if row.status == "failed":
                failures[row.error] += 1
            bars[0].advance(failures.total())

        try:
            report = run_batch(
                sources,
                out,
                plan,
                params,
                results=results,
                exists=exists or "refuse",
                device=device,
                model_file=model_file,
                max_megapixels=limit,
                stop=stop,
                on_start=on_start,
                on_row=on_row,
            )
        finally:
            for bar in bars:
                bar.__exit__()
    for error, times in list(failures.items())[:_SHOWN]:
        say(f"failed: {error}{f' ({times} pictures)' if times > 1 else ''}")
    if len(failures) > _SHOWN:
        say(f"failed: {len(failures) - _SHOWN} more, see {report.results}")
    summary = ", ".join(f"{report.count(status)} {status}" for status in ("done", "skipped", "failed"))
    if stop.is_set() and report.left:
        say(f"stopped: {summary}, {report.left} left; the same command goes on from here")
        sys.exit(130)
    if not quiet:
        say(f"{summary}; see {report.results}")
    sys.exit(1 if failures else 0)
