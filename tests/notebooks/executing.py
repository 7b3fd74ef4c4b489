"""Notebooks run whole, in a kernel of their own, without a network."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.notebooks.notebooks import ROOT

NOWHERE = "http://127.0.0.1:9"


@dataclass(frozen=True)
class Run:
    """What came of a notebook.

    Attributes:
        outputs: of each cell, by its id.
        facts: the values of its variables.
        seconds: CPU seconds of the kernel.
        folder: where it ran.
        calls: lines that the stand-in of Colab's package wrote down.
    """

    outputs: Mapping[str, list[Any]]
    facts: Mapping[str, Any]
    seconds: float
    folder: Path
    calls: tuple[str, ...]

    def text(self, cell: str) -> str:
        """All that a cell printed."""
        return "".join(one["text"] for one in self.outputs[cell] if one["output_type"] == "stream")

    def kinds(self, cell: str) -> set[str]:
        """The MIME types of all that a cell showed."""
        return {kind for one in self.outputs[cell] if "data" in one for kind in one["data"]}

    def shown(self, cell: str, kind: str) -> str:
        """All that a cell showed of a MIME type."""
        data = [one["data"] for one in self.outputs[cell] if "data" in one]
        return "\n".join("".join(one[kind]) for one in data if kind in one)


def execute(
    path: Path,
    facts: str,
    folder: Path,
    *paths: Path,
    forms: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Run:
    """Run a notebook in `folder`.

    Args:
        path: the notebook.
        facts: a last cell, which prints JSON.
        folder: an empty one.
        paths: searched for packages before the installed ones.
        forms: other values of the forms' fields, ``{'BACKGROUND = "transparent"': 'BACKGROUND = "blur"'}``.
        environment: more variables.
    """
    notebook = nbformat.read(path, as_version=4)
    for old, new in (forms or {}).items():
        assert any(old in cell.source for cell in notebook.cells), old
        for cell in notebook.cells:
            cell.source = cell.source.replace(old, new)
    notebook.cells.append(nbformat.v4.new_code_cell(facts, id="facts"))
    given, done = folder / "given.ipynb", folder / "done.ipynb"
    nbformat.write(notebook, given)
    stand_in = folder / "colab"
    stand_in.mkdir(exist_ok=True)
    variables = {
        **{name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"},
        "PYTHONPATH": os.pathsep.join(map(str, [*paths, ROOT])),
        **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), NOWHERE),
        **{"PIP_NO_INDEX": "1", "BGREMOVE_HOME": str(folder / "home"), "COLAB_STAND_IN": str(stand_in)},
        **{"IPYTHONDIR": str(folder / "ipython"), "JUPYTER_PLATFORM_DIRS": "1"},
        **(environment or {}),
    }
    command = [sys.executable, "-m", "tests.notebooks.run_notebook", str(given), str(done)]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=variables, timeout=900)
    assert ran.returncode == 0, ran.stderr
    cells = nbformat.read(done, as_version=4).cells
    outputs = {cell["id"]: cell["outputs"] for cell in cells if cell["cell_type"] == "code"}
    for name, shown in outputs.items():
        failed = [one["evalue"] for one in shown if one["output_type"] == "error"]
        assert not failed, f"{name}: {failed}"
    found = json.loads("".join(one["text"] for one in outputs.pop("facts")))
    calls = stand_in / "calls.txt"
    noted = calls.read_text(encoding="utf-8").splitlines() if calls.exists() else []
    return Run(outputs, found, float(ran.stdout), folder, tuple(noted))


@functools.cache
def ipywidgets_7(folder: Path) -> Path:
    """Colab's ipywidgets, in a folder of its own."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
    packages = ["ipywidgets==7.7.1", "ipython-genutils==0.2.0"]
    done = subprocess.run([*command, *packages], capture_output=True, text=True, timeout=540)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["pip failed"])[-1]
        pytest.skip(f"ipywidgets 7.7.1 cannot be installed here: {last}")
    return folder
