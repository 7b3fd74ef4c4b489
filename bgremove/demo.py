"""The demo: the sample photographs cut out in four ways, and a contact sheet to look at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PILImage
from PIL import ImageDraw, ImageFont

from bgremove.arrays import Image
from bgremove.background import Background, parse_background
from bgremove.compositing import Pixels, checkerboard, composite
from bgremove.io import FORMATS, encode, read_frame, write_bytes
from bgremove.pipeline import Cut, Settings, cut


@dataclass(frozen=True)
class Sample:
    """A photograph that the package carries (``assets/SOURCES.md`` says whose).

    Attributes:
        colour: what it looks good on.
        settings: what its cut-out needs beyond the defaults; empty means nothing.
        told: how the sheet says so.
    """

    name: str
    colour: str
    settings: dict[str, Any] = field(default_factory=dict)
    told: str = ""


SAMPLES = (
    Sample("coffee", "#f2c14e"),
    Sample("astronaut", "#2a9d8f"),
    Sample("cat", "#e76f51"),
)


def sample_path(name: str) -> Path:
    """Where a file of ``assets/`` lies."""
    return Path(str(resources.files("bgremove") / "assets" / name))


def run_demo(folder: Path, say: Callable[[str], object] = print) -> Path:
    """Write every sample's cut-outs and the contact sheet into `folder`.

    Returns:
        The contact sheet's path.

    Raises:
        OutputError: if the folder cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stars = parse_background(sample_path("stars.jpg"))
    rows: list[list[tuple[str, Image]]] = []
    for sample in SAMPLES:
        settings = Settings.build(**sample.settings)
        frame = read_frame(sample_path(f"{sample.name}.jpg"))
        result = cut(frame, settings.create_remover(), settings)
        versions = {
            "cutout": Background(),
            "colour": parse_background(sample.colour),
            "picture": stars,
            "blur": parse_background("blur"),
        }
        made: dict[str, Pixels] = {}
        for name, background in versions.items():
            made[name] = background.under(result.image, result.foreground, result.alpha)
            target = folder / f"{sample.name}_{name}.png"
            write_bytes(target, encode([made[name]], FORMATS["png"]), overwrite=True)
            say(f"wrote {target}")
        rows.append(_row(result, made, sample))
    sheet = folder / "contact_sheet.png"
    write_bytes(sheet, encode([contact_sheet(rows)], FORMATS["png"]), overwrite=True)
    return sheet


def _row(result: Cut, made: dict[str, Pixels], sample: Sample) -> list[tuple[str, Image]]:
    height, width = result.alpha.shape
    grey = np.repeat(np.rint(result.alpha * 255).astype(np.uint8)[..., None], 3, axis=2)
    shown = composite(result.foreground, checkerboard(height, width, max(6, height // 32)), result.alpha)
    return [
        (f"original{sample.told}", result.image),
        ("alpha", grey),
        ("cut-out", shown),
        ("on a colour", made["colour"][..., :3]),
        ("on a picture", made["picture"][..., :3]),
        ("blurred background", made["blur"][..., :3]),
    ]


def contact_sheet(rows: Sequence[Sequence[tuple[str, Image]]], *, height: int = 300, gap: int = 14) -> Image:
    """Rows of labelled pictures of one height on white: (h, w, 3) uint8 RGB."""
    font = ImageFont.load_default(17)
    label = 30
    scaled = [[(text, _scaled(picture, height)) for text, picture in row] for row in rows]
    width = max(sum(picture.width + gap for _, picture in row) + gap for row in scaled)
    sheet = PILImage.new("RGB", (width, len(rows) * (height + label + gap) + gap), "white")
    draw = ImageDraw.Draw(sheet)
    for index, row in enumerate(scaled):
        left, top = gap, gap + index * (height + label + gap)
        for text, picture in row:
            draw.text((left, top), text, fill=(40, 40, 40), font=font)
            sheet.paste(picture, (left, top + label))
            left += picture.width + gap
    return np.asarray(sheet)


def _scaled(picture: Image, height: int) -> PILImage.Image:
    width = max(1, round(picture.shape[1] * height / picture.shape[0]))
    return PILImage.fromarray(picture).resize((width, height), PILImage.Resampling.LANCZOS)
