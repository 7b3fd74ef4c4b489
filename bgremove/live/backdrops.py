"""What is behind the subject of a live view: changed by keys while it goes on."""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence

import cv2
import numpy as np

from bgremove.arrays import Alpha, Image
from bgremove.background import Background, blur_background, fit_background
from bgremove.compositing import Pixels, checkerboard, cutout
from bgremove.live.params import Kind, LiveSettings
from bgremove.pipeline import Cut
from bgremove.video.backgrounds import blend

GREEN = (0, 177, 64)
"""Of a studio's wall: what a virtual camera shows where nothing is."""
COLOURS: Sequence[tuple[str, tuple[int, int, int]]] = (
    ("white", (255, 255, 255)),
    ("grey", (128, 128, 128)),
    ("black", (16, 16, 16)),
    ("green", GREEN),
    ("blue", (30, 90, 200)),
    ("magenta", (255, 0, 255)),
)

_STEP = 1.4  # of a blur, a key's press
_LEAST, _MOST = 1.0, 120.0  # px
_SMALL = 320  # px, the longer side at which the background is blurred


class Backdrops:
    """The backgrounds that there are to choose from, and the one that is chosen.

    Threads may ask and change it at once.

    Attributes:
        kinds: what can be chosen, in the order of the key.
        kind: what is chosen.
    """

    def __init__(
        self, kind: Kind = "blur", background: Background | None = None, blur_radius: float = 0.0
    ) -> None:
        background = background or Background()
        colours = [*COLOURS]
        if background.kind == "colour":
            given = background.colour[:3]
            colours = [("your colour", given), *(one for one in COLOURS if one[1] != given)]
        self._colours, self._colour = colours, 0
        self._picture, self._fit = background.picture, background.fit
        self._sigma = {"blur": blur_radius, "picture": 0.0}
        self._fitted: tuple[object, Image] | None = None
        self._lock = threading.Lock()
        self.kinds: tuple[Kind, ...] = ("blur", "colour", "picture", "transparent", "off")
        if self._picture is None:
            self.kinds = tuple(one for one in self.kinds if one != "picture")
        self.kind: Kind = kind

    @classmethod
    def of(cls, settings: LiveSettings) -> Backdrops:
        """Those of a live view's settings."""
        return cls(settings.kind, settings.background, settings.live.blur_radius)

    @property
    def cuts(self) -> bool:
        """Is the subject cut out at all?"""
        return self.kind != "off"

    def next(self) -> None:
        """Choose the next kind."""
        with self._lock:
            self.kind = self.kinds[(self.kinds.index(self.kind) + 1) % len(self.kinds)]

    def step(self, by: int, size: tuple[int, int] = (480, 640)) -> None:
        """More (1) or less (-1) of it: of the blur, also a picture's; the next or previous colour.

        Args:
            size: (height, width) of the frames, for the blur that goes by it.
        """
        with self._lock:
            if self.kind == "colour":
                self._colour = (self._colour + by) % len(self._colours)
            elif self.kind == "blur":
                now = self._sigma["blur"] or _usual(size)
                self._sigma["blur"] = float(np.clip(now * _STEP**by, _LEAST, _MOST))
            elif self.kind == "picture":
                now = self._sigma["picture"]
                now = now * _STEP**by if now else (2.0 if by > 0 else 0.0)
                self._sigma["picture"] = 0.0 if now < 2 else min(now, _MOST)

    def words(self, size: tuple[int, int] = (480, 640)) -> str:
        """What is chosen, for the picture's corner."""
        match self.kind:
            case "blur":
                return f"blur {self._sigma['blur'] or _usual(size):.0f} px"
            case "colour":
                return self._colours[self._colour][0]
            case "picture":
                sigma = self._sigma["picture"]
                return f"picture, blur {sigma:.0f} px" if sigma else "picture"
            case "transparent":
                return "no background"
        return "as it is"

    def compose(self, cut: Cut) -> Pixels:
        """The subject over what is chosen: (H, W, 3) uint8 RGB, or RGBA if that is transparent."""
        with self._lock:
            kind, sigma = self.kind, dict(self._sigma)
            colour = self._colours[self._colour][1]
        size = cut.image.shape[:2]
        match kind:
            case "off":
                return cut.image
            case "transparent":
                return cutout(cut.foreground, cut.alpha)
            case "colour":
                return blend(cut.foreground, _plain(size[0], size[1], colour), cut.alpha)
            case "blur":
                radius = sigma["blur"] or _usual(size)
                return blend(cut.foreground, blurred(cut.image, cut.alpha, radius), cut.alpha)
        return blend(cut.foreground, self._behind(size[0], size[1], sigma["picture"]), cut.alpha)

    def _behind(self, height: int, width: int, sigma: float) -> Image:
        """The picture at the frame's size; worked out once for each."""
        key = (height, width, sigma)
        kept = self._fitted
        if kept is None or kept[0] != key:
            assert self._picture is not None
            image = fit_background(self._picture, height, width, self._fit)
            if sigma:
                image = cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
            self._fitted = kept = key, image
        return kept[1]


def blurred(image: Image, alpha: Alpha, radius: float) -> Image:
    """As :func:`~bgremove.background.blur_background`, on a small copy where that shows no difference."""
    height, width = alpha.shape
    shrink = min(max(height, width) / _SMALL, radius / 3)
    if shrink <= 1:
        return blur_background(image, alpha, radius)
    size = (max(1, round(width / shrink)), max(1, round(height / shrink)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    matte = np.clip(cv2.resize(alpha, size, interpolation=cv2.INTER_AREA), 0, 1)
    soft = blur_background(small, matte, radius / shrink)
    enlarged: Image = cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR)
    return enlarged


def opaque(pixels: Pixels, ground: tuple[int, int, int] | None = None) -> Image:
    """RGB of what may be see-through: over one colour, or over the chequered ground."""
    if pixels.ndim == 3 and pixels.shape[2] == 3:
        return pixels
    height, width = pixels.shape[:2]
    alpha = (pixels[..., 3] / np.float32(255)).astype(np.float32)
    below = _chequered(height, width) if ground is None else _plain(height, width, ground)
    return blend(np.ascontiguousarray(pixels[..., :3]), below, alpha)


@functools.lru_cache(2)
def _plain(height: int, width: int, colour: tuple[int, int, int]) -> Image:
    image = np.empty((height, width, 3), np.uint8)
    image[:] = colour
    return image


@functools.lru_cache(2)
def _chequered(height: int, width: int) -> Image:
    return checkerboard(height, width)


def _usual(size: tuple[int, ...]) -> float:
    return max(size) / 50
