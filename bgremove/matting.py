"""Alpha in the unknown band of a trimap, by closed-form matting, and PyMatting's edge colours.

PyMatting is the optional extra ``matting``; it is imported by the first call that needs it.
"""

from __future__ import annotations

from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt

from bgremove.arrays import Alpha, Image, Trimap
from bgremove.tiles import Tile, each_tile

Floats = npt.NDArray[np.float64]

_COARSEST = 256  # pixels on the long side at which the picture is small enough to solve exactly
_MARGIN = 16  # pixels read around a tile: further away nothing reaches its inner part
_SMOOTHEST = 0.02  # see _improve


def closed_form_alpha(
    image: Image,
    trimap: Trimap,
    *,
    initial: Alpha | None = None,
    epsilon: float = 1e-7,
    steps: int = 8,
    tile: int = 128,
) -> Alpha:
    pass


def _solve(image: Image, trimap: Trimap, epsilon: float, steps: int, size: int) -> Alpha:
    if max(trimap.shape) <= _COARSEST:
        return _solve_exactly(image, trimap, epsilon)
    small_image, small_trimap = _halve(image), _halve(trimap)
    small_trimap[(small_trimap > 0) & (small_trimap < 255)] = 128
    small = _solve(small_image, small_trimap, epsilon, steps, size)
    alpha = (trimap == 255).astype(np.float32)

    def work(part: Tile) -> None:
        outer = _double(part.outer)
        start = _enlarge(small_image[part.outer], small[part.outer], image[outer])
        fine = _improve(image[outer], trimap[outer], start, epsilon, steps)
        inner, within = _double(part.inner), _double(part.within)
        alpha[inner] = fine[within]

    each_tile(work, small_trimap == 128, size=size // 2, margin=_MARGIN // 2)
    return alpha


def _halve(picture: Any) -> Any:
    """Means of 2x2 pixels."""
    height, width = picture.shape[:2]
    even = cv2.copyMakeBorder(picture, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
    return cv2.resize(even, (even.shape[1] // 2, even.shape[0] // 2), interpolation=cv2.INTER_AREA)


def _double(window: tuple[slice, slice]) -> tuple[slice, slice]:
    rows, columns = window
    return slice(2 * rows.start, 2 * rows.stop), slice(2 * columns.start, 2 * columns.stop)


def _enlarge(small_image: Image, small_alpha: Alpha, image: Image) -> Floats:
    colour = small_image.astype(np.float64) / 255
    alpha = small_alpha.astype(np.float64)

    def mean(x: Floats) -> Floats:
        return cast(Floats, cv2.blur(x, (3, 3), borderType=cv2.BORDER_REFLECT))

    m, ma = mean(colour), mean(alpha)
    i, j = np.triu_indices(3)
    cov = mean3(mean, colour[..., i] * colour[..., j]) - m[..., i] * m[..., j]
    cov[..., [0, 3, 5]] += 1e-4 / 9
    rhs = mean(colour * alpha[..., None]) - m * ma[..., None]
    a = _solve3(cov, rhs)
    b = ma - (a * m).sum(-1)
    line = mean(np.dstack([a, b]))
    line = cv2.resize(line, (2 * line.shape[1], 2 * line.shape[0]), interpolation=cv2.INTER_LINEAR)
    line = line[: image.shape[0], : image.shape[1]]
    return np.clip((line[..., :3] * (image / 255)).sum(-1) + line[..., 3], 0, 1)


def mean3(mean, x):
    return np.dstack([mean(np.ascontiguousarray(x[..., :3])), mean(np.ascontiguousarray(x[..., 3:]))])


def _solve3(s, c):
    s00, s01, s02, s11, s12, s22 = np.moveaxis(s, -1, 0)
    k00, k01, k02 = s11 * s22 - s12 * s12, s02 * s12 - s01 * s22, s01 * s12 - s02 * s11
    k11, k12, k22 = s00 * s22 - s02 * s02, s01 * s02 - s00 * s12, s00 * s11 - s01 * s01
    det = s00 * k00 + s01 * k01 + s02 * k02
    c0, c1, c2 = np.moveaxis(c, -1, 0)
    return (
        np.dstack(
            [k00 * c0 + k01 * c1 + k02 * c2, k01 * c0 + k11 * c1 + k12 * c2, k02 * c0 + k12 * c1 + k22 * c2]
        )
        / det[..., None]
    )


def _system(image, free, x, epsilon):
    from pymatting import cf_laplacian

    L = cf_laplacian(image / 255, epsilon, is_known=~free)
    rows = L[free.ravel()]
    return rows[:, free.ravel()], -(rows @ x.ravel())


MODE = "cheb"


def _improve(image, trimap, start, epsilon, steps):
    import scipy.sparse as sp
    from pymatting.preconditioner.ichol import CholeskyDecomposition

    unknown = trimap == 128
    x = np.where(unknown, start, trimap == 255).astype(np.float64)
    free = unknown.copy()
    if steps == 0 or not free.any():
        return x
    A, r = _system(image, free, x, epsilon)
    T = sp.triu(A, format="csr")
    T.sort_indices()
    d = A.diagonal()
    d = np.maximum(d, 1e-12)
    v = T.data * np.repeat(1 / np.sqrt(d), np.diff(T.indptr))
    M = CholeskyDecomposition((v, T.indices.astype(np.int64), T.indptr.astype(np.int64)))
    if MODE == "cheb":
        lo, hi = _SMOOTHEST, 1.0
        theta, delta = (hi + lo) / 2, (hi - lo) / 2
        sigma = theta / delta
        rho = 1 / sigma
        p = M(r) / theta
        e = np.zeros_like(r)
        for _ in range(steps):
            e += p
            r = r - A @ p
            rho2 = 1 / (2 * sigma - rho)
            p = rho2 * rho * p + 2 * rho2 / delta * M(r)
            rho = rho2
    else:
        e = np.zeros_like(r)
        z = M(r)
        p = z.copy()
        rz = r @ z
        for _ in range(steps):
            Ap = A @ p
            al = rz / (p @ Ap)
            e += al * p
            r = r - al * Ap
            z = M(r)
            rz2 = r @ z
            p = z + rz2 / rz * p
            rz = rz2
    x[free] += e
    return np.clip(x, 0, 1)


def _solve_exactly(image, trimap, epsilon):
    from pymatting import cg, ichol

    free = trimap == 128
    x = np.where(free, 0.5, trimap == 255)
    if not free.any():
        return x.astype(np.float32)
    A, r = _system(image, free, x, epsilon)
    x[free] += cg(A, r, M=ichol(A, max_nnz=200 * A.shape[0] + 1000), rtol=1e-6)
    return np.clip(x, 0, 1).astype(np.float32)
