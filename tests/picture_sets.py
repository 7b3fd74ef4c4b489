"""Pictures with their truths in a folder, and a remover that knows them and errs by known amounts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image as PILImage

from bgremove.arrays import Alpha, Image
from bgremove.options import Params
from bgremove.removers.base import Remover
from tests.cli_helpers import disc_picture


def write_pair(folder: Path, stem: str, image: npt.NDArray[np.uint8], truth: Alpha) -> None:
    for name, pixels in (("images", image), ("masks", np.rint(truth * 255).astype(np.uint8))):
        path = folder / name / f"{stem}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        PILImage.fromarray(pixels).save(path)


def disc_set(folder: Path, count: int = 5) -> Path:
    """Bright discs of several shades with their masks, all of one size."""
    for index in range(count):
        image = np.asarray(disc_picture(shade=20 * index))
        write_pair(folder, f"disc_{index}", image, (image[..., 0] > 100).astype(np.float32))
    return folder


class Wrong(Remover):
    """Knows the answer by the picture's shade, and cuts off a part of it that grows with the shade."""

    def __init__(self) -> None:
        super().__init__(Params())
        self.calls = 0

    def predict_alpha(self, image: Image) -> Alpha:
        self.calls += 1
        found = (image[..., 0] > 100).astype(np.float32)
        rows = np.flatnonzero(found.any(axis=1))
        shade = int(image[0, 0, 2]) - 90
        found[rows[0] : rows[0] + shade // 4] = 0
        return found
