"""What a browser's camera sees in the tests: a photograph that moves, as MJPEG."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
from PIL import Image as PILImage

from bgremove.demo import sample_path


def camera_file(
    path: Path, *, name: str = "cat", size: tuple[int, int] = (640, 480), frames: int = 30
) -> Path:
    """A file for Chromium's ``--use-file-for-fake-video-capture``: `frames` JPEGs that go on for ever."""
    width, height = size
    with PILImage.open(sample_path(f"{name}.jpg")) as photo:
        scale = 1.1 * max(width / photo.width, height / photo.height)
        large = photo.convert("RGB").resize((round(photo.width * scale), round(photo.height * scale)))
    pixels = np.asarray(large)
    room_y, room_x = pixels.shape[0] - height, pixels.shape[1] - width
    with open(path, "wb") as file:
        for number in range(frames):
            turn = 2 * math.pi * number / frames
            y, x = round(room_y * (0.5 + 0.5 * math.sin(turn))), round(room_x * (0.5 + 0.5 * math.cos(turn)))
            one = io.BytesIO()
            PILImage.fromarray(pixels[y : y + height, x : x + width]).save(one, "JPEG", quality=90)
            file.write(one.getvalue())
    return path
