"""``bgremove data``: training data from published sets, zips, folders, or cut-outs and backgrounds."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bgremove.console import Progress, say, stop_on_ctrl_c
from bgremove.datasets import SOURCES, DataSource
from bgremove.datasets.params import DataParams
from bgremove.errors import OptionError
from bgremove.flags import SectionedCommand, SettingOption, given
from bgremove.options import settings

if TYPE_CHECKING:
    from bgremove.datasets.build import Report
    from bgremove.datasets.sources import Found

_SHOWN = 10  # reasons shown in the summary


@click.group(short_help="Make training data: train/ and val/ with images/ and masks/.")
def data() -> None:
    """Make training data: OUT/train and OUT/val, each with images/ and masks/ of one name.

    \b
    A zip:    bgremove data zip set.zip -o data/
    DUTS:     bgremove data duts --download -o data/
    Your own: bgremove data composite --cutouts cut/ --backgrounds rooms/ --count 5000 -o data/
    """


def _command(row: DataSource) -> click.Command:
    """The sub-command of a source, its flags made from its row."""

    def run(**values: Any) -> None:
        try:
            _make(row, values)
        except OptionError as error:  # a user of the command line knows settings by their flags
            name, _, rest = str(error).partition(" ")
            flags = {str(option.name): option.opts[0] for option in command.params}
            raise OptionError(f"{flags.get(name, name)} {rest}") from error

    params: list[click.Parameter] = []
    if row.argument:
        params.append(
            click.Argument(
                ["paths"], nargs=-1, required=not _fetches(row), type=click.Path(path_type=Path),
                metavar=f"[{row.argument}]..." if _fetches(row) else f"{row.argument}...",
            )
        )  # fmt: skip
    params.append(
        click.Option(
            ["-o", "--out"], required=True, metavar="FOLDER", type=click.Path(path_type=Path),
            help="Where train/ and val/ are made: a new or empty folder",
        )
    )  # fmt: skip
    if _fetches(row):
        params.append(click.Option(["--download"], is_flag=True, help=_download_help(row)))
    if row.download:
        params += [
            click.Option(["--url"], metavar="URL", default="", help="Another address to download it from"),
            click.Option(["--sha256"], metavar="HEX", default="", help="Check the download by this digest"),
        ]
    params += [
        click.Option(["--add"], is_flag=True, help="Put the pairs to those that the folder holds already"),
        click.Option(["-q", "--quiet"], is_flag=True, help="Say nothing but errors"),
    ]
    for kind, title, defaults in ((row.params, "Source", {}), (DataParams, "Settings", row.defaults)):
        for setting in settings(kind, defaults):
            if setting.name in ("limit", "link") and not row.argument:
                continue  # it makes as many as it is told, and has no files to link
            option = SettingOption(setting, title)
            if setting.name in ("cutouts", "backgrounds"):
                option.metavar = "FOLDER"
            params.append(option)
    command = SectionedCommand(
        row.name, params=params, callback=run, help=_help(row), short_help=f"{row.summary}."
    )
    return command


def _fetches(row: DataSource) -> bool:
    return bool(row.download or row.kaggle)


def _download_help(row: DataSource) -> str:
    if row.download:
        return f"Download {row.download.file}; see {row.download.page}"
    return f"Download {row.kaggle} from Kaggle, through kagglehub"


def _help(row: DataSource) -> str:
    text = f"{row.summary}."
    if row.argument:
        what = {"PATH": "a folder or a zip", "FILE.zip": "a zip", "FOLDER": "a folder"}[row.argument]
        text += f"\n\n{row.argument} is {what}; several are taken together."
    if row.paper:
        text += f"\n\nPaper: {row.paper}. Licence: {row.license}."
    return text


for _row in SOURCES.values():
    data.add_command(_command(_row))


def _make(row: DataSource, values: dict[str, Any]) -> None:
    """What every sub-command does."""
    out, quiet = values["out"].expanduser(), values["quiet"]
    chosen = given(values)
    params = DataParams(**{**row.defaults, **_only(chosen, DataParams)})
    own = row.params(**_only(chosen, row.params))
    paths = list(values.get("paths", ()))
    fetched: dict[str, Any] = {}
    if values.get("download"):
        place, fetched = _fetch(row, values)
        paths.append(place)
    if row.argument and not paths:
        raise OptionError(f"{row.name} needs a folder or a zip; name it, or add --download")
    facts = {
        "source": row.name,
        "places": [str(path) for path in paths],
        **fetched,
        "license": row.license,
        "own_settings": own.model_dump(mode="json"),
    }
    report = _build(row, paths, out, params, own, facts, add=values["add"], quiet=quiet)
    sys.exit(_tell(report, out, params, quiet=quiet))


def _only(values: Mapping[str, Any], kind: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name in kind.model_fields}


def _fetch(row: DataSource, values: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
    """The downloaded zip or folder, and what to remember of it."""
    from bgremove.datasets.download import fetch_archive, fetch_from_kaggle

    quiet = values["quiet"]
    if not quiet:
        say(f"{row.name}: terms of use: {row.license}")
    if row.download is None:
        return fetch_from_kaggle(row), {"download": {"kaggle": row.kaggle}}
    archive = fetch_archive(row.download, url=values["url"], sha256=values["sha256"], progress=not quiet)
    if not quiet:
        known = "as expected" if archive.checked else "no digest is known to check it by; --sha256 checks it"
        say(f"{archive.path}: sha256 {archive.sha256} ({known})")
    return archive.path, {"download": {"url": archive.url, "sha256": archive.sha256}}


def _build(
    row: DataSource,
    paths: list[Path],
    out: Path,
    params: DataParams,
    own: Any,
    facts: dict[str, Any],
    *,
    add: bool,
    quiet: bool,
) -> Report:
    """Find the pairs and write them, with progress; the first Ctrl-C stops gently."""
    import importlib

    from bgremove.datasets.build import build_dataset
    from bgremove.datasets.files import open_places
    from bgremove.datasets.sources import Request

    module, _, function = row.target.partition(":")
    find = getattr(importlib.import_module(module), function)
    with open_places(paths, without=out) as contents:
        found: Found = find(Request(contents, params, own))
        total = min(len(found.items), params.limit or len(found.items))
        with stop_on_ctrl_c(gently=True) as stop, Progress(max(total, 2), row.name, quiet=quiet) as progress:
            return build_dataset(found, out, params, facts, add=add, progress=progress.advance, stop=stop)


def _tell(report: Report, out: Path, params: DataParams, *, quiet: bool) -> int:
    """Say what was made and what was left out; the exit status."""
    done = report.train + report.val
    if report.left:
        say(
            f"stopped: {done} pairs are ready, {report.left} are left; the same command goes on from here "
            f"(delete {out} to give it up)"
        )
        return 130
    if quiet:
        return 0
    if report.problems:
        say(f"left out {len(report.problems)}:")
        for sentence in report.problems[:_SHOWN]:
            say(f"  {sentence}")
        if len(report.problems) > _SHOWN:
            say(f"  and {len(report.problems) - _SHOWN} more; {out / 'dataset.json'} lists them")
    say(f"made {out}: {report.train} pairs to train on, {report.val} to validate on (seed {params.seed})")
    if not report.val and params.val:
        say("note: one pair is too few to validate on; training needs both sets")
    return 0
