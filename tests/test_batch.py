"""Planning which input becomes which output, and running the plan."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest
from PIL import Image as PILImage

from bgremove.arrays import Alpha, Image
from bgremove.batch import (
    Exists,
    Job,
    Outcome,
    for_workers,
    in_parallel,
    keep_memory,
    plan_jobs,
    run_jobs,
    usual_workers,
)
from bgremove.errors import OptionError
from bgremove.options import Params
from bgremove.pipeline import Settings
from bgremove.removers import onnx
from bgremove.removers.base import Remover
from bgremove.threads import map_on_threads
from tests.cli_helpers import files, save_disc
from tests.finding import Finding, two_subjects

PLAN = Settings.build("contour")


class Counting(Remover):
    """Counts how many pictures are worked on at a time; may fail."""

    def __init__(self, error: BaseException | None = None) -> None:
        super().__init__(Params())
        self.error = error
        self.now = self.most = self.all = 0
        self.lock = threading.Lock()

    def predict_alpha(self, image: Image) -> Alpha:
        with self.lock:
            self.now += 1
            self.all += 1
            self.most = max(self.most, self.now)
        try:
            if self.error is not None:
                raise self.error
            return (image[..., 0] > 128).astype("float32")
        finally:
            with self.lock:
                self.now -= 1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index in range(8):
        save_disc(tmp_path / "in" / f"{index}.png", 20, 30)
    return tmp_path / "in"


def targets(jobs: list[Job]) -> list[str]:
    return [str(target) for job in jobs for target in job.targets.values()]


def test_nothing_is_written_while_planning(folder: Path, tmp_path: Path) -> None:
    before = files(tmp_path)
    plan_jobs([str(folder)], f"{tmp_path}/deep/down/", PLAN)
    assert files(tmp_path) == before and not (tmp_path / "deep").exists()


def test_jobs_are_in_order_with_one_target_per_output(folder: Path) -> None:
    plan = Settings.build("contour", output="alpha,mask", format="webp")
    jobs = plan_jobs([str(folder)], "out", plan)
    assert [job.source for job in jobs] == sorted(folder.iterdir())
    assert targets(jobs)[:2] == ["out/0_alpha.webp", "out/0_mask.webp"]


@pytest.mark.parametrize(
    ("out", "expected"),
    [
        ("x.png", "x.png"),
        ("x", "x/0.png"),
        ("x/", "x/0.png"),
        ("x/{stem}", "x/0.png"),
        ("x/{stem}/", "x/0/0.png"),
        ("{folder}-{stem}.{suffix}.webp", "in-0.png.webp"),
        ("{model}_{output}.{ext}", "contour_cutout.png"),
        ("{{x}}_{stem}.png", "{x}_0.png"),
    ],
)
def test_where_one_file_goes(folder: Path, out: str, expected: str) -> None:
    assert targets(plan_jobs([str(folder / "0.png")], out, PLAN)) == [expected]


@pytest.mark.parametrize("order", ["mask,alpha,cutout", "cutout,alpha,mask", "alpha,cutout,mask,alpha"])
@pytest.mark.parametrize(
    ("out", "start"), [(None, "{folder}/0"), ("x/", "x/0"), ("x", "x/0"), ("x/y.webp", "x/y")]
)
def test_mask_alpha_and_cutout_together(folder: Path, order: str, out: str | None, start: str) -> None:
    jobs = plan_jobs([str(folder / "0.png")], out, Settings.build("contour", output=order))
    extension = ".webp" if out == "x/y.webp" else ".png"
    ends = {"mask": "mask_binary", "alpha": "mask_soft", "cutout": "foreground"}
    start = start.format(folder=folder)
    assert {output: str(target) for output, target in jobs[0].targets.items()} == {
        output: f"{start}_{end}{extension}" for output, end in ends.items()
    }


@pytest.mark.parametrize("output", ["mask,alpha", "cutout,mask", "mask,alpha,cutout,trimap", "alpha,trimap"])
def test_any_other_outputs_keep_their_own_names(folder: Path, output: str) -> None:
    [job] = plan_jobs([str(folder / "0.png")], "x/", Settings.build("contour", output=output))
    assert targets([job]) == [f"x/0_{name}.png" for name in output.split(",")]


@pytest.mark.parametrize("template", ["x/{stem}_{output}.png", "x/{stem}.png"])
def test_a_template_names_outputs_as_they_are_asked_for(folder: Path, template: str) -> None:
    plan = Settings.build("contour", output="mask,alpha,cutout")
    [job] = plan_jobs([str(folder / "0.png")], template, plan)
    assert targets([job]) == ["x/0_mask.png", "x/0_alpha.png", "x/0_cutout.png"]


def test_a_folder_named_as_output_is_a_folder_whatever_its_name(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "v1.2").mkdir()
    assert targets(plan_jobs([str(folder / "0.png")], str(tmp_path / "v1.2"), PLAN)) == [
        str(tmp_path / "v1.2" / "0.png")
    ]
    with pytest.raises(OptionError, match="ending in /"):
        plan_jobs([str(folder)], str(tmp_path / "v1.3"), PLAN)


def test_the_name_of_a_model_is_fit_for_a_file(folder: Path) -> None:
    plan = Settings.build("onnx:models/my net.onnx")
    assert targets(plan_jobs([str(folder / "0.png")], "{stem}_{model}.png", plan)) == [
        "0_onnx_models_my net.onnx.png"
    ]


def test_earlier_outputs_are_no_inputs_but_named_files_are(folder: Path) -> None:
    made = save_disc(folder / "0_cutout.png")
    names = [job.name for job in plan_jobs([str(folder)], None, PLAN)]
    assert str(made) not in names and len(names) == 8
    assert [job.name for job in plan_jobs([str(made)], None, PLAN)] == [str(made)]
    # Under a name of the user's choice it might be a photo of its own: never overwritten.
    template = f"{folder}/{{stem}}_cutout.png"
    jobs = plan_jobs([str(folder)], template, PLAN, overwrite=True)
    assert [job.name for job in jobs if "would overwrite the input" in job.problem] == [str(folder / "0.png")]


def test_hidden_files_and_folders_are_left_alone(folder: Path) -> None:
    save_disc(folder / ".hidden.png")
    save_disc(folder / ".cache" / "x.png")
    assert len(plan_jobs([str(folder)], "out", PLAN, recursive=True)) == 8


def test_memory_is_bounded_by_the_workers(folder: Path, tmp_path: Path) -> None:
    taken: list[int] = []

    def jobs() -> Iterator[Job]:
        for index, job in enumerate(plan_jobs([str(folder)], str(tmp_path / "out"), PLAN)):
            taken.append(index)
            yield job

    remover = Counting()
    for finished, outcome in enumerate(run_jobs(jobs(), lambda: remover, PLAN, workers=2), 1):
        assert outcome.status == "done"
        assert len(taken) <= finished + 2
    assert remover.all == 8 and remover.most <= 2


def threads_of(_: int) -> tuple[int, set[str]]:
    """OpenCV's threads, and those that do what a step shares out."""
    names = set(map_on_threads(lambda _: threading.current_thread().name, range(8)))
    time.sleep(0.02)
    return cv2.getNumThreads(), names


@pytest.mark.parametrize("crowded", [True, False])
def test_a_worker_for_each_core_takes_no_other_threads(crowded: bool) -> None:
    before = cv2.getNumThreads()
    workers = (os.cpu_count() or 1) + 1 if crowded else 1
    found = list(in_parallel(threads_of, range(6), workers=workers))
    assert len(found) == 6 and cv2.getNumThreads() == before
    for opencv, names in found:
        assert opencv == (1 if crowded else before)
        assert all(name.startswith("bgremove") != crowded for name in names)
    assert all(len(names) == 1 for _, names in found) or not crowded


def test_results_are_the_same_whoever_works(folder: Path, tmp_path: Path) -> None:
    keep_memory()
    remover = PLAN.create_remover()
    for workers in (1, 4):
        jobs = plan_jobs([str(folder)], str(tmp_path / str(workers)), PLAN)
        assert {one.status for one in run_jobs(jobs, lambda: remover, PLAN, workers=workers)} == {"done"}
    assert files(tmp_path / "1") == files(tmp_path / "4")


def test_threads_of_a_network_that_workers_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    shared = []
    for workers in (1, 2, 8, 16):
        with for_workers(workers):
            shared.append(onnx._sharing.get())
    assert shared == [None, 7, 1, 1]
    assert usual_workers(1000, "lite") == 8 and usual_workers(3, "lite") == 3
    assert usual_workers(1000, "u2net") == 4 and usual_workers(1000, "onnx:own.onnx") == 4


def test_the_remover_is_built_only_for_work(folder: Path, tmp_path: Path) -> None:
    def never() -> Remover:
        raise AssertionError("built without need")

    (folder / "0.png").write_bytes(b"no picture")
    out = tmp_path / "out"
    for name in range(1, 8):
        save_disc(out / f"{name}.png")
    jobs = plan_jobs([str(folder), "missing.png"], str(out), PLAN)
    statuses = [outcome.status for outcome in run_jobs(jobs, never, PLAN, exists="skip")]
    assert (statuses.count("skipped"), statuses.count("failed")) == (7, 2)
    statuses = [outcome.status for outcome in run_jobs(jobs, never, PLAN)]
    assert statuses.count("failed") == 9


def test_stop_lets_running_jobs_end_and_starts_no_other(folder: Path, tmp_path: Path) -> None:
    stop = threading.Event()
    jobs = plan_jobs([str(folder)], str(tmp_path / "out"), PLAN)
    outcomes = []
    for outcome in run_jobs(jobs, Counting, PLAN, workers=2, stop=stop):
        outcomes.append(outcome)
        stop.set()
    assert 1 <= len(outcomes) <= 3 and all(outcome.status == "done" for outcome in outcomes)
    assert len(files(tmp_path / "out")) == len(outcomes)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [(MemoryError(), "needs more memory"), (RuntimeError("a bug"), "unexpected RuntimeError: a bug")],
)
def test_an_error_in_one_picture_names_it(
    folder: Path, tmp_path: Path, error: Exception, sentence: str
) -> None:
    jobs = plan_jobs([str(folder / "0.png")], str(tmp_path / "out"), PLAN)
    [outcome] = run_jobs(jobs, lambda: Counting(error), PLAN)
    assert outcome.status == "failed" and outcome.exception is error
    assert sentence in outcome.error and "0.png" in outcome.error
    assert not (tmp_path / "out").exists()


def test_skipping_needs_all_outputs(folder: Path, tmp_path: Path) -> None:
    plan = Settings.build("contour", output="alpha,mask")
    jobs = plan_jobs([str(folder / "0.png")], str(tmp_path / "out"), plan)
    save_disc(tmp_path / "out" / "0_alpha.png")
    assert [outcome.status for outcome in run_jobs(jobs, Counting, plan, exists="skip")] == ["done"]
    assert set(files(tmp_path / "out")) == {"0_alpha.png", "0_mask.png"}
    assert [outcome.status for outcome in run_jobs(jobs, Counting, plan, exists="skip")] == ["skipped"]


# Instances ----------------------------------------------------------------------------------------

INSTANCES = Settings.build(Finding(two_subjects()[1]), output="instances")


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """A folder with two pictures of two subjects each."""
    (tmp_path / "scenes").mkdir()
    for name in ("a.png", "b.png"):
        PILImage.fromarray(two_subjects()[0]).save(tmp_path / "scenes" / name)
    return tmp_path / "scenes"


def run(
    inputs: Path, out: str | None, plan: Settings = INSTANCES, exists: Exists = "refuse"
) -> list[Outcome]:
    jobs = plan_jobs([str(inputs)], out, plan, overwrite=exists == "overwrite")
    remover = Finding(two_subjects()[1])
    return sorted(run_jobs(jobs, lambda: remover, plan, exists=exists), key=lambda one: one.job.name)


@pytest.mark.parametrize(
    ("out", "names"),
    [
        (None, ("a_instance_01_person.png", "a_instance_02_dining-table.png")),
        ("x.png", ("x_instance_01_person.png", "x_instance_02_dining-table.png")),
        ("x/", ("x/a_instance_01_person.png", "x/a_instance_02_dining-table.png")),
        ("x/{stem}.webp", ("x/a_instance_01_person.webp", "x/a_instance_02_dining-table.webp")),
        ("{output}/{stem}", ("instance/a_01_person.png", "instance/a_02_dining-table.png")),
        ("x/{stem}-{output}.png", ("x/a-instance_01_person.png", "x/a-instance_02_dining-table.png")),
    ],
)
def test_names_of_instances(
    scenes: Path, out: str | None, names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(scenes)
    (scenes / "b.png").unlink()
    [outcome] = run(Path("a.png"), out)
    assert outcome.status == "done", outcome.error
    assert [path.as_posix() for path in outcome.written] == list(names)
    assert set(files(scenes)) == {"a.png", *names}


def test_instances_beside_other_outputs(scenes: Path) -> None:
    plan = Settings.build(Finding(two_subjects()[1]), output="alpha,instances")
    outcomes = run(scenes, None, plan)
    assert [path.name for path in outcomes[0].written] == [
        "a_alpha.png", "a_instance_01_person.png", "a_instance_02_dining-table.png",
    ]  # fmt: skip
    assert len(files(scenes)) == 8


def test_instances_are_never_inputs_of_the_next_run(scenes: Path) -> None:
    run(scenes, None)
    before = files(scenes)
    again = run(scenes, None)
    assert [one.status for one in again] == ["failed", "failed"]
    assert [one.job.name[-5:] for one in again] == ["a.png", "b.png"]
    assert "a_instance_01_person.png exists" in again[0].error
    assert files(scenes) == before
    (scenes / "b_instance_02_dining-table.png").unlink()
    (scenes / "b_instance_01_person.png").unlink()
    assert [one.status for one in run(scenes, None, exists="skip")] == ["skipped", "done"]
    assert files(scenes) == before


def test_earlier_instances_that_are_left_are_named(scenes: Path) -> None:
    run(scenes, None)
    (scenes / "a_instance_03_dog.png").write_bytes(b"earlier")
    outcomes = [run(scenes / name, None, exists="overwrite")[0] for name in ("a.png", "b.png")]
    assert [one.status for one in outcomes] == ["done", "done"]
    assert [one.notes for one in outcomes] == [
        (f"{scenes / 'a.png'}: of an earlier run, a_instance_03_dog.png is still there",),
        (),
    ]


def test_an_instance_never_overwrites_an_input(scenes: Path) -> None:
    taken = scenes / "a_instance_01_person.png"
    (scenes / "b.png").rename(taken)
    before = files(scenes)
    jobs = plan_jobs([str(scenes / "a.png"), str(taken)], None, INSTANCES, overwrite=True)
    remover = Finding(two_subjects()[1])
    first, second = run_jobs(jobs, lambda: remover, INSTANCES, exists="overwrite")
    assert first.status == "failed" and "is one of the inputs, and is not overwritten" in first.error
    assert second.status == "done"
    assert {name: files(scenes)[name] for name in before} == before


def test_instances_have_no_place_on_standard_output(scenes: Path) -> None:
    with pytest.raises(OptionError, match="instances are several files; give a folder"):
        plan_jobs([str(scenes / "a.png")], "-", INSTANCES)
    with pytest.raises(OptionError, match="JPEG|jpg"):
        plan_jobs([str(scenes / "a.png")], "x.jpg", INSTANCES)
