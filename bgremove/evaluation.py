"""Measuring removers on pictures whose truth is known; :mod:`bgremove.reports` has what comes of it.

What is measured is what a user gets: the remover's matte after the default refinement, at the picture's
own size. Nothing but figures stays in memory, so a set may be of any length.
"""

from __future__ import annotations

import dataclasses
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from pydantic import Field

from bgremove.arrays import Alpha, Image
from bgremove.console import Progress
from bgremove.contact_sheets import Row, contact_sheet
from bgremove.errors import BGRemoveError, DataError, OptionError, OutputError
from bgremove.foreground import ForegroundParams
from bgremove.io import FORMATS, Frame, encode, make_folder, write_bytes
from bgremove.metrics import FMeasure, measure
from bgremove.options import Params, unknown_setting
from bgremove.pairs import IMAGES, MASKS, Pair, find_pairs, first_few, read_pair
from bgremove.pipeline import Settings, cut
from bgremove.refine import RefineParams
from bgremove.registry import remover_info
from bgremove.removers.base import Device, Prediction, Remover
from bgremove.reports import PictureResult, Summary, pictures_csv, summarize, summary_csv, worst_and_median

SHARED = (RefineParams, ForegroundParams)
"""The settings that all models have in common here."""

SUMMARY, PICTURES = "summary.csv", "images.csv"


class EvaluateParams(Params):
    """What is measured, and what is shown of it."""

    limit: int | None = Field(
        None, ge=1, description="Measure only this many pictures of each set, spread over all of it"
    )
    raw: bool = Field(False, description="Measure the model's own matte, without refinement and edge colours")
    cases: int = Field(4, ge=1, le=100, description="Rows of a contact sheet: so many worst, so many median")


@dataclass(frozen=True)
class Evaluation:
    """All that was measured.

    Attributes:
        summaries: by set, then by model.
        pictures: in the order in which they were measured.
        problems: a sentence for everything that was left out.
        files: what was written.
        complete: False if it was stopped.
    """

    summaries: tuple[Summary, ...]
    pictures: tuple[PictureResult, ...]
    problems: tuple[str, ...]
    files: tuple[Path, ...] = ()
    complete: bool = True


# What is to be done ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class PictureSet:
    """A folder with ``images/`` and ``masks/``, and those of its pairs that count."""

    name: str
    pairs: tuple[Pair, ...]


@dataclass(frozen=True)
class Candidate:
    """A model with its settings; `remover` if it was given ready-made."""

    name: str
    settings: Settings
    remover: Remover | None = None


@dataclass(frozen=True)
class Plan:
    """What will be measured, checked as far as that goes without opening a picture or loading a model."""

    sets: tuple[PictureSet, ...]
    candidates: tuple[Candidate, ...]
    params: EvaluateParams
    problems: tuple[str, ...]

    @property
    def total(self) -> int:
        """How many times a picture will be measured."""
        return len(self.candidates) * sum(len(one.pairs) for one in self.sets)

    def sheets(self) -> dict[tuple[str, str], str]:
        """The file name of each contact sheet, by set and model."""
        names: dict[tuple[str, str], str] = {}
        for one in self.sets:
            for candidate in self.candidates:
                stem = re.sub(r"[^\w.-]+", "_", f"sheet_{one.name}_{candidate.name}")
                taken = {name.casefold() for name in names.values()}
                tries = (stem if n == 1 else f"{stem}_{n}" for n in range(1, len(taken) + 2))
                names[one.name, candidate.name] = next(
                    f"{name}.png" for name in tries if f"{name}.png".casefold() not in taken
                )
        return names


def plan_evaluation(
    folder: Path,
    models: Sequence[str | Remover],
    params: EvaluateParams | None = None,
    *,
    preset: str | None = None,
    **values: Any,
) -> Plan:
    """Find the sets and check the settings.

    Args:
        folder: has ``images/`` and ``masks/``, or folders that have: each of them is a set.
        models: names, aliases, ``onnx:FILE``, or removers that are built already.
        params: what is measured.
        preset: of the refinement, or one that all the models have.
        values: settings by name, of the refinement, the edge colours and the models; a model's own
            setting goes to those that have it.

    Raises:
        DataError: if there is no set.
        UnknownRemoverError, OptionError: with one sentence.
    """
    params = params or EvaluateParams()
    candidates = _candidates(models, params, preset, values)
    sets, problems = [], []
    for name, place in find_sets(folder).items():
        try:
            listing = find_pairs(place)
        except DataError as error:
            problems.append(str(error))
            continue
        sets.append(PictureSet(name, _spread(listing.pairs, params.limit)))
        problems += first_few(listing.problems)
    if not sets:
        raise DataError(problems[0])
    return Plan(tuple(sets), candidates, params, tuple(problems))


def find_sets(folder: Path) -> dict[str, Path]:
    """The sets of a folder by name: itself if it has ``images/`` or ``masks/``, else those in it that have.

    Raises:
        DataError: if there is none.
    """

    def is_set(place: Path) -> bool:
        return (place / IMAGES).is_dir() or (place / MASKS).is_dir()

    if not is_set(folder) and folder.is_dir():
        sets = {place.name: place for place in sorted(folder.iterdir()) if is_set(place)}
        if sets:
            return sets
        raise DataError(
            f"{folder} holds no set: expected {IMAGES}/ and {MASKS}/ in it, or folders that have them"
        )
    return {folder.resolve().name or "set": folder}


def _spread(pairs: tuple[Pair, ...], limit: int | None) -> tuple[Pair, ...]:
    if limit is None or limit >= len(pairs):
        return pairs
    return tuple(pairs[(2 * index + 1) * len(pairs) // (2 * limit)] for index in range(limit))


def _candidates(
    models: Sequence[str | Remover], params: EvaluateParams, preset: str | None, values: Mapping[str, Any]
) -> tuple[Candidate, ...]:
    models = list(dict.fromkeys(models))
    if not models:
        raise OptionError("name at least one model to measure")
    own = [
        set[str]() if isinstance(one, Remover) else {*remover_info(one).params.model_fields} for one in models
    ]
    shared = {name for group in SHARED for name in group.model_fields}
    known = sorted(shared.union(*own))
    for name in values:
        if name not in known:
            raise OptionError(unknown_setting(name, known))
    useless = [name for name in values if name in shared]
    if preset in RefineParams.presets:
        useless.append(f"preset {preset}")
    if params.raw and useless:
        raise OptionError(f"raw leaves out the refinement, so {useless[0]} does nothing; take one of the two")
    candidates: list[Candidate] = []
    for model, names in zip(models, own, strict=True):
        chosen = {name: value for name, value in values.items() if name in shared | names}
        settings = Settings.build(model, preset=preset, **chosen)
        if params.raw:
            settings = dataclasses.replace(
                settings,
                refine=RefineParams.preset("raw"),
                foreground=ForegroundParams(foreground="none"),
            )
        taken = {candidate.name for candidate in candidates}
        label = settings.model
        if isinstance(model, str) and ":" in model:
            kind, _, file = model.partition(":")
            label = f"{kind}:{Path(file).name}"
            label = model if label in taken else label
        elif label in taken and isinstance(model, str):
            continue  # an alias of one that is there
        elif label in taken:
            label = f"{label} {len(candidates) + 1}"
        candidates.append(Candidate(label, settings, model if isinstance(model, Remover) else None))
    return tuple(candidates)


# The work -------------------------------------------------------------------------------------------


def evaluate(
    folder: str | Path,
    models: Sequence[str | Remover],
    params: EvaluateParams | None = None,
    *,
    device: Device = "auto",
    out: str | Path | None = None,
    overwrite: bool = False,
    **values: Any,
) -> Evaluation:
    """Measure models on the pictures of a folder.

    Args:
        folder, models, params, values: as for :func:`plan_evaluation`.
        device: where networks run.
        out: a folder for :data:`SUMMARY`, :data:`PICTURES` and the contact sheets.
        overwrite: replace these if they are there.

    Raises:
        BGRemoveError: with one sentence, if nothing can be measured or `out` cannot be written to.
    """
    plan = plan_evaluation(Path(folder), models, params, **values)
    output = None if out is None else Output.prepare(Path(out), plan, overwrite=overwrite)
    return run_evaluation(plan, device=device, output=output)


@dataclass(frozen=True)
class Output:
    """Where the files go. Each is written whole or not at all."""

    folder: Path
    sheets: Mapping[tuple[str, str], str]

    @classmethod
    def prepare(cls, folder: Path, plan: Plan, *, overwrite: bool = False) -> Self:
        """Make the folder, and see that nothing is in the way.

        Raises:
            OutputError: if something is, or the folder cannot be made.
        """
        make_folder(folder)
        sheets = plan.sheets()
        for name in (SUMMARY, PICTURES, *sheets.values()):
            if not overwrite and (folder / name).exists():
                raise OutputError(
                    f"{folder / name} exists; add --overwrite (overwrite=True in Python) to replace it, or "
                    "give another folder"
                )
        return cls(folder, sheets)


def run_evaluation(
    plan: Plan,
    *,
    device: Device = "auto",
    output: Output | None = None,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
    tell: Callable[[str], object] = lambda _: None,
    note: Callable[[str], object] = lambda _: None,
) -> Evaluation:
    """Do what was planned, model by model, one in memory at a time.

    A picture that cannot be read and a model that cannot be loaded are left out, with a sentence.

    Args:
        plan: from :func:`plan_evaluation`.
        device: where networks run.
        output: where files go, if any are wanted; they are brought up to date after each set.
        progress: moves on with each picture.
        stop: ends the work after the picture at hand; what was measured until then is given back.
        tell: gets a sentence for each thing left out, as it comes up.
        note: gets what a model says of itself, such as where it runs.

    Raises:
        BGRemoveError: if no picture could be measured at all; with one model, what it raised.
    """
    run = _Run(plan, output, progress, stop or threading.Event(), tell, note)
    for problem in plan.problems:
        tell(f"left out: {problem}")
    for candidate in plan.candidates:
        if run.stop.is_set():
            break
        run.measure_model(candidate, device)
    if not run.pictures and not run.stop.is_set():
        raise DataError(f"no picture could be measured: {run.problems[0]}")
    return run.result()


class _Stopwatch(Remover):
    """A remover, timed."""

    def __init__(self, remover: Remover) -> None:
        super().__init__(remover.params)
        self.remover = remover
        self.seconds = 0.0

    def predict(self, image: Image) -> Prediction:
        started = time.perf_counter()
        try:
            return self.remover.predict(image)
        finally:
            self.seconds = time.perf_counter() - started

    def predict_alpha(self, image: Image) -> Alpha:
        return self.predict(image).alpha


@dataclass
class _Run:
    """An evaluation on its way."""

    plan: Plan
    output: Output | None
    progress: Progress | None
    stop: threading.Event
    tell: Callable[[str], object]
    note: Callable[[str], object]
    pictures: list[PictureResult] = field(default_factory=list)
    summaries: list[Summary] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    unreadable: set[Path] = field(default_factory=set)

    def measure_model(self, candidate: Candidate, device: Device) -> None:
        self._phase(f"loading {candidate.name}")
        try:
            remover = candidate.remover or candidate.settings.create_remover(device)
        except BGRemoveError as error:
            if len(self.plan.candidates) == 1:
                raise
            self._leave_out(f"{candidate.name}: {error}")
            self._advance(sum(len(one.pairs) for one in self.plan.sets))
            return
        if remover.note:
            self.note(f"{candidate.name}: {remover.note}")
        watch, warm = _Stopwatch(remover), False
        for one in self.plan.sets:
            warm = self._measure_set(one, candidate, watch, warm=warm)

    def _measure_set(self, one: PictureSet, candidate: Candidate, watch: _Stopwatch, *, warm: bool) -> bool:
        total, start = FMeasure(), len(self.pictures)
        by_name = {pair.stem: pair for pair in one.pairs}
        for pair in one.pairs:
            if self.stop.is_set():
                break
            self._phase(f"{one.name}, {candidate.name}")
            try:
                if pair.image not in self.unreadable:
                    result = self._measure_pair(pair, one, candidate, watch, total, warm=warm)
                    self.pictures.append(result)
                    warm = True
            except DataError as error:  # the pair's own fault, whatever the model
                self.unreadable.add(pair.image)
                self._leave_out(str(error))
            except BGRemoveError as error:
                self._leave_out(f"{candidate.name} on {pair.image}: {error}")
            self._advance()
        results = self.pictures[start:]
        if not results:
            return warm
        self.summaries.append(summarize(results, total))
        if self.output is not None:
            if not self.stop.is_set():
                self._phase(f"contact sheet of {one.name}, {candidate.name}")
                self._write_sheet(results, by_name, candidate.settings, watch)
            self._write(SUMMARY, summary_csv(self._sorted_summaries()).encode())
            self._write(PICTURES, pictures_csv(self.pictures).encode())
        return warm

    def _measure_pair(
        self,
        pair: Pair,
        one: PictureSet,
        candidate: Candidate,
        watch: _Stopwatch,
        total: FMeasure,
        *,
        warm: bool,
    ) -> PictureResult:
        image, truth = _read(pair)
        frame = Frame(image)
        if not warm:  # the first call pays for what all the later ones find ready
            cut(frame, watch, candidate.settings)
        started = time.perf_counter()
        alpha = cut(frame, watch, candidate.settings).alpha
        seconds = time.perf_counter() - started
        return PictureResult(
            one.name,
            candidate.name,
            pair.stem,
            truth.shape[0],
            truth.shape[1],
            measure(alpha, truth, total=total),
            seconds * 1000,
            watch.seconds * 1000,
        )

    def _write_sheet(
        self,
        results: Sequence[PictureResult],
        pairs: Mapping[str, Pair],
        settings: Settings,
        remover: Remover,
    ) -> None:
        """The cases are predicted once more, so that no picture has to be kept until they are known."""
        assert self.output is not None
        parts: list[tuple[str, list[Row]]] = []
        for title, cases in worst_and_median(results, self.plan.params.cases).items():
            rows = []
            for case in cases:
                image, truth = _read(pairs[case.picture])
                rows.append(Row.of(case, truth, cut(Frame(image), remover, settings)))
            parts.append((title, rows))
        sheet = contact_sheet(self.summaries[-1], parts)
        name = self.output.sheets[results[0].set, results[0].model]
        self._write(name, encode([sheet], FORMATS["png"]))

    def _write(self, name: str, data: bytes) -> None:
        assert self.output is not None
        path = self.output.folder / name
        try:
            write_bytes(path, data, overwrite=True)
        except OutputError as error:  # the figures are worth more than their files
            self._leave_out(str(error))
            return
        if path not in self.files:
            self.files.append(path)

    def _sorted_summaries(self) -> list[Summary]:
        order = [one.name for one in self.plan.sets]
        return sorted(self.summaries, key=lambda summary: order.index(summary.set))

    def _leave_out(self, sentence: str) -> None:
        if sentence not in self.problems:
            self.problems.append(sentence)
            self.tell(f"left out: {sentence}")

    def _phase(self, text: str) -> None:
        if self.progress is not None:
            self.progress.phase(text)

    def _advance(self, pictures: int = 1) -> None:
        for _ in range(pictures if self.progress is not None else 0):
            assert self.progress is not None
            self.progress.advance(len(self.problems))

    def result(self) -> Evaluation:
        return Evaluation(
            tuple(self._sorted_summaries()),
            tuple(self.pictures),
            (*self.plan.problems, *self.problems),
            tuple(self.files),
            complete=not self.stop.is_set(),
        )


def _read(pair: Pair) -> tuple[Image, Alpha]:
    """The pair; whatever is wrong with it is said as a :class:`DataError`."""
    try:
        return read_pair(pair)
    except DataError:
        raise
    except BGRemoveError as error:
        raise DataError(str(error)) from error
