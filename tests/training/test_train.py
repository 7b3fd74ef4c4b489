"""Whole trainings: what they leave, how they go on after an interruption, and what they refuse."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PILImage

from bgremove.errors import BGRemoveError, DataError, OptionError, OutputError, WeightsError
from bgremove.pairs import find_pairs, read_pair
from bgremove.training.augment import Grey, resized
from bgremove.training.curves import COLUMNS, read_history
from bgremove.training.params import LossParams
from tests.cli_helpers import decode, files

pytest.importorskip("lightning", reason="needs the extra train")

import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from bgremove.training import callbacks, loop  # noqa: E402
from bgremove.training.losses import segmentation_loss  # noqa: E402
from bgremove.training.train import load_weights, read_checkpoint, read_settings, train  # noqa: E402
from tests.training.tiny import FLAGS, Tiny, disc_data, params, run, tiny_there  # noqa: E402

pytestmark = pytest.mark.usefixtures("tiny")


@pytest.fixture(scope="module")
def done(tiny: None, discs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training of three epochs, with timelapse; not to be changed."""
    out = tmp_path_factory.mktemp("done") / "run"
    run(discs, out, timelapse=True, timelapse_samples=2)
    return out


@pytest.fixture(autouse=True)
def no_curves(done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside `done`, trainings draw none: that takes ten times as long as the rest of an epoch."""
    monkeypatch.setattr(callbacks, "draw_curves_of", lambda *_: None)


@pytest.fixture
def copy(done: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    return Path(shutil.copytree(done, tmp_path / "copy"))


def last(out: Path) -> dict[str, Any]:
    return read_checkpoint(out / "checkpoints" / "last.ckpt")


def same(one: Any, other: Any, where: str = "") -> None:
    """Two nested values are the same, to the last bit."""
    assert type(one) is type(other), where
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            same(one[key], other[key], f"{where}/{key}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), where
        for index, pair in enumerate(zip(one, other, strict=True)):
            same(*pair, f"{where}/{index}")
    elif isinstance(one, Tensor):
        assert torch.equal(one, other), where
    else:
        assert one == other, where


def same_training(one: Path, other: Path) -> None:
    """Weights, averages, optimiser and figures of two trainings are the same, to the last bit."""
    for name in ("last", "best"):
        ours, theirs = (read_checkpoint(out / "checkpoints" / f"{name}.ckpt") for out in (one, other))
        keys = ("state_dict", "current_model_state", "averaging_state", "optimizer_states", "lr_schedulers")
        for key in (*keys, "epoch", "global_step"):
            assert (key in ours) == (key in theirs)
            same(ours.get(key), theirs.get(key), f"{name}.ckpt/{key}")
    figures, others = (read_history(out / "history.csv") for out in (one, other))
    for name in figures:
        if name != "seconds":
            np.testing.assert_array_equal(figures[name], others[name])
    strips, more = ({k: v for k, v in files(out).items() if "sample_" in k} for out in (one, other))
    assert strips == more


# What it leaves -------------------------------------------------------------------------------------


def test_the_files(done: Path) -> None:
    events = [name for name in files(done) if name.startswith("tensorboard/events.")]
    assert len(events) == 1
    strips = [f"timelapse/sample_{s:02d}/epoch_{e:03d}.png" for s in (1, 2) for e in (1, 2, 3)]
    assert sorted(set(files(done)) - set(events)) == sorted(
        ["checkpoints/best.ckpt", "checkpoints/last.ckpt", "curves.png", "history.csv", "settings.json",
         "tensorboard/hparams.yaml", *strips]
    )  # fmt: skip
    assert not (done / "cache").exists()


def test_the_history(done: Path) -> None:
    history = read_history(done / "history.csv")
    assert tuple(history) == COLUMNS
    assert history["epoch"].tolist() == [1, 2, 3] and history["step"].tolist() == [2, 4, 6]
    assert history["size"].tolist() == [32, 32, 32]
    assert all(np.isfinite(values).all() for values in history.values())
    assert history["train_loss"][2] < history["train_loss"][0]
    assert history["lr"][0] > history["lr"][1] > history["lr"][2] > 0
    assert all(0 <= history[name].min() and history[name].max() <= 1 for name in COLUMNS[5:9])


def test_the_settings(done: Path) -> None:
    stored = read_settings(done)
    assert stored["train"] == params(timelapse=True, timelapse_samples=2)
    assert json.loads((done / "settings.json").read_text())["loss"] == LossParams().model_dump()


def test_the_figures_in_tensorboard(done: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(done / "tensorboard"))
    events.Reload()
    assert {"train_loss", *COLUMNS[4:9]} <= set(events.Tags()["scalars"])
    found = [event.value for event in events.Scalars("val_iou")]
    assert found == pytest.approx(read_history(done / "history.csv")["val_iou"].tolist(), rel=1e-4)


def test_the_pictures(done: Path) -> None:
    assert decode(done / "curves.png").shape[1] == 1500
    strips = [decode(done / "timelapse" / "sample_01" / f"epoch_{epoch:03d}.png") for epoch in (1, 2, 3)]
    assert not np.array_equal(strips[0], strips[2])
    assert not np.array_equal(strips[0], decode(done / "timelapse" / "sample_02" / "epoch_001.png"))


def test_the_figures_are_those_of_the_stored_network(done: Path, discs: Path) -> None:
    """Worked out once more from the last checkpoint, picture by picture."""
    network = Tiny().eval()
    network.load_state_dict(load_weights(done / "checkpoints" / "last.ckpt"))
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    found: dict[str, list[float]] = {name: [] for name in COLUMNS[4:9]}
    for pair in find_pairs(discs / "val").pairs:
        image, alpha = read_pair(pair)
        image, grey = resized(image, np.rint(alpha * 255).astype(np.uint8), 32)
        truth = torch.from_numpy(grey)[None, None] / 255
        x = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1) / 255
        with torch.no_grad():
            [logits] = network(((x - mean) / std)[None])
        matte = logits.sigmoid()
        both, either = ((matte > 0.5) & (truth > 0.5)).sum(), ((matte > 0.5) | (truth > 0.5)).sum()
        found["val_loss"].append(segmentation_loss(logits, truth, LossParams()).item())
        found["val_iou"].append(float(both / either))
        found["val_dice"].append(float(2 * both / (both + either)))
        found["val_accuracy"].append(((matte > 0.5) == (truth > 0.5)).float().mean().item())
        found["val_mae"].append((matte - truth).abs().mean().item())
    history = read_history(done / "history.csv")
    for name, values in found.items():
        assert history[name][-1] == pytest.approx(np.mean(values), rel=1e-3), name


def test_the_checkpoints(done: Path) -> None:
    """They load without running anything, and hold the averaged weights beside the current ones."""
    for name in ("best", "last"):
        path = done / "checkpoints" / f"{name}.ckpt"
        loaded = torch.load(path, map_location="cpu", weights_only=True)
        assert loaded["hyper_parameters"]["train"]["network"] == "tiny"
        weights = load_weights(path)
        assert weights.keys() == Tiny().state_dict().keys()
        now = loaded["current_model_state"]
        assert not torch.equal(weights["fine.0.weight"], now["network.fine.0.weight"])
    assert last(done)["epoch"] == 2
    with pytest.raises(WeightsError, match="holds a tiny, not a lite; take --network tiny"):
        load_weights(done / "checkpoints" / "best.ckpt", "lite")


def test_it_learns_what_is_easy(discs: Path, tmp_path: Path) -> None:
    trained = run(discs, tmp_path / "run", epochs=8)
    history = read_history(tmp_path / "run" / "history.csv")
    assert trained.epochs == 8 and trained.iou == history["val_iou"].max() > 0.85
    assert history["train_loss"][-1] < 0.5 * history["train_loss"][0]
    best = read_checkpoint(trained.best)
    assert best["epoch"] == history["val_iou"].argmax()


def test_the_average_is_that_of_the_steps(discs: Path, tmp_path: Path) -> None:
    """Without it, checkpoints hold the weights themselves."""
    run(discs, tmp_path / "run", epochs=1, ema=0)
    loaded = last(tmp_path / "run")
    assert "current_model_state" not in loaded
    run(discs, tmp_path / "averaged", epochs=1, ema=0.9)
    averaged = last(tmp_path / "averaged")
    now = {k: v for k, v in averaged["current_model_state"].items() if k.startswith("network")}
    same(dict(now), {k: v for k, v in loaded["state_dict"].items() if k.startswith("network")})


def test_the_same_seed_is_the_same_training(done: Path, discs: Path, tmp_path: Path) -> None:
    """Whether pictures are kept or not makes another, as those that are not come in more detail."""
    run(discs, tmp_path / "again", timelapse=True, timelapse_samples=2)
    same_training(done, tmp_path / "again")
    run(discs, tmp_path / "other", seed=1, epochs=1)
    first = read_history(done / "history.csv")["train_loss"][0]
    assert read_history(tmp_path / "other" / "history.csv")["train_loss"][0] != first


# The settings do what they say ----------------------------------------------------------------------


def test_workers_bring_the_same_pictures(done: Path, discs: Path, tmp_path: Path) -> None:
    run(discs, tmp_path / "run", workers=2, timelapse=True, timelapse_samples=2)
    same_training(done, tmp_path / "run")


def test_sizes_grow(discs: Path, tmp_path: Path) -> None:
    run(discs, tmp_path / "run", epochs=4, size=40, start_size=32, cache="off")
    assert read_history(tmp_path / "run" / "history.csv")["size"].tolist() == [32, 32, 40, 40]


def test_bfloat16(discs: Path, tmp_path: Path) -> None:
    """Another rounding, the same training on the whole; weights stay in float32."""
    run(
        discs, tmp_path / "run", precision="bf16", optimizer="muon", lr=0.02, epochs=2, boundary=0.1, ssim=0.1
    )
    run(discs, tmp_path / "exact", optimizer="muon", lr=0.02, epochs=2, boundary=0.1, ssim=0.1)
    losses, exact = (read_history(tmp_path / n / "history.csv")["train_loss"] for n in ("run", "exact"))
    assert losses.tolist() != exact.tolist()
    np.testing.assert_allclose(losses, exact, rtol=0.05)
    assert {v.dtype for v in load_weights(tmp_path / "run" / "checkpoints" / "last.ckpt").values()} <= {
        torch.float32, torch.int64,
    }  # fmt: skip


def test_few_pictures_an_epoch(discs: Path, tmp_path: Path) -> None:
    run(discs, tmp_path / "run", epochs=2, epoch_images=4)
    assert read_history(tmp_path / "run" / "history.csv")["step"].tolist() == [1, 2]


def test_it_stops_when_it_gets_no_better(discs: Path, tmp_path: Path) -> None:
    said: list[str] = []
    trained = run(discs, tmp_path / "run", epochs=9, lr=0.0, ema=0, patience=2, said=said)
    history = read_history(tmp_path / "run" / "history.csv")
    # Statistics of the normalisation still move, and so may the IoU.
    best = int(history["val_iou"].argmax())
    assert trained.epochs == len(history["epoch"]) == best + 1 + 2 < 9


def test_soft_masks_can_be_made_hard(discs: Path, tmp_path: Path) -> None:
    """At the pictures' own size the truth of a strip is black or white then."""
    for name, hard in (("soft", False), ("hard", True)):
        values: dict[str, Any] = {"size": 40, "epochs": 1, "threshold_masks": hard}
        run(discs, tmp_path / name, timelapse=True, timelapse_samples=1, **values)
        truth = truth_in(tmp_path / name / "timelapse" / "sample_01" / "epoch_001.png", 40)
        assert truth.min() == 0 and truth.max() == 255
        assert np.isin(truth, (0, 255)).all() == hard


def truth_in(path: Path, size: int) -> Grey:
    """The rows of a strip's truth that have foreground: its second panel, as nothing else there is white."""
    left = 2 * max(2, size // 64) + size
    panel = decode(path)[:, left : left + size, 0]
    rows = np.flatnonzero((panel == 255).any(1))
    return panel[rows[0] : rows[-1] + 1]


def test_no_more_strips_than_validation_pictures(discs: Path, tmp_path: Path) -> None:
    run(discs, tmp_path / "run", epochs=1, timelapse=True, timelapse_samples=50, batch_size=3)
    strips = sorted(name for name in files(tmp_path / "run") if "sample_" in name)
    assert strips == [f"timelapse/sample_{s:02d}/epoch_001.png" for s in (1, 2, 3, 4)]
    assert len({(tmp_path / "run" / name).read_bytes() for name in strips}) == 4


# Going on -------------------------------------------------------------------------------------------


class Interruption(Exception):
    """As if the power had gone."""


def interrupted(monkeypatch: pytest.MonkeyPatch, hook: str, call: int, start: Callable[[], object]) -> None:
    """A training that breaks at the given call of one of the learner's hooks, from 1."""
    original, calls = getattr(loop.Learner, hook), [0]

    def breaking(self: Any, *args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] == call:
            raise Interruption
        return original(self, *args, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(Interruption):
        patch.setattr(loop.Learner, hook, breaking)
        start()
    assert calls[0] == call


RECIPES: dict[str, dict[str, Any]] = {
    "adamw": {},
    "plain adamw, no average, growing": {
        "network": "plain",
        "ema": 0,
        "start_size": 32,
        "size": 48,
        "clip": 0,
    },
    "muon, growing, no cache": {"optimizer": "muon", "start_size": 32, "size": 48, "cache": "off"},
}


@pytest.mark.parametrize(
    ("hook", "call"), [("training_step", 4), ("validation_step", 2)], ids=["in an epoch", "at its end"]
)
@pytest.mark.parametrize("recipe", RECIPES)
def test_it_goes_on_as_if_never_stopped(
    recipe: str, hook: str, call: int, discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {**RECIPES[recipe], "timelapse": True, "timelapse_samples": 1}
    unbroken, out = tmp_path / "unbroken", tmp_path / "out"
    run(discs, unbroken, **values)
    interrupted(monkeypatch, hook, call, lambda: run(discs, out, **values))
    assert read_history(out / "history.csv")["epoch"].tolist() == [1]
    assert run(discs, out, resume=True, **values).epochs == 3
    same_training(unbroken, out)


def test_it_goes_on_twice(done: Path, discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values: dict[str, Any] = {"timelapse": True, "timelapse_samples": 2}
    interrupted(monkeypatch, "training_step", 4, lambda: run(discs, tmp_path / "out", **values))
    again: Callable[[], object] = lambda: run(discs, tmp_path / "out", resume=True, **values)  # noqa: E731
    interrupted(monkeypatch, "training_step", 3, again)
    again()
    same_training(done, tmp_path / "out")


def test_patience_is_counted_across_an_interruption(
    discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values: dict[str, Any] = {"epochs": 9, "lr": 0.0, "ema": 0, "patience": 2, "network": "plain"}
    interrupted(monkeypatch, "training_step", 4, lambda: run(discs, tmp_path / "out", **values))
    assert run(discs, tmp_path / "out", resume=True, **values).epochs == 3


def test_there_is_nothing_left_to_do(copy: Path, discs: Path) -> None:
    before = files(copy)
    trained = run(discs, copy, resume=True, timelapse=True, timelapse_samples=2)
    assert trained.epochs == 3
    after = files(copy)
    assert {k: v for k, v in after.items() if "tensorboard" not in k} == {
        k: v for k, v in before.items() if "tensorboard" not in k
    }


def test_a_training_that_was_moved_keeps_its_best(
    discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def worse(rate: float) -> dict[str, Any]:
        return {"epochs": 2, "lr": rate, "ema": 0, "warmup": 0.0, "final_lr": 1.0}

    interrupted(monkeypatch, "training_step", 3, lambda: run(discs, tmp_path / "out", **worse(0.02)))
    out = Path(shutil.move(tmp_path / "out", tmp_path / "moved"))
    best = (out / "checkpoints" / "best.ckpt").read_bytes()
    with monkeypatch.context() as patch:  # the second epoch finds nothing
        patch.setattr(loop.Learner, "forward", lambda self, x: [self.network(x.float())[0] * 0 - 9])
        run(discs, out, resume=True, **worse(0.02))
    history = read_history(out / "history.csv")
    assert history["val_iou"][1] < history["val_iou"][0]
    assert (out / "checkpoints" / "best.ckpt").read_bytes() == best


def test_it_goes_on_elsewhere_and_with_other_free_settings(
    done: Path, discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values: dict[str, Any] = {"timelapse": True, "timelapse_samples": 2}
    interrupted(monkeypatch, "training_step", 4, lambda: run(discs, tmp_path / "out", **values))
    out = Path(shutil.move(tmp_path / "out", tmp_path / "moved"))
    run(discs, out, resume=True, workers=1, devices=1, **values)
    same_training(done, out)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"lr": 0.5}, "lr was 0.02 in the training that is resumed, not 0.5; leave it out"),
        ({"epochs": 4}, "epochs was 3 in the training that is resumed, not 4; leave it out"),
        ({"dice": 1.0}, "dice was 0.0 in the training that is resumed, not 1.0; leave it out"),
        ({"rotate": 5.0}, "rotate was 10.0 in the training that is resumed, not 5.0; leave it out"),
        ({"network": "plain"}, "network was tiny in the training that is resumed, not plain; leave it out"),
    ],
)
def test_it_does_not_go_on_with_other_settings(
    change: dict[str, Any], sentence: str, copy: Path, discs: Path
) -> None:
    before = files(copy)
    with pytest.raises(OptionError) as error:
        run(discs, copy, resume=True, **change)
    assert str(error.value) == sentence
    assert files(copy) == before


def test_it_does_not_go_on_with_other_data(
    copy: Path, tmp_path: Path, discs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(monkeypatch, "training_step", 4, lambda: run(discs, tmp_path / "out"))
    with pytest.raises((OptionError, DataError)):
        run(disc_data(tmp_path / "more", train=20), tmp_path / "out", resume=True)


def test_two_trainings_do_not_mix(copy: Path, discs: Path) -> None:
    before = files(copy)
    with pytest.raises(
        OutputError, match="holds a training already; go on with it .--resume., or give another"
    ):
        run(discs, copy)
    assert files(copy) == before


@pytest.mark.parametrize("name", ["settings.json", "history.csv", "checkpoints/best.ckpt"])
def test_files_of_something_else_are_not_replaced(name: str, discs: Path, tmp_path: Path) -> None:
    path = tmp_path / "out" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"epoch,train_loss\n1,0.5\n2,0.25\n")
    before = path.read_bytes()
    try:
        run(discs, tmp_path / "out", epochs=1)
    except BGRemoveError:
        pass
    assert path.read_bytes() == before


def test_a_training_that_ended_before_its_first_epoch_begins_anew(
    discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    interrupted(monkeypatch, "training_step", 1, lambda: run(discs, out, epochs=1))
    with pytest.raises(
        OptionError, match="no training with a finished epoch to go on with; leave out --resume"
    ):
        run(discs, out, epochs=1, resume=True)
    assert run(discs, out, epochs=1).epochs == 1


def test_there_is_nothing_to_go_on_with(discs: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="holds no training with a finished epoch to go on with"):
        run(discs, tmp_path / "none", resume=True)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"train": {}}', '{"train": {"lr": -1}, "loss": {}, "augment": {}}']
)
def test_settings_that_cannot_be_read(text: str, copy: Path, discs: Path) -> None:
    (copy / "settings.json").write_text(text)
    with pytest.raises(DataError, match=r"settings\.json cannot be read as a training's settings"):
        run(discs, copy, resume=True)


# Checkpoints from elsewhere -------------------------------------------------------------------------


class Trap:
    """Runs when it is unpickled by the plain pickle module."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> Any:
        return (Path.touch, (Path(self.path),))


def changed(out: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Write the last checkpoint of a training anew, with a change."""
    loaded = last(out)
    change(loaded)
    torch.save(loaded, out / "checkpoints" / "last.ckpt")


def bad_checkpoint(kind: str, good: Path, path: Path) -> None:
    data = good.read_bytes()
    loaded = read_checkpoint(good)
    match kind:
        case "empty":
            path.write_bytes(b"")
        case "text":
            path.write_text("these are no weights at all\n")
        case "cut":
            path.write_bytes(data[: len(data) // 2])
        case "picture":
            PILImage.new("RGB", (9, 9)).save(path, "PNG")
        case "pickle":
            path.write_bytes(pickle.dumps({"state_dict": {}, "hyper_parameters": {}}))
        case "numbers":
            path.write_bytes(bytes(range(256)) * 20)
        case "tensor":
            torch.save(torch.zeros(3), path)
        case "weights alone":
            torch.save(loaded["state_dict"], path)
        case "other settings":
            torch.save({**loaded, "hyper_parameters": {"lr": 1}}, path)
        case "other weights":
            torch.save({**loaded, "state_dict": {"network.x": torch.zeros(3)}}, path)
        case "other shapes":
            state = {name: torch.zeros(3) for name in loaded["state_dict"]}
            torch.save({**loaded, "state_dict": state}, path)


@pytest.mark.parametrize(
    "kind",
    [
        "empty", "cut", "picture", "numbers", "tensor", "weights alone",
        "text", "pickle", "other settings", "other weights", "other shapes",
    ],
)  # fmt: skip
def test_it_does_not_start_from_a_bad_checkpoint(kind: str, done: Path, discs: Path, tmp_path: Path) -> None:
    path = tmp_path / "bad.ckpt"
    bad_checkpoint(kind, done / "checkpoints" / "best.ckpt", path)
    with pytest.raises(WeightsError) as error:
        run(discs, tmp_path / "out", pretrained=path)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["empty", "cut", "text", "weights alone", "other shapes"])
def test_it_does_not_go_on_from_a_bad_checkpoint(kind: str, copy: Path, done: Path, discs: Path) -> None:
    bad_checkpoint(kind, done / "checkpoints" / "last.ckpt", copy / "checkpoints" / "last.ckpt")
    with pytest.raises(WeightsError, match="last.ckpt"):
        run(discs, copy, resume=True, timelapse=True, timelapse_samples=2)


def test_a_missing_checkpoint_is_said(discs: Path, tmp_path: Path) -> None:
    for path in (tmp_path / "none.ckpt", tmp_path):
        with pytest.raises(WeightsError, match=r"cannot be read: .*; check the path"):
            run(discs, tmp_path / "out", pretrained=path)


def test_what_a_checkpoint_hides_does_not_run(copy: Path, discs: Path, tmp_path: Path) -> None:
    trap, path = tmp_path / "sprung", copy / "checkpoints" / "last.ckpt"
    changed(copy, lambda loaded: loaded.update(trap=Trap(trap)))
    torch.load(path, weights_only=False)
    assert trap.exists(), "the trap works"
    trap.unlink()
    with pytest.raises(WeightsError):
        load_weights(path)
    with pytest.raises(WeightsError):
        run(discs, tmp_path / "out", pretrained=path)
    with pytest.raises(Exception):  # noqa: B017 (which one is another test's)
        run(discs, copy, resume=True, timelapse=True, timelapse_samples=2)
    assert not trap.exists()


def test_it_starts_from_a_trained_network(done: Path, discs: Path, tmp_path: Path) -> None:
    """Without learning, what comes out is what went in."""
    best = done / "checkpoints" / "best.ckpt"
    run(discs, tmp_path / "out", epochs=1, lr=0.0, ema=0, pretrained=best)
    weights, before = load_weights(tmp_path / "out" / "checkpoints" / "last.ckpt"), load_weights(best)
    for name in ("fine.0.weight", "heads.0.bias"):
        assert torch.equal(weights[name], before[name])
    with pytest.raises(WeightsError, match="holds a tiny, not a plain; take --network tiny"):
        run(discs, tmp_path / "other", network="plain", pretrained=best)


# The data -------------------------------------------------------------------------------------------


def test_what_cannot_be_used_is_said_and_left_out(tmp_path: Path) -> None:
    data = disc_data(tmp_path / "data", train=8)
    images, masks = data / "train" / "images", data / "train" / "masks"
    (masks / "disc_00.png").unlink()
    (images / "disc_01.png").unlink()
    (images / "disc_02.png").write_bytes((images / "disc_02.png").read_bytes()[:200])
    PILImage.new("L", (20, 40)).save(masks / "disc_03.png")
    (images / "disc_04.jpg").write_bytes((images / "disc_04.png").read_bytes())
    PILImage.new("RGB", (40, 40), (255, 0, 0)).save(data / "val" / "masks" / "disc_00.png")
    said: list[str] = []
    run(data, tmp_path / "out", epochs=1, batch_size=3, said=said)
    text = "\n".join(said)
    assert said[0] == f"{data / 'train'}: 3 pairs can be used; left out:"
    assert "disc_00.png has no mask" in text and "disc_01.png has no image" in text
    assert "disc_02.png" in text and "disc_03.png is 20 x 40" in text and "have one name" in text
    assert f"{data / 'val'}: 3 pairs can be used; left out:" in said
    assert "3 pairs to train on, 3 to validate on, 1 epoch" in said[-2]
    assert read_history(tmp_path / "out" / "history.csv")["step"].tolist() == [1]


def test_of_many_problems_the_first_are_said(tmp_path: Path) -> None:
    data = disc_data(tmp_path / "data", train=20)
    for path in sorted((data / "train" / "masks").iterdir())[:15]:
        path.unlink()
    said: list[str] = []
    run(data, tmp_path / "out", epochs=1, said=said)
    assert sum("has no mask" in line for line in said) == 10 and "  and 5 more" in said


def nothing(data: Path) -> None:
    shutil.rmtree(data)


def no_val(data: Path) -> None:
    shutil.rmtree(data / "val")


def no_masks(data: Path) -> None:
    shutil.rmtree(data / "train" / "masks")


def empty_val(data: Path) -> None:
    for path in data.glob("val/*/*"):
        path.unlink()


def all_broken(data: Path) -> None:
    for path in data.glob("train/images/*"):
        path.write_bytes(b"no picture")


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (nothing, "has no folder train and no folder val"),
        (no_val, "has no folder val; expected .*found train/"),
        (no_masks, "train has no folder masks"),
        (empty_val, "val has no picture with a mask"),
        (all_broken, "train has no pair that can be used: .*disc_00.png"),
    ],
)
def test_data_that_cannot_be_used(spoil: Callable[[Path], None], sentence: str, tmp_path: Path) -> None:
    data = disc_data(tmp_path / "data")
    spoil(data)
    with pytest.raises(DataError, match=sentence):
        run(data, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_picture_that_goes_away_meanwhile_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = disc_data(tmp_path / "data")
    original = loop.Learner.configure_optimizers

    def losing(self: loop.Learner) -> Any:
        (data / "val" / "images" / "disc_01.png").unlink()
        return original(self)

    monkeypatch.setattr(loop.Learner, "configure_optimizers", losing)
    with pytest.raises(BGRemoveError, match="disc_01.png"):
        run(data, tmp_path / "out", cache="off", epochs=1)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"network": "tinny"}, "unknown network 'tinny'; did you mean tiny?"),
        ({"size": 44}, "size must be a multiple of 8 for tiny; got 44"),
        ({"start_size": 20}, "start_size must be a multiple of 8 for tiny; got 20"),
        ({"start_size": 64}, r"start_size must be at most size \(32\); got 64"),
    ],
)
def test_settings_that_make_no_sense(
    values: dict[str, Any], sentence: str, discs: Path, tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match=f"^{sentence}"):
        run(discs, tmp_path / "out", **values)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "values",
    [{"seed": 2**40}, {"network": "lite", "batch_size": 1}],
    ids=["large seed", "one picture a batch"],
)
def test_what_torch_refuses_is_said_in_a_sentence(
    values: dict[str, Any], discs: Path, tmp_path: Path
) -> None:
    """A normalisation has no variance of a single value: the coarsest map of 32 pixels, one picture."""
    try:
        run(discs, tmp_path / "out", epochs=1, epoch_images=1, **values)
    except BGRemoveError:
        pass


def test_quiet_by_default(
    discs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither Lightning's advice nor its bars."""
    run(discs, tmp_path / "out", epochs=1)
    printed = capfd.readouterr()
    assert printed.out == ""
    assert [line[:10] for line in printed.err.splitlines()] in ([], ["epoch 1/1:"])


def test_the_library_says_what_it_says_by_say_alone(
    discs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []
    run(discs, tmp_path / "out", epochs=1, said=said)
    assert capfd.readouterr().err == "" and any(line.startswith("epoch 1/1:") for line in said)


# Several processes ----------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell's ways of starting processes")
def test_two_processes_are_one_of_twice_the_batch(discs: Path, tmp_path: Path) -> None:
    """Without normalisation, whose statistics are each process's own."""
    values: dict[str, Any] = {"network": "plain", "epochs": 2}
    run(discs, tmp_path / "one", batch_size=4, **values)
    flags = [*FLAGS, "--network", "plain", "--epochs", "2", "--batch-size", "2", "--devices", "2"]
    process = tiny_there("train", "--data", discs, "-o", tmp_path / "two", *flags, "--timelapse", "-q")
    _, stderr = process.communicate(timeout=600)
    assert process.returncode == 0, stderr
    assert stderr.count("epoch 1/2") == 1 and stderr.count("plain (0.00 million weights)") == 1
    one, two = (read_history(tmp_path / name / "history.csv") for name in ("one", "two"))
    for name in ("step", "lr", "train_loss", *COLUMNS[4:9]):
        np.testing.assert_allclose(one[name], two[name], rtol=2e-3, atol=1e-4, err_msg=name)
    first, second = (load_weights(tmp_path / n / "checkpoints" / "last.ckpt") for n in ("one", "two"))
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], rtol=1e-2, atol=1e-3)
    assert not (tmp_path / "two" / "cache").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell's ways of starting processes")
def test_fewer_validation_pictures_than_processes_is_said(tmp_path: Path) -> None:
    data = disc_data(tmp_path / "data", val=1)
    process = tiny_there("train", "--data", data, "-o", tmp_path / "out", *FLAGS, "--devices", "2", "-q")
    _, stderr = process.communicate(timeout=600)
    assert process.returncode == 2
    assert stderr == "Error: --devices must be at most the number of pictures: 1 in val, 2 processes\n"
    assert not (tmp_path / "out").exists()


# Signals --------------------------------------------------------------------------------------------

STOPS = ("SIGINT", "SIGTERM", "SIGKILL")


def stopped_there(name: str, data: Path, out: Path) -> tuple[int, str]:
    """The command, sent a signal in the third epoch of five; its status and what it said."""
    process = tiny_there("train", "--data", data, "-o", out, *FLAGS, "--epochs", "5", "-q")
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if line.startswith("epoch 2/"):
            process.send_signal(getattr(signal, name))
            break
    stdout, rest = process.communicate(timeout=600)
    assert stdout == ""
    return process.returncode, said + rest


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent another way there")
@pytest.mark.parametrize("name", STOPS)
def test_after_a_signal_it_goes_on(name: str, discs: Path, tmp_path: Path) -> None:
    _, said = stopped_there(name, discs, tmp_path / "out")
    assert "epoch 5/5" not in said and "Traceback" not in said
    assert 1 < len(read_history(tmp_path / "out" / "history.csv")["epoch"]) < 5
    assert run(discs, tmp_path / "out", resume=True, epochs=5).epochs == 5
    run(discs, tmp_path / "unbroken", epochs=5)
    same_training(tmp_path / "unbroken", tmp_path / "out")
    assert not (tmp_path / "out" / "cache").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent another way there")
@pytest.mark.parametrize("name", STOPS[:2])
def test_a_signal_is_answered(name: str, discs: Path, tmp_path: Path) -> None:
    status, said = stopped_there(name, discs, tmp_path / "out")
    assert status == {"SIGINT": 130, "SIGTERM": 143}[name]
    assert "--resume" in said.splitlines()[-1] and "Traceback" not in said


def test_the_process_is_left_as_it_was(discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A notebook goes on after a training: Ctrl-C, the environment and threads are as before."""
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), torch.is_grad_enabled()
    run(discs, tmp_path / "out", epochs=1)
    assert (
        signal.getsignal(signal.SIGINT),
        signal.getsignal(signal.SIGTERM),
        torch.is_grad_enabled(),
    ) == before
    assert "LOCAL_RANK" not in os.environ


def test_none_of_it_needs_more_than_the_settings(discs: Path, tmp_path: Path) -> None:
    """All defaults but the size of things."""
    trained = train(discs, tmp_path / "out", train=params(epochs=1, precision="auto", lr=None), quiet=True)
    assert trained is not None and trained.epochs == 1 and trained.best.exists()
