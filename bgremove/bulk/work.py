"""One picture of a batch, from its source to its results and its row in the list."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from bgremove.bulk import places
from bgremove.errors import BGRemoveError, ImageError, OptionError
from bgremove.io import MAX_MEGAPIXELS, encode, open_picture, output_format
from bgremove.pipeline import Output, Settings, process
from bgremove.removers.base import Device, Remover

Status = Literal["done", "skipped", "failed"]


@dataclass(frozen=True)
class Task:
    """A picture, where its results go, and what was there before the batch began.

    Attributes:
        source: a path or an address.
        targets: per output.
        before: per target that was there, its :func:`~bgremove.bulk.places.state`. A target that is there in
            another state is this batch's own, by a worker that died before it could say so.
    """

    source: str
    targets: Mapping[str, str]
    before: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """What became of a picture: a line of the list of results.

    Attributes:
        path: the picture.
        output: its results; several are separated by a space, a bar and a space.
        width, height: of the picture, upright.
        bytes: of all its results.
        coverage: the subject's share of the picture, 0 to 1.
        seconds: from opening it to its last result.
        error: a sentence, where it failed.
        note: sentences about what could not be kept.
        worker: machine and process.
    """

    path: str
    output: str = ""
    status: Status = "done"
    width: int | None = None
    height: int | None = None
    bytes: int | None = None
    coverage: float | None = None
    seconds: float | None = None
    error: str = ""
    note: str = ""
    worker: str = ""

    def as_dict(self) -> dict[str, Any]:
        """By column."""
        return asdict(self)


@dataclass(frozen=True)
class Job:
    """What all pictures of a batch have in common. Can be pickled."""

    plan: Settings
    device: Device = "auto"
    model_file: Path | None = None
    max_megapixels: float = MAX_MEGAPIXELS
    overwrite: bool = False

    def create_remover(self) -> Remover:
        """The remover of a worker."""
        return self.plan.create_remover(self.device, self.model_file)


def do(task: Task, remover: Remover, job: Job) -> Row:
    """Make the results of one picture that are not there yet; errors are told in the row."""
    began = time.perf_counter()
    try:
        row = _found(task, job) or _made(task, remover, job)
    except BGRemoveError as error:
        row = _failed(task, str(error))
    except MemoryError:
        row = _failed(task, f"{_name(task)} needs more memory than there is; make it smaller")
    except Exception as error:  # one picture must not stop the others
        row = _failed(task, f"{_name(task)}: unexpected {type(error).__name__}: {error}")
    return _with(row, seconds=round(time.perf_counter() - began, 4), worker=me())


def failed(task: Task, error: str) -> Row:
    """The row of a picture that no worker could tell of."""
    return _failed(task, error)


def me() -> str:
    """This process, among all the machines of a batch."""
    return f"{socket.gethostname()}:{os.getpid()}"


def _made(task: Task, remover: Remover, job: Job) -> Row:
    plan, written, size = job.plan, 0, (0, 0)
    formats = {
        output: output_format(Path(places.base_name(target)), plan.write.format)
        for output, target in task.targets.items()
    }
    with open_picture(
        places.source(task.source), max_megapixels=job.max_megapixels, name=_name(task)
    ) as picture:
        size = picture.size
        for row in formats.values():
            if picture.frames > 1 and not row.animated:
                why = f"which {row.name.upper()} cannot be; write PNG, WebP or GIF"
                raise OptionError(f"{_name(task)} is animated, {why}")
        made = process(picture, remover, plan)
    for output, target in task.targets.items():
        frames = made.frames[cast(Output, output)]
        data = encode(
            frames, formats[output], plan.write, made.metadata, durations=made.durations, loop=made.loop
        )
        written += len(data)
        if not _ours(task, target):
            places.write(target, data, overwrite=job.overwrite)
    return Row(
        places.shown(task.source),
        _outputs(task),
        width=size[1],
        height=size[0],
        bytes=written,
        coverage=round(made.coverage, 6),
        note="; ".join(made.notes),
    )


def _ours(task: Task, target: str) -> bool:
    """Was it written by this batch? It is whole then, as nothing is ever there in part."""
    now = places.state(target)
    return now != "" and now != task.before.get(target, "")


def _found(task: Task, job: Job) -> Row | None:
    """The row of a picture all of whose results an earlier worker has written, but could not tell of."""
    if not all(_ours(task, target) for target in task.targets.values()):
        return None
    coverage, written, size = None, 0, (None, None)
    with contextlib.suppress(ImageError):
        with open_picture(
            places.source(task.source), max_megapixels=job.max_megapixels, first_only=True
        ) as one:
            size = one.size  # type: ignore[assignment]
    for output, target in task.targets.items():
        data = places.read(target)
        written += len(data)
        if coverage is None:
            coverage = _coverage(data, output)
    note = "written by a worker that ended before it could list it"
    return Row(
        places.shown(task.source),
        _outputs(task),
        width=size[1],
        height=size[0],
        bytes=written,
        coverage=coverage,
        note=note,
    )


def _coverage(data: bytes, output: str) -> float | None:
    """The subject's share, as far as a result tells."""
    with open_picture(data) as picture:
        frame = next(iter(picture))
    if frame.alpha is not None:
        return round(float(frame.alpha.mean()), 6)
    if output in ("alpha", "mask"):
        return round(float(frame.image[..., 0].mean(dtype=np.float64)) / 255, 6)
    return None


def _failed(task: Task, error: str) -> Row:
    return Row(places.shown(task.source), _outputs(task), "failed", error=error)


def _outputs(task: Task) -> str:
    return " | ".join(places.shown(target) for target in task.targets.values())


def _name(task: Task) -> str:
    return places.shown(task.source)


def _with(row: Row, **values: Any) -> Row:
    return Row(**{**row.as_dict(), **values})
