"""The demo: the sample photographs cut out in four ways, and a contact sheet to look at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from PIL import Image as PILImage
from PIL import ImageDraw, ImageFont

from bgremove.arrays import Image, Trimap
from bgremove.background import Background, parse_background
from bgremove.compositing import Pixels, alpha_to_bytes, checkerboard, composite
from bgremove.io import FORMATS, encode, make_folder, read_frame, read_hint, write_bytes
from bgremove.pipeline import Cut, Settings, cut


@dataclass(frozen=True)
class Sample:
    """A photograph that the package carries (``assets/SOURCES.md`` says whose).

    Attributes:
        colour: what its subject looks good on.
        strokes: True if a few strokes (``NAME_strokes.png``) say what is wanted, for GrabCut: no network
            can know that the helmet is to stay and the flag and the rocket are to go. Without strokes
            the default remover finds the subject by itself.
    """

    name: str
    colour: str
    strokes: bool = False


SAMPLES = (
    Sample("coffee", "#f2c14e"),
    Sample("cat", "#8ecae6"),
    Sample("astronaut", "#2a9d8f", strokes=True),
)


_KEEP, _DROP = (60, 255, 90), (255, 40, 80)  # colours of the strokes on the sheet


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
    make_folder(folder)
    stars = parse_background(sample_path("stars.jpg"))
    rows: list[list[tuple[str, Image]]] = []
    for sample in SAMPLES:
        hint = read_hint(sample_path(f"{sample.name}_strokes.png")) if sample.strokes else None
        settings = Settings.build("grabcut", hint_as="scribbles") if sample.strokes else Settings.build()
        frame = read_frame(sample_path(f"{sample.name}.jpg"))
        result = cut(frame, settings.create_remover(), settings, hint=hint)
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
        rows.append(_row(result, made, hint))
    sheet = folder / "contact_sheet.png"
    write_bytes(sheet, encode([contact_sheet(rows)], FORMATS["png"]), overwrite=True)
    return sheet


def _row(result: Cut, made: dict[str, Pixels], hint: Trimap | None) -> list[tuple[str, Image]]:
    height, width = result.alpha.shape
    original = result.image
    if hint is not None:
        original = original.copy()
        original[hint == 255] = _KEEP
        original[hint == 0] = _DROP
    grey = np.repeat(alpha_to_bytes(result.alpha)[..., None], 3, axis=2)
    board = checkerboard(height, width, max(6, height // 32))
    return [
        ("original" if hint is None else "original, with strokes", original),
        ("alpha", grey),
        ("cut-out", composite(result.foreground, board, result.alpha)),
        ("on a colour", made["colour"]),
        ("on a picture", made["picture"]),
        ("blurred background", made["blur"]),
    ]


def contact_sheet(rows: Sequence[Sequence[tuple[str, Image]]], *, width: int = 2000) -> Image:
    """Rows of labelled pictures on white, each row as wide as the sheet: (h, w, 3) uint8 RGB.

    Args:
        rows: per row, labels and (h, w, 3) uint8 pictures of one size.
        width: of the sheet, in pixels.
    """
    gap, label = 14, 30
    font = ImageFont.load_default(17)
    strips = []
    for row in rows:
        aspects = sum(picture.shape[1] / picture.shape[0] for _, picture in row)
        height = max(1, int((width - gap * (len(row) + 1)) / aspects))
        strip = PILImage.new("RGB", (width, height + label + gap), "white")
        left = gap
        for text, picture in row:
            side = max(1, round(picture.shape[1] / picture.shape[0] * height))
            small = PILImage.fromarray(picture).resize((side, height), PILImage.Resampling.LANCZOS)
            ImageDraw.Draw(strip).text((left, 5), text, fill=(40, 40, 40), font=font)
            strip.paste(small, (left, label))
            left += side + gap
        strips.append(np.asarray(strip))
    return np.concatenate([np.full((gap, width, 3), 255, np.uint8), *strips])
