"""Cleaning a raw matte: regions, edges, thresholds, feather.

The order is fixed: parts that do not belong are dropped and holes filled, the border is moved,
its true course is found in the photo at full resolution, what is nearly 0 or 1 becomes so, and
only then the result is softened.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self, cast

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from bgremove.arrays import Alpha, Image, Mask, check_alpha, check_image
from bgremove.options import Params
from bgremove.tiles import Tile, each_strip, each_tile
from bgremove.trimap import alpha_to_trimap

Floats = npt.NDArray[np.float32]


class RefineParams(Params):
    """How a raw matte is cleaned before it is used. Thresholds are of 255, as in picture editors."""

    background_threshold: int = Field(15, ge=0, le=254, description="Alpha up to this (of 255) becomes 0")
    foreground_threshold: int = Field(240, ge=1, le=255, description="Alpha from this (of 255) becomes 255")
    keep_largest: bool = Field(False, description="Keep only the largest connected part")
    min_region: float = Field(
        0.0, ge=0, le=0.5, description="Drop parts smaller than this fraction of the picture"
    )
    fill_holes: float = Field(
        0.0, ge=0, le=1, description="Fill holes smaller than this fraction of the picture; 1 fills all"
    )
    opening: int = Field(0, ge=0, le=100, description="Remove specks and hairs thinner than twice this, px")
    closing: int = Field(0, ge=0, le=100, description="Close gaps narrower than twice this, px")
    grow: int = Field(0, ge=-100, le=100, description="Move the border outwards (or, below 0, inwards), px")
    edges: Literal["none", "guided", "closed-form"] = Field(
        "guided", description="Find the true border in the photo: guided is fast, closed-form finest"
    )
    edge_radius: int = Field(
        0, ge=0, le=400, description="How far the border may be wrong, px; 0 works it out from the remover"
    )
    edge_smoothness: float = Field(
        1e-4,
        ge=1e-7,
        le=1,
        description="Guided edges: below this contrast (squared, of 1) the photo is taken as smooth",
        json_schema_extra={"advanced": True},
    )
    feather: float = Field(0.0, ge=0, le=100, description="Soften the border (Gaussian sigma), px")

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "raw": {"background_threshold": 0, "foreground_threshold": 255, "edges": "none"},
        "classic": {"opening": 1, "closing": 2, "feather": 0.8, "edges": "none"},
        "product": {"keep_largest": True, "fill_holes": 0.002, "edges": "guided"},
        "hair": {"edges": "closed-form"},
    }

    @model_validator(mode="after")
    def _thresholds_in_order(self) -> Self:
        if self.background_threshold >= self.foreground_threshold:
            raise ValueError(
                "background_threshold must be below foreground_threshold; got "
                f"{self.background_threshold} and {self.foreground_threshold}"
            )
        return self


def refine_alpha(
    image: Image, alpha: Alpha, params: RefineParams | None = None, *, grain: float = 1.0
) -> Alpha:
    """The matte, cleaned as `params` say.

    Args:
        image: (H, W, 3) uint8 RGB, the photo.
        alpha: (H, W) float in [0, 1].
        params: what to do; the defaults sharpen the edges and cut what is nearly 0 or 1.
        grain: photo pixels per pixel of the prediction (:meth:`Remover.grain`); it sets the
            automatic edge radius.

    Returns:
        (H, W) float32 in [0, 1], a new array.

    Raises:
        ImageError: if the sizes differ or the arrays are of the wrong kind.
        MissingExtraError: if ``closed-form`` lacks PyMatting.
    """
    image, alpha = check_image(image), check_alpha(alpha, image.shape)
    params = params or RefineParams()
    if not alpha.any():
        return np.zeros_like(alpha)
    alpha = clean_regions(alpha.copy(), params)  # from here on it is written in place
    if params.edges != "none":
        alpha = sharpen_edges(image, alpha, params, grain=grain)
    stretch_levels(alpha, params.background_threshold, params.foreground_threshold)
    if params.feather > 0:
        blurred = cv2.GaussianBlur(alpha, (0, 0), params.feather)
        alpha = np.clip(blurred, 0, 1, out=blurred)  # its weights may add up to a hair over 1
    return alpha


def stretch_levels(alpha: Alpha, background: float, foreground: float) -> None:
    """0 up to `background`, 1 from `foreground` (both of 255), linear between; in place."""
    scale = 255 / (foreground - background)

    def work(strip: slice) -> None:
        part = alpha[strip]
        part *= np.float32(scale)
        part -= np.float32(background / 255 * scale)
        np.clip(part, 0, 1, out=part)

    if (background, foreground) != (0, 255):
        each_strip(work, alpha.shape[0])


def clean_regions(alpha: Alpha, params: RefineParams) -> Alpha:
    """Drop small parts, fill small holes, open, close, and move the border."""
    area = alpha.size
    if params.keep_largest or params.min_region > 0:
        keep = _large_regions(alpha > 0.5, params.min_region * area, only_largest=params.keep_largest)
        # Soft pixels around a kept part belong to it; those around a dropped one go with it.
        alpha = np.where(_nearest(keep, alpha > 0.5), alpha, np.float32(0))
    if params.fill_holes > 0:
        solid = alpha > 0.5
        holes = ~_large_regions(~solid, params.fill_holes * area, open_at_border=True) & ~solid
        alpha = np.where(holes, np.float32(1), alpha)
    if params.opening:
        alpha = cast(Alpha, cv2.morphologyEx(alpha, cv2.MORPH_OPEN, _disc(params.opening)))
    if params.closing:
        alpha = cast(Alpha, cv2.morphologyEx(alpha, cv2.MORPH_CLOSE, _disc(params.closing)))
    if params.grow:
        move = cv2.dilate if params.grow > 0 else cv2.erode
        alpha = cast(Alpha, move(alpha, _disc(abs(params.grow))))
    return alpha


def sharpen_edges(image: Image, alpha: Alpha, params: RefineParams, *, grain: float = 1.0) -> Alpha:
    """Replace the matte near its border by one that follows the photo; may write into `alpha`."""
    radius = params.edge_radius or edge_radius(alpha, grain)
    trimap = alpha_to_trimap(
        alpha,
        radius,
        background_below=max(0.02, params.background_threshold / 255),
        foreground_above=min(0.98, params.foreground_threshold / 255),
    )
    unknown = trimap == 128
    if not unknown.any():
        return alpha
    if params.edges == "closed-form":
        from bgremove.matting import closed_form_alpha

        return closed_form_alpha(image, trimap, initial=alpha)
    return _guided_band(image, alpha, unknown, radius, params.edge_smoothness)


def edge_radius(alpha: Alpha, grain: float) -> int:
    """How far a border predicted at a reduced size may be wrong, in photo pixels.

    About one and a half pixels of the prediction, and never under 1/400 of the photo's long side,
    which is where a photo's own blur lies.
    """
    return int(np.clip(round(max(1.5 * grain, max(alpha.shape) / 400)), 2, 400))


def guided_filter(
    guide: Image, values: Alpha, radius: int, epsilon: float = 1e-4, *, subsample: int = 1
) -> Alpha:
    """`values` as the linear function of the guide's colours that fits best around each pixel.

    Within each window ``q = a . I + b`` with a and b from a ridge regression of `values` on the
    colours; the coefficients of all the windows over a pixel are averaged.

    Args:
        guide: (H, W, 3) uint8 RGB.
        values: (H, W) float32.
        radius: half the window's side, in pixels.
        epsilon: ridge; colour variance (with colours from 0 to 1) below it is taken as flat.
        subsample: the regression is done at this fraction of the size (the "fast" filter).

    Returns:
        (H, W) float32; may leave the range of `values` slightly.

    References:
        He, Sun and Tang, "Guided Image Filtering", PAMI 2013.
        He and Sun, "Fast Guided Filter", arXiv 1505.00996, 2015.
    """
    coefficients, colours = _coefficients(guide, values, radius, epsilon, subsample)
    return _evaluate(coefficients.reshape(-1, 4), colours.reshape(-1, 3)).reshape(values.shape)


def _evaluate(coefficients: Floats, colours: Floats) -> Floats:
    """``a . I + b`` for (n, 4) coefficients and (n, 3) colours."""
    result: Floats = np.einsum("nc,nc->n", coefficients[:, :3], colours)
    result += coefficients[:, 3]
    return result


def _coefficients(
    guide: Image, values: Alpha, radius: int, epsilon: float, subsample: int
) -> tuple[Floats, Floats]:
    """The filter's coefficients (H, W, 4) for each pixel, and the colours (H, W, 3) that they are for."""
    height, width = values.shape
    subsample = max(1, min(subsample, height, width))
    size = (max(1, width // subsample), max(1, height // subsample))
    # Around 0 rather than 1/2: variances are differences of squares, and float32 has seven digits.
    colours = guide.astype(np.float32)
    colours -= np.float32(127.5)
    small, target = colours, values
    if subsample > 1:
        small = cast(Floats, cv2.resize(colours, size, interpolation=cv2.INTER_AREA))
        target = cast(Floats, cv2.resize(values, size, interpolation=cv2.INTER_AREA))
    reach = max(1, round(radius / subsample))
    coefficients = _box(_regress(small, target, reach, 255**2 * epsilon), reach)
    if subsample > 1:
        coefficients = cast(Floats, cv2.resize(coefficients, (width, height), interpolation=cv2.INTER_LINEAR))
    return coefficients, colours


def _regress(colours: Floats, target: Floats, radius: int, epsilon: float) -> Floats:
    """Per pixel, the coefficients (a_r, a_g, a_b, b) of its own window: (h, w, 4)."""
    red, green, blue = cv2.split(colours)
    products = [red * red, red * green, red * blue, green * green, green * blue, blue * blue]
    products += [red * target, green * target, blue * target, target]
    means = (
        [cv2.split(_box(colours, radius))]
        + [  # OpenCV's filters take four at a time
            cv2.split(_box(cast(Floats, cv2.merge(products[start : start + 4])), radius))
            for start in (0, 4, 8)
        ]
    )
    (red, green, blue), rr, rg, rb, gg, gb, bb, cr, cg, cb, mean = means[0], *means[1], *means[2], *means[3]
    ridge = np.float32(epsilon)
    rr, gg, bb = rr - red * red + ridge, gg - green * green + ridge, bb - blue * blue + ridge
    rg, rb, gb = rg - red * green, rb - red * blue, gb - green * blue
    cr, cg, cb = cr - red * mean, cg - green * mean, cb - blue * mean
    # Solve the symmetric 3x3 system by its adjugate: no loop, no LAPACK call per pixel.
    i11, i12, i13 = gg * bb - gb * gb, gb * rb - rg * bb, rg * gb - gg * rb
    i22, i23, i33 = rr * bb - rb * rb, rb * rg - rr * gb, rr * gg - rg * rg
    scale = 1 / np.maximum(rr * i11 + rg * i12 + rb * i13, np.float32(1e-30))
    a_red = (i11 * cr + i12 * cg + i13 * cb) * scale
    a_green = (i12 * cr + i22 * cg + i23 * cb) * scale
    a_blue = (i13 * cr + i23 * cg + i33 * cb) * scale
    b = mean - (a_red * red + a_green * green + a_blue * blue)
    return cast(Floats, cv2.merge([a_red, a_green, a_blue, b]))


def _guided_band(image: Image, alpha: Alpha, unknown: Mask, radius: int, epsilon: float) -> Alpha:
    """Guided filtering of the unknown pixels of `alpha`, in place."""
    subsample = max(1, radius // 4)
    found: list[tuple[Tile, Floats]] = []

    def work(tile: Tile) -> None:
        coefficients, colours = _coefficients(
            image[tile.outer], alpha[tile.outer], radius, epsilon, subsample
        )
        # Their places in a row: NumPy takes by these in half the time that it takes by a mask.
        rows, columns = np.nonzero(unknown[tile.inner])
        places = (rows + tile.within[0].start) * colours.shape[1] + (columns + tile.within[1].start)
        values = _evaluate(
            coefficients.reshape(-1, 4).take(places, axis=0), colours.reshape(-1, 3).take(places, axis=0)
        )
        found.append((tile, np.clip(values, 0, 1, out=values)))

    each_tile(work, unknown, size=256, margin=2 * radius + subsample)
    for tile, values in found:  # only now, since every tile looks at its neighbours' old values
        alpha[tile.inner][unknown[tile.inner]] = values
    return alpha


def _box(values: Floats, radius: int) -> Floats:
    height, width = values.shape[:2]  # a wider window sees nothing new, but takes its time row by row
    sides = (2 * min(radius, width) + 1, 2 * min(radius, height) + 1)
    return cast(Floats, cv2.blur(values, sides, borderType=cv2.BORDER_REFLECT))


def _disc(radius: int) -> npt.NDArray[np.uint8]:
    side = 2 * radius + 1
    return cast("npt.NDArray[np.uint8]", cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))


def _large_regions(
    mask: Mask, min_area: float, *, only_largest: bool = False, open_at_border: bool = False
) -> Mask:
    """The 8-connected parts of `mask` of at least `min_area` pixels.

    `open_at_border` also keeps every part that touches the picture's border (a hole there is none).
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    keep = stats[:, cv2.CC_STAT_AREA] >= max(min_area, 1)
    keep[0] = False
    if only_largest and count > 1:
        largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
        keep &= np.arange(count) == largest
    if open_at_border:
        border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
        keep[np.unique(border)] = True
        keep[0] = False
    return cast(Mask, keep[labels])


def _nearest(keep: Mask, solid: Mask) -> Mask:
    """True where the nearest solid pixel is one to keep."""
    if not keep.any():
        return keep
    drop = solid & ~keep
    if not drop.any():
        return np.ones_like(keep)
    to_keep = cv2.distanceTransform((~keep).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    to_drop = cv2.distanceTransform((~drop).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    return cast(Mask, to_keep <= to_drop)
