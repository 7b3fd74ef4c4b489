"""A batch on Ray; that of a killed worker is in ``tests/commands/test_batch.py``."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from bgremove.bulk.params import BatchParams
from bgremove.bulk.ray import _workers
from bgremove.bulk.work import Job
from bgremove.errors import OptionError
from bgremove.pipeline import Settings
from bgremove.removers.base import Device
from tests.cli_helpers import bgremove_here, disc_picture, environment, files, is_one_sentence, save_disc

PLAN = Settings.build("contour")


class Cluster:
    """What Ray says of one."""

    def __init__(self, **resources: float) -> None:
        self._resources = resources

    def cluster_resources(self) -> dict[str, float]:
        return self._resources


@pytest.mark.parametrize(
    ("resources", "device", "wanted", "expected"),
    [
        ({"CPU": 16}, "auto", 0, (16, {"num_cpus": 1})),
        ({"CPU": 16}, "auto", 3, (3, {"num_cpus": 1})),
        ({"CPU": 64, "GPU": 4}, "auto", 0, (4, {"num_gpus": 1, "num_cpus": 8})),
        ({"CPU": 4, "GPU": 8}, "cuda", 0, (8, {"num_gpus": 1, "num_cpus": 1})),
        ({"CPU": 64, "GPU": 4}, "cpu", 0, (64, {"num_cpus": 1})),
    ],
)
def test_a_worker_for_each_gpu_or_core(
    resources: dict[str, float], device: Device, wanted: int, expected: tuple[int, dict[str, float]]
) -> None:
    params, job = BatchParams(engine="ray", workers=wanted), Job(PLAN, device)
    assert _workers(Cluster(**resources), job, params, 1000) == expected


def test_no_more_workers_than_pictures_or_cores() -> None:
    assert _workers(Cluster(CPU=16), Job(PLAN), BatchParams(engine="ray"), 5)[0] == 5
    with pytest.raises(OptionError, match="workers must be at most 16"):
        _workers(Cluster(CPU=16), Job(PLAN), BatchParams(engine="ray", workers=17), 100)
    with pytest.raises(OptionError, match="without GPUs"):
        _workers(Cluster(CPU=16), Job(PLAN, "cuda"), BatchParams(engine="ray"), 100)


def test_without_ray_or_its_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_disc(tmp_path / "in" / "0.png", 24, 32)
    command = ("batch", tmp_path / "in", "-o", tmp_path / "out", "--model", "contour", "--engine", "ray")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        there = bgremove_here(*command, "--address", address)
    assert there.exit_code == 1 and f"no Ray cluster at {address}: " in there.stderr
    monkeypatch.setitem(sys.modules, "ray", None)
    without = bgremove_here(*command)
    assert without.exit_code == 1 and 'pip install "bgremove[ray]"' in without.stderr
    assert is_one_sentence(there.stderr) and is_one_sentence(without.stderr)
    assert list(files(tmp_path / "out")) == [".results.csv.journal"]
    assert bgremove_here(*command[:-2]).exit_code == 0  # the local engine goes on from there


def test_a_picture_that_ends_every_worker_is_listed(tmp_path: Path) -> None:
    """And the others that came with it are done, and Ray says nothing of its own."""
    pytest.importorskip("ray", reason="Ray is not installed")
    for index in range(12):
        save_disc(tmp_path / "in" / f"{index:02}.png", 24, 32)
    deadly = disc_picture(24, 32)
    deadly.putpixel((0, 0), (0, 0, 0))
    deadly.save(tmp_path / "in" / "05.png")
    command = [sys.executable, "-m", "tests.bulk.deadly", str(tmp_path / "in"), str(tmp_path / "out")]
    done = subprocess.run(
        command, env=environment(), cwd=tmp_path, capture_output=True, encoding="utf-8", timeout=400
    )
    assert done.returncode == 0 and done.stderr == "", done.stderr
    lines = sorted(done.stdout.splitlines())
    assert [line for line in lines if not line.endswith(" done ")] == [
        f"05.png failed {tmp_path}/in/05.png: 3 workers ended while they did it; it may need more memory "
        "than there is"
    ]
    assert len(lines) == 12 and len(list((tmp_path / "out").glob("*.png"))) == 11
