"""Which cases are shown, and the tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bgremove.evaluation import evaluate
from bgremove.metrics import measure
from bgremove.reports import PictureResult, table, worst_and_median
from tests.picture_sets import Wrong, disc_set


@pytest.fixture
def discs(tmp_path: Path) -> Path:
    return disc_set(tmp_path / "discs")


def result_of(value: float) -> PictureResult:
    figures = replace(measure(np.ones((2, 2), np.float32), np.ones((2, 2), np.float32)), iou=value)
    return PictureResult("set", "model", "name", 2, 2, figures, 12.5, 4.25)


def test_worst_and_median() -> None:
    result = result_of(0.5)
    ranked = [replace(result, picture=f"{n}", figures=result_of(n / 20).figures) for n in range(20)]
    shuffled = [ranked[index] for index in np.random.default_rng(1).permutation(20)]
    groups = worst_and_median(shuffled, 4)
    assert [one.picture for one in groups["Worst"]] == ["0", "1", "2", "3"]
    assert [one.picture for one in groups["Median"]] == ["8", "9", "10", "11"]
    for count, expected in {1: [1], 2: [1, 1], 3: [1, 1], 7: [2, 2]}.items():
        groups = worst_and_median(ranked[:count], 4)
        shown = [one.picture for group in groups.values() for one in group]
        assert [len(group) for group in groups.values()] == expected
        assert len(set(shown)) == len(shown)


def test_the_table_is_aligned(discs: Path) -> None:
    found = evaluate(discs, ["contour", Wrong()])
    header, rule, *rows = table(found.summaries).splitlines()
    assert len({len(line) for line in (header, rule, *rows)}) == 1 and len(header) <= 110
    assert header.split()[:4] == ["set", "model", "n", "IoU"] and "SAD" not in header
    assert rows[1].split()[:4] == ["discs", "Wrong", "5", f"{found.summaries[1].figures.iou:.3f}"]
    starts = [
        index for index, mark in enumerate(rule) if mark == "-" and rule[index - 1 : index] in ("", " ")
    ]
    assert all(row[start - 1 : start] in ("", " ") for row in rows for start in starts)


def test_the_markdown_table(discs: Path) -> None:
    [summary] = evaluate(discs, [Wrong()]).summaries
    soft = replace(
        summary, soft_pictures=5, set="a|b", figures=replace(summary.figures, sad=12.345, mse=0.01)
    )
    header, rule, plain, last = table([summary, soft], "markdown").splitlines()
    cells = [cell.strip() for cell in header.strip("|").split("|")]
    assert cells[9:] == ["b. IoU", "SAD", "MSE", "grad", "conn", "ms", "model"]
    assert all(set(cell.strip()) in ({"-"}, {"-", ":"}) for cell in rule.strip("|").split("|"))
    assert plain.count("|") == header.count("|") == last.count("|") - 1
    assert r"a\|b" in last and "| 12.3 | 0.0100 |" in " ".join(last.split())
    assert "-" in plain.split("|")[11], "no figure"
