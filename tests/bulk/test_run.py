"""A batch on this machine: names, lists, restarts, addresses."""

from __future__ import annotations

import csv
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bgremove.batch import Exists
from bgremove.bulk.params import BatchParams
from bgremove.bulk.results import Journal
from bgremove.bulk.run import Report, run_batch
from bgremove.bulk.work import Row
from bgremove.errors import BGRemoveError, DataError, OptionError, OutputError
from bgremove.pipeline import Settings
from tests.cli_helpers import decode, files, is_one_sentence, save_disc
from tests.http_server import serving

PLAN = Settings.build("contour")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index in range(6):
        save_disc(tmp_path / "in" / f"{index % 2}" / f"{index}.png", 24, 32, shade=index)
    return tmp_path / "in"


def run(source: Any, out: Any, plan: Settings = PLAN, **options: Any) -> Report:
    own = {name: options.pop(name) for name in BatchParams.model_fields if name in options}
    sources = source if isinstance(source, list) else [str(source)]
    return run_batch(sources, str(out), plan, BatchParams(**own), **options)


def listed(report: Report) -> list[dict[str, str]]:
    with open(report.results, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Results and when they were written."""
    states = {path: path.stat() for path in folder.rglob("*.png")}
    return {str(path): (state.st_ino, state.st_mtime_ns) for path, state in states.items()}


def test_every_picture_has_its_result_and_its_row(folder: Path, tmp_path: Path) -> None:
    report = run(folder, tmp_path / "out", workers=2)
    assert (report.total, report.count("done"), report.left) == (6, 6, 0)
    rows = listed(report)
    assert [row["path"] for row in rows] == sorted(str(path) for path in folder.rglob("*.png"))
    for row in rows:
        result = Path(row["output"])
        assert result.relative_to(tmp_path / "out") == Path(row["path"]).relative_to(folder)
        pixels = decode(result)
        assert pixels.shape == (24, 32, 4)
        assert float(row["coverage"]) == pytest.approx(pixels[..., 3].mean() / 255, abs=2e-3)
        assert (row["status"], row["width"], row["height"]) == ("done", "32", "24")
        assert int(row["bytes"]) == result.stat().st_size and float(row["seconds"]) > 0


def test_bad_pictures_are_listed_and_tried_again_when_asked(folder: Path, tmp_path: Path) -> None:
    good = (folder / "0" / "0.png").read_bytes()
    (folder / "0" / "0.png").write_bytes(b"no picture")
    report = run(folder, tmp_path / "out")
    assert (report.count("done"), report.count("failed")) == (5, 1)
    assert "is not a picture" in listed(report)[0]["error"]
    (folder / "0" / "0.png").write_bytes(good)
    assert run(folder, tmp_path / "out").rows == ()
    assert run(folder, tmp_path / "out", retry=True).count("done") == 1
    assert {row["status"] for row in listed(report)} == {"done"} and len(listed(report)) == 6


def test_what_is_over_is_not_done_again(folder: Path, tmp_path: Path) -> None:
    out, stop, seen = tmp_path / "out", threading.Event(), list[Row]()

    def on_row(row: Row) -> None:
        seen.append(row)
        stop.set()

    first = run(folder, out, workers=1, stop=stop, on_row=on_row)
    assert 1 <= len(seen) <= 2 and first.left == 6 - len(seen)
    assert len(listed(first)) == len(seen)
    before = stamps(out)
    told: list[tuple[int, int]] = []
    second = run(folder, out, on_start=lambda *counts: told.append(counts))
    assert told == [(6, len(seen))] and second.before == len(seen) and second.left == 0
    assert len(second.rows) == 6 - len(seen) and len(listed(second)) == 6
    assert before.items() <= stamps(out).items()


def test_a_result_that_no_row_tells_of_is_found_not_made(folder: Path, tmp_path: Path) -> None:
    """As when a worker is killed between the two."""
    out = tmp_path / "out"
    report = run(folder, out)
    journal = out / ".results.csv.journal"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-2]) + lines[-1][:40])  # one row lost, one cut off
    before, whole = stamps(out), listed(report)
    again = run(folder, out)
    assert again.count("done") == 2 and stamps(out) == before
    for row, other in zip(listed(again), whole, strict=True):
        assert {**row, "seconds": "", "note": "", "worker": "", "coverage": ""} == {
            **other, "seconds": "", "note": "", "worker": "", "coverage": ""
        }  # fmt: skip
        assert float(row["coverage"]) == pytest.approx(float(other["coverage"]), abs=3e-3)
    assert sum("ended before it could list it" in row.note for row in again.rows) == 2
    assert run(folder, out).rows == ()


def test_a_crash_while_planning_begins_anew(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(folder, out)
    journal = out / ".results.csv.journal"
    lines = journal.read_bytes().splitlines(keepends=True)
    assert "planned" in json.loads(lines[2])
    for path in out.rglob("*.*"):
        if path != journal:
            path.unlink()
    for part in (lines[0][:10], lines[0], lines[0] + lines[1][:50], lines[0] + lines[1]):
        journal.write_bytes(part)
        with Journal(str(out / "results.csv")) as opened:
            assert not opened.tasks and not opened.rows
    assert run(folder, out).count("done") == 6


def test_pictures_that_came_later_are_done_as_well(folder: Path, tmp_path: Path) -> None:
    run(folder, tmp_path / "out")
    save_disc(folder / "1" / "new.png", 24, 32)
    report = run(folder, tmp_path / "out")
    assert report.before == 6 and [Path(row.path).name for row in report.rows] == ["new.png"]
    assert len(listed(report)) == 7


@pytest.mark.parametrize("exists", ["refuse", "skip", "overwrite"])
def test_what_was_there_before(folder: Path, tmp_path: Path, exists: Exists) -> None:
    old = save_disc(tmp_path / "out" / "0" / "2.png", 5, 5).read_bytes()
    if exists == "refuse":
        before = files(tmp_path / "out")
        with pytest.raises(OutputError, match=r"2\.png exists already; add --overwrite"):
            run(folder, tmp_path / "out", exists=exists)
        assert files(tmp_path / "out") == before
        return
    report = run(folder, tmp_path / "out", exists=exists)
    kept = (tmp_path / "out" / "0" / "2.png").read_bytes() == old
    assert kept == (exists == "skip") and report.count("skipped") == kept
    assert len(listed(report)) == 6


def test_other_settings_are_refused_and_fresh_begins_anew(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(folder, out)
    before = files(out)
    other = Settings.build("contour", background="white", format="jpeg")
    with pytest.raises(
        OptionError, match="background was transparent when this batch began, and is white now"
    ):
        run(folder, out, other)
    with pytest.raises(OutputError, match="exist"):
        run(folder, out, fresh=True)
    assert files(out) == before
    assert run(folder, out, fresh=True, exists="overwrite").count("done") == 6
    assert run(folder, out, other, fresh=True).count("done") == 6
    assert (out / "0" / "0.jpg").exists() and listed(run(folder, out, other))[0]["output"].endswith("0.jpg")


def test_settings_can_change_as_long_as_nothing_came_of_it(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BGRemoveError):
        run(folder, tmp_path / "out", Settings.build(f"onnx:{tmp_path}/missing.onnx"))
    assert list(files(tmp_path / "out")) == [".results.csv.journal"]
    assert run(folder, tmp_path / "out").count("done") == 6


def test_two_at_once_do_not_share_a_journal(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("fcntl", reason="Windows has no such lock")
    with Journal(str(tmp_path / "out" / "results.csv")):
        with pytest.raises(OutputError, match="another bgremove batch"):
            run(folder, tmp_path / "out")


def test_several_outputs_and_names(folder: Path, tmp_path: Path) -> None:
    plan = Settings.build("contour", output="cutout,alpha,trimap")
    report = run(folder / "0", tmp_path / "out", plan)
    assert sorted(files(tmp_path / "out"))[1:4] == ["0_alpha.png", "0_cutout.png", "0_trimap.png"]
    assert listed(report)[0]["output"].count(" | ") == 2
    run(folder, tmp_path / "flat", names="{stem}-{suffix}")
    assert "0-png.png" in files(tmp_path / "flat")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"names": "same"}, "would both be written to"),
        ({"names": "../{stem}"}, "must stay inside"),
        ({"names": "{nothing}"}, "unknown {nothing}"),
        ({"results": "list.txt"}, r"must be a file named .csv or .parquet"),
        ({"plan": Settings.build("contour", format="jpeg")}, "cannot hold transparency"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_done(
    folder: Path, tmp_path: Path, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(BGRemoveError, match=sentence) as caught:
        run(folder, tmp_path / "out", **options)
    assert is_one_sentence(str(caught.value)) and not (tmp_path / "out").exists()


@pytest.mark.parametrize("out", ["", "-", "https://example.com/out"])
def test_where_nothing_can_be_written(folder: Path, out: str) -> None:
    with pytest.raises(OptionError, match="out must be a folder"):
        run(folder, out)


def test_inputs_are_never_written_over(folder: Path, tmp_path: Path) -> None:
    before = files(tmp_path)
    for out in (folder, folder / "0" / ".."):
        with pytest.raises(OptionError, match="another folder than that of the pictures"):
            run(folder, out, exists="overwrite")
    listing = tmp_path / "list.txt"
    listing.write_text(f"{folder}/0/0.png\n{folder}/1/1.png\n")
    with pytest.raises(OptionError):
        run(listing, folder, exists="overwrite")
    listing.unlink()
    assert files(tmp_path) == before


def test_results_inside_the_folder_of_pictures_are_no_pictures(folder: Path) -> None:
    assert run(folder, folder / "out").total == 6
    assert run(folder, folder / "out").total == 6


def test_a_list_in_parquet(folder: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    (folder / "0" / "0.png").write_bytes(b"")
    report = run(folder, tmp_path / "out", results=str(tmp_path / "list.parquet"))
    table = parquet.read_table(report.results).to_pylist()
    assert [row["status"] for row in table] == ["failed"] + ["done"] * 5
    assert table[0]["width"] is None and "0 bytes" in table[0]["error"]
    assert table[1]["width"] == 32 and 0 < table[1]["coverage"] < 1


@pytest.fixture
def memory() -> Iterator[str]:
    fsspec = pytest.importorskip("fsspec")
    fs = fsspec.filesystem("memory")
    yield "memory://bucket"
    if fs.exists("/bucket"):
        fs.rm("/bucket", recursive=True)


def test_from_an_address_to_an_address_and_on_after_a_crash(folder: Path, memory: str) -> None:
    fs = pytest.importorskip("fsspec").filesystem("memory")
    for path in folder.rglob("*.png"):
        fs.pipe_file(f"/bucket/in/{path.relative_to(folder).as_posix()}", path.read_bytes())
    report = run(f"{memory}/in", f"{memory}/out", workers=2)
    assert report.count("done") == 6 and report.results == f"{memory}/out/results.csv"
    assert decode(fs.cat_file("/bucket/out/1/3.png")).shape == (24, 32, 4)
    assert fs.cat_file("/bucket/out/results.csv").count(b"done") == 6
    assert not [path for path in fs.find("/bucket") if path.endswith(".part")]
    [*_, last] = sorted(fs.find("/bucket/out/.results.csv.journal"))
    before = {path: fs.modified(path) for path in fs.glob("/bucket/out/*/*.png")}
    fs.rm_file(last)  # the rows that had not been put yet
    again = run(f"{memory}/in", f"{memory}/out")
    assert again.count("done") == 6 and again.total == 6
    assert {path: fs.modified(path) for path in before} == before
    assert run(f"{memory}/in", f"{memory}/out").rows == ()


def test_pictures_of_the_web(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("aiohttp")
    with serving((folder / "0" / "0.png").read_bytes(), "shop/a.png") as server:
        listing = tmp_path / "list.csv"
        listing.write_text(f"url\n{server.url}\n{server.url}.missing\n")
        report = run(listing, tmp_path / "out")
    assert [row.status for row in sorted(report.rows, key=lambda row: row.path)] == ["done", "failed"]
    assert any("does not exist" in row.error for row in report.rows)
    np.testing.assert_array_equal(
        decode(tmp_path / "out" / "a.png")[..., :3].any(axis=2),
        decode(tmp_path / "out" / "a.png")[..., 3] > 0,
    )


def test_what_a_killed_run_left_of_a_file_goes(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "0"
    run(folder, tmp_path / "out")
    old, new, other = (
        out / name for name in (f".bgremove-{'a' * 16}.part", f".bgremove-{'b' * 16}.part", ".part")
    )
    for path in (old, new, other):
        path.write_bytes(b"x")
    os.utime(old, (time.time() - 60,) * 2)
    os.utime(other, (time.time() - 60,) * 2)
    run(folder, tmp_path / "out")
    assert not old.exists() and new.exists() and other.exists()


def test_no_journal_of_ours_is_left_alone(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".results.csv.journal").write_text("a diary\n")
    with pytest.raises(DataError, match="no journal of a batch"):
        run(folder, tmp_path / "out")
    assert (tmp_path / "out" / ".results.csv.journal").read_text() == "a diary\n"
