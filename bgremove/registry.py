"""The table of removers: a new model is one row here (and one module if it is of a new kind)."""

from __future__ import annotations

import difflib
import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from bgremove.errors import DeviceError, OptionError, UnknownRemoverError
from bgremove.options import Params
from bgremove.removers.base import Device, Remover, RemoverInfo
from bgremove.removers.contour import ContourParams
from bgremove.removers.detectron2 import Detectron2Params, zoo_weights
from bgremove.removers.grabcut import GrabCutParams
from bgremove.removers.onnx import BIREFNET, ISNET, ISNET_ANIME, U2NET, OnnxParams
from bgremove.removers.rvm import RvmParams, rvm_release
from bgremove.weights import Weights, rembg_release

_INSTANCE, _PANOPTIC = "COCO-InstanceSegmentation", "COCO-PanopticSegmentation"


def _zoo(config: str, model: str, size_mb: float, figures: str, memory_gb: float) -> RemoverInfo:
    """A row of Detectron2's model zoo, under its config's own name.

    Args:
        config: with its folder, without ``.yaml``.
        model: number and beginning of the MD5 of its weights.
        figures: of the zoo's own table: mask AP or PQ on COCO's val2017, seconds an image on a V100.
        memory_gb: at most, measured on a CPU with a photo of 2 megapixels; PyTorch's own 0.8 are in it.
    """
    panoptic = config.startswith(_PANOPTIC)
    return RemoverInfo(
        name=config.rpartition("/")[2],
        kind="detectron2",
        target="bgremove.removers.detectron2:Detectron2Remover",
        params=Detectron2Params,
        summary=f"{'Things and stuff: PQ' if panoptic else 'Things: mask AP'} {figures}",
        license="CC BY-SA 3.0",
        paper="Kirillov et al. 2019, Panoptic FPN" if panoptic else "He et al. 2017, Mask R-CNN",
        weights=zoo_weights(config, model, size_mb),
        memory_gb=memory_gb,
    )


_ROWS = (
    RemoverInfo(
        name="lite",
        kind="network",
        target="bgremove.removers.onnx:OnnxRemover",
        params=OnnxParams,
        summary="The main subject of any photo, at once: it comes with the package",
        license="Apache-2.0 (trained on research data sets; see bgremove/assets/lite.md)",
        paper="bgremove/assets/lite.md, its model card",
        weights=Weights(
            "",
            "sha256:812f8da5b460ca17b80a0ce0372fd3ed74cd072b535850a24689217d7d895500",
            4.1,
            "lite.onnx",
            packaged=True,
        ),
    ),
    RemoverInfo(
        name="contour",
        kind="classical",
        target="bgremove.removers.contour:ContourRemover",
        params=ContourParams,
        summary="Edges, contours and an area filter: plain subjects on plain backgrounds, and to learn from",
        license="Apache-2.0",
        paper="Suzuki and Abe 1985; Canny 1986",
    ),
    RemoverInfo(
        name="grabcut",
        kind="classical",
        target="bgremove.removers.grabcut:GrabCutRemover",
        params=GrabCutParams,
        summary="Colour models and a graph cut: one clear subject, no download; box, mask or scribbles",
        license="Apache-2.0",
        paper="Rother, Kolmogorov and Blake 2004",
    ),
    RemoverInfo(
        name="u2net",
        kind="network",
        target="bgremove.removers.onnx:OnnxRemover",
        params=OnnxParams,
        summary="The main subject of any photo; a good start",
        license="Apache-2.0",
        paper="Qin et al. 2020, U2-Net",
        defaults=U2NET,
        weights=rembg_release("u2net.onnx", "60024c5c889badc19c04ad937298a77b", 176.0),
    ),
    RemoverInfo(
        name="u2netp",
        kind="network",
        target="bgremove.removers.onnx:OnnxRemover",
        params=OnnxParams,
        summary="As u2net, small and quick; coarser edges",
        license="Apache-2.0",
        paper="Qin et al. 2020, U2-Net",
        defaults=U2NET,
        weights=rembg_release("u2netp.onnx", "8e83ca70e441ab06c318d82300c84806", 4.6),
    ),
    RemoverInfo(
        name="u2net_human_seg",
        kind="network",
        target="bgremove.removers.onnx:OnnxRemover",
        params=OnnxParams,
        summary="People, from portraits to whole bodies",
        license="Apache-2.0",
        paper="Qin et al. 2020, U2-Net",
        defaults=U2NET,
        weights=rembg_release("u2net_human_seg.onnx", "c09ddc2e0104f800e3e1bb4652583d1f", 176.0),
    ),
    RemoverInfo(
        name="silueta",
        kind="network",
        target="bgremove.removers.onnx:OnnxRemover",
        params=OnnxParams,
        summary="As u2net, cut to a quarter of its size",
        license="Apache-2.0 (of U2-Net; its author states none)",
        paper="Qin et al. 2020, U2-Net",
        defaults=U2NET,
        weights=rembg_release("silueta.onnx", "55e59e0d8062d2f5d013f4725ee84782", 44.2),
    ),
    RemoverInfo(
        name="isnet-general-use",
        kind="network",
        target="bgremove.removers.onnx:OnnxRemover",
        params=OnnxParams,
        summary="Any subject with fine structures, at 1024 px",
        license="Apache-2.0",
        paper="Qin et al. 2022, DIS",
        defaults=ISNET,
        weights=rembg_release("isnet-general-use.onnx", "fc16ebd8b0c10d971d3513d564d01e29", 178.6),
    ),
    RemoverInfo(
        name="isnet-anime",
        kind="network",
        target="bgremove.removers.onnx:OnnxRemover",
        params=OnnxParams,
        summary="Drawn characters, anime and manga",
        license="Apache-2.0",
        paper="Qin et al. 2022, DIS",
        defaults=ISNET_ANIME,
        weights=rembg_release("isnet-anime.onnx", "6f184e756bb3bd901c8849220a83e38e", 176.1),
    ),
    RemoverInfo(
        name="birefnet-general",
        kind="network",
        target="bgremove.removers.onnx:OnnxRemover",
        params=OnnxParams,
        summary="Any subject, with fine edges; slow without a GPU",
        license="MIT",
        paper="Zheng et al. 2024, BiRefNet",
        defaults=BIREFNET,
        weights=rembg_release("BiRefNet-general-epoch_244.onnx", "7a35a0141cbbc80de11d9c9a28f52697", 972.7),
    ),
    RemoverInfo(
        name="birefnet-general-lite",
        kind="network",
        target="bgremove.removers.onnx:OnnxRemover",
        params=OnnxParams,
        summary="As birefnet-general, a quarter of its size and quicker",
        license="MIT",
        paper="Zheng et al. 2024, BiRefNet",
        defaults=BIREFNET,
        weights=rembg_release(
            "BiRefNet-general-bb_swin_v1_tiny-epoch_232.onnx", "4fab47adc4ff364be1713e97b7e66334", 224.0
        ),
    ),
    RemoverInfo(
        name="birefnet-portrait",
        kind="network",
        target="bgremove.removers.onnx:OnnxRemover",
        params=OnnxParams,
        summary="Portraits with hair",
        license="MIT",
        paper="Zheng et al. 2024, BiRefNet",
        defaults=BIREFNET,
        weights=rembg_release("BiRefNet-portrait-epoch_150.onnx", "c3a64a6abf20250d090cd055f12a3b67", 972.7),
    ),
    RemoverInfo(
        name="birefnet-dis",
        kind="network",
        target="bgremove.removers.onnx:OnnxRemover",
        params=OnnxParams,
        summary="Objects with holes, wires and other thin parts",
        license="MIT",
        paper="Zheng et al. 2024, BiRefNet",
        defaults=BIREFNET,
        weights=rembg_release("BiRefNet-DIS-epoch_590.onnx", "2d4d44102b446f33a4ebb2e56c051f2b", 972.7),
    ),
    RemoverInfo(
        name="birefnet-hrsod",
        kind="network",
        target="bgremove.removers.onnx:OnnxRemover",
        params=OnnxParams,
        summary="The main subject of very large photos",
        license="MIT",
        paper="Zheng et al. 2024, BiRefNet",
        defaults=BIREFNET,
        weights=rembg_release("BiRefNet-HRSOD_DHU-epoch_115.onnx", "c017ade5de8a50ff0fd74d790d268dda", 972.7),
    ),
    RemoverInfo(
        name="birefnet-cod",
        kind="network",
        target="bgremove.removers.onnx:OnnxRemover",
        params=OnnxParams,
        summary="Camouflaged subjects",
        license="MIT",
        paper="Zheng et al. 2024, BiRefNet",
        defaults=BIREFNET,
        weights=rembg_release("BiRefNet-COD-epoch_125.onnx", "f6d0d21ca89d287f17e7afe9f5fd3b45", 972.7),
    ),
    RemoverInfo(
        name="birefnet-massive",
        kind="network",
        target="bgremove.removers.onnx:OnnxRemover",
        params=OnnxParams,
        summary="Any subject; trained on the most data",
        license="MIT",
        paper="Zheng et al. 2024, BiRefNet",
        defaults=BIREFNET,
        weights=rembg_release(
            "BiRefNet-massive-TR_DIS5K_TR_TEs-epoch_420.onnx", "33e726a2136a3d59eb0fdf613e31e3e9", 972.7
        ),
    ),
    RemoverInfo(
        name="rvm-mobilenetv3",
        kind="network",
        target="bgremove.removers.rvm:RvmRemover",
        steady=True,
        params=RvmParams,
        summary="People in videos: it remembers the frames before, and gives their own colours",
        license="GPL-3.0",
        paper="Lin et al. 2022, Robust Video Matting",
        weights=rvm_release(
            "rvm_mobilenetv3_fp32.onnx",
            "88d4531297118f595bf2fd60f6f566aec2e559393802d1f436c380f0cbbd2828",
            15.0,
        ),
    ),
    RemoverInfo(
        name="rvm-resnet50",
        kind="network",
        target="bgremove.removers.rvm:RvmRemover",
        steady=True,
        params=RvmParams,
        summary="As rvm-mobilenetv3, a little better, and slower",
        license="GPL-3.0",
        paper="Lin et al. 2022, Robust Video Matting",
        weights=rvm_release(
            "rvm_resnet50_fp32.onnx",
            "25db300fcb6ee27f941a1b52c97856e8d1f13c7f35817f81a612f89af0e8a85c",
            107.5,
        ),
    ),
    RemoverInfo(
        name="onnx",
        kind="network",
        target="bgremove.removers.onnx:OnnxRemover",
        params=OnnxParams,
        summary="A network of your own, as onnx:FILE",
        license="that of your file",
        paper="yours",
        needs_file=True,
    ),
    _zoo(f"{_INSTANCE}/mask_rcnn_R_50_C4_1x", "137259246/9243eb", 144.1, "32.2, 0.110 s", 1.3),
    _zoo(f"{_INSTANCE}/mask_rcnn_R_50_DC5_1x", "137260150/4f86c3", 689.8, "34.2, 0.076 s", 2.2),
    _zoo(f"{_INSTANCE}/mask_rcnn_R_50_FPN_1x", "137260431/a54504", 177.8, "35.2, 0.043 s", 1.7),
    _zoo(f"{_INSTANCE}/mask_rcnn_R_50_C4_3x", "137849525/4ce675", 144.1, "34.4, 0.111 s", 1.3),
    _zoo(f"{_INSTANCE}/mask_rcnn_R_50_DC5_3x", "137849551/84107b", 689.8, "35.9, 0.076 s", 2.2),
    _zoo(f"{_INSTANCE}/mask_rcnn_R_50_FPN_3x", "137849600/f10217", 177.8, "37.2, 0.043 s", 1.7),
    _zoo(f"{_INSTANCE}/mask_rcnn_R_101_C4_3x", "138363239/a2914c", 220.2, "36.7, 0.145 s", 1.4),
    _zoo(f"{_INSTANCE}/mask_rcnn_R_101_DC5_3x", "138363294/0464b7", 766.0, "37.3, 0.092 s", 2.3),
    _zoo(f"{_INSTANCE}/mask_rcnn_R_101_FPN_3x", "138205316/a3ec72", 254.0, "38.6, 0.056 s", 1.7),
    _zoo(f"{_INSTANCE}/mask_rcnn_X_101_32x8d_FPN_3x", "139653917/2d9806", 431.3, "39.5, 0.103 s", 2.0),
    _zoo(f"{_PANOPTIC}/panoptic_fpn_R_50_1x", "139514544/dbfeb4", 184.3, "39.4, 0.053 s", 1.8),
    _zoo(f"{_PANOPTIC}/panoptic_fpn_R_50_3x", "139514569/c10459", 184.3, "41.5, 0.053 s", 1.8),
    _zoo(f"{_PANOPTIC}/panoptic_fpn_R_101_3x", "139514519/cafdb1", 260.5, "43.0, 0.066 s", 1.9),
    RemoverInfo(
        name="detectron2",
        kind="detectron2",
        target="bgremove.removers.detectron2:Detectron2Remover",
        params=Detectron2Params,
        summary="One of your own, as detectron2:CONFIG.yaml@WEIGHTS",
        license="yours",
        paper="yours",
        needs_file=True,
    ),
)

REMOVERS: dict[str, RemoverInfo] = {row.name: row for row in _ROWS}
"""Every remover by name, in the order of menus."""

ALIASES: dict[str, str] = {"auto": "lite"}
"""Other names; ``auto`` is what is used when nothing is asked for."""


def full_name(name: str) -> str:
    """`name` as the table has it: aliases resolved, and a config of the zoo without folder and ``.yaml``.

    What is not known is given back as it is.
    """
    config = name.removeprefix(f"{_INSTANCE}/").removeprefix(f"{_PANOPTIC}/").removesuffix(".yaml")
    return config if config in REMOVERS else ALIASES.get(name, name)


def remover_info(name: str) -> RemoverInfo:
    """The row of remover `name`; ``onnx:FILE`` gives the ``onnx`` row.

    Raises:
        UnknownRemoverError: listing the nearest and all known names.
    """
    base = full_name(name).partition(":")[0]
    if base not in REMOVERS or (":" in name and not REMOVERS[base].needs_file):
        known = [*ALIASES, *REMOVERS]
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}? Known" if near else "known"
        raise UnknownRemoverError(f"unknown remover {name!r}; {hint}: {', '.join(known)}")
    return REMOVERS[base]


def remover_params(name: str, **settings: Any) -> Params:
    """The settings of remover `name`: its row's defaults with `settings` over them.

    Raises:
        OptionError: if a setting is unknown or out of range.
    """
    info = remover_info(name)
    return info.params(**{**info.defaults, **settings})


def create_remover(
    name: str = "auto",
    params: Params | None = None,
    device: Device = "auto",
    *,
    model_file: str | Path | None = None,
    **settings: Any,
) -> Remover:
    """Build a remover; do it once and use it for many pictures.

    Args:
        name: a name of the table, ``auto``, or ``onnx:FILE`` or ``detectron2:CONFIG.yaml@WEIGHTS`` for a
            network of one's own.
        params: the remover's settings; instead, single ones can be given by name.
        device: ``auto`` takes the GPU where the remover and the machine have one.
        model_file: use this file instead of the cached or downloaded one; it must have the
            digest that the table gives.

    Raises:
        UnknownRemoverError, OptionError, WeightsError, DeviceError: each with one sentence.
    """
    info = remover_info(name)
    if device not in get_args(Device):
        raise DeviceError(f"device must be one of {', '.join(get_args(Device))}; got {device!r}")
    if params is None:
        params = remover_params(name, **settings)
    elif settings or not isinstance(params, info.params):
        raise OptionError(
            f"{name} takes params of type {info.params.__name__}, or settings by name, not both; "
            f"got {type(params).__name__}{' and ' + ', '.join(settings) if settings else ''}"
        )
    if ":" in name:
        if model_file is not None:
            raise OptionError(f"give the model file once: {name!r} names one, model_file another")
        info, model_file = replace(info, name=name), name.partition(":")[2] or None
    return remover_class(info).create(
        info, params, device=device, model_file=None if model_file is None else Path(model_file)
    )


def remover_class(info: RemoverInfo) -> type[Remover]:
    """The class of a row, imported now; no model is loaded."""
    module, _, attribute = info.target.partition(":")
    found: type[Remover] = getattr(importlib.import_module(module), attribute)
    return found
