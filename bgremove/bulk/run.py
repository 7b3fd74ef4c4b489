"""A batch from its sources to the list of its results."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import posixpath
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from bgremove.batch import Exists, check_format, fields_of, output_names
from bgremove.bulk import places
from bgremove.bulk.manifest import Entry, entries
from bgremove.bulk.params import BatchParams
from bgremove.bulk.results import Journal, check_table, write_table
from bgremove.bulk.work import Job, Row, Task
from bgremove.errors import OptionError, OutputError
from bgremove.io import MAX_MEGAPIXELS, output_format
from bgremove.pipeline import Settings
from bgremove.removers.base import Device

_ABANDONED = 10.0  # seconds: nobody takes as long to write a file

Engine = Callable[[Sequence[Task], Job, BatchParams, threading.Event], Iterator[tuple[Task, Row]]]
"""Does the tasks, in any order, and gives each with its row as it ends. Ends early once the event is set."""


@dataclass(frozen=True)
class Report:
    """What became of a batch.

    Attributes:
        results: the list.
        total: pictures it has.
        before: of them, those that were over when it began, as an earlier run was stopped.
        rows: of this run, in order.
        left: pictures nothing became of, since it was stopped.
    """

    results: str
    total: int
    before: int
    rows: tuple[Row, ...] = field(repr=False)
    left: int = 0

    def count(self, status: str) -> int:
        """Pictures of this run that were ``done``, ``skipped`` or ``failed``."""
        return Counter(row.status for row in self.rows)[cast(Any, status)]


def run_batch(
    sources: Iterable[str],
    out: str,
    plan: Settings,
    params: BatchParams | None = None,
    *,
    results: str | None = None,
    exists: Exists = "refuse",
    device: Device = "auto",
    model_file: Path | None = None,
    max_megapixels: float = MAX_MEGAPIXELS,
    stop: threading.Event | None = None,
    on_start: Callable[[int, int], None] = lambda total, before: None,
    on_row: Callable[[Row], None] = lambda row: None,
) -> Report:
    """Cut the subjects out of many pictures, each once, whatever happens on the way.

    Called again after a crash, with the same arguments, it does what is left. Bad pictures are listed.

    Args:
        sources: as for :func:`~bgremove.bulk.manifest.entries`.
        out: folder of the results, a path or an address.
        plan: the settings of every picture.
        params: how the batch is done.
        results: the list of results, ``.csv`` or ``.parquet``; ``results.csv`` in `out` by default. Its
            journal lies beside it.
        exists: what happens to results that were there before the batch first began.
        stop: when set, the pictures in work end, and no other is begun.
        on_start: is told how many pictures there are, and how many of them were over before.
        on_row: is told of each picture as it is over.

    Raises:
        BGRemoveError: with one sentence, if nothing can be done at all; then nothing was changed.
    """
    params, stop = params or BatchParams(), stop or threading.Event()
    out = _writable(places.local(out))
    table = places.local(results) if results else places.join(out, "results.csv")
    check_table(table)
    if plan.instances:
        raise OptionError("output must not be instances for a batch, as their files are not known beforehand")
    found = _without_results(entries(sources, params.column), out)
    tasks = [Task(entry.source, _targets(entry, out, plan, params.names)) for entry in found]
    _refuse_collisions(tasks)
    job = Job(plan, device, model_file, max_megapixels, overwrite=exists != "refuse")
    about = _about(job, out)
    with Journal(table, fresh=params.fresh) as journal:
        _refuse_other_settings(journal, about)
        known = [task for task in tasks if task.source in journal.tasks]
        new = _with_states([task for task in tasks if task.source not in journal.tasks])
        if exists == "refuse":
            _refuse_existing(new, None if journal.existed else table)
        journal.begin(about, new)
        if params.retry:
            journal.forget_failed()
        before = sum(task.source in journal.rows for task in known)
        on_start(len(tasks), before)
        mine = [journal.tasks[task.source] for task in tasks]
        rows = []
        try:
            for task, row in _done(mine, journal, job, params, exists, stop):
                journal.add(task.source, row)
                rows.append(row)
                on_row(row)
        finally:
            listed = [journal.rows[task.source] for task in mine if task.source in journal.rows]
            if listed:
                write_table(table, listed)
            if known or params.engine == "ray":
                _sweep(mine)
    left = sum(task.source not in journal.rows for task in mine)
    return Report(table, len(tasks), before, tuple(rows), left)


def _done(
    tasks: Sequence[Task],
    journal: Journal,
    job: Job,
    params: BatchParams,
    exists: Exists,
    stop: threading.Event,
) -> Iterator[tuple[Task, Row]]:
    """The pictures that are not over yet, with their rows."""
    todo = []
    for task in tasks:
        if task.source in journal.rows:
            continue
        if exists == "skip" and set(task.before) == set(task.targets.values()):
            outputs = " | ".join(map(places.shown, task.targets.values()))
            yield task, Row(places.shown(task.source), outputs, "skipped")
        else:
            todo.append(task)
    if todo:
        yield from engine(params.engine)(todo, job, params, stop)


def engine(name: str) -> Engine:
    """What does the work."""
    if name == "ray":
        from bgremove.bulk.ray import run_on_ray

        return run_on_ray
    from bgremove.bulk.local import run_here

    return run_here


# Names -------------------------------------------------------------------------------------------


def _writable(out: str) -> str:
    if out in ("", "-") or out.lower().startswith(("http://", "https://")):
        raise OptionError(
            f"out must be a folder, here or at an address such as s3://bucket/cutouts; got {out!r}"
        )
    return out


def _targets(entry: Entry, out: str, plan: Settings, template: str) -> dict[str, str]:
    """Where each output of a picture goes."""
    names, several = output_names(plan.wanted), len(plan.wanted) > 1
    extension = output_format(None, plan.write.format).extensions[0]
    targets: dict[str, str] = {}
    for output in plan.wanted:
        stem, own = posixpath.splitext(entry.name)
        if entry.exact:
            name, ending = stem, own or extension
            used: set[str] = set()
        else:
            values = {
                "folder": posixpath.dirname(entry.name) or ".",
                "stem": posixpath.basename(stem),
                "suffix": own.lstrip("."),
                "output": names[output],
            }
            used = fields_of(template, tuple(values))
            name, ending = template.format(**values), extension
        if several and "output" not in used:
            name = f"{name}_{names[output]}"
        plain = posixpath.normpath(name)
        if plain.startswith(("/", "..")):
            raise OptionError(f"names must stay inside the folder of the results; got {template}")
        targets[output] = places.join(out, plain + ending)
        check_format(Path(places.base_name(targets[output])), plan, output)
    return targets


def _without_results(found: Sequence[Entry], out: str) -> list[Entry]:
    """Without what lies in the folder of the results, where that is inside a folder of pictures.

    Raises:
        OptionError: if all pictures lie there.
    """
    inside = _normal(out).rstrip("/") + "/"
    kept = [entry for entry in found if not _normal(entry.source).startswith(inside)]
    if not kept:
        raise OptionError(
            f"out must be another folder than that of the pictures; got {places.shown(out)} for both"
        )
    return kept


def _normal(place: str) -> str:
    return place if places.is_address(place) else os.path.realpath(place).replace(os.sep, "/")


def _refuse_collisions(tasks: Sequence[Task]) -> None:
    owners: dict[str, Task] = {_normal(task.source): task for task in tasks}
    for task in tasks:
        for target in task.targets.values():
            other = owners.setdefault(_normal(target), task)
            if other is task and _normal(target) != _normal(task.source):
                continue
            first, second = places.shown(other.source), places.shown(task.source)
            if _normal(target) == _normal(other.source):
                raise OptionError(f"{second} would be written over {first}; give another folder with -o")
            raise OptionError(
                f"{first} and {second} would both be written to {places.shown(target)}; tell them apart with "
                "--names '{folder}/{stem}_{suffix}', or with a column output in the list"
            )


# What was there ----------------------------------------------------------------------------------


def _with_states(tasks: Sequence[Task]) -> list[Task]:
    """The tasks with what is there in place of their targets."""
    there = _Folders()
    return [
        dataclasses.replace(
            task, before={one: there.state(one) for one in task.targets.values() if there.has(one)}
        )
        for task in tasks
    ]


class _Folders:
    """Which files are there; at an address, each folder is asked once, not each file."""

    def __init__(self) -> None:
        self._names: dict[str, set[str]] = {}

    def has(self, place: str) -> bool:
        if not places.is_address(place):
            return os.path.lexists(place)
        folder = places.parent(place)
        if folder not in self._names:
            self._names[folder] = places.names_in(folder)
        return posixpath.basename(place) in self._names[folder]

    def state(self, place: str) -> str:
        return places.state(place)


def _refuse_existing(tasks: Sequence[Task], table: str | None) -> None:
    found = [target for task in tasks for target in task.before]
    if table is not None and places.state(table):
        found.append(table)
    if found:
        more = f" and {len(found) - 1} other results exist" if len(found) > 1 else " exists"
        raise OutputError(
            f"{places.shown(found[0])}{more} already; add --overwrite to replace what is there, "
            "--skip-existing to leave it, or give another folder with -o"
        )


def _sweep(tasks: Sequence[Task]) -> None:
    """Remove what workers that were killed have left of files they had not finished."""
    targets = (target for task in tasks for target in task.targets.values())
    for folder in {places.parent(target) for target in targets if not places.is_address(target)}:
        for part in Path(folder).glob(f".bgremove-{'?' * 16}.part"):
            with contextlib.suppress(OSError):
                if time.time() - part.stat().st_mtime > _ABANDONED:
                    part.unlink()


def _about(job: Job, out: str) -> dict[str, Any]:
    """The settings that results depend on, by name."""
    plan = job.plan
    about: dict[str, Any] = {"model": plan.model, "out": places.shown(out)}
    for group in (plan.remover, plan.refine, plan.foreground, plan.output, plan.write):
        about |= group.model_dump(mode="json")
    if plan.background.picture is not None:
        about["background picture"] = hashlib.sha256(plan.background.picture.tobytes()).hexdigest()
    own = (
        str(job.model_file) if job.model_file is not None else plan.model.partition(":")[2].partition("@")[0]
    )
    if own and os.path.isfile(own):
        about["model file"] = [os.stat(own).st_size, os.stat(own).st_mtime_ns]
    return about


def _refuse_other_settings(journal: Journal, about: dict[str, Any]) -> None:
    if journal.about is None or journal.about == about:
        return
    if not journal.rows:  # it broke off before anything came of it
        return journal.forget()
    names = [*journal.about, *(name for name in about if name not in journal.about)]
    name = next(name for name in names if journal.about.get(name) != about.get(name))
    before, now = (json_like(one.get(name)) for one in (journal.about, about))
    raise OptionError(
        f"{name} was {before} when this batch began, and is {now} now; give it as before, another folder "
        "with -o, or --fresh to begin anew"
    )


def json_like(value: Any) -> str:
    """A setting for a message."""
    return "not given" if value is None or value == "" else str(value)
