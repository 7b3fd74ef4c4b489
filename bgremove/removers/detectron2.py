"""Mask R-CNN and Panoptic FPN of Detectron2's model zoo, and networks of one's own that it trained.

A network gives each thing a box and a mask on a small grid (28x28 or 14x14 cells to a box), which Detectron2
pastes into the photo. The border is therefore wrong by up to about a cell, which is many pixels of a
large subject: :attr:`Segment.grain` says how many, and the refinement's automatic width follows it.

Detectron2 and PyTorch are imported when a remover is built. Files of weights are never unpickled by pickle:
the zoo's go through :mod:`bgremove.unpickling`, a user's own ``.pth`` through PyTorch's own safe reader.

References:
    He, Gkioxari, Dollár and Girshick, "Mask R-CNN", ICCV 2017.
    Kirillov, Girshick, He and Dollár, "Panoptic Feature Pyramid Networks", CVPR 2019.
    Wu, Kirillov, Massa, Lo and Girshick, "Detectron2", 2019.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import logging
import re
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self, cast

import numpy as np
import numpy.typing as npt
from PIL import Image as PILImage
from pydantic import Field

from bgremove.arrays import Alpha, Image, check_image
from bgremove.errors import BGRemoveError, DeviceError, OptionError, WeightsError
from bgremove.options import Params
from bgremove.removers.base import Device, RemoverInfo, SegmentRemover, warned
from bgremove.segments import UNLABELLED, Segment, Segments, SelectParams, check_classes
from bgremove.trimap import Box
from bgremove.weights import Weights, fetch_weights

ZOO = "https://dl.fbaipublicfiles.com/detectron2/"

_BATCH = 4  # photos that a GPU gets at once
_STUFF_STRIDE = 4  # pixels of the network's input to a cell of its map of stuff
_STRIP = 64  # rows of the photo for which stuff is worked out at once
_OWN = re.compile(r"(?P<config>.+?\.ya?ml)@(?P<weights>.+)", re.DOTALL)

CONFIG, BEST = "config.yaml", "best.pth"
"""The files of a folder that ``bgremove finetune detectron2`` leaves."""


def zoo_weights(config: str, model: str, size_mb: float) -> Weights:
    """The zoo's weights for a config, ``COCO-.../mask_rcnn_...`` without ``.yaml``.

    Args:
        model: its number and the beginning of its MD5, ``137849600/f10217``: no more of it is published.
        size_mb: about, from the number of weights.
    """
    number, _, md5 = model.partition("/")
    file = f"{config.rpartition('/')[2]}_{md5}.pkl"
    return Weights(f"{ZOO}{config}/{number}/model_final_{md5}.pkl", f"md5-24:{md5}", size_mb, file)


def zoo_config(weights: Weights) -> str:
    """The config that weights of the zoo belong to, ``COCO-.../mask_rcnn_....yaml``."""
    return weights.url.removeprefix(ZOO).rsplit("/", 2)[0] + ".yaml"


class Detectron2Params(SelectParams):
    """What is kept of what Detectron2 finds, and how it looks at a photo."""

    shorter_side: int | None = Field(
        None,
        ge=64,
        le=4096,
        description="Shorter side of what the network sees, in pixels, less is quicker and finds less; "
        "empty: what its config says (800 in the zoo)",
        json_schema_extra={"advanced": True},
    )
    half: bool = Field(
        True,
        description="Half precision on a GPU: quicker, and half of the memory",
        json_schema_extra={"advanced": True},
    )
    class_names: str = Field(
        "",
        description="The classes of a network of your own, with commas, in its order; empty: those of its "
        "config's data set, if Detectron2 knows that",
        json_schema_extra={"advanced": True},
    )


class ClassNames(NamedTuple):
    """The names of a network's classes by its numbers; `stuff` is empty if it knows none."""

    things: tuple[str, ...]
    stuff: tuple[str, ...] = ()

    @property
    def known_stuff(self) -> tuple[str, ...]:
        """All that stuff can be called; the network's number 0 stands for any thing."""
        return (*self.stuff[1:], UNLABELLED) if self.stuff else ()


class Detectron2Remover(SegmentRemover):
    """A Mask R-CNN, or a Panoptic FPN, of which the panoptic result is used.

    One photo (or batch) at a time goes through the network, whichever threads ask.
    """

    params: Detectron2Params

    @classmethod
    def create(
        cls, info: RemoverInfo, params: Params, *, device: Device = "auto", model_file: Path | None = None
    ) -> Self:
        """Build the network of a row of the table, or of the user's own ``CONFIG.yaml@WEIGHTS`` or folder.

        Raises:
            MissingExtraError: if Detectron2, or something that it needs, is missing.
            OptionError: if a class is not known, or the config cannot be used.
            WeightsError: if the weights cannot be had, or are not those of this network.
            DeviceError: if `device` is ``cuda`` and PyTorch sees no GPU.
        """
        params = cast(Detectron2Params, params)
        own = None if info.weights is not None else own_files(model_file)
        from bgremove.detectron2_source import import_detectron2

        import_detectron2()
        cfg = read_config(own[0] if own else zoo_file(zoo_config(cast(Weights, info.weights))))
        on, where = place(device)
        if own:
            weights, data = own[1], read_weights(own[1])
            names = class_names(cfg, params.class_names or ",".join(stored_classes(data)))
            check_classes(params, names.things, names.known_stuff)
        else:
            names = class_names(cfg, params.class_names)
            check_classes(params, names.things, names.known_stuff)
            weights = fetch_weights(cast(Weights, info.weights), name=info.name, model_file=model_file)
            data = read_weights(
                weights
            )  # before the network, since it takes a multiple of its size meanwhile
        model = build_network(cfg, on)
        load_weights(model, data, weights, info.name)
        del data
        count = sum(one.numel() for one in model.parameters())
        memory = f", about {info.memory_gb:g} GB of memory" if info.memory_gb else ""
        note = f"{where}; {count / 1e6:.0f} million weights, {4 * count / 1e6:.0f} MB{memory}"
        return cls(params, model, cfg, names, info.name, note)

    def __init__(
        self,
        params: Detectron2Params,
        model: Any,
        cfg: Any,
        names: ClassNames,
        name: str = "detectron2",
        note: str = "",
    ) -> None:
        """Use a network of :func:`build_network`; `name` is for messages."""
        super().__init__(params)
        self._model, self._names, self._name, self.note = model, names, name, note
        self._bgr = cfg.INPUT.FORMAT == "BGR"
        self._sides = _sides(cfg, params.shorter_side)
        combine = cfg.MODEL.PANOPTIC_FPN.COMBINE
        self._overlap, self._least_stuff = combine.OVERLAP_THRESH, combine.STUFF_AREA_LIMIT
        self._lock = threading.Lock()

    def find_segments(self, image: Image) -> Segments:
        """Everything in `image` of which the network is as sure as ``min_score`` asks for.

        Raises:
            ImageError: if `image` is not an RGB image.
            BGRemoveError: if the network fails, or memory does not suffice.
        """
        return self._find([check_image(image)])[0]

    def predict_alphas(self, frames: Iterable[Image]) -> Iterator[Alpha]:
        """Mattes of many photos or frames, in order; a GPU gets several at once."""
        images = map(check_image, frames)
        while batch := list(itertools.islice(images, _BATCH if self._on_gpu else 1)):
            for found in self._find(batch):
                yield warned(self.choose(found))

    def grain(self, height: int, width: int) -> float:
        """Of a subject that fills the photo; each segment has its own."""
        return max(1.0, max(height, width) / 28)

    @property
    def _on_gpu(self) -> bool:
        return bool(self._model.device.type == "cuda")

    def _find(self, images: Sequence[Image]) -> list[Segments]:
        import torch

        seen = [self._seen(image) for image in images]
        half = self.params.half and self._on_gpu
        precision = torch.autocast("cuda", torch.float16) if half else contextlib.nullcontext()
        try:
            with self._lock, quiet_torch(), torch.no_grad():
                with precision:
                    found = self._model.inference(
                        [{"image": torch.from_numpy(one)} for one in seen], do_postprocess=False
                    )
                # A Mask R-CNN gives its things, a panoptic network things and maps of stuff.
                things, stuff = found if isinstance(found, tuple) else (found, itertools.repeat(None))
                return [
                    self._segments(one, some, looked.shape[1:], image.shape[:2])
                    for one, some, looked, image in zip(things, stuff, seen, images, strict=False)
                ]
        except (RuntimeError, MemoryError) as error:  # PyTorch's lack of memory is a RuntimeError
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            more = "; take device cpu, or a smaller shorter_side" if "out of memory" in first else ""
            raise BGRemoveError(f"{self._name} failed on this picture: {first.rstrip('.')}{more}") from error

    def _seen(self, image: Image) -> npt.NDArray[np.float32]:
        """The photo as the network wants it: (3, h, w) float32, 0 to 255."""
        height, width = seen_size(image.shape[0], image.shape[1], *self._sides)
        seen = np.asarray(
            PILImage.fromarray(image).resize((width, height), PILImage.Resampling.BILINEAR), np.float32
        )
        channels = seen[..., ::-1] if self._bgr else seen  # the only line that knows of BGR
        return np.ascontiguousarray(channels.transpose(2, 0, 1))

    def _segments(self, found: Any, stuff: Any, seen: Sequence[int], shape: Sequence[int]) -> Segments:
        """One photo's raw result, pasted to the photo's size by Detectron2's own functions."""
        height, width = shape
        found.scores, found.pred_masks = found.scores.float(), found.pred_masks.float()  # of half precision
        found.pred_boxes.tensor = found.pred_boxes.tensor.float()
        sure = found.scores >= self.params.min_score
        unsure, found = found[~sure], found[sure]
        missed = [
            (self._names.things[number], float(score))
            for number, score in zip(_array(unsure.pred_classes), _array(unsure.scores), strict=True)
        ]
        cells = int(found.pred_masks.shape[-1])
        instances = _detectron2("modeling.postprocessing").detector_postprocess(found, height, width)
        if stuff is None:
            items = things_of(instances, self._names, cells)
        else:
            labels = stuff_labels(stuff.float(), seen, height, width)
            combine = _detectron2("modeling.meta_arch.panoptic_fpn").combine_semantic_and_instance_outputs
            panoptic = combine(instances, labels, self._overlap, self._least_stuff, self.params.min_score)
            grain = _STUFF_STRIDE * max(height / seen[0], width / seen[1])
            items = panoptic_segments(panoptic, instances, self._names, cells, grain)
        missed.sort(key=lambda one: -one[1])
        return Segments(
            height, width, tuple(items), tuple(missed), self._names.things, self._names.known_stuff
        )


# What Detectron2 gives, as our own types ---------------------------------------------------------


def things_of(instances: Any, names: ClassNames, cells: int) -> list[Segment]:
    """Detectron2's ``Instances``, pasted to the photo's size, as segments, the surest first.

    Args:
        instances: ``pred_boxes`` (N, 4), ``scores`` (N), ``pred_classes`` (N) and ``pred_masks`` (N, H, W).
        cells: to the side of the grid on which the masks were predicted.
    """
    scores, numbers = _array(instances.scores), _array(instances.pred_classes)
    boxes, masks = _array(instances.pred_boxes.tensor), _array(instances.pred_masks)
    segments = []
    for one in np.argsort(-scores, kind="stable"):
        segments.append(_thing(names.things[numbers[one]], masks[one] > 0, scores[one], boxes[one], cells))
    return [segment for segment in segments if segment is not None]


def panoptic_segments(
    panoptic: tuple[Any, Sequence[Mapping[str, Any]]],
    instances: Any,
    names: ClassNames,
    cells: int,
    stuff_grain: float,
) -> list[Segment]:
    """Detectron2's panoptic result as segments: things, the surest first, then stuff, the largest first.

    What has no label becomes one more piece of stuff, :data:`~bgremove.segments.UNLABELLED`, so that
    everything but the sky is everything but the sky.

    Args:
        panoptic: ids (H, W) int32, and what each is.
        instances: of which the panoptic result was made; things have their boxes from it.
        cells: to the side of the grid on which the masks of things were predicted.
        stuff_grain: photo pixels per cell of the map of stuff.
    """
    ids, infos = _array(panoptic[0]), panoptic[1]
    boxes = _array(instances.pred_boxes.tensor)
    things: list[Segment | None] = []
    stuff: list[Segment | None] = []
    for info in infos:
        mask, number = ids == info["id"], info["category_id"]
        if info["isthing"]:
            box = boxes[info["instance_id"]]
            things.append(_thing(names.things[number], mask, info["score"], box, cells))
        else:
            stuff.append(Segment.of(names.stuff[number], mask, kind="stuff", grain=stuff_grain))
    stuff.append(Segment.of(UNLABELLED, ids == 0, kind="stuff", grain=stuff_grain))
    return [
        *sorted(filter(None, things), key=lambda one: -(one.score or 0)),
        *sorted(filter(None, stuff), key=lambda one: -one.area),
    ]


def _thing(label: str, mask: Any, score: float, box: Any, cells: int) -> Segment | None:
    height, width = mask.shape
    left, top, right, bottom = (float(side) for side in box)
    around = Box(
        max(0, int(np.floor(left))),
        max(0, int(np.floor(top))),
        min(width, int(np.ceil(right))),
        min(height, int(np.ceil(bottom))),
    )
    # Cut at one half, the border is mostly right within half a cell: benchmarks/coarse_masks.py.
    grain = max(right - left, bottom - top) / cells / 2
    return Segment.of(label, mask, score=float(score), box=around, grain=grain)


def stuff_labels(logits: Any, seen: Sequence[int], height: int, width: int) -> Any:
    """The likeliest stuff of each pixel of the photo: a (height, width) uint8 tensor.

    Equal to the argmax of Detectron2's ``sem_seg_postprocess``, but a strip of rows at a time: all of its
    54 classes at 12 megapixels would take 2.6 GB.

    Args:
        logits: (C, h, w) float tensor, C at most 255, padded at its right and bottom.
        seen: height and width of the part that is not padding.
    """
    import torch

    logits = logits[:, : seen[0], : seen[1]]
    wide = torch.nn.functional.interpolate(
        logits[None], size=(logits.shape[1], width), mode="bilinear", align_corners=False
    )[0]
    labels = torch.empty((height, width), dtype=torch.uint8, device=logits.device)
    last = logits.shape[1] - 1
    for start in range(0, height, _STRIP):
        rows = torch.arange(start, min(start + _STRIP, height), device=logits.device)
        place = ((rows + 0.5) * (logits.shape[1] / height) - 0.5).clamp(0, last)
        above = place.floor().long()
        below = (above + 1).clamp(max=last)
        weight = (place - above)[None, :, None]
        strip = torch.lerp(wide[:, above], wide[:, below], weight)
        labels[start : start + _STRIP] = strip.argmax(dim=0)
    return labels


def _array(values: Any) -> Any:
    """A tensor, on whatever device, as a NumPy array."""
    return values.detach().cpu().numpy() if hasattr(values, "detach") else np.asarray(values)


# The network -------------------------------------------------------------------------------------


def own_files(model_file: Path | None) -> tuple[Path, Path]:
    """Config and weights of ``CONFIG.yaml@WEIGHTS``, or of a folder that a fine-tuning left.

    Raises:
        OptionError: if it is not written so, or the config is not there.
        WeightsError: if the weights are not there.
    """
    if model_file is not None and (folder := model_file.expanduser()).is_dir():
        if not (folder / CONFIG).is_file() or not (folder / BEST).is_file():
            raise WeightsError(
                f"{folder} holds no {CONFIG} and {BEST}, as bgremove finetune detectron2 leaves them; or "
                "give both files, as detectron2:CONFIG.yaml@WEIGHTS.pth"
            )
        return folder / CONFIG, folder / BEST
    match = _OWN.fullmatch("" if model_file is None else str(model_file))
    if match is None:
        got = "" if model_file is None else f"; got {str(model_file)!r}"
        raise OptionError(
            "detectron2 needs a config and its weights, as detectron2:CONFIG.yaml@WEIGHTS.pth (networks of "
            f"the zoo go by their names, as mask_rcnn_R_50_FPN_3x){got}"
        )
    config, weights = Path(match["config"]).expanduser(), Path(match["weights"]).expanduser()
    if not config.is_file():
        raise OptionError(f"there is no config file {config}; check the path")
    if not weights.is_file():
        raise WeightsError(f"there is no file of weights {weights}; check the path")
    return config, weights


def _detectron2(module: str) -> Any:
    return importlib.import_module(f"detectron2.{module}")


def zoo_file(config: str) -> Path:
    """The zoo's own file of that config; it comes with Detectron2."""
    home = Path(str(importlib.import_module("detectron2").__file__)).parent
    places = (home / "model_zoo" / "configs", home.parent / "configs")
    found = next((place / config for place in places if (place / config).is_file()), None)
    if found is None:
        raise WeightsError(
            f"the installed Detectron2 lacks its config {config} (looked in {places[0]}): install it again "
            "from its whole source, or remove it and run bgremove setup detectron2"
        )
    return found


def read_config(path: Path) -> Any:
    """Detectron2's settings from a YAML file, for prediction.

    Raises:
        OptionError: if it cannot be read, or describes a network that gives no masks.
    """
    cfg = _detectron2("config").get_cfg()
    try:
        _refuse_addresses(path)
        cfg.merge_from_file(str(path), allow_unsafe=False)
    except Exception as error:  # of YAML, of its own, and AssertionError, KeyError and OSError
        lines = str(error).strip().strip("'\"").splitlines() or [type(error).__name__]
        raise OptionError(f"{path} is no config that Detectron2 can use: {lines[0]}") from error
    kind = cfg.MODEL.META_ARCHITECTURE
    if kind not in ("GeneralizedRCNN", "PanopticFPN") or not cfg.MODEL.MASK_ON:
        raise OptionError(
            f"{path} describes a {kind}{'' if cfg.MODEL.MASK_ON else ' without masks'}; only networks of "
            "GeneralizedRCNN with MODEL.MASK_ON, and of PanopticFPN, can be used"
        )
    cfg.MODEL.WEIGHTS = ""  # Detectron2 itself downloads nothing
    return cfg


def _refuse_addresses(path: Path, depth: int = 0) -> None:
    """A config may be based on another one; Detectron2 would download one that is an address.

    Raises:
        ValueError: if it, or one that it is based on, does so.
    """
    import yaml

    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    bases = data.get("_BASE_") if isinstance(data, dict) else None
    if depth > 20:
        raise ValueError("it is based on itself")
    for base in [bases] if isinstance(bases, str) else bases or []:
        if "://" in str(base):
            raise ValueError(f"it is based on {base}, an address; download that file and name it as _BASE_")
        other = Path(str(base)).expanduser()
        _refuse_addresses(path.parent / other, depth + 1)


def stored_classes(data: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the classes, if a file of weights says them, as those of a fine-tuning do."""
    classes = data.get("classes")
    return tuple(map(str, classes)) if isinstance(classes, list) else ()


def class_names(cfg: Any, given: str = "") -> ClassNames:
    """The names of a network's classes: `given` ones, with commas, or those of its data set.

    Raises:
        OptionError: if the network has another number of classes.
    """
    count = cfg.MODEL.ROI_HEADS.NUM_CLASSES
    own = tuple(name for part in given.split(",") if (name := part.strip()))
    if own and len(own) != count:
        raise OptionError(f"class_names must be the {count} names of this network's classes; got {len(own)}")
    catalog = _detectron2("data").MetadataCatalog
    sets = [name for name in cfg.DATASETS.TEST if name in catalog.list()]
    data = catalog.get(sets[0]) if sets else None
    things = own or _numbered(data, "thing_classes", count, "class")
    if cfg.MODEL.META_ARCHITECTURE != "PanopticFPN":
        return ClassNames(things)
    return ClassNames(things, _numbered(data, "stuff_classes", cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES, "stuff"))


def _numbered(data: Any, kind: str, count: int, fallback: str) -> tuple[str, ...]:
    """The data set's names if there are as many as the network has classes, else numbers."""
    names = tuple(getattr(data, kind, None) or ())
    return names if len(names) == count else tuple(f"{fallback} {number}" for number in range(count))


def place(device: Device) -> tuple[str, str]:
    """PyTorch's name of the device, and a sentence that says why."""
    import torch

    if device == "cpu":
        return "cpu", "runs on the CPU, as asked"
    if torch.cuda.is_available():
        return "cuda", f"runs on the GPU ({torch.cuda.get_device_name()})"
    if device == "cuda":
        raise DeviceError(
            f"device cuda needs an NVIDIA GPU, and this PyTorch ({torch.__version__}) sees none: check the "
            "driver and that PyTorch has CUDA, or take --device cpu"
        )
    return "cpu", "runs on the CPU: PyTorch sees no GPU"


def build_network(cfg: Any, device: str) -> Any:
    """The network that `cfg` describes, with random weights, ready to predict on `device`."""
    cfg = cfg.clone()
    cfg.MODEL.DEVICE = device
    return _detectron2("modeling").build_model(cfg).eval()


def read_weights(path: Path) -> dict[str, Any]:
    """What a file of weights holds, the weights themselves under ``model``; nothing in it can run.

    Args:
        path: a ``.pkl`` as the zoo has them, or what PyTorch saved (``.pth``), such as Detectron2's trainer.

    Raises:
        WeightsError: if it cannot be read, or holds anything but weights.
    """
    if path.suffix.lower() == ".pkl":
        from bgremove.unpickling import load_pickle

        data = load_pickle(path)
    else:
        import torch

        try:
            data = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # pickle's, zipfile's, and PyTorch's own
            why = f"cannot be read as weights that PyTorch saved ({type(error).__name__}); is it whole?"
            if "weights only" in str(error).lower():
                why = (
                    "holds more than tensors and numbers, which could run anything when opened; save the "
                    "weights alone: torch.save({'model': model.state_dict()}, FILE)"
                )
            raise WeightsError(f"{path} {why}") from error
    if isinstance(data, dict) and isinstance(data.get("model"), dict):
        return data
    if isinstance(data, dict) and data and path.suffix.lower() != ".pkl":
        return {"model": data}
    raise WeightsError(f"{path} holds no weights of Detectron2; expected a dictionary with 'model' in it")


def load_weights(model: Any, data: dict[str, Any], path: Path, name: str) -> None:
    """Put the weights of a file into a network.

    Args:
        model: from :func:`build_network`.
        data: from :func:`read_weights`.
        path, name: of the file and the network, for messages.

    Raises:
        WeightsError: if there are others than the network has.
    """
    state = _own_form(model, data, path)
    mine = model.state_dict()
    for key, value in state.items():
        if key in mine and value.shape != mine[key].shape:
            raise WeightsError(
                f"{path} does not fit {name}: {key} has the shape {tuple(value.shape)}, and must have "
                f"{tuple(mine[key].shape)}; give the config that it was trained with"
            )
    left = model.load_state_dict(state, strict=False)
    for keys, what in (
        (left.missing_keys, "it lacks"),
        (left.unexpected_keys, "the network has no"),
    ):
        if keys:
            more = f" and {len(keys) - 2} more" if len(keys) > 2 else ""
            raise WeightsError(
                f"{path} does not fit {name}: {what} {', '.join(keys[:2])}{more}; give the config that it "
                "was trained with"
            )


def transfer_weights(model: Any, data: dict[str, Any], path: Path) -> tuple[int, list[str]]:
    """Put those weights of a file into a network that fit it; the others stay as they are.

    Args:
        model: to be trained, whose classes may be others than those of the file.
        data: from :func:`read_weights`.
        path: of the file, for messages.

    Returns:
        How many arrays were taken, and the names of the network's own that are not in the file.

    Raises:
        WeightsError: if not one fits.
    """
    state, mine = _own_form(model, data, path), model.state_dict()
    fitting = {key: value for key, value in state.items() if key in mine and value.shape == mine[key].shape}
    if not fitting:
        raise WeightsError(f"{path} holds nothing that fits this network; give weights of the same config")
    new = model.load_state_dict(fitting, strict=False).missing_keys
    return len(fitting), list(new)


def _own_form(model: Any, data: dict[str, Any], path: Path) -> dict[str, Any]:
    """The weights as tensors by the network's own names, as Detectron2's checkpointer makes them."""
    import torch

    state: dict[str, Any] = {}
    for key, value in data["model"].items():
        if not isinstance(value, (np.ndarray, np.generic, torch.Tensor, int, float)):
            got = type(value).__name__
            raise WeightsError(f"{path} holds {got} as {key}; expected arrays of numbers only")
        state[str(key)] = torch.as_tensor(value)
    if state and all(key.startswith("module.") for key in state):  # from training on several GPUs
        state = {key.removeprefix("module."): value for key, value in state.items()}
    if data.get("matching_heuristics"):
        align = _detectron2("checkpoint.c2_model_loading").align_and_update_state_dicts
        state = align(model.state_dict(), state, c2_conversion=data.get("__author__") == "Caffe2")
    # Older files hold these, which networks now work out from their config.
    worked_out = re.compile(r"pixel_(mean|std)|.*anchor_generator\.cell_anchors.*")
    return {key: value for key, value in state.items() if not worked_out.fullmatch(key)}


@contextlib.contextmanager
def quiet_torch() -> Iterator[None]:
    """Without what PyTorch says of Detectron2's own lines, which no user can change."""
    logger = logging.getLogger("torch.fx._symbolic_trace")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


# Sizes -------------------------------------------------------------------------------------------


def _sides(cfg: Any, shorter: int | None) -> tuple[int, int]:
    """Shorter and longest side of what the network sees."""
    least, most = cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST
    if shorter is None:
        return least, most
    return shorter, round(shorter * most / least) if least else 2 * shorter


def seen_size(height: int, width: int, shorter: int, longest: int) -> tuple[int, int]:
    """Height and width at which a photo is looked at: its shorter side, or else its longest, as given.

    That of Detectron2's ``ResizeShortestEdge``, but never 0, however long and thin the photo is.
    """
    if not shorter:
        return height, width
    # In the same steps as there, so that it rounds alike.
    scale = shorter / min(height, width)
    high, wide = (float(shorter), scale * width) if height < width else (scale * height, float(shorter))
    if max(high, wide) > longest:
        scale = longest / max(high, wide)
        high, wide = high * scale, wide * scale
    return max(1, int(high + 0.5)), max(1, int(wide + 0.5))
