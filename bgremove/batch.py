"""Many files: which input becomes which output, and doing it without losing any."""

from __future__ import annotations

import glob
import os
import string
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bgremove.arrays import Trimap
from bgremove.errors import BGRemoveError, OptionError, OutputError
from bgremove.io import (
    MAX_MEGAPIXELS,
    READABLE_EXTENSIONS,
    encode,
    output_format,
    write_bytes,
)
from bgremove.pipeline import Output, Processed, Settings, process
from bgremove.removers.base import Remover

Exists = Literal["refuse", "overwrite", "skip"]

STREAM = "-"
"""Standard input or output."""


@dataclass(frozen=True)
class Job:
    """One input and where its outputs go (None is standard input or output).

    Attributes:
        problem: why it cannot be done, if that is known before the work starts.
    """

    source: Path | None
    targets: dict[Output, Path | None]
    problem: str = ""

    @property
    def name(self) -> str:
        """For messages."""
        return "standard input" if self.source is None else str(self.source)


@dataclass(frozen=True)
class Outcome:
    """What became of a job."""

    job: Job
    status: Literal["done", "skipped", "failed"]
    notes: tuple[str, ...] = ()
    error: str = ""
    exception: BaseException | None = field(default=None, repr=False)


def plan_jobs(
    inputs: Iterable[str], out: str | None, settings: Settings, *, recursive: bool = False
) -> list[Job]:
    """Work out every input's outputs, before anything is read or written.

    Args:
        inputs: files, folders, glob patterns or ``-``.
        out: a file, a folder (existing, ending in a separator, or needed because there are several
            inputs), a template with ``{stem}``, ``{model}``, ``{output}``, ``{suffix}`` (the input's) and
            ``{ext}`` (the output's), ``-``, or None for a new file beside each input.
        recursive: take pictures in subfolders, too; their folders are made again under `out`.

    Returns:
        One job per input, in order; inputs that cannot be done carry their `problem`: it does not
        exist, two inputs would write one output, or an output is one of the inputs.

    Raises:
        OptionError: if `out` does not fit the inputs at all.
    """
    found = list(_expand(inputs, recursive=recursive, skip=_folder(out)))
    several = len(found) > 1 or any(item.relative is not None for item in found)
    name = _namer(out, settings, several=several)
    jobs = [item.problem or Job(item.path, name(item)) for item in found]
    for job in jobs:
        for output, target in job.targets.items():
            check_transparency(target, settings, output)
    return _forbid_collisions(jobs)


def check_transparency(target: Path | None, settings: Settings, output: Output) -> None:
    """Raise what would fail in the end before any work is done.

    Raises:
        OptionError: if the output can be see-through and its format cannot.
    """
    row = output_format(target, settings.write.format)
    if row.alpha == "none" and settings.transparent(output):
        raise OptionError(
            f"{target.name if target else row.name.upper()} cannot hold transparency; add a background "
            "(--background white), or write PNG or WebP (--format png)"
        )


def run_jobs(
    jobs: Iterable[Job],
    remover: Callable[[], Remover],
    settings: Settings,
    *,
    exists: Exists = "refuse",
    workers: int = 1,
    hint: Trimap | None = None,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> Iterator[Outcome]:
    """Do the jobs, several at a time, and report each as it ends.

    Memory is bounded by `workers`, not by the number of jobs. Stopping the iteration (Ctrl-C) lets
    the running jobs end and starts no other.

    Args:
        remover: gives the remover; called for the first job that needs it.
        exists: what happens to outputs that exist already.
    """

    def work(job: Job) -> Outcome:
        if job.problem:
            return Outcome(job, "failed", error=job.problem)
        if exists == "skip" and all(target and target.exists() for target in job.targets.values()):
            return Outcome(job, "skipped")
        try:
            return Outcome(job, "done", notes=_do(job, remover(), settings, exists, hint, max_megapixels))
        except BGRemoveError as error:
            return Outcome(job, "failed", error=str(error), exception=error)
        except MemoryError as error:
            why = f"{job.name} needs more memory than there is; make it smaller, or take --jobs 1"
            return Outcome(job, "failed", error=why, exception=error)
        except Exception as error:  # one picture must not stop the others
            why = f"{job.name}: unexpected {type(error).__name__}: {error}"
            return Outcome(job, "failed", error=why, exception=error)

    with ThreadPoolExecutor(workers) as pool:
        waiting: set[Future[Outcome]] = set()
        try:
            for job in jobs:
                waiting.add(pool.submit(work, job))
                if len(waiting) > workers:
                    done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    for future in done:
                        yield future.result()
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        finally:
            for future in waiting:
                future.cancel()


def _do(
    job: Job,
    remover: Remover,
    settings: Settings,
    exists: Exists,
    hint: Trimap | None,
    max_megapixels: float,
) -> tuple[str, ...]:
    if exists == "refuse":
        _refuse_existing(job)
    source = sys.stdin.buffer.read() if job.source is None else job.source
    done = process(source, remover, settings, hint=hint, max_megapixels=max_megapixels, name=job.name)
    for output, target in job.targets.items():
        data = _encode(done, output, target, settings)
        if target is None:
            _write_stream(data)
        else:
            _make_folder(target.parent)
            write_bytes(target, data, overwrite=exists != "refuse")
    hard = any(
        output_format(target, settings.write.format).alpha == "hard" and settings.transparent(output)
        for output, target in job.targets.items()
    )
    if hard:
        return (*done.notes, f"{job.name}: GIF has no half-transparent pixels, so the edges are hard")
    return done.notes


def _refuse_existing(job: Job) -> None:
    for target in job.targets.values():
        if target is not None and target.exists():
            raise OutputError(f"{target} exists; add --overwrite to replace it, or --skip-existing")


def _encode(done: Processed, output: Output, target: Path | None, settings: Settings) -> bytes:
    return encode(
        done.frames[output],
        output_format(target, settings.write.format),
        settings.write,
        done.metadata,
        durations=done.durations,
        loop=done.loop,
    )


def _write_stream(data: bytes) -> None:
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except OSError as error:
        raise OutputError(f"cannot write to standard output: {error.strerror or error}") from error


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {folder}: {error.strerror or error}") from error


# Inputs ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Item:
    """An input; `relative` is its place under the folder it was found in."""

    path: Path | None
    relative: Path | None = None
    problem: Job | None = None


def _expand(inputs: Iterable[str], *, recursive: bool, skip: Path | None) -> Iterator[_Item]:
    for text in inputs:
        path = Path(text)
        if text == STREAM:
            yield _Item(None)
        elif path.is_dir():
            yield from _pictures_in(path, recursive=recursive, skip=skip)
        elif path.exists() or not glob.has_magic(text):
            missing = None if path.exists() else _failed(path, "does not exist; check the path")
            yield _Item(path, problem=missing)
        else:
            matches = sorted(glob.glob(text, recursive=True))
            if not matches:
                yield _Item(path, problem=_failed(path, "matches no file; check the pattern"))
            yield from (_Item(Path(match)) for match in matches if Path(match).is_file())


def _failed(path: Path, why: str) -> Job:
    return Job(path, {}, f"{path} {why}")


def _pictures_in(folder: Path, *, recursive: bool, skip: Path | None) -> Iterator[_Item]:
    """Pictures of a folder by their extension, sorted; never those in the output folder, nor hidden ones."""
    skipped = skip.resolve() if skip else None
    found = False
    for where, folders, names in os.walk(folder):
        folders.sort()
        folders[:] = [one for one in folders if recursive and not one.startswith(".")]
        folders[:] = [one for one in folders if (Path(where) / one).resolve() != skipped]
        for name in sorted(names):
            path = Path(where) / name
            if path.suffix.lower() in READABLE_EXTENSIONS and not name.startswith("."):
                found = True
                yield _Item(path, path.relative_to(folder))
    if not found:
        hint = "" if recursive else "; add --recursive for its subfolders"
        yield _Item(folder, Path(), _failed(folder, f"holds no pictures{hint}"))


# Outputs -----------------------------------------------------------------------------------------


def _folder(out: str | None) -> Path | None:
    """The folder that `out` surely names."""
    return Path(out) if out is not None and out != STREAM and "{" not in out else None


def _namer(
    out: str | None, settings: Settings, *, several: bool
) -> Callable[[_Item], dict[Output, Path | None]]:
    outputs = settings.outputs
    extension = output_format(None, settings.write.format).extensions[0]

    def mark(output: Output) -> str:
        return f"_{output}" if len(outputs) > 1 else ""

    if out == STREAM:
        if several or len(outputs) > 1:
            raise OptionError("standard output takes one picture; give a folder with -o to write several")
        return lambda item: {outputs[0]: None}
    if out is None:
        return lambda item: {
            output: _source(item).with_name(f"{_source(item).stem}_{output}{extension}") for output in outputs
        }
    if "{" in out:
        return lambda item: {output: _fill(out, item, output, settings, extension) for output in outputs}
    path = Path(out)
    if not several and _is_file(path, out):
        return lambda item: {
            output: path.with_name(f"{path.stem}{mark(output)}{path.suffix}") for output in outputs
        }
    if several and _is_file(path, out):
        raise OptionError(
            f"several inputs cannot all become {out}; give a folder, or a template such as out/{{stem}}.png"
        )

    def in_folder(item: _Item) -> dict[Output, Path | None]:
        inside = item.relative.parent if item.relative else Path()
        stem = _source(item).stem
        return {output: path / inside / f"{stem}{mark(output)}{extension}" for output in outputs}

    return in_folder


def _is_file(path: Path, text: str) -> bool:
    if text.endswith(("/", os.sep)) or path.is_dir():
        return False
    return path.exists() or bool(path.suffix)


def _source(item: _Item) -> Path:
    if item.path is None:
        raise OptionError("standard input has no name; give -o - or a file with -o")
    return item.path


def _fill(template: str, item: _Item, output: Output, settings: Settings, extension: str) -> Path:
    source = _source(item)
    # A suffix in the template says the format, and with it {ext}.
    suffix = Path(template).suffix
    fields = {
        "stem": source.stem,
        "model": settings.model.replace("/", "_").replace(":", "_"),
        "output": output,
        "suffix": source.suffix.lstrip("."),
        "ext": extension.lstrip("."),
    }
    try:
        used = {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}
        unknown = used - fields.keys()
        path = Path(template.format(**fields)) if not unknown else Path()
    except (ValueError, IndexError, KeyError, AttributeError):
        raise OptionError(f"{template!r} is no name template: close every brace it opens") from None
    if unknown:
        known = ", ".join(f"{{{name}}}" for name in fields)
        raise OptionError(f"unknown {{{min(unknown)}}} in {template!r}; known: {known}")
    if not suffix:
        path = path.with_name(path.name + extension)
    if len(settings.outputs) > 1 and "output" not in used:
        path = path.with_name(f"{path.stem}_{output}{path.suffix}")
    return path


def _forbid_collisions(jobs: list[Job]) -> list[Job]:
    """Jobs that would write over an input, or over each other, do nothing."""
    sources = {_identity(job.source): job.source for job in jobs if job.source is not None}
    writers: dict[str, list[Job]] = {}
    for job in jobs:
        for target in job.targets.values():
            if target is not None:
                writers.setdefault(_identity(target), []).append(job)

    def check(job: Job) -> Job:
        for target in job.targets.values():
            if target is None or job.problem:
                continue
            key = _identity(target)
            if key in sources:
                why = f"would overwrite the input {sources[key]}; give another name or folder with -o"
                return Job(job.source, {}, f"{job.name}: the output {target} {why}")
            rivals = [str(other.name) for other in writers[key] if other is not job]
            if rivals:
                return Job(
                    job.source,
                    {},
                    f"{job.name} and {rivals[0]} would both be written to {target}, so neither is; use a "
                    "template that tells them apart: -o 'OUT/{stem}_{suffix}.png'",
                )
        return job

    return [check(job) for job in jobs]


def _identity(path: Path) -> str:
    """One text per file, whichever way it is written."""
    return os.path.normcase(path.resolve())
