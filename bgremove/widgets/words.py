"""What a form says of its work: facts, problems, file names, links."""

from __future__ import annotations

import base64
import html
import io
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bgremove.errors import BGRemoveError
from bgremove.pipeline import Cut, Settings
from bgremove.widgets.photos import Photo
from bgremove.widgets.style import NOTE, message


class Listener:
    """In place of stderr: what a download's progress bar says becomes the form's."""

    def __init__(self, say: Callable[[int, str], object]) -> None:
        self._say = say

    def write(self, text: str) -> int:
        """Take what would be printed."""
        found = re.search(r"(.*?):?\s*(\d+)%", text)
        if found:
            self._say(int(found[2]), f"Downloading {found[1].strip()}")
        return len(text)

    def flush(self) -> None:
        """Do nothing: nothing is kept."""


def sentence_of(error: Exception) -> str:
    """What went wrong, for the user."""
    if isinstance(error, BGRemoveError):
        return str(error)
    if isinstance(error, MemoryError):
        return "there is not enough memory for this; take a smaller photo or another model"
    return f"this should not have happened, please report it: {type(error).__name__}: {error}"


def facts(photo: Photo, subject: Cut, settings: Settings, seconds: float, notes: Sequence[str]) -> str:
    """What there is to say of a result."""
    height, width = subject.alpha.shape
    if subject.empty:
        why = subject.note or f"the model {settings.model} found no subject; try another model"
        return message(f"{photo.name}: the result is empty: {why}", NOTE)
    share = f"{float(subject.alpha.mean()):.0%} of it is subject"
    facts = [
        f"{Path(photo.name).name}, {width} x {height} px, {share}, {seconds:.2f} s",
        *(note[:1].upper() + note[1:] for note in notes if note),
    ]
    return f'<div class="bgremove-hint">{html.escape(". ".join(facts))}</div>'


def free_path(path: Path) -> Path:
    """`path`, or with a number if there is such a file."""
    number = 1
    found = path
    while found.exists():
        number += 1
        found = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return found


def zipped(files: Mapping[str, bytes]) -> bytes:
    """Files in one; pictures are small already."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return data.getvalue()


def link(data: bytes, name: str) -> str:
    """A link that holds the file itself."""
    shown = html.escape(name, quote=True)
    address = f"data:application/octet-stream;base64,{base64.b64encode(data).decode()}"
    anchor = f'<a class="bgremove-link" download="{shown}" href="{address}">{shown}</a>'
    return f"Ready: {anchor} ({len(data) / 1e6:.1f} MB)"
