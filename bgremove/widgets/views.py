"""What is shown: small copies of pictures as HTML; before and after, steps, segments."""

from __future__ import annotations

import base64
import colorsys
import html
import io
from collections.abc import Sequence
from typing import NamedTuple, cast

import cv2
import numpy as np
from PIL import Image as PILImage
from PIL import ImageDraw, ImageFont

from bgremove.arrays import Alpha, Image
from bgremove.compositing import Pixels, alpha_to_bytes, checkerboard, composite, limit_size
from bgremove.pipeline import Cut
from bgremove.removers.base import Remover
from bgremove.removers.contour import ContourRemover
from bgremove.segments import Segments
from bgremove.trimap import alpha_to_trimap
from bgremove.widgets.bench import Work

VIEW_SIDE, STEP_SIDE = 1000, 460
"""Longest side of a picture that is shown alone, and of one among others."""


class Step(NamedTuple):
    """A picture on the way to the result, and what it shows."""

    title: str
    sentence: str
    picture: Pixels


def small(pixels: Pixels, side: int = VIEW_SIDE) -> Image:
    """A copy to be shown: RGB, no side longer than `side`; a chequered ground where it is see-through."""
    shown = limit_size(pixels, str(side))
    if shown.ndim == 2:
        return np.repeat(shown[..., None], 3, axis=2)
    if shown.shape[2] == 3:
        return shown
    height, width = shown.shape[:2]
    board = checkerboard(height, width, max(6, max(height, width) // 50))
    opacity = cast(Alpha, shown[..., 3].astype(np.float32) / np.float32(255))
    return composite(np.ascontiguousarray(shown[..., :3]), board, opacity)


def data_uri(image: Image, quality: int = 88) -> str:
    """A picture as the address of itself, a JPEG."""
    file = io.BytesIO()
    PILImage.fromarray(image).save(file, "JPEG", quality=quality)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def single(pixels: Pixels, name: str) -> str:
    """One picture as HTML."""
    return f'<div class="bgremove-view">{_img(small(pixels), name)}</div>'


def before_after(before: Pixels, after: Pixels) -> str:
    """Two pictures of one size over each other, with a slider between them that needs no Python."""
    move = "this.parentNode.style.setProperty('--cut',this.value+'%');window.bgremoveCut=this.value"
    # A new result keeps the place where the slider was.
    keep = (
        "var v=window.bgremoveCut,p=this.parentNode;"
        "if(v){p.style.setProperty('--cut',v+'%');p.querySelector('input').value=v}"
    )
    return (
        '<div class="bgremove-view bgremove-pair">'
        f"{_img(small(after), 'After')}{_img(small(before), 'Before', f'onload={chr(34)}{keep}{chr(34)}')}"
        '<span class="bgremove-line"></span><span class="bgremove-tag">before</span>'
        '<span class="bgremove-tag bgremove-right">after</span>'
        '<input type="range" min="0" max="100" value="50" step="0.5" aria-label="Before and after" '
        f'oninput="{move}"></div>'
    )


def gallery(steps: Sequence[Step]) -> str:
    """Steps side by side, each with its sentence."""
    figures = (
        f"<figure>{_img(small(step.picture, STEP_SIDE), step.title)}<figcaption><b>{number}. "
        f"{html.escape(step.title)}</b> {html.escape(step.sentence)}</figcaption></figure>"
        for number, step in enumerate(steps, 1)
    )
    return f'<div class="bgremove-steps">{"".join(figures)}</div>'


def one_of(subject: Cut, name: str) -> Pixels:
    """The ``alpha`` or the ``trimap`` of a subject, (H, W) uint8."""
    if name == "alpha":
        return alpha_to_bytes(subject.alpha)
    return alpha_to_trimap(subject.alpha, subject.band)


def code(text: str) -> str:
    """Text to be copied: a click selects all of it, and a button copies it where the browser allows."""
    copied = "navigator.clipboard.writeText(this.parentNode.querySelector('code').textContent)"
    return (
        f'<div class="bgremove-code"><code>{html.escape(text)}</code>'
        f'<button onclick="{copied}" title="Copy">copy</button></div>'
    )


def steps_of(work: Work, subject: Cut, remover: Remover, result: Pixels) -> list[Step]:
    """Everything between the photo and the result."""
    found = [Step("Photo", "What came in.", work.frame.image)]
    if isinstance(remover, ContourRemover):
        found += _contour_steps(remover, work.frame.image)
    elif work.segments is not None:
        picture = overlay(work.frame.image, work.segments, subject.segments)
        found.append(Step("Segments", "What the model found, by number; what is chosen is filled.", picture))
    elif work.raw is not None:
        raw = alpha_to_bytes(work.raw)
        found.append(Step("Prediction", "The model's own answer: the whiter, the surer.", raw))
    found += [
        Step(
            "Trimap",
            "White is certain, black is not the subject; grey is where the border may lie.",
            one_of(subject, "trimap"),
        ),
        Step("Alpha", "After refinement: how much of each pixel is the subject's.", one_of(subject, "alpha")),
        Step("Result", "The subject in its own colours, over the background.", result),
    ]
    return found


def overlay(image: Image, found: Segments, chosen: Segments | None) -> Image:
    """The photo with every segment in its colour and its number; those not chosen as outlines only."""
    shown = small(image).copy()
    size = shown.shape[1], shown.shape[0]
    kept = set(map(id, chosen.items)) if chosen else set()
    places = []
    for number, one in enumerate(found.items):
        mask = cv2.resize(one.mask.view(np.uint8), size, interpolation=cv2.INTER_NEAREST_EXACT)
        if id(one) in kept:
            inside = mask.astype(bool)
            shown[inside] = (0.5 * shown[inside] + 0.5 * np.array(colour(number))).astype(np.uint8)
        outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        cv2.drawContours(shown, outlines, -1, colour(number), 2)
        places.append(_inside(cast(Pixels, mask)))
    return _numbered(shown, places)


def colour(number: int) -> tuple[int, int, int]:
    """The colour of segment `number`; neighbours in number are far apart in hue."""
    red, green, blue = colorsys.hls_to_rgb((number * 0.618034 + 0.55) % 1, 0.55, 0.8)
    return round(255 * red), round(255 * green), round(255 * blue)


def _contour_steps(remover: ContourRemover, image: Image) -> list[Step]:
    stages, params = remover.stages(image), remover.params
    return [
        Step(
            "Edges",
            f"Canny: changes above {params.canny_high} are edges, and those above {params.canny_low} "
            "that touch one.",
            stages["edges"],
        ),
        Step(
            "Contours",
            f"Closed outlines of {100 * params.min_area:.3g} to {100 * params.max_area:.3g} % of the picture "
            "are kept.",
            stages["contours"],
        ),
        Step(
            "Mask",
            f"Filled, grown by {params.dilate} px, shrunk by {params.erode} px, softened.",
            stages["mask"],
        ),
    ]


def _inside(mask: Pixels) -> tuple[int, int]:
    """A point well inside a mask, x and y."""
    distance = cv2.distanceTransform(
        cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT), cv2.DIST_L2, 3
    )
    y, x = np.unravel_index(int(np.argmax(distance)), distance.shape)
    return int(x) - 1, int(y) - 1


def _numbered(image: Image, places: Sequence[tuple[int, int]]) -> Image:
    picture = PILImage.fromarray(image)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(max(15, max(image.shape) // 50))
    for number, (x, y) in enumerate(places):
        box = draw.textbbox((x, y), str(number), font=font, anchor="mm")
        draw.rounded_rectangle((box[0] - 6, box[1] - 4, box[2] + 6, box[3] + 4), 5, fill=colour(number))
        draw.text(
            (x, y), str(number), fill="white", font=font, anchor="mm", stroke_width=1, stroke_fill="black"
        )
    return np.asarray(picture)


def _img(image: Image, name: str, more: str = "") -> str:
    height, width = image.shape[:2]
    return (
        f'<img src="{data_uri(image)}" alt="{html.escape(name, quote=True)}" width="{width}" '
        f'height="{height}" {more}>'
    )
