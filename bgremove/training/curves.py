"""A training's figures per epoch: kept in a CSV, drawn as curves."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bgremove.errors import DataError, MissingExtraError
from bgremove.io import make_folder, write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Values = npt.NDArray[np.float64]
"""``(epochs,)`` float64, NaN where a cell is empty."""

History = dict[str, Values]
"""A training's figures by the name of their column, one value an epoch."""

COLUMNS = (
    "epoch", "step", "lr", "train_loss", "val_loss", "val_iou", "val_dice", "val_accuracy", "val_mae",
    "size", "seconds",
)  # fmt: skip
"""What a training writes, in this order; others may follow."""

# The CSV ------------------------------------------------------------------------------------------


def read_history(path: Path) -> History:
    """The figures of a training's CSV, a row for each epoch.

    Returns:
        All of :data:`COLUMNS`, those that the file lacks as NaN, then any others it has.

    Raises:
        DataError: if it cannot be read, has no epochs, or a cell is no number.
    """
    names, rows = _read_rows(path)
    if not rows:
        raise DataError(f"{path} holds no epochs yet; wait for the first to end")
    history = {name: np.full(len(rows), np.nan) for name in dict.fromkeys((*COLUMNS, *names))}
    for index, row in enumerate(rows):
        for name, text in row.items():
            history[name][index] = _number(text, name, index, path)
    return history


def append_history(path: Path, row: Mapping[str, float]) -> None:
    """Add an epoch to a training's CSV, which is written anew as a whole: an interruption leaves it whole.

    Rows of the same epoch or of later ones go, because a training that was resumed does them again.

    Args:
        path: of the CSV; made with its folder if it is not there.
        row: values by the name of their column, ``epoch`` among them; NaN becomes an empty cell.

    Raises:
        DataError: if the file is there and no such CSV, or `row` has no epoch.
        OutputError: if it cannot be written.
    """
    if not math.isfinite(row.get("epoch", math.nan)):
        raise DataError(f"a row of {path.name} needs its epoch; got {dict(row)}")
    names, rows = _read_rows(path) if os.path.lexists(path) else ([], [])
    kept = [
        old for index, old in enumerate(rows) if _number(old["epoch"], "epoch", index, path) < row["epoch"]
    ]
    known = [name for name in COLUMNS if name in row]
    columns = list(dict.fromkeys([*names, *known, *row]))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows([*kept, {name: _cell(float(value)) for name, value in row.items()}])
    make_folder(path.parent)
    write_bytes(path, text.getvalue().encode(), overwrite=True)


def _read_rows(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """The names of the columns, and each row's cells as they are written."""
    try:
        text = path.read_text("utf-8-sig")
        lines = [line for line in csv.reader(text.splitlines()) if line]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        why = getattr(error, "strerror", None) or "it is no such text"
        raise DataError(f"cannot read {path}: {why}; expected a training's CSV") from None
    names = [name.strip() for name in lines[0]] if lines else []
    if "epoch" not in names:
        raise DataError(f"{path} has no column epoch; expected a training's CSV ({','.join(COLUMNS[:4])}...)")
    return names, [dict.fromkeys(names, "") | dict(zip(names, line, strict=False)) for line in lines[1:]]


def _number(text: str, name: str, index: int, path: Path) -> float:
    if not text.strip() and name != "epoch":
        return math.nan
    try:
        return float(text)
    except ValueError:
        raise DataError(
            f"{path}: {name} of row {index + 1} must be a number; got {text!r}: correct or remove that row"
        ) from None


def _cell(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.0f}" if value.is_integer() else f"{value:.6g}"


# The picture --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Panel:
    """One pair of axes.

    Attributes:
        lines: columns drawn in it, with their names.
        share: True for values from 0 to 1.
        wide: True for what may fall by orders of magnitude, and is then drawn on a logarithmic scale.
    """

    title: str
    lines: Mapping[str, str]
    share: bool = False
    wide: bool = False


_PANELS = (
    _Panel("Loss", {"train_loss": "training", "val_loss": "validation"}, wide=True),
    _Panel("IoU and Dice", {"val_iou": "IoU", "val_dice": "Dice"}, share=True),
    _Panel("Learning rate", {"lr": "learning rate"}),
    _Panel("Mean absolute error (MAE)", {"val_mae": "MAE"}, share=True, wide=True),
    _Panel("Pixel accuracy", {"val_accuracy": "pixel accuracy"}, share=True),
    _Panel("Seconds an epoch", {"seconds": "seconds"}),
)
_NAMES = {"val_dice": "Dice", "val_mae": "MAE", "val_accuracy": "pixel accuracy"}
_DECIDES = {"val_iou": "validation IoU", "val_loss": "validation loss", "train_loss": "training loss"}
_COLOURS = ("#1f6fb4", "#dd6b20")
_INK, _FAINT, _BEST = "#22262c", "#d4d8de", "#1d8348"
_DENSE = 40  # epochs: from here on points would hide the line
_WIDE = 50.0  # largest value to smallest: from here on a linear scale would hide the end


def best_epoch(history: Mapping[str, Values]) -> tuple[int, str] | None:
    """The row of the best epoch and the column that decides: IoU, or else the lowest loss.

    The first one counts where several are equal. None if there is nothing to go by.
    """
    for name in _DECIDES:
        sign = 1 if name == "val_iou" else -1
        values = history.get(name, np.empty(0))
        if np.isfinite(values).any():
            return int(np.nanargmax(np.where(np.isfinite(values), sign * values, np.nan))), name
    return None


def draw_curves(history: Mapping[str, Values], path: Path) -> None:
    """Draw loss, IoU and Dice, error, accuracy, learning rate and time as a PNG, 1500 pixels wide.

    What the history lacks is left out. The best epoch is marked, and its figures are in the title. A
    file that is there is replaced: the curves are drawn again after every epoch.

    Args:
        history: as from :func:`read_history`.
        path: of the PNG.

    Raises:
        DataError: if there is nothing to draw.
        MissingExtraError: if Matplotlib is not installed.
        OutputError: if it cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ImportError as error:
        raise MissingExtraError('drawing curves needs Matplotlib: pip install "bgremove[train]"') from error

    panels = [panel for panel in _PANELS if any(_drawn(history, name) for name in panel.lines)]
    if not panels:
        raise DataError(
            f"nothing to draw in {path.name}: the history has no value of {', '.join(COLUMNS[2:9])}"
        )
    columns = min(3, len(panels))
    rows = math.ceil(len(panels) / columns)
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1, wspace=0.03, hspace=0.04)
    figure = Figure(figsize=(15, 0.9 + 3.7 * rows), facecolor="white", layout=layout)
    canvas = FigureCanvasAgg(figure)
    best = best_epoch(history)
    figure.suptitle(_title(history, best), x=0.012, ha="left", fontsize=14, color=_INK, weight="bold")
    for index, panel in enumerate(panels):
        _draw_panel(figure.add_subplot(rows, columns, index + 1), panel, history, best)
    changes = _changes(history)
    if changes:
        figure.supxlabel(changes, fontsize=10, color=_INK)
    buffer = io.BytesIO()
    canvas.print_figure(buffer, dpi=100, format="png")
    make_folder(path.parent)
    write_bytes(path, buffer.getvalue(), overwrite=True)


def _drawn(history: Mapping[str, Values], name: str) -> bool:
    return name in history and bool(np.isfinite(history[name]).any())


def _draw_panel(
    axes: Axes, panel: _Panel, history: Mapping[str, Values], best: tuple[int, str] | None
) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    epochs, shown = history["epoch"], []
    for (name, label), colour in zip(panel.lines.items(), _COLOURS, strict=False):
        if not _drawn(history, name):
            continue
        # Epochs without the figure are passed over: a line goes from one that has it to the next.
        there = np.isfinite(history[name])
        values = history[name][there]
        dense = len(values) >= _DENSE
        axes.plot(
            epochs[there], values, color=colour, label=label, linewidth=1.3 if dense else 1.8,
            marker="" if dense else "o", markersize=4,
        )  # fmt: skip
        shown.append(values)
    for at in _size_changes(history):
        axes.axvline(epochs[at] - 0.5, color=_INK, linewidth=0.8, linestyle=":", zorder=0.9)
    if best is not None:
        row, decides = best
        axes.axvline(epochs[row], color=_BEST, linewidth=1, linestyle="--", zorder=0.9)
        if decides in panel.lines:
            axes.plot(
                epochs[row], history[decides][row], color=_BEST, marker="*", markersize=16, linestyle="",
                markeredgecolor="white", zorder=5,
                label=f"best {history[decides][row]:.4f}",
            )  # fmt: skip
    values = np.concatenate(shown)
    if panel.wide and values.min() > 0 and values.max() / values.min() > _WIDE:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        low, high = axes.get_ylim()
        # Little room beyond what a value can be, and so no tick there.
        low = max(low, -0.02 * high) if values.min() >= 0 else low
        high = min(high, 1 + 0.02 * (1 - low)) if panel.share and values.max() <= 1 else high
        axes.set_ylim(low, high)
    axes.yaxis.set_major_formatter(FuncFormatter(_plain))
    axes.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    room = max(0.5, 0.02 * (epochs.max() - epochs.min()))
    axes.set_xlim(epochs.min() - room, epochs.max() + room)
    axes.set_title(panel.title, loc="left", fontsize=12, color=_INK)
    axes.set_xlabel("epoch", color=_INK)
    if len(axes.get_legend_handles_labels()[0]) > 1:  # beside the title, where it hides no curve
        axes.legend(
            loc="lower right", bbox_to_anchor=(1.01, 0.985), ncols=3, frameon=False, fontsize=10,
            handlelength=1.4, columnspacing=1.2, handletextpad=0.5, labelcolor=_INK,
        )  # fmt: skip
    axes.grid(color=_FAINT, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(color=_FAINT, labelcolor=_INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(_FAINT)


def _plain(value: float, _: object = None) -> str:
    """A tick's label without an exponent: 0.00008, as 0.0001 above it."""
    return np.format_float_positional(float(f"{value:.6g}"), trim="-")


def _title(history: Mapping[str, Values], best: tuple[int, str] | None) -> str:
    epochs = history["epoch"]
    if best is None:
        return f"Epoch {epochs[-1]:.0f}"
    row, decides = best
    figures = [
        f"{name} {history[column][row]:.4f}"
        for column, name in ({decides: _DECIDES[decides]} | _NAMES).items()
        if _drawn(history, column) and np.isfinite(history[column][row])
    ]
    return f"Best epoch {epochs[row]:.0f} of {epochs[-1]:.0f}: {', '.join(figures)}"


def _size_changes(history: Mapping[str, Values]) -> list[int]:
    """Rows from which on the training went on with pictures of another size."""
    sizes: Any = history.get("size", np.empty(0))
    there = np.flatnonzero(np.isfinite(sizes))
    return [int(now) for before, now in zip(there, there[1:], strict=False) if sizes[before] != sizes[now]]


def _changes(history: Mapping[str, Values]) -> str:
    rows = _size_changes(history)
    if not rows:
        return ""
    steps = [f"{history['size'][row]:g} px from epoch {history['epoch'][row]:.0f} on" for row in rows]
    if len(steps) > 5:
        steps = [*steps[:2], "...", steps[-1]]
    return f"dotted: pictures of {', '.join(steps)}"
