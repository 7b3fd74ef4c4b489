"""Running the command in this process or in one of its own, and looking at what it left behind."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
from click.testing import CliRunner, Result
from PIL import Image as PILImage

import bgremove
from bgremove.cli import main

ROOT = Path(bgremove.__file__).parents[1]
FAST = ("--model", "contour")


def disc_picture(height: int = 96, width: int = 128, shade: int = 0) -> PILImage.Image:
    """A bright disc on a dark, plain ground, which every remover finds; `shade` tells discs apart."""
    rows, columns = np.mgrid[:height, :width]
    inside = np.hypot(rows - height / 2, columns - width / 2) < min(height, width) / 3
    image = np.where(inside[..., None], (240, 200 - shade, 60), (30, 40, 90 + shade)).astype(np.uint8)
    return PILImage.fromarray(image)


def save_disc(path: Path, height: int = 96, width: int = 128, shade: int = 0) -> Path:
    """The disc as a file; its format goes by its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    disc_picture(height, width, shade).save(path)
    return path


def bgremove_here(*args: str | Path, stdin: bytes = b"") -> Result:
    """The command in this process."""
    return CliRunner(env={"COLUMNS": "110"}).invoke(main, [str(arg) for arg in args], input=stdin)


def remove_here(*args: str | Path, stdin: bytes = b"") -> Result:
    """``bgremove remove`` with the quick remover."""
    return bgremove_here("remove", *FAST, *args, stdin=stdin)


def environment() -> dict[str, str]:
    """That of a process which finds the package wherever it starts."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}


def bgremove_there(
    *args: str | Path, cwd: Path | None = None, stdin: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    """``python -m bgremove`` in a process of its own."""
    command = [sys.executable, "-m", "bgremove", *map(str, args)]
    return subprocess.run(command, cwd=cwd, input=stdin, capture_output=True, env=environment(), timeout=120)


def python_there(code: str, *args: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A few lines of Python in a process of their own; `args` are in ``sys.argv[1:]``."""
    command = [sys.executable, "-c", code, *map(str, args)]
    return subprocess.run(
        command, cwd=cwd, capture_output=True, env=environment(), timeout=120, encoding="utf-8"
    )


def files(folder: Path) -> dict[str, bytes]:
    """Every file under `folder`, hidden ones too, by its place."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def decode(data: bytes | Path) -> npt.NDArray[np.uint8]:
    """The pixels of a file, decoded in full."""
    with PILImage.open(io.BytesIO(data) if isinstance(data, bytes) else data) as picture:
        return np.array(picture)


def is_one_sentence(stderr: str) -> bool:
    """One line that says what is wrong, and no traceback."""
    return "Traceback" not in stderr and stderr.strip().count("\n") == 0 and len(stderr.strip()) > 20
