"""How long networks take, one photo after another, side by side in one run.

    python benchmarks/network_speed.py --network mine.onnx

U2-Net-P is built here after its paper, with random weights, which take the same time as trained ones;
give a published file with ``--u2netp`` to time that instead. Prints the time of each network on a
prepared input, the median over many alternating runs, and its ratio to U2-Net-P's.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from measure import alternate, machine, table
from torch import Tensor, nn
from torch.nn import functional as F

SIZE = 320


@click.command()
@click.option(
    "--network", "networks", multiple=True, type=click.Path(exists=True, path_type=Path), help="ONNX file"
)
@click.option("--u2netp", type=click.Path(exists=True, path_type=Path), help="The published u2netp.onnx")
@click.option("--runs", default=30, show_default=True)
@click.option("--threads", default=0, help="Of ONNX Runtime; 0: as many as there are cores")
def main(networks: Sequence[Path], u2netp: Path | None, runs: int, threads: int) -> None:
    """Time networks against U2-Net-P."""
    chosen = list(networks) or [_shipped()]
    with tempfile.TemporaryDirectory() as folder:
        reference = u2netp or export_u2netp(Path(folder) / "u2netp.onnx")
        tasks = {path.name: _timer(path, threads) for path in [reference, *chosen]}
        for task in tasks.values():
            task()
        times = {name: float(np.median(found)) for name, found in alternate(tasks, runs).items()}
    base = times[reference.name]
    rows = [(name, f"{1000 * spent:.1f}", f"1/{base / spent:.1f}") for name, spent in times.items()]
    print(table(("network", "ms", "against U2-Net-P"), rows))
    print(machine())


def _shipped() -> Path:
    from bgremove.registry import ALIASES, REMOVERS
    from bgremove.weights import weights_path

    weights = REMOVERS[ALIASES["auto"]].weights
    assert weights is not None
    return weights_path(weights)


def _timer(path: Path, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    [entry] = session.get_inputs()
    sides = [side if isinstance(side, int) else SIZE for side in entry.shape[2:]]
    picture = np.random.default_rng(0).standard_normal((1, 3, *sides), np.float32)
    first = session.get_outputs()[0].name

    def run() -> float:
        started = time.perf_counter()
        session.run([first], {entry.name: picture})
        return time.perf_counter() - started

    return run


def export_u2netp(path: Path) -> Path:
    """U2-Net-P with random weights at 320 x 320 as an ONNX file."""
    network = U2NetP().eval()
    weights = sum(p.numel() for p in network.parameters())
    assert round(weights / 1e3) == 1131, f"U2-Net-P has 1.131 million weights; this has {weights}"
    program = torch.onnx.export(network, (torch.zeros(1, 3, SIZE, SIZE),), dynamo=True, verbose=False)
    assert program is not None
    program.save(path)
    return path


def _conv(inputs: int, outputs: int, dilation: int = 1) -> nn.Sequential:
    kernel = nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation)
    return nn.Sequential(kernel, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def _like(x: Tensor, other: Tensor) -> Tensor:
    return F.interpolate(x, size=other.shape[-2:], mode="bilinear", align_corners=False)


class Block(nn.Module):
    """The paper's RSU: a small U-Net beside an identity.

    Args:
        depth: 7, 6, 5 or 4 halve the map depth - 2 times; 0 dilates instead (RSU-4F).

    References:
        Qin et al., "U2-Net: going deeper with nested U-structure for salient object detection",
        Pattern Recognition 2020.
    """

    def __init__(self, depth: int, inputs: int, middle: int, outputs: int) -> None:
        super().__init__()
        self.flat = depth == 0
        down = [1, 2, 4, 8] if self.flat else [*[1] * (depth - 1), 2]
        up = [4, 2, 1] if self.flat else [1] * (depth - 1)
        self.start = _conv(inputs, outputs)
        self.down = nn.ModuleList(_conv(outputs if i == 0 else middle, middle, d) for i, d in enumerate(down))
        self.up = nn.ModuleList(
            _conv(2 * middle, outputs if i == len(up) - 1 else middle, d) for i, d in enumerate(up)
        )

    def forward(self, x: Tensor) -> Tensor:
        start = self.start(x)
        maps = [start]
        for level, conv in enumerate(self.down):
            halve = not self.flat and 0 < level < len(self.down) - 1
            maps.append(conv(F.max_pool2d(maps[-1], 2, 2, ceil_mode=True) if halve else maps[-1]))
        y = maps.pop()
        for conv in self.up:
            y = conv(torch.cat([_like(y, maps[-1]), maps.pop()], 1))
        out: Tensor = y + start
        return out


class U2NetP(nn.Module):
    """U2-Net's small version: 16 channels inside the blocks, 64 between them."""

    def __init__(self) -> None:
        super().__init__()
        depths = (7, 6, 5, 4, 0, 0)
        self.encoder = nn.ModuleList(Block(d, 3 if i == 0 else 64, 16, 64) for i, d in enumerate(depths))
        self.decoder = nn.ModuleList(Block(d, 128, 16, 64) for d in depths[-2::-1])
        self.side = nn.ModuleList(nn.Conv2d(64, 1, 3, padding=1) for _ in depths)
        self.join = nn.Conv2d(len(depths), 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        maps: list[Tensor] = []
        for block in self.encoder:
            maps.append(block(F.max_pool2d(maps[-1], 2, 2, ceil_mode=True) if maps else x))
        y = maps.pop()
        sides = [y]
        for block in self.decoder:
            y = block(torch.cat([_like(y, maps[-1]), maps.pop()], 1))
            sides.append(y)
        masks = [_like(conv(side), x) for conv, side in zip(self.side, sides, strict=True)]
        matte: Tensor = self.join(torch.cat(masks, 1)).sigmoid()
        return matte


if __name__ == "__main__":
    main()
