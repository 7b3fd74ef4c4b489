"""The notebooks of the repository, for the tests here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import bgremove

ROOT = Path(bgremove.__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
BACKGROUND_REMOVAL = ROOT / "notebooks" / "Background_Removal.ipynb"
FLASK = ROOT / "notebooks" / "Flask_BG_Remove.ipynb"
VIDEO = ROOT / "notebooks" / "Video_Background.ipynb"
HERE = Path(__file__).parent
NGROK = ROOT / "tests" / "webapp" / "ngrok_agent.py"
"""A stand-in of ngrok."""


def read_notebook(path: Path) -> dict[str, Any]:
    """A notebook as its JSON."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def source(cell: dict[str, Any]) -> str:
    """A cell's text."""
    return "".join(cell["source"])


def code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    """The cells that are run."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
