"""Where the subject probably is: contrast to the border, position, colour and sharpness of small regions.

The picture is divided into some 250 regions. What tells a subject from its surroundings is measured
per region, weighed by logistic regression, and then revised by context: a region whose colours and
neighbours look like the subject found so far gains, others lose (auto-context). The weights in the
tables below were fitted by ``benchmarks/grabcut.py --fit`` on 2,000 photographs with masks, most of them
from DUTS-TR, a research data set.

References:
    Wei et al., "Geodesic Saliency Using Background Priors", ECCV 2012.
    Zhu et al., "Saliency Optimization from Robust Background Detection", CVPR 2014.
    Zhang et al., "Minimum Barrier Salient Object Detection at 80 FPS", ICCV 2015.
    Jiang et al., "Salient Object Detection: A Discriminative Regional Feature Integration
    Approach", CVPR 2013.
    Tu, "Auto-context and Its Application to High-level Vision Tasks", CVPR 2008.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from bgremove.arrays import Alpha, Image, Trimap

Floats = npt.NDArray[np.float32]
_Regions = npt.NDArray[np.int32]

_SIDE = 200
"""Long side, in pixels, at which the map is computed."""
_SMALLEST_SIDE = 8
"""With fewer pixels than this on a side there is nothing to tell apart."""
_REGIONS = 260

FEATURES: dict[str, float] = {
    "one": 1.53,
    "barrier": 1.85,
    "contrast": 2.15,
    "connected": -1.1,
    "unlike_bottom": -0.69,
    "unlike_1": 0.309,
    "unlike_2": 0.736,
    "way_bottom": -0.313,
    "way_1": 0.632,
    "way_2": -0.255,
    "bottom": 0.052,
    "edge": -0.115,
    "x": -4.15,
    "x2": -0.146,
    "y": 4.92,
    "y2": -5.51,
    "y3": 0.071,
    "x2y": -1.35,
    "x2y2": 5.55,
    "light": -2.28,
    "light2": 0.816,
    "red": 1.52,
    "yellow": -0.67,
    "chroma": -0.319,
    "sharp": -0.787,
    "sharper": 0.926,
    "skin": 0.351,
    "faces": 0.989,
    "faces_x": 1.99,
    "faces_x2": -0.366,
    "faces_y": 3.86,
    "faces_bottom": 1.7,
}
CONTEXT: tuple[dict[str, float], ...] = (
    {
        "one": 0.939,
        "own": -0.392,
        "colour": 0.309,
        "colour_near": 0.357,
        "place": 0.788,
        "neighbours": 0.16,
        "outlying": 0.173,
        "coverage": -0.773,
        "highest": -1.22,
        "beneath": 0.676,
        "skin_beneath": 1.83,
        "skin_around": -5.2,
        "face": 0.313,
        "relative": 0.741,
    },
    {
        "one": -1.01,
        "own": 0.002,
        "colour": 0.076,
        "colour_near": 0.335,
        "place": 0.266,
        "neighbours": 0.325,
        "outlying": -0.233,
        "coverage": -0.383,
        "highest": 1.12,
        "beneath": 0.186,
        "skin_beneath": 0.831,
        "skin_around": -1.73,
        "face": 0.101,
        "relative": 0.344,
    },
)


def saliency(image: Image, border: float = 0.04, known: Trimap | None = None) -> Alpha:
    """Map of the probable subject of `image`, 0 to 1, at its height and width.

    Args:
        border: share of the picture's edge whose colours stand for the background.
        known: of the picture's size, 255 where the subject is certain, 0 where the background is;
            what looks alike follows.
    """
    shape = image.shape[:2]
    if min(_reduced(image, _SIDE).shape[:2]) < _SMALLEST_SIDE:
        return np.zeros(shape, np.float32)
    regions, named = measure(image, border)
    fixed = _fixed(regions, known)
    likely = _imposed(logistic(named, FEATURES), fixed)
    for weights in CONTEXT:
        likely = _imposed(logistic(context(regions, likely), weights), fixed)
    found = _edge_aware(likely[regions.labels], regions.lab[..., 0] / np.float32(100))
    return _floats(np.clip(cv2.resize(found, shape[::-1], interpolation=cv2.INTER_LINEAR), 0, 1))


def measure(image: Image, border: float = 0.04) -> tuple[Regions, dict[str, Floats]]:
    """The regions of `image`, and their features by name."""
    scaled = _floats(_reduced(image, _SIDE)) / np.float32(255)
    regions = find_regions(_floats(cv2.cvtColor(scaled, cv2.COLOR_RGB2LAB)))
    return regions, features(regions, _sharpness(image), border)


@dataclass(frozen=True)
class Regions:
    """A picture in small pieces of one colour each.

    Attributes:
        lab: the reduced picture, CIE Lab.
        labels: the region of each pixel.
        size, colour, x, y: pixels, mean colour and mean place (0 to 1) of each region.
        adjacent: which regions touch.
        sides: pixels that each region has on the top, left, right and bottom edge, ``(4, N)``.
    """

    lab: Floats
    labels: _Regions
    size: Floats
    colour: Floats
    x: Floats
    y: Floats
    adjacent: npt.NDArray[np.bool_]
    sides: Floats

    def mean(self, values: Floats) -> Floats:
        """Mean over each region's pixels."""
        sums = np.bincount(self.labels.ravel(), values.ravel(), len(self.size))
        return _floats(sums / self.size)


def find_regions(lab: Floats) -> Regions:
    """Regions flooded from the smoothest pixel of each cell of a grid (watershed)."""
    height, width = lab.shape[:2]
    smooth = _floats(cv2.GaussianBlur(lab, (0, 0), 0.8))
    steep = sum(np.abs(cv2.Sobel(smooth, cv2.CV_32F, dx, 1 - dx)).sum(axis=2) for dx in (0, 1))
    step = max(3.0, math.sqrt(height * width / _REGIONS))
    rows, columns = max(1, round(height / step)), max(1, round(width / step))
    reach = max(1, int(step / 4))
    seeds = np.zeros((height + 2, width + 2), np.int32)
    for number in range(rows * columns):
        y = int((number // columns + 0.5) * height / rows)
        x = int((number % columns + 0.5) * width / columns)
        top, left = max(0, y - reach), max(0, x - reach)
        window = np.asarray(steep)[top : y + reach + 1, left : x + reach + 1]
        down, right = divmod(int(window.argmin()), window.shape[1])
        seeds[top + down + 1, left + right + 1] = number + 1
    bytes_ = np.clip(smooth * (2, 1.5, 1.5) + (0, 128, 128), 0, 255).astype(np.uint8)
    # The watershed marks the outermost pixels as border, hence the frame of one pixel.
    framed = cv2.copyMakeBorder(bytes_, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    flooded = _floats(np.maximum(cv2.watershed(framed, seeds)[1:-1, 1:-1], 0))
    while not flooded.all():
        flooded = np.where(flooded == 0, cv2.dilate(flooded, np.ones((3, 3), np.uint8)), flooded)
    return _measured(lab, np.unique(flooded, return_inverse=True)[1].reshape(height, width).astype(np.int32))


def _measured(lab: Floats, labels: _Regions) -> Regions:
    height, width = labels.shape
    count = int(labels.max()) + 1
    adjacent = np.zeros((count, count), bool)
    adjacent[labels[1:].ravel(), labels[:-1].ravel()] = True
    adjacent[labels[:, 1:].ravel(), labels[:, :-1].ravel()] = True
    adjacent |= adjacent.T
    np.fill_diagonal(adjacent, False)
    edges = (labels[0], labels[:, 0], labels[:, -1], labels[-1])
    size = np.bincount(labels.ravel(), minlength=count)
    y, x = np.mgrid[:height, :width]
    planes = (lab[..., 0], lab[..., 1], lab[..., 2], (x + 0.5) / width, (y + 0.5) / height)
    sums = [_floats(np.bincount(labels.ravel(), plane.ravel(), count) / size) for plane in planes]
    return Regions(
        lab=lab,
        labels=labels,
        size=_floats(size),
        colour=np.stack(sums[:3], axis=1),
        x=sums[3],
        y=sums[4],
        adjacent=adjacent,
        sides=_floats(np.stack([np.bincount(edge, minlength=count) for edge in edges])),
    )


def features(regions: Regions, sharpness: Floats, border: float = 0.04) -> dict[str, Floats]:
    """What tells subject from background, for each region, by name; about -4 to 4."""
    x, y = np.abs(regions.x - 0.5) * 2, regions.y
    light, red, yellow = regions.colour.T / 50
    sharp = regions.mean(cv2.resize(sharpness, regions.labels.shape[::-1], interpolation=cv2.INTER_AREA))
    skin = _skin(regions.colour)
    # Skin where faces are in portraits says of every region how subjects of that kind lie.
    faces = 8 * np.mean(skin * np.exp(-((x / 0.5) ** 2) - ((y - 0.35) / 0.25) ** 2))
    bottom = np.minimum(regions.sides[3], 10) / 10
    return {
        "one": np.ones_like(x),
        **_contrasts(regions, border),
        "bottom": bottom,
        "edge": np.minimum(regions.sides[:3].sum(axis=0), 10) / 10,
        "x": x,
        "x2": x * x,
        "y": y,
        "y2": y * y,
        "y3": y**3,
        "x2y": x * x * y,
        "x2y2": x * x * y * y,
        "light": light,
        "light2": light * light,
        "red": red,
        "yellow": yellow,
        "chroma": np.hypot(red, yellow),
        "sharp": sharp,
        "sharper": sharp - sharp.mean(),
        "skin": skin,
        "faces": np.full_like(x, faces),
        "faces_x": faces * x,
        "faces_x2": faces * x * x,
        "faces_y": faces * y,
        "faces_bottom": faces * bottom,
    }


def _contrasts(regions: Regions, border: float) -> dict[str, Floats]:
    """How each region differs from the picture's edges."""
    apart = _apart(regions.colour)
    way = _shortest(np.where(regions.adjacent, np.maximum(apart - 3, 0), np.inf))
    sides = regions.sides
    # Density of each side's colours at the region's colour, and the way to each side across edges.
    alike = np.exp(-(apart**2) / (2 * 8**2))
    unlike = -np.log(sides @ alike / np.maximum(sides.sum(axis=1, keepdims=True), 1) + 0.01) / 3
    ways = np.stack([way[side > 0].min(axis=0) for side in sides]) / 30
    # Boundary connectivity: length along the edge against the root of the area (Zhu et al.).
    soft = np.exp(-(way**2) / (2 * 10**2))
    connected = soft @ sides.sum(axis=0) / np.sqrt(soft @ regions.size)
    barrier = regions.mean(_barrier_distance(regions.lab))
    contrast = regions.mean(_border_contrast(regions.lab, border))
    least_unlike, least_way = np.sort(unlike, axis=0), np.sort(ways, axis=0)
    return {
        "barrier": barrier / max(float(barrier.max()), 1),
        "contrast": contrast / max(float(contrast.max()), 0.1),
        "connected": np.minimum(connected, 4) / 2,
        "unlike_bottom": unlike[3],
        "unlike_1": least_unlike[0],
        "unlike_2": least_unlike[1],
        "way_bottom": np.minimum(ways[3], 4),
        "way_1": np.minimum(least_way[0], 4),
        "way_2": np.minimum(least_way[1], 4),
    }


def context(regions: Regions, likely: Floats) -> dict[str, Floats]:
    """What the map found so far, `likely`, says of each region, by name."""
    apart = _apart(regions.colour) ** 2
    distant = (regions.x[:, None] - regions.x) ** 2 + (regions.y[:, None] - regions.y) ** 2
    subject, background = likely * regions.size, (1 - likely) * regions.size

    def odds(weights: Floats) -> Floats:
        return _floats(np.log((weights @ subject + 0.5) / (weights @ background + 0.5)))

    alike = np.exp(-apart / (2 * 7**2))
    np.fill_diagonal(alike, 0)
    own = np.log((likely + 0.01) / (1.01 - likely))
    near = regions.adjacent * np.exp(-apart / (2 * 10**2))
    share = subject / subject.sum()
    middle_x, middle_y = share @ regions.x, share @ regions.y
    width, height = (
        math.sqrt(share @ (v - m) ** 2) + 0.03 for v, m in ((regions.x, middle_x), (regions.y, middle_y))
    )
    outlying = ((regions.x - middle_x) / width) ** 2 + ((regions.y - middle_y) / height) ** 2
    # A head stands on its body: how much of the column beneath is subject.
    down = regions.y - regions.y[:, None]
    across = regions.x - regions.x[:, None]
    column = np.exp(-(across**2) / (2 * 0.06**2)) * (down > 0.02) * (down < 0.4)
    beneath = column @ subject / (column @ regions.size + 20)
    skin = _skin(regions.colour)
    close, around = (np.exp(-distant / (2 * width**2)) for width in (0.05, 0.12))
    one = np.ones_like(own)
    return {
        "one": one,
        "own": own,
        "colour": odds(alike),
        "colour_near": odds(alike * np.exp(-distant / (2 * 0.15**2))),
        "place": odds(np.exp(-distant / (2 * 0.1**2))),
        "neighbours": near @ own / (near.sum(axis=1) + 1e-3),
        "outlying": np.minimum(outlying, 12) / 4,
        "coverage": one * math.log(subject.sum() / regions.size.sum() + 0.02),
        "highest": one * np.sort(likely)[-max(1, len(likely) // 20) :].mean(),
        "beneath": beneath,
        "skin_beneath": skin * beneath,
        "skin_around": skin * (around @ (skin * regions.size)) / regions.size.sum() * 10,
        "face": close @ (skin * beneath) / close.sum(axis=1),
        "relative": np.log(likely / max(float(likely.max()), 0.05) + 0.02),
    }


def _skin(colour: Floats) -> Floats:
    """How much each colour is that of skin."""
    light, red, yellow = colour.T
    return _floats(np.exp(-(((red - 16) / 9) ** 2) - ((yellow - 20) / 10) ** 2) * (light > 30))


def logistic(values: dict[str, Floats], weights: dict[str, float]) -> Floats:
    """Probability of subject from named values and their weights."""
    score = sum((weight * values[name] for name, weight in weights.items()), np.zeros_like(values["one"]))
    return _floats(1 / (1 + np.exp(-np.clip(score, -30, 30))))


def _fixed(regions: Regions, known: Trimap | None) -> Floats:
    """0 or 1 for a region that is known, NaN for the others."""
    fixed = np.full(len(regions.size), np.nan, np.float32)
    if known is not None:
        size = regions.labels.shape[::-1]
        subject, background = (
            regions.mean(cv2.resize(_floats(known == value), size, interpolation=cv2.INTER_AREA))
            for value in (255, 0)
        )
        fixed[(background > subject) & (background > 0.1)] = 0
        fixed[(subject >= background) & (subject > 0.1)] = 1
    return fixed


def _imposed(likely: Floats, fixed: Floats) -> Floats:
    return np.where(np.isnan(fixed), likely, 0.01 + 0.98 * fixed)


def _apart(colour: Floats) -> Floats:
    """Distance of every two colours."""
    return _floats(np.sqrt(((colour[:, None] - colour) ** 2).sum(axis=2)))


def _shortest(steps: Floats) -> Floats:
    """Length of the shortest way between every two regions (Floyd and Warshall)."""
    way = steps.astype(np.float32)
    np.fill_diagonal(way, 0)
    for middle in range(len(way)):
        np.minimum(way, way[:, middle, None] + way[middle], out=way)
    return way


def _sharpness(image: Image) -> Floats:
    """Log of the fine detail around each pixel: what is in focus stands out."""
    small = _reduced(image, 2 * _SIDE)
    gray = _floats(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY))
    return _floats(np.log(cv2.blur(np.abs(gray - cv2.GaussianBlur(gray, (0, 0), 1.2)), (9, 9)) + 0.5))


def _barrier_distance(lab: Floats, rounds: int = 2) -> Floats:
    """Minimum barrier distance of every pixel to the picture's edge, summed over the channels.

    The raster scan of Zhang et al. as sweeps of whole rows and columns, each taking the path of the
    line before where that costs less.
    """
    distance = np.full(lab.shape, np.inf, np.float32)
    distance[[0, -1]] = 0
    distance[:, [0, -1]] = 0
    planes = (lab, distance, lab.copy(), lab.copy())
    for _ in range(rounds):
        for turn in (False, True):
            lines = [np.ascontiguousarray(p.swapaxes(0, 1)) if turn else p for p in planes]
            for step in (1, -1):
                _sweep(*(plane[::step] for plane in lines))
            if turn:
                for plane, swept in zip(planes[1:], lines[1:], strict=True):
                    plane[:] = swept.swapaxes(0, 1)
    return _floats(distance.sum(axis=2))


def _sweep(lab: Floats, distance: Floats, upper: Floats, lower: Floats) -> None:
    for y in range(1, len(lab)):
        high = np.maximum(upper[y - 1], lab[y])
        low = np.minimum(lower[y - 1], lab[y])
        cost = high - low
        better = cost < distance[y]
        np.copyto(distance[y], cost, where=better)
        np.copyto(upper[y], high, where=better)
        np.copyto(lower[y], low, where=better)


def _border_contrast(lab: Floats, border: float) -> Floats:
    """Mahalanobis distance to the colours of each edge; the least alike edge is left out (MB+)."""
    height, width = lab.shape[:2]
    rows, columns = max(1, round(border * height)), max(1, round(border * width))
    maps = []
    for edge in (lab[:rows], lab[-rows:], lab[:, :columns], lab[:, -columns:]):
        colours = edge.reshape(-1, 3)
        spread = np.cov(colours.T, bias=True) + 25 * np.eye(3)
        # d' C^-1 d = |L^-1 d|^2 for C = L L'
        whiten = _floats(np.linalg.inv(np.linalg.cholesky(spread)))
        maps.append(np.sqrt((((lab - colours.mean(axis=0)) @ whiten.T) ** 2).sum(axis=2)))
    stacked = np.stack(maps)
    return _floats(stacked.sum(axis=0) - stacked.max(axis=0))


def _edge_aware(values: Floats, guide: Floats, radius: int = 3, epsilon: float = 1e-3) -> Floats:
    """Guided filter with the lightness as guide (He et al., ECCV 2010)."""

    def mean(plane: Floats) -> Floats:
        return _floats(cv2.blur(plane, (2 * radius + 1, 2 * radius + 1)))

    mean_g, mean_v = mean(guide), mean(values)
    slope = (mean(guide * values) - mean_g * mean_v) / (mean(guide * guide) - mean_g**2 + epsilon)
    return _floats(mean(slope) * guide + mean(mean_v - slope * mean_g))


def _reduced(image: Image, side: int) -> Image:
    """`image` at a long side of at most `side`."""
    height, width = image.shape[:2]
    scale = min(1.0, side / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _floats(values: npt.ArrayLike) -> Floats:
    return np.asarray(values, np.float32)
