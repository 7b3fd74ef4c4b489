"""The package as a whole: its names, what importing it costs, and what its files say."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

import bgremove

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(bgremove.__path__, "bgremove.")
    if not module.name.endswith("__main__")
)
WITH_DETECTRON2 = {"bgremove.finetuning.trainer"}
"""Modules that extend Detectron2's own classes, and are imported only after it."""
IMPORTABLE = [
    pytest.param(name, marks=pytest.mark.detectron2) if name in WITH_DETECTRON2 else name for name in MODULES
]
NAMES = [name for name in bgremove.__all__ if name != "__version__"]


def tracked_texts() -> list[Path]:
    """The checkout's text files; the visible ones of its folder where there is no git."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    paths = [ROOT / name for name in done.stdout.split("\0") if name]
    if done.returncode:
        paths = [path for path in ROOT.rglob("*") if "/." not in path.relative_to(ROOT.parent).as_posix()]
    kinds = {".py", ".md", ".toml", ".txt", ".yaml", ".yml", ".cfg", ".ipynb", ".html", ""}
    return [path for path in paths if path.suffix in kinds and path.is_file()]


def imported(module: str) -> ModuleType:
    if module in WITH_DETECTRON2:
        from bgremove.detectron2_source import import_detectron2

        import_detectron2()
    return importlib.import_module(module)


# Names ----------------------------------------------------------------------------------------------


def test_all_is_sorted_and_complete() -> None:
    assert bgremove.__all__ == sorted(bgremove.__all__)
    assert set(bgremove.__all__) == {*bgremove._HOMES, "__version__"}
    assert dir(bgremove) == bgremove.__all__


def test_what_a_type_checker_sees_is_what_there_is() -> None:
    tree = ast.parse(Path(bgremove.__file__).read_text(encoding="utf-8"))
    [block] = [
        node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    seen = {
        alias.name: (node.module or "").removeprefix("bgremove.")
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == bgremove._HOMES


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    thing = getattr(bgremove, name)
    home = importlib.import_module(f"bgremove.{bgremove._HOMES[name]}")
    assert getattr(home, name) is thing
    if name == "REMOVERS":
        return
    assert thing.__module__ == home.__name__  # its home, not a module that happens to import it
    assert thing.__doc__ and len(thing.__doc__) > 20
    if inspect.isfunction(thing):
        described = thing.__doc__
        for parameter in inspect.signature(thing).parameters:
            many = len(inspect.signature(thing).parameters) > 2
            assert not many or parameter in described, f"{name} says nothing about {parameter}"
        assert inspect.signature(thing).return_annotation is not inspect.Signature.empty


@pytest.mark.parametrize("module", IMPORTABLE)
def test_every_module_is_documented(module: str) -> None:
    loaded = imported(module)
    assert loaded.__doc__ and len(loaded.__doc__) > 20
    for name, thing in vars(loaded).items():
        if name.startswith("_") or getattr(thing, "__module__", None) != module:
            continue
        if inspect.isclass(thing) or inspect.isfunction(thing):
            assert thing.__doc__, f"{module}.{name} has no docstring"


def test_unknown_names() -> None:
    with pytest.raises(AttributeError, match="module 'bgremove' has no attribute 'nothing'"):
        _ = bgremove.nothing


def test_the_errors_are_one_tree() -> None:
    from bgremove import errors

    for name, thing in vars(errors).items():
        if inspect.isclass(thing):
            assert issubclass(thing, (errors.BGRemoveError, errors.BGRemoveWarning))
            assert name in bgremove.__all__
            assert name in (errors.__doc__ or "")
    assert issubclass(bgremove.ImageError, ValueError)
    assert issubclass(bgremove.OptionError, ValueError)
    assert issubclass(bgremove.OutputError, OSError)
    assert issubclass(bgremove.MissingExtraError, ImportError)


@pytest.mark.parametrize("module", IMPORTABLE)
def test_examples_in_docstrings(module: str) -> None:
    failed, _ = doctest.testmod(imported(module))
    assert failed == 0


def test_removes_example_is_among_them() -> None:
    from bgremove import api

    assert sum(len(test.examples) for test in doctest.DocTestFinder().find(api)) >= 4


# Cost -----------------------------------------------------------------------------------------------


def loaded_by(code: str) -> set[str]:
    code += "\nimport sys; print(' '.join({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.split())


def test_importing_loads_next_to_nothing() -> None:
    heavy = {"numpy", "cv2", "pydantic", "PIL", "onnxruntime", "pooch", "requests", "tqdm", "click", "torch"}
    assert not loaded_by("import bgremove") & (heavy | {"pymatting", "numba", "scipy"})


HEAVY = {"onnxruntime", "torch", "lightning", "numba", "pymatting", "scipy", "requests", "click", "av"}


@pytest.mark.parametrize(("model", "needs"), [("auto", {"onnxruntime"}), ("grabcut", set())])
def test_using_it_loads_no_more_than_it_needs(model: str, needs: set[str]) -> None:
    code = (
        "import numpy as np, bgremove\n"
        "photo = np.full((60, 80, 3), 40, np.uint8); photo[15:45, 20:60] = 250\n"
        f"bgremove.predict_alpha(photo, {model!r})"
    )
    assert loaded_by(code) & HEAVY == needs


# Files ----------------------------------------------------------------------------------------------


def test_the_version_is_said_once() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", bgremove.__version__)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["tool"]["hatch"]["version"]["path"] == "bgremove/__init__.py"
    assert bgremove.__version__ in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_repositorys_address_is_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    address = project["project"]["urls"]["Repository"]
    host, owner_and_name = address.rsplit("/", 2)[0], "/".join(address.rsplit("/", 2)[1:])
    mentions = 0
    for path in tracked_texts():
        text = path.read_text(encoding="utf-8", errors="ignore")
        for found in re.findall(re.escape(host) + r"/([\w.-]+/[\w.-]+)", text):
            mentions += 1
            name = found.removesuffix(".git").rstrip(".")
            assert name == owner_and_name or not name.endswith(f"/{project['project']['name']}"), path
    assert mentions >= 2
    assert address in (ROOT / "README.md").read_text(encoding="utf-8")


def test_no_file_names_a_machines_folders() -> None:
    folders = re.compile(
        "|".join(["/" + "home/\\w", "/" + "Users/\\w", "/" + "work/", "/" + "root/", r"C:\\" + "Users"])
    )
    for path in tracked_texts():
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="ignore").splitlines(), 1):
            assert not folders.search(line), f"{path.relative_to(ROOT)}:{number}: {line.strip()}"


def test_the_licence_and_the_type_marker_are_there() -> None:
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert (ROOT / "bgremove" / "py.typed").exists()


def test_the_readmes_table_is_the_table() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([^`]+)` \| (.+?) \| (.+?) \| (.+?) \|$", readme, flags=re.MULTILINE)
    named = [row for row in rows if row[0].partition(":")[0] in bgremove.REMOVERS]
    assert [row[0].partition(":")[0] for row in named] == list(bgremove.REMOVERS)
    for (_, summary, size, licence), info in zip(named, bgremove.REMOVERS.values(), strict=True):
        assert summary == info.summary
        assert licence == info.license
        megabytes = info.weights.size_mb if info.weights else None
        assert size == "-" if megabytes is None else float(size.removesuffix(" MB")) == round(megabytes, 1)
