"""A 12 megapixel JPEG to a cut-out PNG, bgremove against rembg, with the same ONNX network.

    python benchmarks/twelve_megapixels.py --peer-python PYTHON --photo JPEG... [--network FILE.onnx]

Every run is a process of its own: it loads the network, cuts out a small picture to warm up, then
the large one from the bytes of its JPEG to the bytes of a PNG. The network's own time is measured
inside ONNX Runtime's ``run`` and subtracted. Photos of 12 MP are made of the given ones, enlarged.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measure import OURS, alternate, cpu_s, machine, median, peak_mb, run_child, spread, table

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SINET_MEAN, SINET_STD = (107.3, 115.7, 132.4), (64.0, 65.1, 68.3)  # BGR, of 0 to 255
SIDE = 320

WAYS = {
    "rembg": "rembg 2, `remove(bytes, session=...)`",
    "full": "bgremove, defaults (guided edges, edge colours)",
    "raw": 'bgremove, `preset="raw", foreground="none"`',
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--peer-python", required=True, help="Python that has rembg")
    parser.add_argument("--photo", nargs="+", type=Path, required=True, help="JPEGs to enlarge to 12 MP")
    parser.add_argument("--network", type=Path, help="ONNX file that takes 1x3x320x320; default: made here")
    parser.add_argument("--sinet", action="store_true", help="the network is SINet (BGR, two channels)")
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        network = folder / "network.onnx"
        if options.network is None:
            build_network(network)
        elif options.sinet:
            adapt_sinet(options.network, network)
        else:
            network = options.network
        small = folder / "small.jpg"
        enlarge(options.photo[0], small, megapixels=0.3)
        print(f"\n{machine()}\nPhotos: enlarged with Lanczos to 12 MP, noise of sigma 2, JPEG quality 92")
        for photo in options.photo:
            large = folder / f"{photo.stem}.jpg"
            enlarge(photo, large, megapixels=12)
            compare(options.peer_python, network, small, large, options.runs)


def compare(peer: str, network: Path, small: Path, large: Path, runs: int) -> None:
    """Alternating runs on one photo; prints a table."""

    def child(way: str) -> dict[str, Any]:
        return run_child(peer if way == "rembg" else OURS, __file__, "--child", way, network, small, large)

    reports = alternate({way: lambda way=way: child(way) for way in WAYS}, runs)  # type: ignore[misc]
    rembg = reports["rembg"]
    rows: list[list[object]] = []
    for way, label in WAYS.items():
        own = reports[way]
        net_free, whole, peak = (median(own, key) for key in ("own_s", "call_s", "peak_mb"))
        rows.append(
            [label, whole, net_free, spread(own, "own_s"), net_free / median(rembg, "own_s")]
            + [median(own, "own_cpu_s"), peak, peak / median(rembg, "peak_mb"), median(own, "png_mb")]
        )
    jpeg = large.stat().st_size / 1e6
    print(
        f"\n{large.stem}: JPEG of {jpeg:.1f} MB; alpha covers {median(rembg, 'coverage'):.0%} (rembg), "
        f"{median(reports['full'], 'coverage'):.0%} (bgremove); medians of {runs}"
    )
    header = ["", "wall s", "without network s", "from-to", "ratio", "CPU s", "peak MB", "ratio", "PNG MB"]
    print(table(header, rows))


def child(way: str, network: str, small: str, large: str) -> None:
    """One run; prints a JSON object."""
    import onnxruntime

    spent, inner = [0.0, 0.0], onnxruntime.InferenceSession.run

    def timed(*arguments: Any, **options: Any) -> Any:
        started, cpu = time.perf_counter(), cpu_s()
        try:
            return inner(*arguments, **options)
        finally:
            spent[0] += time.perf_counter() - started
            spent[1] += cpu_s() - cpu

    onnxruntime.InferenceSession.run = timed
    if way == "rembg":
        os.environ["U2NET_HOME"] = str(Path(network).parent)  # it loads files from there only
        import rembg  # type: ignore[import-not-found]

        session = rembg.new_session("u2net_custom", model_path=network)

        def remove(data: bytes) -> bytes:
            return bytes(rembg.remove(data, session=session))
    else:
        import bgremove

        model = bgremove.create_remover(f"onnx:{network}", activation="none", output_channel=0)
        settings: dict[str, Any] = {"preset": "raw", "foreground": "none"} if way == "raw" else {}

        def remove(data: bytes) -> bytes:
            cutout: bytes = bgremove.remove(data, model, **settings)
            return cutout

    remove(Path(small).read_bytes())
    data = Path(large).read_bytes()
    before, spent[:] = peak_mb(), [0.0, 0.0]
    started, cpu = time.perf_counter(), cpu_s()
    png = remove(data)
    call, used = time.perf_counter() - started, cpu_s() - cpu
    report = {
        "call_s": call,
        "own_s": call - spent[0],
        "own_cpu_s": used - spent[1],
        "peak_mb": peak_mb(),
        "before_mb": before,
        "png_mb": len(png) / 1e6,
        "coverage": coverage(png),
    }
    print(json.dumps(report))


def coverage(png: bytes) -> float:
    """Mean alpha of a cut-out, 0 to 1."""
    import io

    from PIL import Image

    histogram = Image.open(io.BytesIO(png)).getchannel("A").histogram()
    return sum(value * count for value, count in enumerate(histogram)) / (255 * sum(histogram))


def enlarge(photo: Path, target: Path, *, megapixels: float) -> None:
    """A photo at another size, with a little noise as cameras make it."""
    import numpy as np
    from PIL import Image

    picture = Image.open(photo).convert("RGB")
    scale = (megapixels * 1e6 / (picture.width * picture.height)) ** 0.5
    size = (round(picture.width * scale / 2) * 2, round(picture.height * scale / 2) * 2)
    pixels = np.asarray(picture.resize(size, Image.Resampling.LANCZOS)).astype(np.float32)
    pixels += np.random.default_rng(0).normal(0, 2, pixels.shape).astype(np.float32)
    Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8)).save(target, quality=92)


def build_network(target: Path) -> None:
    """A network of U-2-Net-P's shape and cost class, whose matte is plausible without training.

    An encoder and decoder with skips and random weights give the time and the memory; they move the
    result by less than a grey level. The matte is a sigmoid of how far the blurred colours lie from
    the mean colour of the border, plus a prior for the middle.
    """
    import numpy as np
    from onnx import TensorProto, checker, helper, numpy_helper, save

    random = np.random.default_rng(0)
    nodes: list[Any] = []
    constants: list[Any] = []

    def constant(name: str, values: Any) -> str:
        constants.append(numpy_helper.from_array(np.asarray(values, np.float32), name))
        return name

    def add(kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def conv(source: str, channels: int, into: int, name: str) -> str:
        weights = random.normal(0, (2 / (channels * 9)) ** 0.5, (into, channels, 3, 3))
        done = add("Conv", [source, constant(f"w_{name}", weights)], f"c_{name}", pads=[1] * 4)
        return add("Relu", [done], f"r_{name}")

    # U-shaped: 320, 160, 80, 40, 20 and back.
    skips, source, channels = [], "photo", 3
    for level in range(5):
        source = conv(conv(source, channels, 32, f"e{level}a"), 32, 64, f"e{level}b")
        channels = 64
        skips.append(source)
        if level < 4:
            source = add("MaxPool", [source], f"p{level}", kernel_shape=[2, 2], strides=[2, 2])
    scales = constant("scales", [1, 1, 2, 2])
    for level in reversed(range(4)):
        larger = add("Resize", [source, "", scales], f"u{level}", mode="linear")
        joined = add("Concat", [larger, skips[level]], f"j{level}", axis=1)
        source = conv(conv(joined, 128, 32, f"d{level}a"), 32, 64, f"d{level}b")
    deep = add("Conv", [source, constant("w_out", random.normal(0, 1e-5, (1, 64, 1, 1)))], "deep")

    # The matte: colours at 20 x 20 against the border's mean, enlarged, and a prior for the middle.
    coarse = add("AveragePool", ["photo"], "coarse", kernel_shape=[16, 16], strides=[16, 16])
    ring = np.ones((1, 1, 20, 20))
    ring[..., 2:-2, 2:-2] = 0
    on_ring = add("Mul", [coarse, constant("ring", ring / ring.mean())], "on_ring")
    border = add("GlobalAveragePool", [on_ring], "border")
    distance = add("Abs", [add("Sub", [coarse, border], "off")], "distance")
    mixed = add("Conv", [distance, constant("w_mix", np.full((1, 3, 1, 1), 1 / 3))], "mixed")
    eightfold = constant("eightfold", [1, 1, 16, 16])
    smooth = add("Resize", [mixed, "", eightfold], "smooth", mode="cubic")
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    prior = (1.1 - (x / 0.7) ** 2 - ((y - 0.1) / 0.85) ** 2)[None, None]
    evidence = add("Add", [smooth, constant("prior", prior)], "evidence")
    biased = add("Add", [evidence, constant("bias", [-0.9])], "biased")
    sharp = add("Mul", [biased, constant("steepness", [60])], "sharp")
    add("Sigmoid", [add("Add", [sharp, deep], "logit")], "matte")
    graph = helper.make_graph(
        nodes,
        "blob",
        [helper.make_tensor_value_info("photo", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("matte", TensorProto.FLOAT, [1, 1, SIDE, SIDE])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    checker.check_model(model)
    save(model, str(target))


def adapt_sinet(source: Path, target: Path) -> None:
    """SINet with U-2-Net's input and output around it, so that rembg can run it, too."""
    import numpy as np
    from onnx import TensorProto, compose, helper, load, numpy_helper, save

    inner = compose.add_prefix(load(str(source)), "sinet/")
    opset = [helper.make_opsetid(entry.domain, entry.version) for entry in inner.opset_import]
    scale = np.array([255 * s / (t * 255) for s, t in zip(STD, SINET_STD[::-1], strict=True)])
    shift = np.array(
        [(255 * m - n) / (t * 255) for m, n, t in zip(MEAN, SINET_MEAN[::-1], SINET_STD[::-1], strict=True)]
    )
    constants = [
        numpy_helper.from_array(values.astype(np.float32).reshape(1, 3, 1, 1), name)
        for name, values in (("scale", scale), ("shift", shift))
    ]
    constants.append(numpy_helper.from_array(np.array([2, 1, 0]), "bgr"))
    weights = np.array([-1, 1], np.float32).reshape(1, 2, 1, 1)  # sigmoid of it is the softmax of two
    constants.append(numpy_helper.from_array(weights, "difference"))
    before = [
        helper.make_node("Mul", ["photo", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "shift"], ["shifted"]),
        helper.make_node("Gather", ["shifted", "bgr"], [inner.graph.input[0].name], axis=1),
    ]
    after = [
        helper.make_node("Conv", [inner.graph.output[0].name, "difference"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["matte"]),
    ]
    graph = helper.make_graph(
        [*before, *inner.graph.node, *after],
        "sinet",
        [helper.make_tensor_value_info("photo", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("matte", TensorProto.FLOAT, [1, 1, SIDE, SIDE])],
        [*inner.graph.initializer, *constants],
    )
    save(helper.make_model(graph, opset_imports=opset, ir_version=inner.ir_version), str(target))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
    else:
        main()
