"""The notebooks' files: clean, thin, and opened in Colab by their badge."""

from __future__ import annotations

import ast
import io
import re
import tokenize
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import nbformat
import pytest

from bgremove.registry import REMOVERS, remover_info
from bgremove.webapp.config import ServeParams
from tests.notebooks.notebooks import (
    BACKGROUND_REMOVAL,
    FLASK,
    NOTEBOOKS,
    ROOT,
    VIDEO,
    code_cells,
    read_notebook,
    source,
)

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)


def plain_python(text: str) -> str:
    """A cell without the lines that are for the shell."""
    return re.sub(r"^(\s*)[!%].*$", r"\1pass", text, flags=re.MULTILINE)


def test_there_are_three() -> None:
    assert set(NOTEBOOKS) == {BACKGROUND_REMOVAL, FLASK, VIDEO}


@every_notebook
def test_it_is_a_valid_notebook_with_ids(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) >= (4, 5)
    ids = [cell["id"] for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z0-9-]+", one) for one in ids), "ids that a person can read"


@every_notebook
def test_nothing_of_a_run_is_kept(path: Path) -> None:
    notebook = read_notebook(path)
    assert "widgets" not in notebook["metadata"]
    for cell in code_cells(notebook):
        assert cell["outputs"] == [] and cell["execution_count"] is None, cell["id"]
        assert set(cell["metadata"]) <= {"cellView"}, cell["id"]
    assert path.stat().st_size < 40_000


@every_notebook
def test_colab_gets_a_gpu_and_a_table_of_contents(path: Path) -> None:
    metadata = read_notebook(path)["metadata"]
    assert metadata["accelerator"] == "GPU"
    assert metadata["colab"]["gpuType"] == "T4"
    assert metadata["colab"]["toc_visible"] is True
    assert metadata["colab"]["name"] == path.name
    assert metadata["kernelspec"]["name"] == "python3"


@every_notebook
def test_the_badge_opens_this_very_notebook(path: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    owner_and_name = urlsplit(project["project"]["urls"]["Repository"]).path.strip("/")
    first = source(read_notebook(path)["cells"][0])
    target = f"https://colab.research.google.com/github/{owner_and_name}/blob/main/notebooks/{path.name}"
    badge = "https://colab.research.google.com/assets/colab-badge.svg"
    assert first.startswith(f"[![Open In Colab]({badge})]({target})\n")
    assert target in (ROOT / "README.md").read_text(encoding="utf-8")


@every_notebook
def test_files_of_the_repository_that_it_names_are_there(path: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    address = re.escape(project["project"]["urls"]["Repository"])
    text = "\n".join(map(source, read_notebook(path)["cells"]))
    named = re.findall(address + r"/(?:raw|blob)/main/([\w./-]+)", text)
    assert named
    for name in named:
        assert (ROOT / name).is_file(), name


@every_notebook
def test_cells_are_short_and_define_nothing(path: Path) -> None:
    for cell in read_notebook(path)["cells"]:
        assert len(source(cell).splitlines()) < 25, cell["id"]
    for cell in code_cells(read_notebook(path)):
        tree = ast.parse(plain_python(source(cell)))
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
        assert not [node for node in ast.walk(tree) if isinstance(node, kinds)], cell["id"]


@every_notebook
def test_forms_are_written_as_colab_reads_them(path: Path) -> None:
    """Each ``@param`` stands behind ``NAME = value``, and its value is one that it offers."""
    for cell in code_cells(read_notebook(path)):
        for line in source(cell).splitlines():
            if "@param" not in line:
                continue
            match = re.fullmatch(r"([A-Z][A-Z0-9_]*) = (.+?)  # @param (.+)", line)
            assert match, line
            value, offered = ast.literal_eval(match[2]), match[3]
            choices, _, rest = offered.partition("]")
            if choices.startswith("["):
                assert value in ast.literal_eval(choices + "]"), line
                assert rest.strip() in ("", "{allow-input: true}"), line
            else:
                check_range(value, offered)
        titled = source(cell).startswith("# @title ")
        assert titled == (cell["metadata"].get("cellView") == "form"), cell["id"]


def check_range(value: Any, offered: str) -> None:
    """That a value fits ``{type: ..., min: ..., max: ...}``."""
    kind = re.match(r'\{type: "(\w+)"', offered)
    assert kind and kind[1] in ("string", "boolean", "slider"), offered
    types: dict[str, tuple[type, ...]] = {"string": (str,), "boolean": (bool,), "slider": (int, float)}
    assert type(value) in types[kind[1]]
    if kind[1] == "slider":
        low, high = re.search(r"min: ([\d.]+)", offered), re.search(r"max: ([\d.]+)", offered)
        assert low and high and float(low[1]) <= value <= float(high[1]), offered


@pytest.mark.parametrize(
    ("path", "sections"),
    [
        (
            BACKGROUND_REMOVAL,
            [
                "Photo and background",
                "1. The shipped network",
                "2. Detectron2",
                "3. Classical computer vision",
                "4. Compare",
                "5. A folder",
            ],
        ),
        (FLASK, ["1. Start", "2. A public address", "3. What goes on", "4. Stop"]),
        (VIDEO, ["1. A video", "2. Live"]),
    ],
    ids=["Background_Removal", "Flask_BG_Remove", "Video_Background"],
)
def test_its_sections_come_in_order(path: Path, sections: list[str]) -> None:
    headings = [
        line.removeprefix("## ")
        for cell in read_notebook(path)["cells"]
        if cell["cell_type"] == "markdown"
        for line in source(cell).splitlines()
        if line.startswith("## ")
    ]
    assert headings == sections


def test_all_are_set_up_alike() -> None:
    cells = [code_cells(read_notebook(path))[0] for path in (BACKGROUND_REMOVAL, FLASK, VIDEO)]
    assert [cell["id"] for cell in cells] == ["set-up"] * 3
    photos, web, video = (
        [line for line in source(cell).splitlines() if "import bgremove" not in line] for cell in cells
    )
    assert [line for line in web if line not in photos] == ["from bgremove.webapp import notebook"]
    assert [line for line in photos if line not in web] == []
    own = ["from bgremove import colab, colab_video", "colab.set_up(detectron2=False)"]
    assert [line for line in video if line not in photos] == own
    assert [line for line in photos if line not in video] == ["from bgremove import colab", "colab.set_up()"]


def test_the_web_notebook_says_colabs_rules_and_opens_nothing_by_itself() -> None:
    notebook = read_notebook(FLASK)
    first = " ".join(source(notebook["cells"][0]).split())
    assert "on its free runtimes it does not allow bypassing the notebook" in first
    cells = {cell["id"]: source(cell) for cell in code_cells(notebook)}
    assert "\nOPEN = False  # @param" in cells["public"]
    assert "\nSTOP = False  # @param" in cells["stop"], "or running all would end it"
    assert list(cells) == ["set-up", "start", "public", "requests", "stop"]


def test_the_limits_of_the_web_notebooks_form_are_the_pages_own() -> None:
    [cell] = [one for one in code_cells(read_notebook(FLASK)) if one["id"] == "start"]
    fields = dict(re.findall(r"^([A-Z_]+) = (\S+)  # @param", source(cell), flags=re.MULTILINE))
    assert remover_info(fields.pop("MODEL").strip('"')) == remover_info(ServeParams().model)
    defaults = ServeParams()
    for name, value in fields.items():
        assert float(value) == getattr(defaults, name.lower()), name
    assert len(fields) == 3


def test_the_form_of_detectron2_offers_the_zoo() -> None:
    [cell] = [one for one in code_cells(read_notebook(BACKGROUND_REMOVAL)) if one["id"] == "detectron2"]
    fields = dict(re.findall(r"^([A-Z_0-9]+) = .*?# @param (.+)$", source(cell), flags=re.MULTILINE))
    assert list(fields) == ["USE_DEFAULT", "YAML", "BACKGROUND_2", "BG_COLOR_2", "RESIZE"]
    zoo = {name for name, row in REMOVERS.items() if row.kind == "detectron2" and not row.needs_file}
    assert len(zoo) == 13
    assert set(ast.literal_eval(fields["YAML"])) == zoo
    assert 'YAML = "mask_rcnn_R_50_DC5_3x"' in source(cell), "where the original started"


def test_every_model_that_is_offered_exists() -> None:
    offered: list[str] = []
    for cell in [cell for path in NOTEBOOKS for cell in code_cells(read_notebook(path))]:
        for choices in re.findall(r"^(?:METHODS|MODEL) = .*?@param (\[.*?\])", source(cell), re.MULTILINE):
            offered += [one.strip() for text in ast.literal_eval(choices) for one in text.split(",")]
    assert len(offered) > 10
    for one in offered:
        assert remover_info(one).name == one


def test_lines_for_the_shell_are_known_to_be_such() -> None:
    """That :func:`plain_python` takes out all that is not Python."""
    for path in NOTEBOOKS:
        for cell in code_cells(read_notebook(path)):
            list(tokenize.generate_tokens(io.StringIO(plain_python(source(cell))).readline))
