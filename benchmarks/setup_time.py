"""From Colab's packages to the first Detectron2 prediction: seconds of each step, and what was added.

    python benchmarks/setup_time.py --python PYTHON --archive FILE --photo JPEG [--also NAME...] [--runs 3]

``--python`` has Colab's packages: an environment of its own with ``pip install -r
tests/notebooks/colab-py313.txt``. It stays as it is. Every run is an empty environment on top of it, set up
as the notebook does it, and then one process from its first import to its first prediction. Downloads do not
count: the wheels are fetched first, ``--archive`` is the source of Detectron2 (``bgremove setup detectron2
--help``), and the weights are random ones in the form of the zoo's. ``--also`` are packages that Colab has
and that list has not; they are there before the clock runs.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measure import ROOT, machine, median, run_child, spread, table

from bgremove.detectron2_source import SOURCE

MODEL = "mask_rcnn_R_50_FPN_3x"
BUILD = ("hatchling", "setuptools", "wheel")  # what pip builds packages with that have no wheel

_FIRST_PREDICTION = """
import hashlib, json, os, sys, time
from dataclasses import replace
from pathlib import Path

archive, photo, weights, name = sys.argv[1:]
marks = []
def mark():
    marks.append((time.perf_counter(), sum(os.times()[:4])))

mark()
from bgremove import colab
from bgremove.detectron2_source import setup_detectron2
colab.set_up(detectron2=False)
setup_detectron2(Path(archive), say=print)
mark()

from bgremove.io import read_image
from bgremove.registry import REMOVERS, create_remover
from bgremove.removers.detectron2 import zoo_config
row = REMOVERS[name]
if not Path(weights).exists():
    import pickle
    from detectron2 import model_zoo, modeling
    cfg = model_zoo.get_config(zoo_config(row.weights))
    cfg.MODEL.DEVICE = "cpu"
    data = {key: value.numpy() for key, value in modeling.build_model(cfg).state_dict().items()}
    Path(weights).write_bytes(pickle.dumps({"model": data, "__author__": "random"}, 3))
digest = hashlib.md5(Path(weights).read_bytes()).hexdigest()[:6]
REMOVERS[name] = replace(row, weights=replace(row.weights, digest=f"md5-24:{digest}"))
image = read_image(photo)

mark()
remover = create_remover(name, device="cpu", model_file=weights)
mark()
remover.find_segments(image)
mark()
report = {}
for step, first in (("set_up", 0), ("load", 2), ("predict", 3)):
    for kind, before, after in zip(("_s", "_cpu"), marks[first], marks[first + 1]):
        report[step + kind] = after - before
print(json.dumps(report))
"""


def run(command: Sequence[str | Path]) -> str:
    """What a command prints.

    Raises:
        SystemExit: if it fails.
    """
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{done.stderr[-2000:]}")
    return done.stdout


def environment_on(python: Path, folder: Path) -> Path:
    """The Python of an empty environment in `folder` that has the packages of `python`, too."""
    run([python, "-m", "venv", folder])
    own = folder / "bin" / "python"
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(run([own, "-c", where]).strip())
    (site / "colab.pth").write_text(run([python, "-c", where]), encoding="utf-8")
    return own


def packages(python: Path) -> dict[str, str]:
    """Name and version of all that a Python has."""
    lines = run([python, "-m", "pip", "list", "--format=freeze"]).splitlines()
    return dict(line.split("==") for line in lines)


def requirements(folder: Path) -> Path:
    """The notebook's requirements, with this checkout in place of what is published."""
    lines = (ROOT / "requirements-colab.txt").read_text(encoding="utf-8").splitlines()
    path = folder / "requirements.txt"
    path.write_text("\n".join(str(ROOT) if one.startswith("bgremove @") else one for one in lines))
    return path


def one_run(
    python: Path, folder: Path, wheels: Path, also: Sequence[str], arguments: Sequence[str | Path]
) -> dict[str, Any]:
    """Set up an empty environment as the notebook does, and predict in it."""
    own = environment_on(python, folder / "environment")
    if also:
        run([own, "-m", "pip", "install", "-q", *also])
    before = packages(own)
    held = folder / "installed.txt"
    held.write_text("\n".join(f"{name}=={version}" for name, version in before.items()))
    wanted = requirements(folder)
    if not wheels.exists():
        for more in (["-c", held, "-r", wanted, *SOURCE.needs.values()], BUILD):
            run([own, "-m", "pip", "download", "-q", "-d", wheels, *map(str, more)])
    os.environ |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "BGREMOVE_HOME": str(folder / "home")}
    installed = run_child(own, "-m", "pip", "install", "-q", "-c", held, "-r", wanted)
    report = run_child(own, "-P", "-c", _FIRST_PREDICTION, *arguments)
    after = packages(own)
    for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS"):
        del os.environ[name]
    return {
        **report,
        "pip_s": installed["wall_s"],
        "pip_cpu": installed["cpu_s"],
        "all_s": installed["wall_s"] + report["set_up_s"],
        "all_cpu": installed["cpu_s"] + report["set_up_cpu"],
        "added": sorted(f"{name} {after[name]}" for name in set(after) - set(before)),
        "changed": sorted(name for name in before if after.get(name) != before[name]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--python", type=Path, required=True, help="Python with Colab's packages")
    parser.add_argument("--archive", type=Path, required=True, help="source of Detectron2, .tar.gz or .zip")
    parser.add_argument("--photo", type=Path, required=True)
    parser.add_argument("--also", nargs="+", default=[], help="more packages that are there beforehand")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    reports = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        arguments = [options.archive.resolve(), options.photo.resolve(), folder / "weights.pkl", MODEL]
        for number in range(options.runs + 1):  # the first fills caches and makes the weights
            (own := folder / str(number)).mkdir()
            reports.append(one_run(options.python, own, folder / "wheels", options.also, arguments))
    print(machine())
    print("the environment's own:", run([options.python, "--version"]).strip())
    print("added:", ", ".join(reports[0]["added"]))
    print("changed:", ", ".join(reports[0]["changed"]) or "none")
    steps = {
        "pip": "pip: bgremove and what Colab lacks",
        "set_up": "`colab.set_up`: Detectron2 placed, checked, imported",
        "all": "**set-up, both** (target 30)",
        "load": f"{MODEL} built and loaded",
        "predict": "first prediction, CPU",
    }
    rows = [
        [label, median(reports[1:], f"{key}_s"), spread(reports[1:], f"{key}_s")]
        + [median(reports[1:], f"{key}_cpu")]
        for key, label in steps.items()
    ]
    print(table(["step", "wall s", "from-to", "CPU s"], rows))


if __name__ == "__main__":
    main()
