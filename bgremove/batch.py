"""Many files: which input becomes which output, and doing it without losing any."""

from __future__ import annotations

import contextlib
import glob
import itertools
import math
import os
import re
import string
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

import cv2

from bgremove.arrays import Trimap
from bgremove.compositing import Pixels
from bgremove.errors import BGRemoveError, ImageError, OptionError, OutputError
from bgremove.io import (
    MAX_MEGAPIXELS,
    READABLE_EXTENSIONS,
    FileFormat,
    check_name,
    encode,
    exists_already,
    make_folder,
    no_transparency,
    open_picture,
    output_format,
    write_bytes,
)
from bgremove.pipeline import Instance, Settings, Wanted, process
from bgremove.registry import remover_info
from bgremove.removers.base import Remover
from bgremove.removers.onnx import sharing_cores
from bgremove.threads import alone

T = TypeVar("T")
R = TypeVar("R")

Exists = Literal["refuse", "overwrite", "skip"]

_SMALL_MB = 50  # networks of less take no more memory for a picture than the picture itself

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h

STREAM = "-"
"""Standard input or output."""

_TOGETHER: Mapping[Wanted, str] = {"mask": "mask_binary", "alpha": "mask_soft", "cutout": "foreground"}
"""What the names of outputs end in where exactly these are asked for; else it is the output's own name."""


@dataclass(frozen=True)
class Job:
    """One input and where its outputs go (None is standard input or output).

    Attributes:
        targets: per output; for instances, what their names begin with (:func:`instance_path`).
        problem: why it cannot be done, if that is known before the work starts.
        inputs: what identifies all the inputs of the run, for names that are not known beforehand.
    """

    source: Path | None
    targets: dict[Wanted, Path | None]
    problem: str = ""
    inputs: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """For messages."""
        return "standard input" if self.source is None else str(self.source)


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Attributes:
        written: the files, in order.
    """

    job: Job
    status: Literal["done", "skipped", "failed"]
    written: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    error: str = ""
    exception: BaseException | None = field(default=None, repr=False)


def plan_jobs(
    inputs: Iterable[str],
    out: str | None,
    settings: Settings,
    *,
    recursive: bool = False,
    overwrite: bool = False,
) -> list[Job]:
    """Work out every input's outputs, before anything is read or written.

    Args:
        inputs: files, folders, glob patterns or ``-``. A file named twice is done once.
        out: a file, a folder (existing, ending in a separator, without a suffix, or needed because
            there are several inputs), a template with ``{stem}``, ``{folder}`` and ``{suffix}`` of the
            input, ``{model}``, ``{output}`` and ``{ext}``, ``-``, or None for a new file beside each input.
            Several outputs are told apart by their names (``photo_mask.png``, ``photo_trimap.png``);
            mask, alpha and cutout together, in any order and without a template, become
            ``photo_mask_binary.png``, ``photo_mask_soft.png`` and ``photo_foreground.png``. Instances are
            always ``photo_instance_01_person.png`` and so on.
        recursive: take pictures in subfolders, too; their folders are made again under `out`.
        overwrite: will outputs that exist be replaced?

    Returns:
        One job per input, in order; inputs that cannot be done carry their `problem`: it does not
        exist, two inputs would write one output, an output is one of the inputs or cannot be written.

    Raises:
        OptionError: if `out` does not fit the inputs at all.
    """
    inputs = list(inputs)
    _refuse_same_folder(inputs, out)
    found = _without_repeats(_expand(inputs, recursive=recursive, skip=_folder(out)))
    if all(item.problem for item in found):
        return [item.problem for item in found if item.problem]
    several = len(found) > 1 or any(item.relative is not None for item in found)
    name = _namer(out, settings, several=several)
    sources = frozenset(_identity(item.path) for item in found if item.path is not None)
    jobs = [item.problem or Job(item.path, name(item), inputs=sources) for item in found]
    if out is None or not overwrite:
        jobs = _without_earlier_outputs(jobs, {item.path for item in found if item.relative is not None})
    for job in jobs:
        for output, target in job.targets.items():
            check_format(target, settings, output)
    return [_check_folders(job) for job in _forbid_collisions(jobs)]


def instance_path(base: Path, instance: Instance) -> Path:
    """Where a subject goes: ``photo_instance.png`` becomes ``photo_instance_01_dining-table.png``."""
    label = re.sub(r"[^\w-]+", "-", instance.label.lower()).strip("-") or "subject"
    return base.with_name(f"{base.stem}_{instance.number:02d}_{label}{base.suffix}")


def earlier_instances(base: Path) -> list[Path]:
    """The files that :func:`instance_path` could have named, and that are there."""
    try:
        there = sorted(base.parent.iterdir())
    except OSError:
        return []
    return [path for path in there if _is_instance(path, base.stem) and path.suffix == base.suffix]


def _is_instance(path: Path, stem: str) -> bool:
    return re.fullmatch(rf"{re.escape(stem)}_\d{{2,}}_[\w-]+", path.stem) is not None


def check_format(target: Path | None, settings: Settings, output: Wanted) -> None:
    """Raise what would fail in the end before any work is done.

    Raises:
        OptionError: if the output can be see-through and its format cannot, or its name is of another format.
    """
    if target is not None:
        check_name(target, settings.write.format)
    row = output_format(target, settings.write.format)
    if row.alpha == "none" and settings.transparent(output):
        raise no_transparency(target.name if target else row.name.upper())


def run_jobs(
    jobs: Iterable[Job],
    remover: Callable[[], Remover],
    settings: Settings,
    *,
    exists: Exists = "refuse",
    workers: int = 1,
    hint: Trimap | None = None,
    max_megapixels: float = MAX_MEGAPIXELS,
    stop: threading.Event | None = None,
) -> Iterator[Outcome]:
    """Do the jobs, several at a time, and report each as it ends.

    Memory is bounded by `workers`, not by the number of jobs.

    Args:
        remover: gives the remover; called for each job that needs it.
        exists: what happens to outputs that exist already.
        stop: when set, the running jobs end, and no other is started.
    """

    def work(job: Job) -> Outcome:
        if job.problem:
            return Outcome(job, "failed", error=job.problem)
        if exists == "skip" and all(_there(job, output) for output in job.targets):
            return Outcome(job, "skipped")
        try:
            written, notes = _do(job, remover, settings, exists, hint, max_megapixels)
            return Outcome(job, "done", written, notes)
        except BGRemoveError as error:
            return Outcome(job, "failed", error=str(error), exception=error)
        except MemoryError as error:
            why = f"{job.name} needs more memory than there is; make it smaller, or take --jobs 1"
            return Outcome(job, "failed", error=why, exception=error)
        except Exception as error:  # one picture must not stop the others
            why = f"{job.name}: unexpected {type(error).__name__}: {error}"
            return Outcome(job, "failed", error=why, exception=error)

    return in_parallel(work, jobs, workers=workers, stop=stop)


def in_parallel(
    work: Callable[[T], R],
    items: Iterable[T],
    *,
    workers: int,
    stop: threading.Event | None = None,
    crowded: bool | None = None,
) -> Iterator[R]:
    """What `work` gives for each item, as it ends; each is a whole picture's work, decoding to encoding.

    With a worker for each core, each stays on its own: so one picture is decoded while another one is in
    the network and the next is encoded, with nobody waiting for anybody. Two cores do 1.6 times as many
    pictures as when all of them work on one picture at a time, most steps of which have a part that only
    one can do.

    Args:
        items: taken as workers become free; no more are held than there are workers.
        stop: when set, no other item is taken.
        crowded: have other cores other work? By default, where there are as many workers as cores.
    """
    if crowded is None:
        crowded = _crowded(workers)

    def one(item: T) -> R:
        with alone() if crowded else contextlib.nullcontext():
            return work(item)

    with opencv_alone() if crowded else contextlib.nullcontext(), ThreadPoolExecutor(workers) as pool:
        left, running = iter(items), set[Future[R]]()
        while True:
            if stop is None or not stop.is_set():
                running |= {pool.submit(one, item) for item in itertools.islice(left, workers - len(running))}
            if not running:
                return
            # The timeout lets Ctrl-C through on systems where a wait cannot be interrupted.
            done, running = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()


def keep_memory() -> None:
    """Let this process keep up to 128 MB that are free, for a command that does many pictures.

    The C library gives large pieces back to the system as soon as they are free, and has them cleared again
    for the next picture: a twentieth of the time. Only glibc can be told; elsewhere nothing happens.
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):
        import ctypes

        tell = ctypes.CDLL(None).mallopt
        tell(_TRIM_THRESHOLD, 128 << 20)
        tell(_MMAP_THRESHOLD, 64 << 20)


def usual_workers(pictures: int, model: str) -> int:
    """How many pictures are done at a time if nobody says: one for each core, but large networks take memory.

    Args:
        pictures: how many there are.
        model: the remover's name.
    """
    row = remover_info(model)
    unknown = math.inf if row.needs_file or row.weights else 0
    small = (row.weights and row.weights.size_mb or unknown) < _SMALL_MB
    return max(1, min(8 if small else 4, os.cpu_count() or 1, pictures))


def for_workers(workers: int) -> contextlib.AbstractContextManager[None]:
    """Around the building of a remover that `workers` share, each of which runs its network, too."""
    if workers < 2:
        return contextlib.nullcontext()
    return sharing_cores(max(1, (os.cpu_count() or 1) - workers + 1))


def _crowded(workers: int) -> bool:
    return workers > 1 and workers >= (os.cpu_count() or 1)


@contextlib.contextmanager
def opencv_alone() -> Iterator[None]:
    """OpenCV, too, works on the threads that call it only."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _do(
    job: Job,
    remover: Callable[[], Remover],
    settings: Settings,
    exists: Exists,
    hint: Trimap | None,
    max_megapixels: float,
) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """What was written, and what the user should know of it."""
    if exists == "refuse":
        _refuse_existing(job)
    source = _read_stream() if job.source is None else job.source
    formats = {output: output_format(target, settings.write.format) for output, target in job.targets.items()}
    with open_picture(source, max_megapixels=max_megapixels, name=job.name) as picture:
        if picture.frames > 1:
            _check_animated(job, formats.values())
        done = process(picture, remover(), settings, hint=hint)
    written: list[Path] = []

    def write(target: Path | None, output: Wanted, frames: list[Pixels]) -> None:
        row = formats[output]
        data = encode(frames, row, settings.write, done.metadata, durations=done.durations, loop=done.loop)
        if target is None:
            return _write_stream(data)
        make_folder(target.parent)
        write_bytes(target, data, overwrite=exists != "refuse")
        written.append(target)

    notes = list(done.notes)
    for output, target in job.targets.items():
        if output != "instances":
            write(target, output, done.frames[output])
        elif target is not None:
            notes += _write_instances(job, target, done.instances, write)
    if any(row.alpha == "hard" and settings.transparent(output) for output, row in formats.items()):
        notes.append(f"{job.name}: GIF has no half-transparent pixels, so the edges are hard")
    return tuple(written), tuple(notes)


def _write_instances(
    job: Job, base: Path, instances: Sequence[Instance], write: Callable[[Path, Wanted, list[Pixels]], None]
) -> list[str]:
    """Write a file for each subject; a note on those that an earlier run has left beside them."""
    targets = [instance_path(base, one) for one in instances]
    for target in targets:
        if _identity(target) in job.inputs:
            raise OutputError(
                f"{target} is one of the inputs, and is not overwritten; give another folder with -o"
            )
    for target, one in zip(targets, instances, strict=True):
        write(target, "instances", [one.pixels])
    left = [path for path in earlier_instances(base) if path not in targets]
    if not left:
        return []
    names = ", ".join(path.name for path in left[:3]) + (" and more" if len(left) > 3 else "")
    return [f"{job.name}: of an earlier run, {names} is still there"]


def _check_animated(job: Job, formats: Iterable[FileFormat]) -> None:
    """Refuse before all the frames are cut out what :func:`encode` would refuse in the end."""
    for row in formats:
        if not row.animated:
            why = f"which {row.name.upper()} cannot be; write PNG, WebP or GIF"
            raise OptionError(f"{job.name} is animated, {why}")


def _refuse_existing(job: Job) -> None:
    for output, target in job.targets.items():
        if target is None:
            continue
        if output == "instances":
            for earlier in earlier_instances(target):
                raise exists_already(earlier)
        elif os.path.lexists(target):
            raise exists_already(target)


def _there(job: Job, output: Wanted) -> bool:
    target = job.targets[output]
    if target is None:
        return False
    return bool(earlier_instances(target)) if output == "instances" else os.path.exists(target)


def _read_stream() -> bytes:
    if sys.stdin is None:  # the caller closed it
        raise ImageError("standard input is closed; send a picture to it (< photo.jpg)")
    return sys.stdin.buffer.read()


def _write_stream(data: bytes) -> None:
    if sys.stdout is None:
        raise OutputError("standard output is closed; send it to a file (> cutout.png)")
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except OSError as error:
        raise OutputError(f"cannot write to standard output: {error.strerror or error}") from error


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
        if not text:
            raise OptionError("an input is empty text; give a file, a folder, a pattern or -")
        if text == STREAM:
            yield _Item(None)
        elif os.path.isdir(text):
            yield from _pictures_in(path, recursive=recursive, skip=skip)
        elif os.path.exists(text):
            yield _Item(path)
        elif os.path.islink(text):
            yield _Item(path, problem=_failed(path, "is a link to a file that does not exist"))
        elif not glob.has_magic(text):
            yield _Item(path, problem=_failed(path, "does not exist; check the path"))
        else:
            matches = [Path(match) for match in sorted(glob.glob(text, recursive=True))]
            files = [match for match in matches if not match.is_dir()]
            if not files:
                yield _Item(path, problem=_failed(path, "matches no file; check the pattern"))
            yield from map(_Item, files)


def _without_repeats(items: Iterable[_Item]) -> list[_Item]:
    """Each file once, though a folder and a pattern may both have found it."""
    seen: set[str] = set()
    unique = []
    for item in items:
        key = os.path.abspath(item.path) if item.path is not None else STREAM
        if key not in seen or item.problem:
            unique.append(item)
        seen.add(key)
    return unique


def _failed(path: Path, why: str) -> Job:
    return Job(path, {}, f"{path} {why}")


def _pictures_in(folder: Path, *, recursive: bool, skip: Path | None) -> Iterator[_Item]:
    """Pictures of a folder by their extension, sorted; never those in the output folder, nor hidden ones."""
    skipped = skip.resolve() if skip else None
    found = False
    locked: list[OSError] = []
    for where, folders, names in os.walk(folder, onerror=locked.append):
        folders[:] = sorted(one for one in folders if recursive and not one.startswith("."))
        folders[:] = [one for one in folders if (Path(where) / one).resolve() != skipped]
        for name in sorted(names):
            path = Path(where) / name
            if path.suffix.lower() in READABLE_EXTENSIONS and not name.startswith("."):
                found = True
                yield _Item(path, path.relative_to(folder))
    for error in locked:
        why = f"cannot be opened: {error.strerror or error}; check its permissions"
        yield _Item(folder, Path(), _failed(Path(error.filename), why))
    if not found and not locked:
        hint = "" if recursive else "; add --recursive for its subfolders"
        yield _Item(folder, Path(), _failed(folder, f"holds no pictures{hint}"))


# Outputs -----------------------------------------------------------------------------------------


def _folder(out: str | None) -> Path | None:
    """The folder that `out` names, where it is clear: no input is searched for there."""
    if out is None or out == STREAM:
        return None
    if "{" not in out:
        return Path(out)
    before = os.path.dirname(out.partition("{")[0])
    return Path(before) if before else None


def _refuse_same_folder(inputs: Iterable[str], out: str | None) -> None:
    for text in inputs:
        if out is not None and os.path.isdir(out) and os.path.isdir(text) and os.path.samefile(text, out):
            raise OptionError(
                f"{text} is both input and output; give another folder with -o, or leave out -o to write "
                "beside the inputs"
            )


def _namer(
    out: str | None, settings: Settings, *, several: bool
) -> Callable[[_Item], dict[Wanted, Path | None]]:
    outputs = settings.wanted
    extension = output_format(None, settings.write.format).extensions[0]
    names = output_names(outputs)

    def mark(output: Wanted) -> str:
        return f"_{names[output]}" if len(outputs) > 1 or output == "instances" else ""

    if out == STREAM:
        if "instances" in outputs:
            raise OptionError("instances are several files; give a folder for them with -o")
        if several or len(outputs) > 1:
            raise OptionError("standard output takes one picture; give a folder with -o to write several")
        return lambda item: {outputs[0]: None}
    if out is None:
        return lambda item: {
            output: _source(item).with_name(f"{_source(item).stem}_{names[output]}{extension}")
            for output in outputs
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
            f"several inputs cannot all become {out}; give a folder (ending in /), or a template such as "
            "out/{stem}.png"
        )

    def in_folder(item: _Item) -> dict[Wanted, Path | None]:
        inside = item.relative.parent if item.relative else Path()
        stem = _source(item).stem
        return {output: path / inside / f"{stem}{mark(output)}{extension}" for output in outputs}

    return in_folder


def output_names(outputs: Sequence[Wanted]) -> Mapping[Wanted, str]:
    """What stands for each output in the names of files."""
    if set(outputs) == set(_TOGETHER):
        return _TOGETHER
    return {output: "instance" if output == "instances" else output for output in outputs}


def _is_file(path: Path, text: str) -> bool:
    if text.endswith(("/", os.sep)) or os.path.isdir(path):
        return False
    return os.path.exists(path) or bool(path.suffix)


def _source(item: _Item) -> Path:
    if item.path is None:
        raise OptionError("standard input has no name; give -o - or a file with -o")
    return item.path


def _fill(template: str, item: _Item, output: Wanted, settings: Settings, extension: str) -> Path:
    source = _source(item)
    if template.endswith(("/", os.sep)):
        template += "{stem}"
    fields = {
        "stem": source.stem,
        "folder": Path(os.path.abspath(source)).parent.name,
        "suffix": source.suffix.lstrip("."),
        "model": settings.model.replace("/", "_").replace(os.sep, "_").replace(":", "_"),
        "output": "instance" if output == "instances" else output,
        "ext": extension.lstrip("."),
    }
    used = fields_of(template, tuple(fields))
    path = Path(template.format(**fields))
    # A suffix in the template says the format, and with it {ext}.
    if not Path(template).suffix:
        path = path.with_name(path.name + extension)
    if "output" not in used and (len(settings.wanted) > 1 or output == "instances"):
        path = path.with_name(f"{path.stem}_{fields['output']}{path.suffix}")
    return path


def fields_of(template: str, known: tuple[str, ...]) -> set[str]:
    """The fields a name template uses."""
    try:
        parts = [part for part in string.Formatter().parse(template) if part[1] is not None]
    except ValueError:
        raise OptionError(
            f"{template!r} is no name template; close every brace, and double those of the name itself"
        ) from None
    for _, name, spec, conversion in parts:
        if name not in known or spec or conversion:
            field = f"{name}{'!' if conversion else ''}{conversion or ''}{':' if spec else ''}{spec}"
            names = ", ".join(f"{{{one}}}" for one in known)
            raise OptionError(f"unknown {{{field}}} in {template!r}; known: {names}")
    return {str(name) for _, name, _, _ in parts}


# What must not happen ----------------------------------------------------------------------------


def _without_earlier_outputs(jobs: list[Job], found: set[Path | None]) -> list[Job]:
    """Leave out what an earlier run put beside its inputs: ``a_cutout.png`` next to ``a.jpg``.

    Args:
        found: files that were found in folders; what is named by itself is always an input.
    """
    stems = {
        _identity(target): job.source.stem
        for job in jobs
        for target in job.targets.values()
        if target is not None and job.source is not None
    }
    bases = {job.targets["instances"] for job in jobs if job.targets.get("instances")}

    def earlier(job: Job) -> bool:
        if job.source is None or job.source not in found:
            return False
        begins = (job.source.stem[: one.start()] for one in re.finditer(r"_\d{2,}_", job.source.stem))
        if bases and any(job.source.with_name(f"{begin}{job.source.suffix}") in bases for begin in begins):
            return True
        stem = stems.get(_identity(job.source), job.source.stem)
        return stem != job.source.stem and job.source.stem.startswith(stem)

    return [job for job in jobs if not earlier(job)]


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
            if len(writers[key]) > 1:
                return Job(job.source, {}, _collision(writers[key], target))
        return job

    return [check(job) for job in jobs]


def _collision(rivals: list[Job], target: Path) -> str:
    names = ", ".join(rival.name for rival in rivals[:3]) + (" and more" if len(rivals) > 3 else "")
    suffixes = {rival.source.suffix for rival in rivals if rival.source is not None}
    way = "{stem}_{suffix}.png" if len(suffixes) == len(rivals) else "{folder}_{stem}_{suffix}.png"
    return (
        f"{names} would all be written to {target}, so none is; use a template that tells them apart: "
        f"-o 'OUT/{way}'"
    )


def _check_folders(job: Job) -> Job:
    """A job whose outputs have no place to go fails before it costs any work."""
    for target in job.targets.values():
        folder = Path() if target is None else target.parent
        while not os.path.lexists(folder) and folder != folder.parent:
            folder = folder.parent
        if not os.path.isdir(folder):
            why = f"cannot write into {folder}: it is not a folder; give another with -o"
            return Job(job.source, {}, why)
        if target is not None and not os.access(folder, os.W_OK | os.X_OK):
            why = f"cannot write into the folder {folder}: permission denied; give another with -o"
            return Job(job.source, {}, why)
    return job


def _identity(path: Path) -> str:
    """One text per file, whichever way it is written, also through links."""
    try:
        state = os.stat(path)
    except OSError:
        return os.path.normcase(os.path.realpath(path))
    return f"{state.st_dev}:{state.st_ino}"
