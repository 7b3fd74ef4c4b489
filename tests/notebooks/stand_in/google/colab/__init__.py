"""A stand-in of Colab's own package: what its page would ask for is read from files, calls are written down.

``COLAB_STAND_IN`` names a folder: ``uploads/1/``, ``uploads/2/`` ... in it are what a person chooses when
asked, one each time, nothing where there is none; ``calls.txt`` gets a line for every call.
"""

from __future__ import annotations

import os
from pathlib import Path


def place() -> Path:
    """The folder of this session."""
    return Path(os.environ["COLAB_STAND_IN"])


def note(*words: object) -> None:
    """Write a call down."""
    with (place() / "calls.txt").open("a", encoding="utf-8") as file:
        print(*words, file=file)
