"""The work behind a form: nothing is done twice that need not be.

A remover is built once and kept while its settings stay. Of each photo, the raw matte is kept, so that
refinement, colours and background can be changed without running the network again.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from bgremove.arrays import Alpha, Image
from bgremove.batch import instance_path
from bgremove.compositing import Pixels
from bgremove.errors import OptionError
from bgremove.io import Frame, Metadata, encode, output_format
from bgremove.options import Params
from bgremove.pipeline import Cut, Output, Settings, cut, instances_of, render
from bgremove.removers.base import Device, Prediction, Remover, SegmentRemover
from bgremove.segments import Segments, SelectParams
from bgremove.widgets.photos import Photo

_KEPT_BYTES = 500_000_000  # of all photos but the one in work

Say = Callable[[str], object]


@dataclass(eq=False)
class Work:
    """What is known of one photo so far.

    Attributes:
        frame, metadata, notes: as read.
        predicted: from the model, by the settings it depends on.
        cut: the subject, by the settings it depends on.
    """

    frame: Frame
    metadata: Metadata
    notes: tuple[str, ...]
    predicted: tuple[Hashable, Prediction] | None = None
    cut: tuple[Hashable, Cut] | None = None

    @property
    def nbytes(self) -> int:
        """About how much memory it holds."""
        pixels = int(self.frame.image.size) // 3
        found = self.segments
        return pixels * (20 + (0 if found is None else len(found.items)))

    @property
    def segments(self) -> Segments | None:
        """Everything that the model found, if it finds segments."""
        return self.predicted[1].segments if self.predicted else None

    @property
    def raw(self) -> Alpha | None:
        """The matte as the model gave it."""
        return self.predicted[1].alpha if self.predicted else None


class Bench:
    """One remover, and the photos that it is used on."""

    def __init__(self) -> None:
        self._remover: tuple[Hashable, Remover] | None = None
        self._works: dict[Photo, Work] = {}
        self.runs = 0  # of a model on a photo, ever

    def work(self, photo: Photo) -> Work:
        """What is known of `photo`; it is read if that is nothing.

        Raises:
            ImageError: if it cannot be read.
        """
        found = self._works.pop(photo, None)
        self._works[photo] = found or Work(*photo.read())  # the newest is last
        self._make_room()
        return self._works[photo]

    def remover(self, settings: Settings, device: Device, say: Say = str) -> Remover:
        """The remover of `settings`, built if the kept one is another.

        Raises:
            BGRemoveError: as :func:`bgremove.create_remover`.
        """
        key = _built_from(settings, device)
        if self._remover is None or self._remover[0] != key:
            self._remover = None  # let it go before the next needs room
            say(f"Loading {settings.model}")
            self._remover = key, settings.create_remover(device)
        remover = self._remover[1]
        if (
            isinstance(remover, SegmentRemover) and remover.params != settings.remover
        ):  # another choice of the same network's segments
            remover = copy.copy(remover)
            remover.params = cast(SelectParams, settings.remover)
        return remover

    def ready(self, photo: Photo, settings: Settings, device: Device) -> bool:
        """Whether these settings need no run of the model any more."""
        work = self._works.get(photo)
        return bool(work and work.predicted and work.predicted[0] == _predicted_from(settings, device))

    def cut(self, photo: Photo, settings: Settings, device: Device, say: Say = str) -> Cut:
        """The subject of `photo`; only what these settings change is done again.

        Args:
            say: told what is being done.

        Raises:
            BGRemoveError: any of the steps' errors, each with one sentence.
        """
        work = self.work(photo)
        predicted = _predicted_from(settings, device)
        key = (predicted, settings.remover, settings.refine, settings.foreground)
        if work.cut is None or work.cut[0] != key:
            remover = self.remover(settings, device, say)
            if work.predicted is None or work.predicted[0] != predicted:
                work.predicted = work.cut = None
                say(f"Finding the subject of {photo.name}")
            else:
                say("Refining")
            work.cut = None
            work.cut = key, cut(work.frame, _Remembering(self, work, predicted, remover), settings)
        return work.cut[1]

    def forget(self) -> None:
        """Let all photos go; the remover stays."""
        self._works.clear()

    def _make_room(self) -> None:
        older = list(self._works)[:-1]
        while older and sum(self._works[one].nbytes for one in older) > _KEPT_BYTES:
            del self._works[older.pop(0)]


class _Remembering(Remover):
    """A remover that is run once for a photo, and then gives what it gave."""

    def __init__(self, bench: Bench, work: Work, key: Hashable, remover: Remover) -> None:
        super().__init__(remover.params)
        self._bench, self._work, self._key, self._remover = bench, work, key, remover

    def predict_alpha(self, image: Image) -> Alpha:
        return self.predict(image).alpha

    def predict(self, image: Image) -> Prediction:
        if self._work.predicted is None:
            self._bench.runs += 1
            self._work.predicted = self._key, self._run(image)
        known = self._work.predicted[1]
        if isinstance(self._remover, SegmentRemover) and known.segments is not None:
            return self._remover.choose(known.segments)
        return known

    def _run(self, image: Image) -> Prediction:
        if isinstance(self._remover, SegmentRemover):
            found = self._remover.find_segments(image)
            return Prediction(np.zeros((1, 1), np.float32), found.grain, found)
        return self._remover.predict(image)


@dataclass(frozen=True, eq=False)
class Result:
    """What is saved, and what is shown of it: a picture of the photo's own size."""

    pixels: Pixels
    subject: Cut
    settings: Settings
    work: Work

    def files(self, photo: Photo) -> dict[str, bytes]:
        """What is saved, by name, as the command line writes it: one file, or one for each instance.

        Raises:
            OptionError, OutputError: if there are no instances, or the format cannot hold the picture.
        """
        name, settings = file_name(photo, self.settings), self.settings
        if not settings.instances:
            return {name: self._encoded(self.pixels)}
        found = instances_of(self.work.frame, self.subject, settings)
        if not found:
            raise OptionError(
                "nothing was found that could be saved by itself; choose more, or another model"
            )
        return {instance_path(Path(name), one).name: self._encoded(one.pixels) for one in found}

    def _encoded(self, pixels: Pixels) -> bytes:
        file_format = output_format(None, self.settings.write.format)
        return encode([pixels], file_format, self.settings.write, self.work.metadata)


def result_of(subject: Cut, settings: Settings, work: Work) -> Result:
    """The output that is asked for.

    Raises:
        OptionError: if the settings contradict each other.
    """
    return Result(render(subject, shown_output(settings), settings), subject, settings, work)


def shown_output(settings: Settings) -> Output:
    """The output that is asked for, of which a form makes one at a time; of instances, all in one picture.

    Raises:
        OptionError: if these are several.
    """
    if len(settings.wanted) != 1:
        raise OptionError(
            f"a form makes one output at a time; got {', '.join(settings.wanted)}; "
            "choose one, or use bgremove remove, which makes all"
        )
    return "composite" if settings.instances else settings.outputs[0]


def file_name(photo: Photo, settings: Settings) -> str:
    """What a result is called, as by the command; instances have a number and a label after that."""
    what = "instance" if settings.instances else shown_output(settings)
    return f"{photo.stem}_{what}{output_format(None, settings.write.format).extensions[0]}"


def _parted(params: Params) -> tuple[Hashable, ...]:
    """What a remover that finds segments must be built anew for: all but what chooses among them."""
    chosen = set(SelectParams.model_fields)
    return tuple((name, value) for name, value in params if name not in chosen)


def _built_from(settings: Settings, device: Device) -> Hashable:
    """All that a remover depends on."""
    own = settings.model.partition(":")[2]
    states = tuple(_state(Path(one)) for one in own.split("@")) if own else ()
    params = settings.remover
    return settings.model, device, states, _parted(params) if isinstance(params, SelectParams) else params


def _predicted_from(settings: Settings, device: Device) -> Hashable:
    """All that a model's answer depends on."""
    params = settings.remover
    sure = params.min_score if isinstance(params, SelectParams) else None
    return _built_from(settings, device), sure


def _state(path: Path) -> tuple[int, int] | None:
    """When a user's own file was last changed."""
    try:
        state = os.stat(path)
    except (OSError, ValueError):  # building the remover says why
        return None
    return state.st_mtime_ns, state.st_size
