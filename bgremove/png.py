"""A PNG writer that uses every core.

PNG's compression is most of the time it takes to write a cut-out. The file format allows the
stream to be made of pieces that are compressed apart (as pigz does), and zlib lets go of Python's
lock, so strips of rows are filtered and compressed in parallel. Where the package isal is installed,
levels 1 to 4 are its: an eighth of zlib's time for files a tenth larger.
"""

from __future__ import annotations

import functools
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from bgremove.threads import map_on_threads

Bytes = npt.NDArray[np.uint8]

_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
_STRIP_BYTES = 1 << 20
_QUICK = range(1, 5)  # levels


def encode_png(
    pixels: Bytes,
    *,
    level: int = 1,
    icc: bytes | None = None,
    exif: bytes | None = None,
    dpi: tuple[float, float] | None = None,
) -> bytes:
    """A PNG file of `pixels`, lossless.

    Args:
        pixels: (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA with straight alpha, uint8.
        level: 0 (stored) to 9 (smallest, slow).
        icc: colour profile.
        exif: the TIFF block, with or without its ``Exif\\0\\0`` prefix.
        dpi: horizontal and vertical resolution.

    References:
        ISO/IEC 15948 (PNG); RFC 1950 (zlib).
    """
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    rows = np.ascontiguousarray(pixels).reshape(height, width * channels)
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    chunks = [b"\x89PNG\r\n\x1a\n", _chunk(b"IHDR", header)]
    if icc:
        chunks.append(_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(icc)))
    if dpi:
        per_metre = [min(round(value / 0.0254), 2**31 - 1) for value in dpi]
        chunks.append(_chunk(b"pHYs", struct.pack(">IIB", *per_metre, 1)))
    if exif:
        chunks.append(_chunk(b"eXIf", exif.removeprefix(b"Exif\0\0")))
    chunks += [_chunk(b"IDAT", part) for part in _compressed(rows, channels, level)]
    chunks.append(_chunk(b"IEND", b""))
    return b"".join(chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))


def _compressed(rows: Bytes, channels: int, level: int) -> Iterator[bytes]:
    """The zlib stream of the filtered rows, in pieces: header, strips, checksum."""
    height = rows.shape[0]
    step = max(1, _STRIP_BYTES // max(1, rows.shape[1]))
    starts = range(0, height, step)

    def strip(start: int) -> tuple[bytes, int, int]:
        filtered = _filter(rows, start, min(start + step, height), channels)
        # A raw deflate stream; all but the last end on a byte without ending the stream.
        deflate = _deflate(level)
        ending = zlib.Z_FINISH if start + step >= height else zlib.Z_FULL_FLUSH
        data = filtered.data
        return deflate.compress(data) + deflate.flush(ending), (_isal() or zlib).adler32(data), filtered.size

    checksum = 1
    yield b"\x78\x01"
    for data, part, size in map_on_threads(strip, starts):
        checksum = _combine_adler32(checksum, part, size)
        yield data
    yield struct.pack(">I", checksum)


def _deflate(level: int) -> Any:
    """A compressor of a raw stream, as ``zlib.compressobj`` makes them."""
    quick = _isal() if level in _QUICK else None
    if quick is not None:
        return quick.compressobj(2, zlib.DEFLATED, -15)  # its level 3 takes longer, and finds no more here
    return zlib.compressobj(level, zlib.DEFLATED, -15, 9)


@functools.cache
def _isal() -> Any:
    """Intel's deflate, where its package is installed; zlib's otherwise."""
    try:
        from isal import isal_zlib
    except ImportError:
        return None
    return isal_zlib


def _filter(rows: Bytes, start: int, stop: int, channels: int) -> Bytes:
    """Rows as differences to the left or the upper neighbour, whichever is smaller in this strip."""
    part = rows[start:stop]
    filtered = np.empty((part.shape[0], part.shape[1] + 1), np.uint8)
    above = rows[start - 1 : stop - 1] if start else np.vstack([np.zeros_like(rows[:1]), part[:-1]])
    sample = slice(None, None, 8)
    to_left = _size(part[sample, channels:] - part[sample, :-channels])
    to_above = _size(part[sample] - above[sample])
    if to_left < to_above:
        filtered[:, 0] = 1
        filtered[:, 1 : 1 + channels] = part[:, :channels]
        np.subtract(part[:, channels:], part[:, :-channels], out=filtered[:, 1 + channels :])
    else:
        filtered[:, 0] = 2
        np.subtract(part, above, out=filtered[:, 1:])
    return filtered


def _size(difference: Bytes) -> float:
    """Mean absolute value of differences modulo 256, the usual guess at how well they compress."""
    return float(np.abs(difference.view(np.int8).astype(np.int16)).mean()) if difference.size else 0.0


def _combine_adler32(first: int, second: int, second_size: int) -> int:
    """Adler-32 of two pieces joined, from theirs (as zlib's adler32_combine)."""
    base = 65521
    remainder = second_size % base
    low = ((first & 0xFFFF) + (second & 0xFFFF) - 1) % base
    high = ((first >> 16) + (second >> 16) + remainder * ((first & 0xFFFF) - 1)) % base
    return high << 16 | low
