"""Removers for live tests: one that knows the drawn disc by its colour, as slow as is wanted."""

from __future__ import annotations

import time

import numpy as np

from bgremove.arrays import Alpha, Image
from bgremove.options import Params
from bgremove.removers.base import Remover


class DiscRemover(Remover):
    """Finds the disc of ``tests.video.clips``, which is red on blue.

    Args:
        seconds: that it takes for each picture.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__(Params())
        self.seconds, self.asked = seconds, 0

    def predict_alpha(self, image: Image) -> Alpha:
        self.asked += 1
        time.sleep(self.seconds)
        difference = image[..., 0].astype(np.float32) - image[..., 2]
        return np.clip((difference + 60) / 200, 0, 1)
