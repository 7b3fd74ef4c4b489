"""A TIFF writer that keeps Exif and uses every core.

Pillow writes either compressed TIFF (through libtiff, which fails on Exif and GPS blocks) or the blocks.
"""

from __future__ import annotations

import io
import zlib

import numpy as np
import numpy.typing as npt
from PIL import Image as PILImage
from PIL import TiffTags
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from bgremove.threads import map_on_threads

Bytes = npt.NDArray[np.uint8]

_STRIP_BYTES = 1 << 20
_BLOCKS = (0x8769, 0x8825)  # Exif and GPS, directories of their own
_DEFLATE, _DIFFERENCES, _STRAIGHT_ALPHA = 8, 2, 2


def encode_tiff(
    pixels: Bytes,
    *,
    level: int = 6,
    icc: bytes | None = None,
    exif: bytes | None = None,
    dpi: tuple[float, float] | None = None,
) -> bytes:
    """A TIFF file of `pixels`, lossless; arguments as :func:`~bgremove.png.encode_png`.

    References:
        Adobe, "TIFF Revision 6.0", 1992, and "Photoshop TIFF Technical Notes", 2002 (Deflate).
    """
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    image = np.ascontiguousarray(pixels).reshape(height, width, channels)
    step = max(1, _STRIP_BYTES // (width * channels))
    rows = [image[top : top + step] for top in range(0, height, step)]
    strips = list(map_on_threads(lambda part: zlib.compress(_differences(part), level), rows))
    sizes = [len(strip) for strip in strips]
    directory = ImageFileDirectory_v2()
    for tag, value in _exif_tags(exif).items():
        directory[tag] = value
    directory[256], directory[257] = width, height
    directory[258] = (8,) * channels
    directory[259], directory[317] = _DEFLATE, _DIFFERENCES
    directory[262] = 2 if channels > 2 else 1  # RGB, or grey from black
    directory[277], directory[278] = channels, step
    directory.tagtype[273] = directory.tagtype[279] = TiffTags.LONG
    directory[273] = tuple(int(offset) for offset in np.cumsum([0, *sizes[:-1]]))  # from the first strip
    directory[279] = tuple(sizes)
    if channels in (2, 4):
        directory[338] = _STRAIGHT_ALPHA
    if dpi:
        directory[282], directory[283], directory[296] = dpi[0], dpi[1], 2
    if icc:
        directory.tagtype[34675] = TiffTags.UNDEFINED
        directory[34675] = icc
    file = io.BytesIO()
    directory.save(file)
    return b"".join([file.getvalue(), *strips])


def _differences(part: Bytes) -> bytes:
    """Rows as differences to the pixel on the left, which compress better."""
    result = part.copy()
    np.subtract(part[:, 1:], part[:, :-1], out=result[:, 1:])
    return result.tobytes()


def _exif_tags(exif: bytes | None) -> dict[int, object]:
    if not exif:
        return {}
    block = PILImage.Exif()
    block.load(exif)
    return {tag: block.get_ifd(tag) if tag in _BLOCKS else value for tag, value in block.items()}
