"""What was measured, of a picture and of a set, and as tables and CSV."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any, Literal

from bgremove.metrics import Figures, FMeasure

_FIGURES = [name.name for name in dataclasses.fields(Figures)]
_COLUMNS = ("IoU", "Dice", "acc", "MAE", "max F", "S", "b. IoU")
_SOFT_COLUMNS = ("SAD", "MSE", "grad", "conn")

LEGEND = """\
n: pictures. IoU, Dice, acc (pixels right) and b. IoU (boundary IoU) at 0.5; max F with beta2 = 0.3, of the
mean precision and recall; S: S-measure. SAD, grad and conn: sums over whole pictures, in thousands.
ms: median time from the decoded picture to matte and edge colours; model: the model's part of it."""


@dataclass(frozen=True)
class PictureResult:
    """One picture, one model.

    Attributes:
        set, model: their names.
        picture: its stem.
        height, width: in pixels.
        figures: see :mod:`bgremove.metrics`.
        milliseconds: from the decoded picture to matte and edge colours.
        model_milliseconds: the remover's part of that.
    """

    set: str
    model: str
    picture: str
    height: int
    width: int
    figures: Figures
    milliseconds: float
    model_milliseconds: float


@dataclass(frozen=True)
class Summary:
    """One set, one model.

    Attributes:
        set, model: their names.
        pictures: how many were measured.
        soft_pictures: those of them with a soft truth; the errors of soft mattes are their means.
        figures: the means over the pictures; but `max_f` is that of the set, see
            :class:`~bgremove.metrics.FMeasure`.
        max_mean_f: the other definition, for comparison with PySODMetrics.
        milliseconds, mean_milliseconds: median and mean of the whole; the call that warms up does not count.
        model_milliseconds, mean_model_milliseconds: of the remover's part.
    """

    set: str
    model: str
    pictures: int
    soft_pictures: int
    figures: Figures
    max_mean_f: float
    milliseconds: float
    mean_milliseconds: float
    model_milliseconds: float
    mean_model_milliseconds: float


def summarize(results: Sequence[PictureResult], total: FMeasure) -> Summary:
    """The means of one set and model; `total` knows its F-measure."""
    columns = {name: [getattr(one.figures, name) for one in results] for name in _FIGURES}
    present = {name: [value for value in values if value is not None] for name, values in columns.items()}
    means = {name: fmean(values) if values else None for name, values in present.items()}
    times = [one.milliseconds for one in results]
    model_times = [one.model_milliseconds for one in results]
    return Summary(
        results[0].set,
        results[0].model,
        len(results),
        len(present["sad"]),
        Figures(**{**means, "max_f": total.max_f}),  # type: ignore[arg-type]
        total.max_mean_f,
        median(times),
        fmean(times),
        median(model_times),
        fmean(model_times),
    )


def worst_and_median(results: Sequence[PictureResult], cases: int) -> dict[str, list[PictureResult]]:
    """The pictures with the lowest IoU and those around the median; fewer of a small set, none in both."""
    ranked = sorted(results, key=lambda one: (one.figures.iou, one.picture))
    count = min(cases, max(1, len(ranked) // 3))
    first = max(count, (len(ranked) - count) // 2)
    found = {"Worst": ranked[:count], "Median": ranked[first : first + count]}
    return {title: rows for title, rows in found.items() if rows}


# Tables ---------------------------------------------------------------------------------------------


def table(summaries: Sequence[Summary], style: Literal["table", "markdown"] = "table") -> str:
    """The summaries as aligned text or as a Markdown table; soft mattes' errors only where there are any."""
    soft = any(one.soft_pictures for one in summaries)
    header = ["set", "model", "n", *_COLUMNS, *(_SOFT_COLUMNS if soft else ()), "ms", "model"]
    rows = [_row(one, soft=soft) for one in summaries]
    if style == "markdown":
        rows = [[cell.replace("|", r"\|") for cell in row] for row in rows]
    widths = [max(3, *map(len, column)) for column in zip(header, *rows, strict=True)]

    def line(cells: Sequence[str], between: str) -> str:
        return between.join(
            cell.ljust(width) if index < 2 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )

    if style == "markdown":
        rule = ["-" * width if index < 2 else "-" * (width - 1) + ":" for index, width in enumerate(widths)]
        return "\n".join(f"| {line(cells, ' | ')} |" for cells in (header, rule, *rows))
    rule = ["-" * width for width in widths]
    return "\n".join(line(cells, "  ") for cells in (header, rule, *rows))


def _row(one: Summary, *, soft: bool) -> list[str]:
    figures = one.figures
    cells = [one.set, one.model, str(one.pictures)]
    cells += [f"{getattr(figures, name):.3f}" for name in _FIGURES[:7]]
    if soft:
        formats = (".1f", ".4f", ".1f", ".1f")
        values = [getattr(figures, name) for name in _FIGURES[7:]]
        cells += [
            "-" if value is None else format(value, spec) for value, spec in zip(values, formats, strict=True)
        ]
    return [*cells, time_text(one.milliseconds), time_text(one.model_milliseconds)]


def time_text(milliseconds: float) -> str:
    """A time in milliseconds, to a tenth if it is short."""
    return f"{milliseconds:.1f}" if milliseconds < 10 else f"{milliseconds:.0f}"


def summary_csv(summaries: Iterable[Summary]) -> str:
    """One line for each set and model."""
    times = ["ms_median", "ms_mean", "model_ms_median", "model_ms_mean"]
    header = ["set", "model", "pictures", "soft_pictures", *_FIGURES, "max_mean_f", *times]
    rows = (
        [
            one.set,
            one.model,
            one.pictures,
            one.soft_pictures,
            *dataclasses.astuple(one.figures),
            one.max_mean_f,
        ]
        + [one.milliseconds, one.mean_milliseconds, one.model_milliseconds, one.mean_model_milliseconds]
        for one in summaries
    )
    return _csv(header, rows)


def pictures_csv(pictures: Iterable[PictureResult]) -> str:
    """One line for each picture and model."""
    header = ["set", "model", "picture", "height", "width", *_FIGURES, "ms", "model_ms"]
    rows = (
        [one.set, one.model, one.picture, one.height, one.width]
        + [*dataclasses.astuple(one.figures), one.milliseconds, one.model_milliseconds]
        for one in pictures
    )
    return _csv(header, rows)


def _csv(header: list[str], rows: Iterable[list[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for row in rows:
        writer.writerow([f"{cell:.6g}" if isinstance(cell, float) else cell for cell in row])
    return text.getvalue()
