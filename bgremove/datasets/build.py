"""Writes what a source found as ``train/`` and ``val/`` with ``images/`` and ``masks/``.

Everything is written into ``OUT/.unfinished`` first and moved when all of it is there, so a run that
is stopped leaves no half data set; the same command goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import os
import re
import shutil
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import numpy as np

from bgremove import __version__
from bgremove.arrays import Alpha
from bgremove.compositing import alpha_to_bytes, limit_size
from bgremove.datasets.params import DataParams
from bgremove.datasets.sources import Found, Item, Sample, Split
from bgremove.errors import BGRemoveError, DataError, MissingExtraError, OptionError, OutputError
from bgremove.io import FORMATS, WriteParams, encode, make_folder, write_bytes
from bgremove.pairs import IMAGES, MASKS, TRAIN, VAL, harden, picture_files
from bgremove.threads import map_on_threads

UNFINISHED = ".unfinished"
_FACTS, _LIST = "dataset.json", "pairs.csv"
_KEPT_PROBLEMS = 1000  # sentences kept in dataset.json


@dataclass(frozen=True)
class Report:
    """What became of a run.

    Attributes:
        train, val: pairs that this run put there.
        problems: a sentence for each file that was left out.
        left: pairs not done because the run was stopped; the data set is unfinished then.
    """

    train: int
    val: int
    problems: tuple[str, ...]
    left: int = 0


@dataclass(frozen=True)
class _Task:
    """A pair with the set and the name it gets."""

    item: Item
    split: Split
    stem: str


def build_dataset(
    found: Found,
    out: Path,
    params: DataParams,
    facts: Mapping[str, Any],
    *,
    add: bool = False,
    progress: Callable[[int], object] | None = None,
    stop: threading.Event | None = None,
) -> Report:
    """Write the pairs of a source.

    Args:
        found: what the source has.
        out: a new or empty folder; or one that an unfinished run of the same settings left.
        params: how the pairs are divided and written.
        facts: what ``dataset.json`` shall say of the source; JSON values. A run goes on where an
            unfinished one stopped only if these and `params` are the same.
        add: put the pairs into a data set that is there already.
        progress: called after each pair with the number left out so far.
        stop: when set, the pairs in work are finished and the run ends.

    Raises:
        OutputError: if `out` holds something already, or cannot be written.
        DataError: if not a single pair could be used.
        OptionError: if there are fewer pairs than shall be validated on.
    """
    plan = {"version": __version__, **facts, "settings": params.model_dump(mode="json")}
    plan = json.loads(json.dumps(plan))
    earlier = _earlier(out, plan, add=add)
    problems = list(found.problems)
    items = _without_doubles(found.items, earlier, problems)
    tasks = _named(divide(_limited(items, params), params), {row["name"] for row in earlier})
    if not tasks:
        raise DataError(_nothing(problems))
    _begin(out, plan, earlier)
    writer = _Writer(out, params, stop or threading.Event())
    counts: Counter[str] = Counter()
    rows, failed = [], 0
    for task, outcome in zip(tasks, map_on_threads(writer, tasks), strict=True):
        if isinstance(outcome, BGRemoveError):
            problems.append(str(outcome))
            failed += 1
        elif outcome is not None:
            counts[task.split] += 1
            rows.append({"set": task.split, "name": task.stem, "from": task.item.origin, "key": outcome})
        if progress is not None:
            progress(failed)
    left = len(tasks) - failed - len(rows)
    report = Report(counts[TRAIN], counts[VAL], tuple(problems), left)
    if left:
        return report
    if not rows:
        shutil.rmtree(out / UNFINISHED)
        with contextlib.suppress(OSError):
            out.rmdir()  # if there is nothing else in it
        raise DataError(_nothing(problems))
    _finish(out, plan, [*earlier, *rows], report)
    return report


# Which pairs ----------------------------------------------------------------------------------------


def divide(items: Sequence[Item], params: DataParams) -> list[Item]:
    """Every item with its set: as its source says, else chosen by the seed.

    A picture's set depends on the seed and its name, so that more pictures later move few of them.

    Raises:
        OptionError: if there are not more pairs than shall be validated on.
    """
    if {TRAIN, VAL} <= {item.split for item in items}:
        return [replace(item, split=item.split or "train") for item in items]
    number = number_to_validate(len(items), params.val)
    chosen = set(by_chance([item.stem for item in items], f"val {params.seed}")[:number])
    return [replace(item, split="val" if item.stem in chosen else "train") for item in items]


def number_to_validate(total: int, val: float) -> int:
    """How many of `total` are validated on: a share below 1, else a number; at least one of several.

    Raises:
        OptionError: if none would be left to train on.
    """
    if val >= 1 and val != int(val):
        raise OptionError(f"val must be a share below 1 or a whole number; got {val:g}")
    if val >= max(1, total):
        raise OptionError(f"val must be below the number of pairs, which is {total}; got {val:g}")
    if val >= 1 or val == 0:
        return int(val)
    return min(max(1, round(total * val)), total - 1)


def by_chance(names: Sequence[str], seed: str) -> list[str]:
    """`names` in an order that only they and the seed decide."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed}\0{name}".encode()).digest())


def _limited(items: list[Item], params: DataParams) -> list[Item]:
    if params.limit is None or len(items) <= params.limit:
        return items
    chosen = set(by_chance([item.origin for item in items], f"limit {params.seed}")[: params.limit])
    return [item for item in items if item.origin in chosen]


def _without_doubles(items: Sequence[Item], earlier: list[dict[str, str]], problems: list[str]) -> list[Item]:
    """The items without those whose picture is there already, so that none is in both sets.

    What is to be validated on goes first. Only files of one size are compared.
    """
    sizes = Counter(item.image.size for item in items if item.image)
    known = {row["key"]: "" for row in earlier if row["key"]}
    sizes.update(int(key.partition("-")[0]) for key in known)
    kept = []
    for item in sorted(items, key=lambda one: one.split != VAL):
        if item.image and sizes[item.image.size] > 1:
            try:
                key = _key(item, None)
            except DataError:
                key = ""  # it is said when it is read in earnest
            if key in known:
                why = f"is the same picture as {known[key]}" if known[key] else "is in the data set already"
                problems.append(f"{item.origin} {why}")
                continue
            if key:
                known[key] = item.origin
        kept.append(item)
    return sorted(kept, key=lambda item: item.origin)


def _named(items: Sequence[Item], taken: set[str]) -> list[_Task]:
    """A name of its own for each pair, one that every system can write."""
    used = {name.casefold() for name in taken}
    tasks = []
    for item in items:
        plain = "/".join(_safe(part) for part in item.stem.split("/") if part not in ("", ".", ".."))
        stem, number = plain or "picture", 2
        while stem.casefold() in used:
            stem, number = f"{plain}-{number}", number + 1
        used.add(stem.casefold())
        tasks.append(_Task(item, item.split or "train", stem))
    return tasks


def _safe(part: str) -> str:
    """A part of a name without what Windows or a terminal cannot take."""
    part = re.sub(r'[<>:"|?*\\\x00-\x1f\x7f]', "_", part).strip(" .")
    reserved = re.fullmatch(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", part, re.IGNORECASE)
    return f"_{part}" if reserved or not part else part[:200]


def _nothing(problems: Sequence[str]) -> str:
    more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
    return f"no pair could be used{f': {problems[0]}{more}' if problems else '; all were left out'}"


# Writing --------------------------------------------------------------------------------------------


class _Writer:
    """Writes one pair; gives its picture's key, the error that kept it out, or None if stopped."""

    def __init__(self, out: Path, params: DataParams, stop: threading.Event) -> None:
        self.out, self.params, self.stop = out, params, stop

    def __call__(self, task: _Task) -> str | BGRemoveError | None:
        if self.stop.is_set():
            return None
        try:
            if self._is_there(task):
                return _key(task.item, None)
            sample = task.item.load()
            self._write(task, sample)
            return _key(task.item, sample.data)
        except (OutputError, MissingExtraError):
            raise  # the others would fail alike
        except BGRemoveError as error:
            return error

    def _is_there(self, task: _Task) -> bool:
        """The mask is written last, so it says that both are there."""
        mask = Path(task.split, MASKS, f"{task.stem}.png")
        return (self.out / UNFINISHED / mask).exists() or (self.out / mask).exists()

    def _write(self, task: _Task, sample: Sample) -> None:
        folder = self.out / UNFINISHED / task.split
        sample = self._shrunk(sample)
        suffix, data = self._file(task.item, sample)
        image, mask = folder / IMAGES / f"{task.stem}{suffix}", folder / MASKS / f"{task.stem}.png"
        make_folder(image.parent)
        make_folder(mask.parent)
        if not (self.params.link and sample.data is not None and _linked(task.item, image)):
            write_bytes(image, data, overwrite=True)
        truth = harden(sample.truth, 0.5) if self.params.threshold_masks else sample.truth
        write_bytes(mask, encode([alpha_to_bytes(truth)], FORMATS["png"]), overwrite=True)

    def _shrunk(self, sample: Sample) -> Sample:
        size = self.params.max_size
        if size is None or max(sample.truth.shape) <= size:
            return sample
        # OpenCV shrinks floats as it does bytes.
        truth = cast(Alpha, limit_size(cast(Any, sample.truth), str(size)))
        return Sample(limit_size(sample.image, str(size)), np.clip(truth, 0, 1))

    def _file(self, item: Item, sample: Sample) -> tuple[str, bytes]:
        """The picture's extension and bytes; its own where nothing has changed."""
        if sample.data is not None and item.image is not None:
            return item.image.suffix, sample.data
        file_format = FORMATS[self.params.image_format]
        quality = WriteParams(quality=self.params.image_quality)
        return file_format.extensions[0], encode([sample.image], file_format, quality)


def _key(item: Item, data: bytes | None) -> str:
    """The size and checksum that tell a picture again; empty for one that is made."""
    if item.image is None:
        return ""
    checksum = item.image.checksum() if data is None else zlib.crc32(data)
    return f"{item.image.size}-{checksum:08x}"


def _linked(item: Item, target: Path) -> bool:
    """Whether the picture could be hard-linked; where not, it is copied."""
    if item.image is None or item.image.path is None:
        return False
    with contextlib.suppress(OSError):
        target.unlink(missing_ok=True)
        os.link(item.image.path, target)
        return True
    return False


# The folder -----------------------------------------------------------------------------------------


def _earlier(out: Path, plan: dict[str, Any], *, add: bool) -> list[dict[str, str]]:
    """The pairs that the folder held before this run, or before the unfinished one that it goes on with.

    Raises:
        OutputError: if it holds something that nobody allowed to touch.
    """
    if out.exists() and not out.is_dir():
        raise OutputError(f"cannot write into {out}: it is not a folder; give another")
    names = {path.name for path in out.iterdir()} if out.is_dir() else set()
    begun = _json(out / UNFINISHED / "plan.json")
    if begun is not None and begun["plan"] == plan:
        return cast("list[dict[str, str]]", begun["earlier"])
    if any((out / UNFINISHED / split).exists() for split in (TRAIN, VAL)):
        raise OutputError(
            f"{out} holds an unfinished run of other settings; repeat its command to finish it, or delete "
            f"{out / UNFINISHED} to give it up"
        )
    names.discard(UNFINISHED)
    if names and not add:
        raise OutputError(
            f"{out} is not empty; give another folder, or add --add to put these pairs to those it holds"
        )
    if names and not {TRAIN, VAL} & names:
        raise OutputError(f"{out} holds no data set ({TRAIN}/ and {VAL}/) to add to; give another folder")
    return _listed(out) if names else []


def _begin(out: Path, plan: dict[str, Any], earlier: list[dict[str, str]]) -> None:
    make_folder(out / UNFINISHED)
    begun = json.dumps({"plan": plan, "earlier": earlier})
    write_bytes(out / UNFINISHED / "plan.json", begun.encode(), overwrite=True)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _listed(out: Path) -> list[dict[str, str]]:
    """The pairs of a data set by its list; by its files where it has none."""
    path = out / _LIST
    if path.is_file():
        with path.open(encoding="utf-8", newline="") as file:
            return [dict(row) for row in csv.DictReader(file)]
    rows = []
    for split in (TRAIN, VAL):
        folder = out / split / IMAGES
        for image in picture_files(folder):
            name = image.relative_to(folder).with_suffix("").as_posix()
            rows.append({"set": split, "name": name, "from": str(image), "key": ""})
    return rows


def _finish(out: Path, plan: dict[str, Any], rows: list[dict[str, str]], report: Report) -> None:
    """Move everything to its place, and say what it is."""
    work = out / UNFINISHED
    for split in (TRAIN, VAL):
        if (work / split).exists():
            _move_into(work / split, out / split)
    text = io.StringIO()
    table = csv.DictWriter(text, ["set", "name", "from", "key"], lineterminator="\n")
    table.writeheader()
    table.writerows(sorted(rows, key=lambda row: (row["set"], row["name"])))
    write_bytes(out / _LIST, text.getvalue().encode(), overwrite=True)
    before = _json(out / _FACTS) or {}
    run = {
        **plan,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "train": report.train,
        "val": report.val,
        "left_out": len(report.problems),
        "reasons": list(report.problems[:_KEPT_PROBLEMS]),
    }
    counts = Counter(row["set"] for row in rows)
    facts = {"train": counts[TRAIN], "val": counts[VAL], "runs": [*before.get("runs", []), run]}
    write_bytes(out / _FACTS, json.dumps(facts, indent=2).encode() + b"\n", overwrite=True)
    shutil.rmtree(work)


def _move_into(source: Path, target: Path) -> None:
    """Move a folder; into the one that is there, file by file."""
    try:
        if not target.exists():
            os.rename(source, target)
            return
        for child in list(source.iterdir()):
            if child.is_dir():
                _move_into(child, target / child.name)
            else:
                os.replace(child, target / child.name)
    except OSError as error:
        raise OutputError(
            f"cannot move the pairs into {target}: {error.strerror or error}; repeat the command to go on"
        ) from error
