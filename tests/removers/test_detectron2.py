"""Detectron2's networks: what can be tested without it, and the real ones with random weights."""

from __future__ import annotations

import pickle
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import bgremove
from bgremove.arrays import Image
from bgremove.errors import BGRemoveWarning, DeviceError, OptionError, WeightsError
from bgremove.registry import REMOVERS, create_remover, full_name, remover_info
from bgremove.removers.detectron2 import (
    ClassNames,
    Detectron2Params,
    Detectron2Remover,
    load_weights,
    own_files,
    panoptic_segments,
    read_weights,
    seen_size,
    stuff_labels,
    things_of,
    zoo_config,
)
from bgremove.segments import UNLABELLED, SelectParams
from bgremove.trimap import Box

ZOO = [info for info in REMOVERS.values() if info.kind == "detectron2" and info.weights is not None]
NAMES = ClassNames(("person", "dog", "cat"), ("things", "sky", "wall-brick"))


# The table ----------------------------------------------------------------------------------------


def test_all_the_zoos_configs_are_in_the_table() -> None:
    names = [info.name for info in ZOO]
    assert sum(name.startswith("mask_rcnn_") for name in names) == 10
    assert sum(name.startswith("panoptic_fpn_") for name in names) == 3
    for info in ZOO:
        assert info.weights is not None and info.license == "CC BY-SA 3.0"
        assert info.memory_gb is not None and info.memory_gb > (info.weights.size_mb or 0) / 1000
        address = (
            r"https://dl\.fbaipublicfiles\.com/detectron2/COCO-\w+/(\w+)/\d{9}/model_final_([0-9a-f]{6})\.pkl"
        )
        found = re.fullmatch(address, info.weights.url)
        assert found is not None and found[1] == info.name
        assert info.weights.digest == f"md5-24:{found[2]}"
        assert info.weights.file_name == f"{info.name}_{found[2]}.pkl"
        assert re.fullmatch(r"Things(: mask AP| and stuff: PQ) \d\d\.\d, 0\.\d{3} s", info.summary)
    assert len({info.weights.digest for info in ZOO if info.weights}) == 13


def test_a_config_of_the_zoo_goes_by_its_whole_name_too() -> None:
    row = remover_info("COCO-PanopticSegmentation/panoptic_fpn_R_50_3x.yaml")
    assert row is REMOVERS["panoptic_fpn_R_50_3x"] is remover_info("panoptic_fpn_R_50_3x.yaml")
    assert row.weights is not None
    assert zoo_config(row.weights) == "COCO-PanopticSegmentation/panoptic_fpn_R_50_3x.yaml"
    assert full_name("auto") == "lite" and full_name("nothing.yaml") == "nothing.yaml"


def test_settings_are_the_choice_and_more() -> None:
    assert set(SelectParams.model_fields) < set(Detectron2Params.model_fields)
    assert Detectron2Params().min_score == 0.5


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        (
            None,
            "needs a config and its weights, as detectron2:CONFIG.yaml@WEIGHTS.pth .*mask_rcnn_R_50_FPN_3x",
        ),
        ("{}/config.yaml", "got '.*config.yaml'"),
        ("{}/weights.pth", "needs a config"),
        ("{}/no.yaml@{}/weights.pth", "there is no config file .*no.yaml; check the path"),
    ],
)
def test_ones_own_network_needs_both_files(written: str | None, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").touch()
    (tmp_path / "weights.pth").touch()
    with pytest.raises(OptionError, match=sentence):
        own_files(None if written is None else Path(written.replace("{}", str(tmp_path))))
    with pytest.raises(OptionError, match="needs a config and its weights"):
        create_remover("detectron2")


def test_ones_own_files_are_taken_apart(tmp_path: Path) -> None:
    config, weights = tmp_path / "a@home.yaml", tmp_path / "b@home.pth"
    config.touch()
    with pytest.raises(WeightsError, match="there is no file of weights .*b@home.pth"):
        own_files(Path(f"{config}@{weights}"))
    weights.touch()
    assert own_files(Path(f"{config}@{weights}")) == (config, weights)


# What Detectron2 gives, as segments ---------------------------------------------------------------


def instances(boxes: list[Any], scores: list[float], classes: list[int], masks: Any) -> SimpleNamespace:
    """A stand-in of Detectron2's ``Instances`` on the CPU."""
    return SimpleNamespace(
        pred_boxes=SimpleNamespace(tensor=np.array(boxes, np.float32).reshape(-1, 4)),
        scores=np.array(scores, np.float32),
        pred_classes=np.array(classes, np.int64),
        pred_masks=np.array(masks, bool).reshape(-1, 40, 60),
    )


def block(left: int, top: int, right: int, bottom: int) -> Any:
    mask = np.zeros((40, 60), bool)
    mask[top:bottom, left:right] = True
    return mask


def test_instances_become_things_the_surest_first() -> None:
    masks = [block(2, 3, 10, 12), block(0, 0, 0, 0), block(20, 0, 60, 40)]
    found = instances(
        [[1.5, 2.5, 10.5, 12.5], [0, 0, 3, 3], [19.5, -2, 61, 40]], [0.6, 0.9, 0.95], [1, 2, 0], masks
    )
    person, dog = things_of(found, NAMES, 14)  # the cat has no mask
    assert (person.label, dog.label) == ("person", "dog")
    assert person.kind == "thing" and person.score == pytest.approx(0.95)
    assert person.box == Box(19, 0, 60, 40) and dog.box == Box(1, 2, 11, 13)
    assert person.area == 1600 and person.mask.dtype == bool
    assert person.grain == pytest.approx(42 / 14 / 2) and dog.grain == 1
    np.testing.assert_array_equal(dog.mask, masks[0])


def test_no_instances_are_no_things() -> None:
    assert things_of(instances([], [], [], []), NAMES, 28) == []


def test_a_panoptic_result_becomes_things_and_stuff() -> None:
    ids = np.zeros((40, 60), np.int32)
    ids[:10], ids[10:20], ids[25:35, 5:20], ids[25:35, 40:50] = 3, 4, 1, 2
    infos: list[dict[str, Any]] = [
        {"id": 1, "isthing": True, "score": 0.7, "category_id": 1, "instance_id": 1},
        {"id": 2, "isthing": True, "score": 0.8, "category_id": 0, "instance_id": 0},
        {"id": 3, "isthing": False, "category_id": 2, "area": 600},
        {"id": 4, "isthing": False, "category_id": 1, "area": 600},
    ]
    found = instances([[39, 24, 51, 36], [5, 25, 20, 35]], [0.8, 0.7], [0, 1], np.zeros((2, 40, 60)))
    segments = panoptic_segments((ids, infos), found, NAMES, 28, 3.5)
    assert [(one.label, one.kind, one.area) for one in segments] == [
        ("person", "thing", 100),
        ("dog", "thing", 150),
        (UNLABELLED, "stuff", 40 * 60 - 1200 - 250),
        ("wall-brick", "stuff", 600),
        ("sky", "stuff", 600),
    ]
    assert segments[0].box == Box(39, 24, 51, 36) and segments[3].box == Box(0, 0, 60, 10)
    assert [one.grain for one in segments] == [1, 1, 3.5, 3.5, 3.5]
    assert [one.score for one in segments[2:]] == [None] * 3
    np.testing.assert_array_equal(sum(one.mask.astype(int) for one in segments), 1)


@pytest.mark.parametrize(("height", "width"), [(37, 50), (200, 130), (64, 64), (1, 1), (129, 3)])
def test_stuff_in_strips_is_that_of_the_whole(height: int, width: int) -> None:
    import torch

    logits = torch.from_numpy(np.random.default_rng(0).normal(size=(7, 24, 32)).astype(np.float32))
    part = logits[:, :20, :29]
    whole = torch.nn.functional.interpolate(
        part[None], (height, width), mode="bilinear", align_corners=False
    )[0]
    labels = stuff_labels(logits, (20, 29), height, width)
    assert labels.dtype == torch.uint8 and labels.shape == (height, width)
    # The likeliest of all, but for what rounding leaves undecided.
    chosen = whole.gather(0, labels[None].long())[0]
    torch.testing.assert_close(chosen, whole.max(dim=0).values, rtol=0, atol=1e-4)
    assert (labels == whole.argmax(dim=0)).float().mean() > 0.99


@pytest.mark.parametrize(
    ("size", "seen"),
    [
        ((480, 640), (800, 1067)),
        ((640, 480), (1067, 800)),
        ((3000, 4000), (800, 1067)),
        ((400, 2000), (267, 1333)),
        ((1, 1), (800, 800)),
        ((2, 30000), (1, 1333)),
        ((30000, 2), (1333, 1)),
    ],
)
def test_the_size_that_the_network_sees(size: tuple[int, int], seen: tuple[int, int]) -> None:
    assert seen_size(*size, 800, 1333) == seen
    assert seen_size(*size, 0, 1333) == size


# Weights ------------------------------------------------------------------------------------------


@pytest.fixture
def network() -> Any:
    """A network small enough for tests of its weights."""
    import torch

    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))


def load(network: Any, path: Path) -> None:
    load_weights(network, read_weights(path), path, "net")


def arrays(network: Any) -> dict[str, Any]:
    return {key: np.asarray(value.numpy() + 1) for key, value in network.state_dict().items()}


def saved(path: Path, weights: dict[str, Any], **more: Any) -> Path:
    """A file as the zoo has them (``.pkl``), or as PyTorch saves it."""
    import torch

    if path.suffix == ".pkl":
        path.write_bytes(pickle.dumps({"model": weights, "__author__": "a test", **more}, protocol=2))
    else:
        tensors = {k: torch.as_tensor(v) if isinstance(v, np.ndarray) else v for k, v in weights.items()}
        torch.save({"model": tensors, **more}, path)
    return path


@pytest.mark.parametrize("ending", [".pkl", ".pth"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_weights_are_loaded(network: Any, tmp_path: Path, ending: str, prefix: str) -> None:
    wanted = arrays(network)
    stored: dict[str, Any] = {prefix + key: value for key, value in wanted.items()}
    stored[prefix + "pixel_mean"] = np.zeros((3, 1, 1), np.float32)  # older files have these
    stored[prefix + "proposal_generator.anchor_generator.cell_anchors.0"] = np.zeros((3, 4), np.float32)
    load(network, saved(tmp_path / f"w{ending}", stored, iteration=7))
    for key, value in network.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), wanted[key])


def test_a_bare_dictionary_of_tensors_is_taken(network: Any, tmp_path: Path) -> None:
    import torch

    torch.save(network.state_dict(), tmp_path / "w.pth")
    load(network, tmp_path / "w.pth")


@pytest.mark.parametrize("ending", [".pkl", ".pth"])
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"0.weight": None}, "w.* does not fit net: it lacks 0.weight; give the config"),
        ({"0.weight": None, "0.bias": None, "1.bias": None}, "it lacks 0.weight, 0.bias and 1 more"),
        ({"2.weight": np.zeros(3)}, "the network has no 2.weight"),
        (
            {"0.weight": np.zeros((4, 3, 5, 5))},
            r"0.weight has the shape \(4, 3, 5, 5\), and must have \(4, 3, 3, 3\)",
        ),
        ({"0.weight": "text"}, "holds str as 0.weight; expected arrays of numbers only"),
    ],
)
def test_weights_that_do_not_fit(
    network: Any, tmp_path: Path, ending: str, change: dict[str, Any], sentence: str
) -> None:
    stored = {key: value for key, value in {**arrays(network), **change}.items() if value is not None}
    with pytest.raises(WeightsError, match=sentence):
        load(network, saved(tmp_path / f"w{ending}", stored))


class Malicious:
    """Unpickled by pickle itself, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("ending", [".pkl", ".pth", ".bin"])
def test_no_file_of_weights_can_run_anything(network: Any, tmp_path: Path, ending: str) -> None:
    import torch

    ran, path = tmp_path / "ran", tmp_path / f"w{ending}"
    bad = {"model": {**arrays(network), "0.weight": Malicious(ran)}, "__author__": "a test"}
    if ending == ".pth":
        torch.save(bad, path)
    else:
        path.write_bytes(pickle.dumps(bad, protocol=2))
    with pytest.raises(WeightsError, match=str(path)):
        load(network, path)
    assert not ran.exists()
    if ending != ".pth":  # the file would have done it
        pickle.loads(path.read_bytes())
        assert ran.exists()


@pytest.mark.parametrize(
    ("ending", "data"), [(".pkl", b"\x80\x02]q\x00."), (".pth", b"no weights"), (".pkl", b"")]
)
def test_what_holds_no_weights(network: Any, tmp_path: Path, ending: str, data: bytes) -> None:
    path = tmp_path / f"w{ending}"
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=str(path)):
        load(network, path)


# The real one -------------------------------------------------------------------------------------


CONFIG = """_BASE_: {base}
MODEL:
  ROI_HEADS: {{SCORE_THRESH_TEST: 0.0}}
INPUT: {{MIN_SIZE_TEST: 160, MAX_SIZE_TEST: 240}}
TEST: {{DETECTIONS_PER_IMAGE: 8}}
"""


def zoo_file(name: str) -> Path:
    from bgremove.removers.detectron2 import zoo_file as zoo_file_of

    weights = REMOVERS[name].weights
    assert weights is not None
    return zoo_file_of(zoo_config(weights))


def own_network(folder: Path, base: str, ending: str = ".pkl") -> str:
    """A network with the zoo's layout and random weights, in a file of its own: its name."""
    import torch

    from bgremove.removers.detectron2 import build_network, read_config

    config = folder / f"{base}.yaml"
    config.write_text(CONFIG.format(base=zoo_file(base)), encoding="utf-8")
    torch.manual_seed(0)
    network = build_network(read_config(config), "cpu")
    weights = {key: value.numpy() for key, value in network.state_dict().items()}
    # Random blocks double what goes through them, and random masks are all but grey.
    for layer, factor in (
        (r"conv3\.norm", 0.2),
        (r"mask_head\.predictor", 1000),
        (r"sem_seg_head\.predictor", 100),
    ):
        for key in weights:
            if re.search(rf"{layer}\.weight$", key):
                weights[key] *= factor
    return f"detectron2:{config}@{saved(folder / f'{base}{ending}', weights)}"


@pytest.fixture(scope="module")
def instance_network(detectron2: None, tmp_path_factory: pytest.TempPathFactory) -> str:
    return own_network(tmp_path_factory.mktemp("instance"), "mask_rcnn_R_50_FPN_3x")


@pytest.fixture(scope="module")
def panoptic_network(detectron2: None, tmp_path_factory: pytest.TempPathFactory) -> str:
    return own_network(tmp_path_factory.mktemp("panoptic"), "panoptic_fpn_R_50_3x", ".pth")


@pytest.mark.parametrize("name", [info.name for info in ZOO])
def test_every_config_builds(name: str, detectron2: None) -> None:
    from bgremove.removers.detectron2 import build_network, class_names, read_config

    cfg = read_config(zoo_file(name))
    names = class_names(cfg)
    assert len(names.things) == 80 and {"person", "dog", "dining table"} <= set(names.things)
    assert len(names.stuff) == (54 if name.startswith("panoptic") else 0)
    network = build_network(cfg, "cpu")
    assert not network.training
    megabytes = sum(value.numel() * value.element_size() for value in network.state_dict().values()) / 1e6
    weights = REMOVERS[name].weights
    assert weights is not None and weights.size_mb == round(megabytes, 1)


def default_output(remover: Detectron2Remover, image: Image) -> Any:
    """What Detectron2 itself makes of a photo, in the way of its ``DefaultPredictor``."""
    import torch

    from bgremove.removers.detectron2 import _detectron2, quiet_torch

    resize = _detectron2("data.transforms").ResizeShortestEdge([160, 160], 240)
    bgr = image[:, :, ::-1]
    height, width = image.shape[:2]
    seen = resize.get_transform(bgr).apply_image(bgr)
    tensor = torch.as_tensor(seen.astype("float32").transpose(2, 0, 1))
    with torch.no_grad(), quiet_torch():
        [output] = remover._model([{"image": tensor, "height": height, "width": width}])
    return output


def test_things_are_those_of_detectron2_itself(instance_network: str, photo: Image) -> None:
    remover = create_remover(instance_network, min_score=0.0)
    assert isinstance(remover, Detectron2Remover) and "44 million weights" in remover.note
    found = remover.find_segments(photo)
    expected = default_output(remover, photo)["instances"]
    assert (found.height, found.width) == photo.shape[:2] and not found.missed and not found.stuff
    masks = expected.pred_masks.numpy()
    kept = [index for index in range(len(masks)) if masks[index].any()]
    assert len(found.items) == len(kept) > 0
    for one, index in zip(found.items, kept, strict=True):
        np.testing.assert_array_equal(one.mask, masks[index])
        assert one.score == pytest.approx(float(expected.scores[index]))
        assert one.label == found.things[int(expected.pred_classes[index])] and one.grain >= 1
    np.testing.assert_array_equal(remover.predict_alpha(photo), masks.any(axis=0).astype(np.float32))


def test_a_panoptic_result_is_that_of_detectron2_itself(panoptic_network: str, photo: Image) -> None:
    remover = create_remover(panoptic_network, min_score=0.5, classes="all")
    assert isinstance(remover, Detectron2Remover)
    found = remover.find_segments(photo)
    ids, infos = default_output(remover, photo)["panoptic_seg"]
    stuff = {one.label: one for one in found.items if one.kind == "stuff"}
    expected = {info["category_id"]: ids.numpy() == info["id"] for info in infos if not info["isthing"]}
    assert set(stuff) - {UNLABELLED} == {remover._names.stuff[number] for number in expected}
    for number, mask in expected.items():
        assert (stuff[remover._names.stuff[number]].mask == mask).mean() > 0.999
    assert sum(one.kind == "thing" for one in found.items) == sum(info["isthing"] for info in infos)
    np.testing.assert_array_equal(sum(one.mask.astype(int) for one in found.items), 1)
    assert remover.predict_alpha(photo).all()


def test_dropping_stuff_by_name(panoptic_network: str, photo: Image) -> None:
    everything = create_remover(panoptic_network).find_segments(photo)  # type: ignore[attr-defined]
    name = next(one.label for one in everything.items if one.kind == "stuff")
    alpha = create_remover(panoptic_network, drop=name).predict_alpha(photo)
    mask = next(one.mask for one in everything.items if one.label == name)
    np.testing.assert_array_equal(alpha, (~mask).astype(np.float32))


def test_nothing_sure_enough_is_empty_and_names_what_there_was(instance_network: str, photo: Image) -> None:
    remover = create_remover(instance_network, min_score=1.0)
    with pytest.warns(
        BGRemoveWarning, match=r"nothing reaches the score asked for, 1; below it: [a-z ]+ 0\.\d\d"
    ):
        assert not remover.predict_alpha(photo).any()


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (3, 900), (900, 3)])
def test_extreme_shapes(instance_network: str, panoptic_network: str, shape: tuple[int, int]) -> None:
    image = np.full((*shape, 3), 128, np.uint8)
    for network in (instance_network, panoptic_network):
        found = create_remover(network, min_score=0).find_segments(image)  # type: ignore[attr-defined]
        assert (found.height, found.width) == shape and found.alpha().shape == shape


def test_many_photos_in_order(instance_network: str, photo: Image) -> None:
    remover = create_remover(instance_network, min_score=0.0)
    frames = [photo, photo[:100, 20:120], photo[::-1].copy()]
    alphas = list(remover.predict_alphas(iter(frames)))
    for frame, alpha in zip(frames, alphas, strict=True):
        np.testing.assert_array_equal(alpha, remover.predict_alpha(frame))


def test_a_file_of_the_zoo_goes_the_whole_way(
    instance_network: str, photo: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The zoo's own name, with a file of random weights in the place of what is published."""
    import hashlib
    from dataclasses import replace

    path = Path(instance_network.rpartition("@")[2])
    name = "mask_rcnn_R_50_FPN_3x"
    row = REMOVERS[name]
    with pytest.raises(
        WeightsError, match="is not the published file of mask_rcnn_R_50_FPN_3x: expected md5-24"
    ):
        create_remover(name, model_file=path)
    assert row.weights is not None
    weights = replace(row.weights, digest=f"md5-24:{hashlib.md5(path.read_bytes()).hexdigest()[:6]}")
    monkeypatch.setitem(REMOVERS, name, replace(row, weights=weights))
    remover = create_remover(name, model_file=path, shorter_side=160, min_score=0.0)
    assert remover.predict_alpha(photo).shape == photo.shape[:2]
    assert "about" in remover.note and "GB of memory" in remover.note


def test_instances_from_the_command_line(instance_network: str, photo: Image, tmp_path: Path) -> None:
    from PIL import Image as PILImage

    from tests.cli_helpers import bgremove_here

    PILImage.fromarray(photo).save(tmp_path / "a.png")
    args = ("remove", tmp_path / "a.png", "--model", instance_network, "--output", "instances")
    result = bgremove_here(*args, "--min-score", "0", "--most", "2", "--edges", "none")
    assert result.exit_code == 0, result.stderr
    written = sorted(path.name for path in tmp_path.iterdir() if path.name != "a.png")
    assert written and all(re.fullmatch(r"a_instance_0[12]_[\w-]+\.png", name) for name in written)
    assert all(f"wrote {tmp_path / name}" in result.stderr for name in written)
    wrong = bgremove_here(*args, "--classes", "persn", "--overwrite")
    assert wrong.exit_code != 0 and "nearest: person" in wrong.stderr


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("MODEL: {NO_SUCH_KEY: 1}", "is no config that Detectron2 can use: .*NO_SUCH_KEY"),
        ("MODEL: [", "is no config that Detectron2 can use"),
        (
            "MODEL: {META_ARCHITECTURE: RetinaNet}",
            "describes a RetinaNet.*; only networks of GeneralizedRCNN",
        ),
        ("MODEL: {MASK_ON: False}", "describes a GeneralizedRCNN without masks"),
        ("X: !!python/object/apply:os.getcwd []", "is no config that Detectron2 can use"),
    ],
)
def test_configs_that_cannot_be_used(detectron2: None, tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "w.pth").touch()
    (tmp_path / "c.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(OptionError, match=sentence):
        create_remover(f"detectron2:{tmp_path / 'c.yaml'}@{tmp_path / 'w.pth'}")


def test_names_of_ones_own_classes(detectron2: None, tmp_path: Path) -> None:
    from bgremove.removers.detectron2 import class_names, read_config

    (tmp_path / "c.yaml").write_text(
        f"_BASE_: {zoo_file('mask_rcnn_R_50_FPN_3x')}\nMODEL: {{ROI_HEADS: {{NUM_CLASSES: 2}}}}\n",
        encoding="utf-8",
    )
    cfg = read_config(tmp_path / "c.yaml")
    assert class_names(cfg).things == ("class 0", "class 1")
    assert class_names(cfg, "bolt, nut").things == ("bolt", "nut")
    with pytest.raises(OptionError, match="class_names must be the 2 names .*; got 3"):
        class_names(cfg, "a,b,c")


def test_a_gpu_that_is_not_there(instance_network: str) -> None:
    import torch

    if not torch.cuda.is_available():
        with pytest.raises(
            DeviceError, match="device cuda needs an NVIDIA GPU, and this PyTorch .* sees none"
        ):
            create_remover(instance_network, device="cuda")
    assert create_remover(instance_network, device="cpu").note.startswith("runs on the CPU, as asked")


def test_the_table_loads_nothing_heavy() -> None:
    from tests.cli_helpers import python_there

    done = python_there("import bgremove.registry, sys; print({'torch', 'detectron2'} & set(sys.modules))")
    assert done.stdout.strip() == "set()", done.stderr
    assert sys.modules["bgremove"] is bgremove
