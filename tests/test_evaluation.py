"""Measuring: on pictures whose figures are known, with removers that know the answer or miss it."""

from __future__ import annotations

import csv
import io
import threading
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

from bgremove.arrays import Alpha, Image
from bgremove.errors import DataError, OptionError, OutputError, UnknownRemoverError, WeightsError
from bgremove.evaluation import EvaluateParams, Output, evaluate, plan_evaluation, run_evaluation
from bgremove.io import Frame
from bgremove.metrics import FMeasure, iou, max_f, measure
from bgremove.pairs import Pair, find_pairs, read_pair
from bgremove.pipeline import Settings, cut
from tests.cli_helpers import files, save_disc
from tests.conftest import soft_disc
from tests.picture_sets import Wrong, disc_set, write_pair


class Broken(Wrong):
    """Loses one of the pictures."""

    def predict_alpha(self, image: Image) -> Alpha:
        if image[0, 0, 2] == 90 + 40:
            raise WeightsError("the file of this model is broken; get it again")
        return super().predict_alpha(image)


@pytest.fixture
def discs(tmp_path: Path) -> Path:
    return disc_set(tmp_path / "discs")


def test_figures_are_those_of_the_default_pipeline(discs: Path) -> None:
    found = evaluate(discs, ["contour"])
    assert found.complete and not found.problems and not found.files
    settings = Settings.build("contour")
    remover, total = settings.create_remover(), FMeasure()
    for pair, result in zip(find_pairs(discs).pairs, found.pictures, strict=True):
        image, truth = read_pair(pair)
        alpha = cut(Frame(image), remover, settings).alpha
        assert result.figures == measure(alpha, truth, total=total)
        assert (result.set, result.model, result.picture) == ("discs", "contour", pair.stem)
        assert (result.height, result.width) == truth.shape
    [summary] = found.summaries
    assert summary.figures.iou == pytest.approx(np.mean([one.figures.iou for one in found.pictures]))
    assert (summary.figures.max_f, summary.max_mean_f) == (total.max_f, total.max_mean_f)
    assert summary.figures.iou > 0.9, "contour finds plain discs"
    assert summary.figures.sad is None and summary.soft_pictures == 0


def test_raw_is_the_removers_own_matte(discs: Path) -> None:
    wrong = Wrong()
    found = evaluate(discs, [wrong], EvaluateParams(raw=True))
    for pair, result in zip(find_pairs(discs).pairs, found.pictures, strict=True):
        image, truth = read_pair(pair)
        assert result.figures == measure(wrong.predict_alpha(image), truth)
    ious = [one.figures.iou for one in found.pictures]
    assert ious[0] == 1 and ious == sorted(ious, reverse=True) and ious[-1] < 0.9
    refined = evaluate(discs, [Wrong()])
    assert [one.figures for one in refined.pictures] != [one.figures for one in found.pictures]


def test_times_are_positive_and_the_first_call_does_not_count(discs: Path) -> None:
    wrong = Wrong()
    found = evaluate(discs, [wrong])
    assert wrong.calls == 6, "five pictures and a warm-up"
    [summary] = found.summaries
    for one in found.pictures:
        assert 0 < one.model_milliseconds < one.milliseconds
    times = sorted(one.milliseconds for one in found.pictures)
    assert summary.milliseconds == times[2]
    assert summary.mean_milliseconds == pytest.approx(np.mean(times))
    assert 0 < summary.model_milliseconds < summary.milliseconds


def test_errors_of_soft_mattes_only_where_the_truth_is_soft(tmp_path: Path) -> None:
    hard = (soft_disc().alpha > 0.5).astype(np.float32)
    write_pair(tmp_path / "mixed", "hard", soft_disc().image, hard)
    write_pair(tmp_path / "mixed", "soft", soft_disc().image, soft_disc(edge=20).alpha)
    found = evaluate(tmp_path / "mixed", ["contour"])
    first, second = (one.figures for one in found.pictures)
    assert astuple(first)[7:] == (None, None, None, None)
    assert second.sad is not None and second.sad > 0
    [summary] = found.summaries
    assert (summary.pictures, summary.soft_pictures) == (2, 1)
    assert summary.figures.sad == second.sad, "the mean of one"


def test_several_sets_are_reported_apart(tmp_path: Path) -> None:
    disc_set(tmp_path / "data" / "val", 2)
    disc_set(tmp_path / "data" / "train", 3)
    (tmp_path / "data" / "notes").mkdir()
    wrong = Wrong()
    found = evaluate(tmp_path / "data", ["contour", wrong])
    assert [(one.set, one.model, one.pictures) for one in found.summaries] == [
        ("train", "contour", 3),
        ("train", "Wrong", 3),
        ("val", "contour", 2),
        ("val", "Wrong", 2),
    ]
    assert wrong.calls == 6, "it warms up once"


def test_limit_is_spread_over_the_set(tmp_path: Path) -> None:
    found = evaluate(disc_set(tmp_path / "d", 9), [Wrong()], EvaluateParams(limit=3))
    assert [one.picture for one in found.pictures] == ["disc_1", "disc_4", "disc_7"]
    assert len(evaluate(tmp_path / "d", [Wrong()], EvaluateParams(limit=100)).pictures) == 9


def test_aliases_and_repetitions_are_measured_once(discs: Path) -> None:
    plan = plan_evaluation(discs, ["lite", "auto", "lite", "contour", Wrong(), Wrong()])
    names = [one.name for one in plan.candidates]
    assert names[:2] == ["lite", "contour"] and len(set(names)) == len(names) == 4
    assert plan.total == 4 * 5


def test_names_of_networks_are_those_of_their_files(discs: Path) -> None:
    plan = plan_evaluation(discs, ["onnx:a/best.onnx", "onnx:b/best.onnx", "onnx:other.onnx"])
    assert [one.name for one in plan.candidates] == ["onnx:best.onnx", "onnx:b/best.onnx", "onnx:other.onnx"]
    assert len(set(plan.sheets().values())) == 3
    assert all(
        name.endswith(".png") and "/" not in name and ":" not in name for name in plan.sheets().values()
    )


def test_settings_go_to_those_that_have_them(discs: Path) -> None:
    plan = plan_evaluation(discs, ["grabcut", "contour"], edges="none", iterations=2, canny_low=5)
    first, second = (one.settings for one in plan.candidates)
    assert first.refine.edges == second.refine.edges == "none"
    assert first.remover.model_dump()["iterations"] == 2
    assert second.remover.model_dump()["canny_low"] == 5


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"iterationss": 2}, "did you mean 'iterations'"),
        ({"quality": 50}, "unknown setting 'quality'"),
        ({"preset": "nonsense"}, "unknown preset 'nonsense'"),
        ({"params": EvaluateParams(raw=True), "edges": "none"}, "edges does nothing"),
        ({"params": EvaluateParams(raw=True), "preset": "hair"}, "preset hair does nothing"),
    ],
)
def test_wrong_settings(discs: Path, values: dict[str, object], sentence: str) -> None:
    with pytest.raises(OptionError, match=sentence):
        plan_evaluation(discs, ["grabcut"], **values)  # type: ignore[arg-type]


def test_wrong_models(discs: Path) -> None:
    with pytest.raises(UnknownRemoverError, match="did you mean 'grabcut'"):
        plan_evaluation(discs, ["grabcutt"])
    with pytest.raises(OptionError, match="at least one model"):
        plan_evaluation(discs, [])


def test_folders_without_a_set(tmp_path: Path) -> None:
    (tmp_path / "empty" / "below").mkdir(parents=True)
    with pytest.raises(DataError, match="holds no set: expected images/ and masks/"):
        plan_evaluation(tmp_path / "empty", ["contour"])
    with pytest.raises(DataError, match="no such folder"):
        plan_evaluation(tmp_path / "nowhere", ["contour"])
    save_disc(tmp_path / "half" / "images" / "a.png")
    with pytest.raises(DataError, match="no folder masks"):
        plan_evaluation(tmp_path / "half", ["contour"])


def test_bad_pairs_are_left_out_with_a_sentence_each(discs: Path) -> None:
    (discs / "images" / "disc_1.png").write_bytes(b"no picture")
    PILImage.new("L", (7, 9)).save(discs / "masks" / "disc_3.png")
    save_disc(discs / "images" / "alone.png")
    said: list[str] = []
    plan = plan_evaluation(discs, ["contour", Wrong()])
    found = run_evaluation(plan, tell=said.append)
    assert [one.picture for one in found.pictures] == ["disc_0", "disc_2", "disc_4"] * 2
    assert [one.pictures for one in found.summaries] == [3, 3]
    assert len(found.problems) == 3, "once, not once for each model"
    for name, problem in zip(("alone", "disc_1", "disc_3"), found.problems, strict=True):
        assert name in problem and "\n" not in problem
    assert said == [f"left out: {problem}" for problem in found.problems]
    assert found.complete


def test_nothing_readable_is_an_error(discs: Path) -> None:
    for path in (discs / "images").iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(DataError, match="no picture could be measured: .*disc_0.png is not a picture"):
        evaluate(discs, ["contour"])


def test_a_model_that_fails_does_not_take_the_others_with_it(discs: Path) -> None:
    found = evaluate(discs, ["onnx:missing.onnx", Broken()])
    assert [(one.model, one.pictures) for one in found.summaries] == [("Broken", 4)]
    assert "onnx:missing.onnx: there is no model file" in found.problems[0]
    assert "Broken on " in found.problems[1] and "disc_2.png: the file of this model" in found.problems[1]
    with pytest.raises(Exception, match="^there is no model file"):
        evaluate(discs, ["onnx:missing.onnx"])


def test_a_pairs_figures_do_not_depend_on_the_others(discs: Path) -> None:
    whole = {one.picture: one.figures for one in evaluate(discs, ["contour"]).pictures}
    one = evaluate(discs, ["contour"], EvaluateParams(limit=1)).pictures[0]
    assert one.figures == whole[one.picture]
    image, truth = read_pair(Pair("x", discs / "images/disc_2.png", discs / "masks/disc_2.png"))
    alpha = cut(Frame(image), Settings.build("contour").create_remover(), Settings.build("contour"))
    assert whole["disc_2"].iou == iou(alpha.alpha, truth)
    assert whole["disc_2"].max_f == max_f(alpha.alpha, truth)


# Files ----------------------------------------------------------------------------------------------


def test_the_files(discs: Path, tmp_path: Path) -> None:
    before = files(discs)
    out = tmp_path / "new" / "report"
    found = evaluate(discs, ["contour", Wrong()], out=out)
    names = {"summary.csv", "images.csv", "sheet_discs_contour.png", "sheet_discs_Wrong.png"}
    assert set(files(out)) == names == {path.name for path in found.files}
    summaries = list(csv.DictReader(io.StringIO((out / "summary.csv").read_text())))
    pictures = list(csv.DictReader(io.StringIO((out / "images.csv").read_text())))
    assert [row["model"] for row in summaries] == ["contour", "Wrong"]
    assert float(summaries[1]["iou"]) == pytest.approx(found.summaries[1].figures.iou, rel=1e-5)
    assert float(summaries[1]["max_mean_f"]) == pytest.approx(found.summaries[1].max_mean_f, rel=1e-5)
    assert summaries[0]["sad"] == "", "no soft truth, no figure"
    assert len(pictures) == 10
    assert pictures[9]["picture"] == "disc_4" and pictures[9]["height"] == "96"
    assert float(pictures[9]["iou"]) == pytest.approx(found.pictures[9].figures.iou, rel=1e-5)
    assert files(discs) == before


def test_nothing_is_replaced_unasked(discs: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    evaluate(discs, [Wrong()], out=out)
    before = files(out)
    wrong = Wrong()
    with pytest.raises(OutputError, match="summary.csv exists; add --overwrite"):
        evaluate(discs, [wrong], out=out)
    assert files(out) == before and wrong.calls == 0
    (out / "summary.csv").write_text("old")
    evaluate(discs, [wrong], out=out, overwrite=True)
    assert (out / "summary.csv").read_text().startswith("set,model,pictures")
    with pytest.raises(OutputError, match="not a folder"):
        evaluate(discs, [wrong], out=out / "summary.csv")


def test_figures_survive_a_folder_that_disappears(discs: Path, tmp_path: Path) -> None:
    plan = plan_evaluation(discs, [Wrong()])
    output = Output.prepare(tmp_path / "report", plan)
    (tmp_path / "report").rmdir()
    found = run_evaluation(plan, output=output)
    assert len(found.pictures) == 5 and found.files == ()
    assert len(found.problems) == 3 and all("cannot write" in one for one in found.problems)


def test_stopping_leaves_what_was_measured(tmp_path: Path) -> None:
    stop = threading.Event()

    class Stops(Wrong):
        def predict_alpha(self, image: Image) -> Alpha:
            if self.calls == 3:
                stop.set()
            return super().predict_alpha(image)

    plan = plan_evaluation(disc_set(tmp_path / "d"), [Stops(), "contour"])
    output = Output.prepare(tmp_path / "out", plan)
    found = run_evaluation(plan, output=output, stop=stop)
    assert not found.complete
    assert [one.picture for one in found.pictures] == ["disc_0", "disc_1", "disc_2"]
    [summary] = found.summaries
    assert (summary.model, summary.pictures) == ("Stops", 3)
    assert set(files(tmp_path / "out")) == {"summary.csv", "images.csv"}
    assert (tmp_path / "out" / "images.csv").read_text().count("\n") == 4
