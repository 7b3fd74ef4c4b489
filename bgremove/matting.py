"""Alpha in the unknown band of a trimap by closed-form matting, and PyMatting's edge colours.

PyMatting is the optional extra ``matting``; it is imported by the first call that needs it. Its very
first import on a machine compiles for about half a minute.
"""

from __future__ import annotations

import math
from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt

from bgremove.arrays import Alpha, Image, Trimap, check_alpha, check_image, check_trimap
from bgremove.errors import MissingExtraError, OptionError
from bgremove.tiles import Tile, Window, each_tile

Floats = npt.NDArray[np.float64]

_COARSEST = 32  # pixels: a picture no longer than this is solved exactly
# Pixels on the long side up to which a row holds; steps; the smallest eigenvalue that they damp; pixels
# read around a tile, even, beyond which so many steps have next to no effect. Small pictures cost
# little, so they get more. The first row's tile is the whole picture.
_PLANS = ((256, 32, 0.001, 0), (1024, 8, 0.01, 32), (math.inf, 4, 0.03, 20))
_TIE = 1e-6  # weight of staying at the start: keeps the system definite despite rounding
_STEADY = 1e-4  # regularisation of the colour lines that enlarge a matte, against their noise


def closed_form_alpha(
    image: Image,
    trimap: Trimap,
    *,
    initial: Alpha | None = None,
    epsilon: float = 1e-7,
    tile: int = 160,
) -> Alpha:
    """Closed-form matte of the unknown pixels, from coarse to fine and tile by tile.

    In every 3x3 window alpha is taken to be a linear function of colour, ``alpha = a.I + b``. What is
    left over, summed over all windows, is ``alpha' L alpha`` with the matting Laplacian L; its least
    value under the trimap's known pixels is the matte. The picture is halved until it is 32 px
    long and solved there. Each matte is then enlarged along the colour lines of its windows and
    improved by a few steps towards the solution at the doubled size.

    The steps stop before the solution is exact, on purpose: what they leave out are slow changes over
    tens of pixels, which the smaller picture knows better, as noise and texture lead them astray in
    the large one.

    Args:
        image: (H, W, 3) uint8 RGB.
        trimap: (H, W) uint8: 0 background, 128 unknown, 255 foreground.
        initial: (H, W) float matte in [0, 1], returned as it is if no pixel at all is known. It has no
            other effect.
        epsilon: how much a steep colour line costs, for colours in [0, 1]; larger is smoother.
        tile: pixels, at least 32, on the side of what is solved at a time. Beyond a few copies of
            the picture's own arrays, memory is at most about ``1000 * (tile + 64)**2`` bytes for each of
            up to four threads: 50 MB each at 160. The result depends on it by less than one grey level.

    Returns:
        (H, W) float32 in [0, 1]: 0 and 1 where the trimap knows. 0.5 everywhere if it knows nothing
        and there is no `initial`; one value everywhere if it knows only one side.

    Raises:
        ImageError: if an array is of the wrong kind or the sizes differ.
        OptionError: if `epsilon` or `tile` is out of range.
        MissingExtraError: if PyMatting is not installed.

    References:
        Levin, Lischinski and Weiss, "A Closed-Form Solution to Natural Image Matting", PAMI 2008; the
            enlargement is its section on multiple resolutions.
        Germer et al., "PyMatting: A Python Library for Alpha Matting", JOSS 2020.
    """
    image, trimap = check_image(image), check_trimap(trimap, image.shape)
    if initial is not None:
        initial = check_alpha(initial, image.shape, "initial")
    if not (0 < epsilon < math.inf):
        raise OptionError(f"epsilon must be above 0, such as 1e-7; got {epsilon}")
    if tile < 32:
        raise OptionError(f"tile must be at least 32 pixels; got {tile}")
    _pymatting()
    unknown, known = trimap == 128, np.unique(trimap[trimap != 128])
    if not unknown.any():
        return _known(trimap)
    if known.size == 1:  # L times a constant is 0: that one value is the solution
        return np.full(trimap.shape, known[0] / 255, np.float32)
    if not known.size:
        return cast(Alpha, np.full_like(trimap, 0.5, np.float32) if initial is None else initial.copy())
    return _solve(image, trimap, epsilon, tile)


def multilevel_foreground(image: Image, alpha: Alpha) -> Image:
    """The subject's colours by PyMatting's multi-level estimate, only where alpha is soft.

    Args:
        image: (H, W, 3) uint8 RGB.
        alpha: (H, W) float in [0, 1].

    Returns:
        (H, W, 3) uint8 RGB; `image`'s own colour wherever alpha is 0 or 1.

    Raises:
        ImageError: if an array is of the wrong kind or the sizes differ.
        MissingExtraError: if PyMatting is not installed.

    References:
        Germer et al., "Fast Multi-Level Foreground Estimation", ICPR 2020.
    """
    image, alpha = check_image(image), check_alpha(alpha, image.shape)
    estimate = _pymatting().estimate_foreground_ml
    foreground = image.copy()
    soft = (alpha > 0) & (alpha < 1)
    if alpha.size == 1:  # PyMatting divides by the logarithm of the size
        return foreground

    def work(part: Tile) -> None:
        colours = estimate(image[part.outer].astype(np.float32) / 255, alpha[part.outer])
        edge = soft[part.inner]
        foreground[part.inner][edge] = np.rint(colours[part.within][edge] * 255).astype(np.uint8)

    each_tile(work, soft, size=512, margin=64)
    return foreground


def _pymatting() -> Any:
    try:
        import pymatting
    except ImportError as error:
        raise MissingExtraError(
            'closed-form matting needs PyMatting: pip install "bgremove[matting]"'
        ) from error
    return pymatting


def _solve(image: Image, trimap: Trimap, epsilon: float, size: int) -> Alpha:
    if max(trimap.shape) <= _COARSEST:
        start = np.full(trimap.shape, 0.5)
        return _improve(image, trimap, start, epsilon, steps=0).astype(np.float32)
    small_image, small_trimap = _halve(image), _halve(trimap)
    # Known are only those whose four pixels all are known, and alike.
    small_trimap[(small_trimap > 0) & (small_trimap < 255)] = 128
    small = _solve(small_image, small_trimap, epsilon, size)
    longest, steps, slowest, margin = next(plan for plan in _PLANS if max(trimap.shape) <= plan[0])
    alpha = _known(trimap)

    def work(part: Tile) -> None:
        outer = _double(part.outer)
        start = _enlarge(small_image[part.outer], small[part.outer], image[outer])
        better = _improve(image[outer], trimap[outer], start, epsilon, steps, slowest)
        alpha[_double(part.inner)] = better[_double(part.within)]

    side = int(longest) if margin == 0 else size
    each_tile(work, small_trimap == 128, size=side // 2, margin=margin // 2)
    return alpha


def _known(trimap: Trimap) -> Alpha:
    return cast(Alpha, (trimap == 255).astype(np.float32))


def _halve(picture: Any) -> Any:
    """Means of 2x2 pixels; an odd last row or column is repeated."""
    height, width = picture.shape[:2]
    even = cv2.copyMakeBorder(picture, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
    return cv2.resize(even, (even.shape[1] // 2, even.shape[0] // 2), interpolation=cv2.INTER_AREA)


def _double(window: Window) -> Window:
    rows, columns = window
    return slice(2 * rows.start, 2 * rows.stop), slice(2 * columns.start, 2 * columns.stop)


def _enlarge(small_image: Image, small_alpha: Alpha, image: Image) -> Floats:
    """`small_alpha` at the size of `image`, which is twice its own, with `image`'s edges.

    Each window's line ``alpha = a.I + b`` is fitted at the small size; the lines are smooth where
    alpha is not, so they are what is enlarged.
    """
    colour, alpha = small_image / 255, small_alpha.astype(np.float64)[..., None]

    def mean(values: Floats) -> Floats:
        # Three channels at a time: OpenCV's filters take at most four.
        blurred = [cv2.blur(part, (3, 3)) for part in np.split(values, values.shape[2] // 3, axis=2)]
        return np.concatenate(blurred, axis=2)

    first, second = np.triu_indices(3)
    colour_mean, alpha_mean = mean(colour), mean(np.repeat(alpha, 3, axis=2))
    covariance = mean(colour[..., first] * colour[..., second])
    covariance -= colour_mean[..., first] * colour_mean[..., second]
    covariance[..., first == second] += _STEADY / 9
    a = _solve_symmetric(covariance, mean(colour * alpha) - colour_mean * alpha_mean)
    b = alpha_mean[..., :1] - (a * colour_mean).sum(2, keepdims=True)
    lines = cv2.blur(np.concatenate([a, b], axis=2), (3, 3))
    height, width = small_alpha.shape
    lines = cv2.resize(lines, (2 * width, 2 * height), interpolation=cv2.INTER_LINEAR)
    lines = lines[: image.shape[0], : image.shape[1]]
    enlarged = (lines[..., :3] * (image / 255)).sum(2) + lines[..., 3]
    return cast(Floats, np.clip(enlarged, 0, 1))


def _solve_symmetric(upper: Floats, right: Floats) -> Floats:
    """x of ``S x = right`` for each pixel's 3x3 S, given as its upper triangle; by Cramer's rule."""
    s00, s01, s02, s11, s12, s22 = np.moveaxis(upper, 2, 0)
    r0, r1, r2 = np.moveaxis(right, 2, 0)
    c00, c01, c02 = s11 * s22 - s12 * s12, s02 * s12 - s01 * s22, s01 * s12 - s02 * s11
    c11, c12, c22 = s00 * s22 - s02 * s02, s01 * s02 - s00 * s12, s00 * s11 - s01 * s01
    determinant = s00 * c00 + s01 * c01 + s02 * c02
    x = (c00 * r0 + c01 * r1 + c02 * r2, c01 * r0 + c11 * r1 + c12 * r2, c02 * r0 + c12 * r1 + c22 * r2)
    return cast(Floats, np.stack(x, axis=2) / determinant[..., None])


def _improve(
    image: Image, trimap: Trimap, start: Floats, epsilon: float, steps: int, slowest: float = 1.0
) -> Floats:
    """`start` nearer to the solution by `steps` steps, or the solution itself if `steps` is 0."""
    height, width = trimap.shape
    if min(height, width) < 3:  # smaller than a window
        below, right = max(0, 3 - height), max(0, 3 - width)
        image, trimap, start = (
            cv2.copyMakeBorder(part, 0, below, 0, right, cv2.BORDER_REPLICATE)
            for part in (image, trimap, start)
        )
        return _improve(image, trimap, start, epsilon, steps, slowest)[:height, :width]
    unknown = trimap == 128
    alpha = np.where(unknown, start, trimap == 255)
    if not unknown.any():
        return cast(Floats, alpha)
    # With unknown pixels U and known ones K, the solution is L_UU x_U = -L_UK x_K. For the change e
    # from the start that reads L_UU e = -(L x)_U, in which known pixels need no mention.
    rows = _pymatting().cf_laplacian(image / 255, epsilon, is_known=~unknown)[unknown.ravel()]
    system, residual = rows[:, unknown.ravel()], -(rows @ alpha.ravel())
    if steps:
        alpha[unknown] += _chebyshev(system, residual, steps, slowest)
    else:
        alpha[unknown] += np.linalg.solve(system.toarray() + _TIE * np.eye(len(residual)), residual)
    return cast(Floats, np.clip(alpha, 0, 1))


def _chebyshev(system: Any, residual: Floats, steps: int, slowest: float) -> Floats:
    """Approximate solution of ``system @ x = residual``.

    Chebyshev's iteration, damping every part of the error whose eigenvalue lies between `slowest`
    and 1, the largest that the symmetric Gauss-Seidel preconditioner leaves. Unlike conjugate
    gradients it takes no sums over the picture, so that a pixel's value depends on the pixels near
    it alone: tiles meet without a seam.

    References:
        Saad, "Iterative Methods for Sparse Linear Systems", 2nd edition, algorithm 12.1.
    """
    precondition = _gauss_seidel(system)
    centre, half = (1 + slowest) / 2, (1 - slowest) / 2
    sigma = centre / half
    rho = 1 / sigma
    x = np.zeros_like(residual)
    change = precondition(residual) / centre
    for _ in range(steps):
        x += change
        residual = residual - system @ change - _TIE * change
        rho, before = 1 / (2 * sigma - rho), rho
        change = rho * before * change + 2 * rho / half * precondition(residual)
    return x


def _gauss_seidel(system: Any) -> Any:
    """Symmetric Gauss-Seidel: applies the inverse of ``(D + E) D^-1 (D + E')``.

    D is the diagonal of `system` and E what is below it. This is a Cholesky factor without the
    work of finding one, ``F F'`` with ``F = (D + E) D^-1/2``, so PyMatting can apply it.
    """
    from pymatting.preconditioner.ichol import CholeskyDecomposition

    system.sum_duplicates()  # also sorts: the diagonal comes first in each row of D + E'
    count = system.shape[0]
    row = np.repeat(np.arange(count), np.diff(system.indptr))
    upper = system.indices >= row
    row = row[upper]
    # The columns of D + E, as PyMatting wants them, are the rows of D + E'.
    indices = system.indices[upper].astype(np.int64)
    starts = np.searchsorted(row, np.arange(count + 1))
    values = system.data[upper]
    values[starts[:-1]] += _TIE
    values /= np.sqrt(values[starts[:-1]])[row]
    return CholeskyDecomposition((values, indices, starts))
