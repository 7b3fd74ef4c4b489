"""Fine-tuning with the real Detectron2: a small Mask R-CNN learns discs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PILImage

from bgremove.errors import BGRemoveError, DataError, OptionError, OutputError, WeightsError
from bgremove.finetuning.params import FinetuneParams
from bgremove.registry import create_remover
from tests.cli_helpers import bgremove_here, disc_picture, environment
from tests.picture_sets import disc_set, write_pair

SMALL = """MODEL:
  META_ARCHITECTURE: GeneralizedRCNN
  MASK_ON: true
  PIXEL_STD: [57.375, 57.12, 58.395]
  BACKBONE: {NAME: build_resnet_fpn_backbone}
  RESNETS: {DEPTH: 18, RES2_OUT_CHANNELS: 64, OUT_FEATURES: [res2, res3, res4, res5]}
  FPN: {IN_FEATURES: [res2, res3, res4, res5], OUT_CHANNELS: 32}
  ANCHOR_GENERATOR: {SIZES: [[16], [32], [64], [128], [256]]}
  RPN:
    IN_FEATURES: [p2, p3, p4, p5, p6]
    PRE_NMS_TOPK_TRAIN: 50
    POST_NMS_TOPK_TRAIN: 50
    BATCH_SIZE_PER_IMAGE: 32
  ROI_HEADS: {NAME: StandardROIHeads, IN_FEATURES: [p2, p3, p4, p5], BATCH_SIZE_PER_IMAGE: 32}
  ROI_BOX_HEAD: {NAME: FastRCNNConvFCHead, NUM_FC: 1, FC_DIM: 64, POOLER_RESOLUTION: 7}
  ROI_MASK_HEAD: {NAME: MaskRCNNConvUpsampleHead, NUM_CONV: 1, CONV_DIM: 32, POOLER_RESOLUTION: 14}
INPUT: {MIN_SIZE_TRAIN: [64], MAX_SIZE_TRAIN: 96, MIN_SIZE_TEST: 64, MAX_SIZE_TEST: 96}
VERSION: 2
"""
# pycocotools asks NumPy 2 for an array in the way of NumPy 1.
pytestmark = [
    pytest.mark.usefixtures("detectron2"),
    pytest.mark.filterwarnings("ignore:__array__ implementation"),
]

QUICK: dict[str, Any] = {"batch_size": 2, "workers": 0, "seed": 1}


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL, encoding="utf-8")
    return str(path)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    disc_set(folder / "train", 6)
    disc_set(folder / "val", 2)
    return folder


def run(data: Path, out: Path, config: str = "", **values: Any) -> Any:
    from bgremove.finetuning.detectron2 import NOTHING, finetune

    how = {name: values.pop(name) for name in ("weights", "resume", "say", "device") if name in values}
    if not how.get("resume"):
        how.setdefault("weights", NOTHING)
    return finetune(data, out, config, params=FinetuneParams(**{**QUICK, **values}), quiet=True, **how)


def weights(out: Path) -> dict[str, Any]:
    """What the last saved state holds."""
    import torch

    last = (out / "last_checkpoint").read_text(encoding="utf-8").strip()
    loaded = torch.load(out / last, weights_only=True)
    return {name: value.numpy() for name, value in loaded["model"].items()}


def losses(out: Path) -> list[float]:
    lines = (out / "metrics.json").read_text(encoding="utf-8").splitlines()
    return [one["total_loss"] for line in lines if "total_loss" in (one := json.loads(line))]


def test_it_learns_and_is_used_by_its_name(data: Path, config: str, tmp_path: Path) -> None:
    said: list[str] = []
    result = run(
        data, tmp_path / "out", config, steps=300, lr=0.02, evaluate_every=100, save_every=100,
        classes="coin", say=said.append,
    )  # fmt: skip
    found = losses(tmp_path / "out")
    assert found[-1] < 0.7 * found[0]
    assert result.iou > 0.8 and result.step in (100, 200, 300) and result.steps == 300
    assert any("6 pictures to learn from and 2 to check; coin" in one for one in said)
    assert sum("validation IoU" in one for one in said) == 3
    assert sorted(path.name for path in (tmp_path / "out").glob("*.pth")) == ["best.pth", "model_0000299.pth"]

    with PILImage.open(tmp_path / "out" / "best.jpg") as sheet:
        assert sheet.width == 2000 and np.asarray(sheet).std() > 20

    picture = np.asarray(disc_picture(shade=30))
    remover = create_remover(f"detectron2:{tmp_path / 'out'}")
    alpha = remover.predict_alpha(picture)
    truth = picture[..., 0] > 100
    assert (truth & (alpha > 0.5)).sum() / (truth | (alpha > 0.5)).sum() > 0.8
    segments = remover.find_segments(picture)  # type: ignore[attr-defined]
    assert segments.things == ("coin",) and segments.items[0].label == "coin"
    named = create_remover(f"detectron2:{tmp_path / 'out' / 'config.yaml'}@{tmp_path / 'out' / 'best.pth'}")
    np.testing.assert_array_equal(named.predict_alpha(picture), alpha)
    with pytest.raises(OptionError, match="nearest: coin"):
        create_remover(f"detectron2:{tmp_path / 'out'}", classes="coins")


def test_weights_of_other_classes_are_a_start(data: Path, config: str, tmp_path: Path) -> None:
    run(data, tmp_path / "first", config, steps=1)
    said: list[str] = []
    coco(tmp_path / "coco", names=("coin", "button"))
    run(
        tmp_path / "coco", tmp_path / "second", str(tmp_path / "first" / "config.yaml"),
        steps=1, weights=tmp_path / "first" / "best.pth", lr=1e-7, say=said.append,
    )  # fmt: skip
    [sentence] = [one for one in said if "begin anew" in one]
    assert "weights from best.pth; 6 begin anew, roi_heads.box_predictor.cls_score" in sentence
    first, second = weights(tmp_path / "first"), weights(tmp_path / "second")
    np.testing.assert_allclose(
        second["backbone.fpn_lateral2.weight"], first["backbone.fpn_lateral2.weight"], atol=1e-4
    )
    assert second["roi_heads.mask_head.predictor.weight"].shape[0] == 2


def test_going_on_equals_an_unbroken_training(data: Path, config: str, tmp_path: Path) -> None:
    run(data, tmp_path / "whole", config, steps=5, save_every=5)
    halves = tmp_path / "halves"
    stopped = interrupted(data, halves, config, after=2)
    assert stopped.stopped and stopped.steps == 2
    assert (halves / "last_checkpoint").read_text(encoding="utf-8").strip() == "model_0000001.pth"
    said: list[str] = []
    result = run(
        data, halves, steps=5, save_every=1, evaluate_every=200, workers=1, resume=True, say=said.append
    )
    assert not result.stopped and "goes on after step 2" in said
    one, other = weights(tmp_path / "whole"), weights(halves)
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(other[name], value, err_msg=name)


def interrupted(data: Path, out: Path, config: str, *, after: int) -> Any:
    """A training that gets Ctrl-C in a step."""
    import bgremove.finetuning.trainer as trainers
    from bgremove.finetuning.trainer import Trainer

    class Interrupted(Trainer):
        def run_step(self) -> None:
            super().run_step()
            if self.iter + 1 == after:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.05)

    original, trainers.Trainer = trainers.Trainer, Interrupted  # type: ignore[misc]
    try:
        return run(data, out, config, steps=5, save_every=5)
    finally:
        trainers.Trainer = original  # type: ignore[misc]


def test_ctrl_c_on_the_command_line(data: Path, config: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [
        sys.executable, "-m", "bgremove", "finetune", "detectron2", "--data", str(data), "-o", str(out),
        "--config", config, "--weights", "none", "--steps", "100000", "--batch-size", "1", "--workers", "0",
        "--evaluate-every", "1",
    ]  # fmt: skip
    env = {**environment(), "PYTHONWARNINGS": "default"}
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "validation IoU" in line:
                process.send_signal(signal.SIGINT)
                break
        rest = process.stderr.read()
        assert process.wait(60) == 130, rest
    assert "the same command with --resume goes on" in rest and "Traceback" not in rest
    result = bgremove_here("finetune", "detectron2", "--data", data, "-o", out, "--resume", "--steps", "7")
    assert result.exit_code == 2 and "--steps was 100000 in the training that is resumed" in result.stderr


def test_a_training_is_not_mixed_with_another(data: Path, config: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(OptionError, match="holds no fine-tuning with a saved state"):
        run(data, out, resume=True)
    run(data, out, config, steps=1)
    before = (out / "best.pth").read_bytes()
    with pytest.raises(OutputError, match="holds a training already; go on with it"):
        run(data, out, config, steps=1)
    disc_set(data / "train", 7)
    with pytest.raises(OptionError, match=r"was begun with 6 \(train\), not 7"):
        run(data, out, steps=1, resume=True)
    assert (out / "best.pth").read_bytes() == before


def test_a_finished_training_goes_on_with_its_own_settings(data: Path, config: str, tmp_path: Path) -> None:
    from bgremove.finetuning.detectron2 import finetune

    first = run(data, tmp_path / "out", config, steps=2, lr=0.001)
    again = finetune(data, tmp_path / "out", resume=True, quiet=True)
    assert (again.step, again.iou, again.steps) == (first.step, first.iou, 2)


def test_each_region_by_itself(tmp_path: Path) -> None:
    from bgremove.finetuning.records import read_records, union

    mask = np.zeros((60, 90), np.float32)
    mask[10:30, 10:30] = mask[20:50, 50:80] = 1
    mask[58, 2] = 1  # too small to be a subject
    for part in ("train", "val"):
        write_pair(tmp_path / part, "two", np.full((60, 90, 3), 90, np.uint8), mask)
    write_pair(tmp_path / "train", "none", np.full((60, 90, 3), 90, np.uint8), 0 * mask)
    whole, _ = read_records(tmp_path, ())
    assert whole.classes == ("subject",) and "none.png has no subject" in whole.problems[0]
    [record] = whole.items
    assert [one["bbox"] for one in record["annotations"]] == [[2, 10, 80, 59]]
    np.testing.assert_array_equal(union(record), mask > 0)
    apart, _ = read_records(tmp_path, (), separate=True)
    boxes = [one["bbox"] for one in apart.items[0]["annotations"]]
    assert boxes == [[10, 10, 30, 30], [50, 20, 80, 50]]
    with pytest.raises(OptionError, match="classes must be one name, since masks do not tell"):
        read_records(tmp_path, ("a", "b"))


def coco(folder: Path, names: tuple[str, ...] = ("coin", "button", "nail")) -> Path:
    """Squares as polygons, in run-length code, as a crowd, and as a box only."""
    for part in ("train", "val"):
        (folder / part).mkdir(parents=True)
        PILImage.new("RGB", (40, 30), "navy").save(folder / part / "a b.png")
        PILImage.new("RGB", (40, 30), "navy").save(folder / part / "empty.png")
        square = {"image_id": 7, "iscrowd": 0, "bbox": [5, 5, 10, 10], "area": 100, "category_id": 3}
        mask = np.zeros((30, 40), np.uint8)
        mask[10:20, 20:35] = 1
        counts = run_lengths(mask)
        data = {
            "images": [
                {"id": 7, "file_name": "a b.png", "width": 40, "height": 30},
                {"id": 8, "file_name": "empty.png", "width": 40, "height": 30},
                {"id": 9, "file_name": "gone.png", "width": 40, "height": 30},
            ],
            "categories": [{"id": 3 + 2 * number, "name": name} for number, name in enumerate(names)],
            "annotations": [
                {"id": 1, **square, "segmentation": [[5, 5, 15, 5, 15, 15, 5, 15]]},
                {"id": 2, **square, "category_id": 5, "bbox": [20, 10, 15, 10],
                 "segmentation": {"counts": counts, "size": [30, 40]}},
                {"id": 3, **square},
                {"id": 4, **square, "image_id": 9, "segmentation": [[5, 5, 15, 5, 15, 15]]},
            ],
        }  # fmt: skip
        (folder / part / "annotations.json").write_text(json.dumps(data), encoding="utf-8")
    return folder


def run_lengths(mask: Any) -> list[int]:
    """COCO's uncompressed code: lengths of runs, column by column, the first of zeros."""
    flat = mask.ravel(order="F")
    ends = np.flatnonzero(np.diff(flat)) + 1
    return [int(one) for one in np.diff([0, *ends, flat.size])]


def test_a_coco_file(tmp_path: Path) -> None:
    from bgremove.finetuning.records import read_records, union

    train, val = read_records(coco(tmp_path), ())
    assert train.classes == val.classes == ("coin", "button", "nail")
    [record] = train.items  # of the others one shows nothing, and one is not there
    assert [one["category_id"] for one in record["annotations"]] == [0, 1]
    assert any("gone.png" in one for one in train.problems)
    assert any("1 of its subjects have a box, no mask" in one for one in train.problems)
    expected = np.zeros((30, 40), bool)
    expected[5:15, 5:15] = expected[10:20, 20:35] = True
    np.testing.assert_array_equal(union(record), expected)
    only, _ = read_records(tmp_path, ("button",))
    assert only.classes == ("button",)
    assert [one["category_id"] for one in only.items[0]["annotations"]] == [0]
    with pytest.raises(OptionError, match="classes must be of those in .*: coin, button, nail; got bolt"):
        read_records(tmp_path, ("bolt",))
    with pytest.raises(DataError, match="has no picture of train with a subject"):
        read_records(tmp_path, ("nail",))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("[", "is no COCO file"), ("{}", "has no categories"), ('{"categories": []}', "has no categories"),
     ('{"categories": [{"id": 1, "name": "a"}]}', "has no picture of train with a subject")],
)  # fmt: skip
def test_files_that_are_no_coco(tmp_path: Path, text: str, sentence: str) -> None:
    from bgremove.finetuning.records import read_records

    for part in ("train", "val"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "annotations.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=sentence):
        read_records(tmp_path, ())


def test_pictures_of_another_size_are_left_out(tmp_path: Path) -> None:
    from bgremove.finetuning.records import read_records

    coco(tmp_path)
    PILImage.new("RGB", (30, 40)).save(tmp_path / "train" / "a b.png")
    with pytest.raises(DataError, match=r"a b.png is 30 x 40 px \(upright\), and the COCO file says 40 x 30"):
        read_records(tmp_path, ())


def test_what_cannot_be_a_start(data: Path, config: str, tmp_path: Path) -> None:
    import torch

    out = tmp_path / "out"
    with pytest.raises(OptionError, match=r"config must be a file, or one of the zoo \(mask_rcnn_R_50_C4_1x"):
        run(data, out, "mask_rcnn_R_51")
    with pytest.raises(OptionError, match="describes a PanopticFPN, which learns from pictures labelled"):
        run(data, out, "panoptic_fpn_R_50_3x")
    with pytest.raises(OptionError, match="config must name a network"):
        run(data, out)
    with pytest.raises(OptionError, match="weights must name a file to start from, or none"):
        run(data, out, config, weights=None)
    with pytest.raises(WeightsError, match="there is no file of weights"):
        run(data, out, config, weights=tmp_path / "no.pth")
    torch.save({"model": {"other": torch.zeros(3)}}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="holds nothing that fits this network"):
        run(data, out, config, weights=tmp_path / "other.pth")


def test_a_config_does_not_download_another(data: Path, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("_BASE_: http://127.0.0.1:9/base.yaml\n", encoding="utf-8")
    with pytest.raises(OptionError, match="it is based on http://127.0.0.1:9/base.yaml, an address"):
        run(data, tmp_path / "out", str(tmp_path / "c.yaml"))
    (tmp_path / "c.yaml").write_text("_BASE_: c.yaml\n", encoding="utf-8")
    with pytest.raises(OptionError, match="it is based on itself"):
        run(data, tmp_path / "out", str(tmp_path / "c.yaml"))


def test_a_training_that_runs_away_says_so(data: Path, config: str, tmp_path: Path) -> None:
    with pytest.raises(BGRemoveError, match="the training ran away.* with a smaller --lr than 10"):
        run(data, tmp_path / "out", config, steps=30, lr=10, warmup=0)


def test_a_state_that_could_run_something_is_refused(data: Path, config: str, tmp_path: Path) -> None:
    import torch

    from tests.removers.test_detectron2 import Malicious

    out, ran = tmp_path / "out", tmp_path / "ran"
    run(data, out, config, steps=1)
    last = out / (out / "last_checkpoint").read_text(encoding="utf-8").strip()
    torch.save({"model": {"x": Malicious(ran)}}, last)
    with pytest.raises(WeightsError, match="the saved state in .* cannot be read"):
        run(data, out, steps=1, resume=True)
    assert not ran.exists()


def test_a_folder_without_a_network(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"holds no config.yaml and best.pth"):
        create_remover(f"detectron2:{tmp_path}")
