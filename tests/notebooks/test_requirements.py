"""``requirements-colab.txt`` adds to Colab and changes nothing there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.notebooks.notebooks import HERE, ROOT

LISTS = ("colab-py312.txt", "colab-py313.txt")
RESTART = {"torch", "torchvision", "numpy", "pillow", "ipywidgets", "ipykernel", "tornado"}


def requirements(path: Path) -> list[Requirement]:
    """The lines of a file that are not comments."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]


def pins(name: str) -> dict[str, str]:
    """Package and version of a list of Colab's."""
    found = {canonicalize_name(one.name): str(one.specifier) for one in requirements(HERE / name)}
    assert all(version.startswith("==") for version in found.values())
    return {package: version.removeprefix("==") for package, version in found.items()}


def project() -> dict[str, Any]:
    """The ``[project]`` table."""
    whole = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    found: dict[str, Any] = whole["project"]
    return found


def test_nothing_that_colab_has_is_named() -> None:
    named = {canonicalize_name(one.name) for one in requirements(ROOT / "requirements-colab.txt")}
    assert not named & RESTART
    for name in LISTS:
        assert set(pins(name)) >= RESTART - {"tornado"}
        assert not named & set(pins(name))


def test_bgremove_itself_comes_from_the_repository() -> None:
    [own] = [one for one in requirements(ROOT / "requirements-colab.txt") if one.name == "bgremove"]
    assert own.url == project()["urls"]["Repository"] + "/archive/refs/heads/main.zip"


def test_detectron2_finds_what_its_setup_would_add() -> None:
    from bgremove.detectron2_source import SOURCE

    added = {one.name: one for one in requirements(ROOT / "requirements-colab.txt")}
    needed = {one.name: one for one in map(Requirement, SOURCE.needs.values())}
    both = set(added) & set(needed)
    assert both == {"fvcore", "iopath", "yacs"}
    assert {added[name] for name in both} == {needed[name] for name in both}


def test_the_web_page_finds_what_it_needs() -> None:
    """All of the extra ``web``, as it is there, from here or from Colab itself."""
    added = {canonicalize_name(one.name): one for one in requirements(ROOT / "requirements-colab.txt")}
    for one in map(Requirement, project()["optional-dependencies"]["web"]):
        name = canonicalize_name(one.name)
        if name == "flask":
            assert all(pins(listed)["flask"] in one.specifier for listed in LISTS)
        elif name == "prometheus-client":  # Colab's Jupyter has one; a bound could contradict it
            assert str(added[name]) == "prometheus-client"
        else:
            assert str(added[name]) == str(one)


@pytest.mark.parametrize("name", LISTS)
def test_a_resolve_changes_nothing_that_colab_has(name: str, tmp_path: Path) -> None:
    """pip, told to keep Colab's versions, finds a solution; without that, nothing else could be kept."""
    wanted = tmp_path / "wanted.txt"
    added = [one for one in requirements(ROOT / "requirements-colab.txt") if one.name != "bgremove"]
    wanted.write_text("\n".join([*map(str, added), *project()["dependencies"]]), encoding="utf-8")
    report = tmp_path / "report.json"
    done = pip("--report", report, "-c", HERE / name, "-r", wanted)
    if done.returncode and pip("--no-deps", "pip").returncode:
        pytest.skip("there is no package index to resolve against")
    assert done.returncode == 0, done.stderr
    chosen = {
        canonicalize_name(one["metadata"]["name"]): one["metadata"]["version"]
        for one in json.loads(report.read_text(encoding="utf-8"))["install"]
    }
    assert {"onnxruntime", "fvcore", "iopath", "yacs", "numpy", "pyngrok", "segno", "waitress"} <= set(chosen)
    kept = pins(name)
    assert {package: version for package, version in chosen.items() if package in kept} == {
        package: version for package, version in kept.items() if package in chosen
    }
    assert "torch" not in chosen and "torchvision" not in chosen


def pip(*arguments: object) -> subprocess.CompletedProcess[str]:
    """What ``pip install`` would do, from nothing, without doing it."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "-q", *arguments]
    environment = {**os.environ, "PYTHONWARNINGS": "default", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, env=environment, timeout=540
    )
