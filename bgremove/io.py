"""Pictures in and out: any source to the package's arrays, arrays to any file, nothing lost.

Reading applies EXIF orientation, turns every colour mode into RGB with an optional alpha, and
keeps colour profile, resolution and EXIF beside the pixels. Writing puts them back, and is atomic:
a file has its old content, or all of its new one.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import secrets
import stat
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, cast

import numpy as np
import numpy.typing as npt
from PIL import Image as PILImage
from PIL import ImageOps, UnidentifiedImageError
from pydantic import Field

from bgremove.arrays import Alpha, Image, Trimap, describe
from bgremove.errors import ImageError, MissingExtraError, OptionError, OutputError
from bgremove.options import Params
from bgremove.png import encode_png
from bgremove.tiff import encode_tiff

if TYPE_CHECKING:
    from PIL.ImageCms import ImageCmsTransform

Pixels = npt.NDArray[np.uint8]
Source = str | os.PathLike[str] | bytes | PILImage.Image | npt.NDArray[Any]

MAX_MEGAPIXELS = 100.0
"""Pictures larger than this are refused before they are decoded, unless told otherwise."""

READABLE = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "DIB", "GIF", "AVIF", "JPEG2000", "PPM", "HEIF")
"""Pillow's names of the formats read (MPO comes with JPEG). Others run code of their own, as EPS does."""


@dataclass(frozen=True)
class FileFormat:
    """A format pictures are written in; `alpha` says how much transparency it can hold."""

    name: str
    pillow: str
    extensions: tuple[str, ...]
    alpha: Literal["soft", "hard", "none"]
    animated: bool = False


FORMATS = {
    row.name: row
    for row in (
        FileFormat("png", "PNG", (".png", ".apng"), "soft", animated=True),
        FileFormat("webp", "WEBP", (".webp",), "soft", animated=True),
        FileFormat("jpeg", "JPEG", (".jpg", ".jpeg", ".jpe", ".jfif"), "none"),
        FileFormat("tiff", "TIFF", (".tif", ".tiff"), "soft"),
        FileFormat("avif", "AVIF", (".avif",), "soft"),
        FileFormat("gif", "GIF", (".gif",), "hard", animated=True),
        FileFormat("bmp", "BMP", (".bmp",), "none"),
    )
}

READABLE_EXTENSIONS = frozenset(
    {extension for row in FORMATS.values() for extension in row.extensions}
    | {".heic", ".heif", ".hif", ".jp2", ".ppm", ".pgm", ".mpo", ".dib"}
)
"""What is taken for a picture in a folder."""


class WriteParams(Params):
    """How the result is written."""

    format: Literal["auto", "png", "webp", "jpeg", "tiff", "avif", "gif", "bmp"] = Field(
        "auto", description="File format; auto goes by the output's name, or is PNG"
    )
    quality: int = Field(90, ge=1, le=100, description="JPEG, WebP and AVIF quality; 100 makes WebP lossless")
    png_level: int = Field(4, ge=0, le=9, description="PNG compression: 0 is largest, 9 is slowest")
    strip: bool = Field(False, description="Drop EXIF, colour profile and resolution instead of keeping them")


@dataclass(frozen=True)
class Metadata:
    """What a file says about a picture besides its pixels.

    Attributes:
        exif: Exif block without orientation (it is applied when reading).
        icc: colour profile of the RGB values; None is sRGB.
        dpi: horizontal and vertical resolution, pixels per inch.
    """

    exif: bytes | None = None
    icc: bytes | None = None
    dpi: tuple[float, float] | None = None


@dataclass(frozen=True)
class Frame:
    """One picture, or one of an animation.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        alpha: (H, W) float32, the picture's own transparency; None if it has none.
        duration: milliseconds shown, 0 for a still.
    """

    image: Image
    alpha: Alpha | None = None
    duration: float = 0.0


@dataclass(frozen=True)
class Picture:
    """An opened picture: what its header says, and its frames when iterated (decoded one by one).

    Use as a context manager. Iterate once.

    Attributes:
        name: for messages.
        format: Pillow's name of the file format, or ``array``.
        size: (height, width) after orientation.
        frames: 1 for a still.
        loop: times an animation is shown, 0 for ever.
        notes: sentences about what could not be kept.
    """

    name: str
    format: str
    size: tuple[int, int]
    frames: int
    loop: int
    metadata: Metadata
    notes: tuple[str, ...]
    _read: Callable[[], Iterator[Frame]] = field(repr=False)
    _close: Callable[[], None] = field(repr=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def __iter__(self) -> Iterator[Frame]:
        return self._read()


def open_picture(
    source: Source, *, max_megapixels: float = MAX_MEGAPIXELS, name: str = "", first_only: bool = False
) -> Picture:
    """Open a path, the bytes of a file, a PIL image or an array, without decoding it yet.

    Args:
        source: arrays may be uint8, uint16 or float (0 to 1), grey (H, W) or (H, W, 1), grey and
            alpha (H, W, 2), RGB or RGBA.
        max_megapixels: larger pictures are refused.
        name: what messages call it; a path's own name by default.
        first_only: the others are not wanted, nor counted, which can take minutes: `frames` says 2 for
            all that are more than 1.

    Raises:
        ImageError: if it cannot be read, is empty or too large, or was made to be decoded for ever.
        MissingExtraError: for HEIC without the extra ``heic``.
    """
    if isinstance(source, np.ndarray):
        return _picture_of_array(source, name or "the array")
    if not isinstance(source, (str, os.PathLike, bytes, PILImage.Image)):
        raise ImageError(
            f"expected a path, the bytes of a file, a PIL image or a NumPy array; got {type(source).__name__}"
        )
    owned = not isinstance(source, PILImage.Image)
    name = name or (str(source) if isinstance(source, (str, os.PathLike)) else "the picture")
    pil = source if isinstance(source, PILImage.Image) else _open_file(source, name)
    try:
        _check_size(pil, name, max_megapixels)
        with _reading(name):
            if owned and pil.format in ("JPEG", "MPO"):
                _check_scans(source if isinstance(source, bytes) else _all_of(pil), name)
            close = pil.close if owned else lambda: None
            return _picture_of_pil(pil, name, close, first_only=first_only)
    except BaseException:
        if owned:
            pil.close()
        raise


def read_image(source: Source, *, max_megapixels: float = MAX_MEGAPIXELS) -> Image:
    """The colours of a picture (an animation's first frame): (H, W, 3) uint8 RGB, upright.

    Raises:
        ImageError: as :func:`open_picture`.
    """
    return read_frame(source, max_megapixels=max_megapixels).image


def read_frame(source: Source, *, max_megapixels: float = MAX_MEGAPIXELS) -> Frame:
    """As :func:`read_image`, with the picture's own transparency.

    Raises:
        ImageError: as :func:`open_picture`.
    """
    with open_picture(source, max_megapixels=max_megapixels) as picture:
        return next(iter(picture))


def read_hint(source: Source, *, max_megapixels: float = MAX_MEGAPIXELS) -> Trimap:
    """Where a user says the subject is, from a picture: a rough mask or strokes.

    Args:
        source: as for :func:`open_picture`.
        max_megapixels: larger pictures are refused.

    Returns:
        (H, W) uint8: 255 where the picture is white, 0 where it is black, 128 where it has any other
        colour or is transparent.

    Raises:
        ImageError: as :func:`open_picture`, or if nothing is marked.
    """
    frame = read_frame(source, max_megapixels=max_megapixels)
    hint = np.full(frame.image.shape[:2], 128, np.uint8)
    hint[frame.image.min(axis=2) >= 224] = 255
    hint[frame.image.max(axis=2) <= 32] = 0
    if frame.alpha is not None:
        hint[frame.alpha < 0.5] = 128
    if (hint == 128).all():
        name = source if isinstance(source, (str, os.PathLike)) else "the picture"
        raise ImageError(f"{name} marks nothing as a hint; paint the subject white and the background black")
    return hint


def frame_from_array(array: npt.NDArray[Any]) -> Frame:
    """An array of any common layout as RGB uint8 and alpha.

    Raises:
        ImageError: for another shape or dtype, no pixels, floats outside 0 to 1 or NaN.
    """
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    channels = 1 if array.ndim == 2 else array.shape[2] if array.ndim == 3 else 0
    if channels not in (1, 2, 3, 4) or array.dtype not in (np.uint8, np.uint16) and array.dtype.kind != "f":
        raise ImageError(
            "an image array must be uint8, uint16 or float, of shape (H, W), (H, W, 3) or (H, W, 4); "
            f"got {describe(array)}"
        )
    if array.size == 0:
        raise ImageError(f"the image array has no pixels (shape {array.shape}); give at least 1x1")
    values = array.reshape(*array.shape[:2], channels)
    if array.dtype.kind == "f" and not (values.min() >= 0 and values.max() <= 1):
        raise ImageError(
            f"a float image must lie within 0 and 1; got {values.min()} to {values.max()}: "
            "divide it by its maximum, and remove any NaN"
        )
    top = 1.0 if array.dtype.kind == "f" else float(np.iinfo(array.dtype).max)
    colours = values[..., : 3 if channels > 2 else 1]
    if array.dtype != np.uint8:
        colours = np.rint(colours * (255 / top)).astype(np.uint8)
    image = np.ascontiguousarray(np.broadcast_to(colours, (*array.shape[:2], 3)))
    alpha = (values[..., -1] / top).astype(np.float32) if channels in (2, 4) else None
    return Frame(image, alpha)


def output_format(path: Path | None, wanted: str) -> FileFormat:
    """The format of an output: as wanted, else by its name, else PNG.

    Raises:
        OptionError: if the name's extension is of no format that can be written.
    """
    if wanted != "auto":
        return FORMATS[wanted]
    if path is None or not path.suffix:
        return FORMATS["png"]
    named = _named_format(path)
    if named is not None:
        return named
    raise OptionError(
        f"cannot write {path.name}: {path.suffix} is no format written here; name it "
        f"{', '.join(row.extensions[0] for row in FORMATS.values())}, or add --format"
    )


def check_name(path: Path, wanted: str) -> None:
    """Refuse a name that says another format than is wanted, ``cutout.png`` for a JPEG.

    Raises:
        OptionError: if it does.
    """
    named = _named_format(path)
    if wanted != "auto" and named not in (None, FORMATS[wanted]):
        raise OptionError(
            f"{path} would hold {wanted.upper()}; name it {path.stem}{FORMATS[wanted].extensions[0]}, or "
            f"leave out the format {wanted}"
        )


def _named_format(path: Path) -> FileFormat | None:
    return next((row for row in FORMATS.values() if path.suffix.lower() in row.extensions), None)


def encode(
    frames: Sequence[Pixels],
    file_format: FileFormat,
    params: WriteParams | None = None,
    metadata: Metadata | None = None,
    *,
    durations: Sequence[float] = (),
    loop: int = 0,
) -> bytes:
    """A file of one picture or an animation.

    Args:
        frames: (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA, uint8.
        durations: milliseconds a frame, for more than one frame.
        loop: times an animation is shown, 0 for ever.

    Raises:
        OptionError: if the format cannot hold transparency, or an animation.
        OutputError: if the format cannot hold a picture of that size.
    """
    params, metadata = params or WriteParams(), metadata or Metadata()
    if params.strip:
        metadata = Metadata()
    has_alpha = frames[0].ndim == 3 and frames[0].shape[2] == 4
    if has_alpha and file_format.alpha == "none":
        raise no_transparency(file_format.name.upper())
    if len(frames) > 1 and not file_format.animated:
        animated = ", ".join(row.name for row in FORMATS.values() if row.animated)
        raise OptionError(f"{file_format.name.upper()} cannot hold an animation; write one of {animated}")
    if frames[0].ndim == 2:
        metadata = replace(metadata, icc=None)  # a profile of RGB colours does not fit a grey picture
    if file_format.name == "png" and len(frames) == 1:
        return encode_png(
            frames[0], level=params.png_level, icc=metadata.icc, exif=metadata.exif, dpi=metadata.dpi
        )
    if file_format.name == "tiff":
        return encode_tiff(frames[0], icc=metadata.icc, exif=metadata.exif, dpi=metadata.dpi)
    return _encode_with_pillow(frames, file_format, params, metadata, durations, loop)


def no_transparency(name: str) -> OptionError:
    """The error for a file or a format that cannot hold a see-through picture."""
    return OptionError(
        f"{name} cannot hold transparency; add a background (--background white), or write PNG or WebP "
        "(--format png)"
    )


def exists_already(path: Path) -> OutputError:
    """The error for an output that nobody allowed to replace."""
    return OutputError(f"{path} exists; add --overwrite to replace it, or --skip-existing")


def write_bytes(path: Path, data: bytes, *, overwrite: bool = False) -> None:
    """Write a file whole or not at all: under another name first, then renamed.

    Raises:
        OutputError: if it exists and may not be overwritten, or cannot be written.
    """
    if os.path.isdir(path):
        raise OutputError(f"cannot write {path}: it is a folder; give a file name")
    if os.path.exists(path) and not os.path.isfile(path):
        raise OutputError(f"cannot write {path}: it is no regular file; give a file name, or - for a stream")
    temporary = path.with_name(f".bgremove-{secrets.token_hex(8)}.part")
    unfinished.add(temporary)
    try:
        with open(temporary, "xb") as file:
            file.write(data)
        move_into_place(temporary, path, overwrite=overwrite)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"cannot write {path}: {error.strerror or error}; nothing was changed") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
        unfinished.discard(temporary)


unfinished: set[Path] = set()
"""Temporary files that are being written, to be removed if the process ends."""


def remove_unfinished() -> None:
    """Remove the temporary files of all writes now going on, because the process ends."""
    for temporary in list(unfinished):
        with contextlib.suppress(OSError):
            temporary.unlink()


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, if they are not there.

    Raises:
        OutputError: if that cannot be done.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise OutputError(f"cannot write into {folder}: it is not a folder; give another") from None
    except OSError as error:
        why = error.strerror or error
        raise OutputError(f"cannot make the folder {folder}: {why}; give another") from error


def move_into_place(temporary: Path, path: Path, *, overwrite: bool) -> None:
    """Give a complete file its name, in one step.

    Raises:
        OutputError: if there is a file of that name, and it is not to be replaced.
    """
    if overwrite:
        os.replace(temporary, path)
        return
    try:
        os.link(temporary, path)  # unlike a rename, fails if somebody made the file meanwhile
    except FileExistsError:
        raise exists_already(path) from None
    except OSError:  # no hard links here
        if path.exists():
            raise exists_already(path) from None
        os.replace(temporary, path)


# Reading -----------------------------------------------------------------------------------------

_PILLOW_LIMIT = threading.Lock()


def _is_video(head: bytes) -> bool:
    """By how MP4 and MOV, WebM and MKV, and AVI begin."""
    return head[4:8] in (b"ftyp", b"moov", b"mdat") or head[:4] == b"\x1aE\xdf\xa3" or head[8:12] == b"AVI "


def _open_file(source: str | os.PathLike[str] | bytes, name: str) -> PILImage.Image:
    if isinstance(source, bytes):
        head, file = source[:32], io.BytesIO(source)
        if not source:
            raise ImageError(f"{name} is empty (0 bytes); give a picture")
    else:
        head, file = _head(Path(source), name), source  # type: ignore[assignment]
    brands = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")
    if head[4:8] == b"ftyp" and head[8:12] in brands and b"avif" not in head:
        _register_heif(name)
    try:
        # Our own limit is checked right after this, in megapixels and with a way to raise it.
        with _PILLOW_LIMIT:
            limit, PILImage.MAX_IMAGE_PIXELS = PILImage.MAX_IMAGE_PIXELS, None
            try:
                return PILImage.open(
                    file, formats=[one for one in READABLE if one != "HEIF" or _heif_known()]
                )
            finally:
                PILImage.MAX_IMAGE_PIXELS = limit
    except UnidentifiedImageError:
        if _is_video(head):
            raise ImageError(f"{name} is a video, not a picture; use: bgremove video") from None
        raise ImageError(
            f"{name} is not a picture that can be read (it begins with {_readable(head)}); expected "
            "JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF or HEIC"
        ) from None
    except Exception as error:  # foreign bytes can break the parser in any way
        raise ImageError(f"{name} cannot be read as a picture: {error}; is it complete?") from error


def _head(path: Path, name: str) -> bytes:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode) and not path.is_dir():
            # A pipe may keep us waiting for ever, and cannot be read twice.
            raise ImageError(
                f"{name} is no regular file; send it to standard input (bgremove remove - < FILE)"
            )
        with open(path, "rb") as file:
            head = file.read(32)
    except IsADirectoryError:
        raise ImageError(f"{name} is a folder; give a picture") from None
    except FileNotFoundError:
        raise ImageError(f"{name} does not exist; check the path") from None
    except ImageError:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"{name} cannot be opened: {reason}; check its permissions") from None
    if not head:
        raise ImageError(f"{name} is empty (0 bytes); give a picture")
    return head


def _readable(head: bytes) -> str:
    return repr(head[:12])[1:]


def _heif_known() -> bool:
    return "HEIF" in PILImage.OPEN


def _register_heif(name: str) -> None:
    try:
        import pillow_heif
    except ImportError:
        raise MissingExtraError(
            f'{name} is a HEIC picture; to read it: pip install "bgremove[heic]"'
        ) from None
    if not _heif_known():
        pillow_heif.register_heif_opener()


def _check_size(pil: PILImage.Image, name: str, max_megapixels: float) -> None:
    width, height = pil.size
    if width * height == 0:
        raise ImageError(f"{name} has no pixels ({width} x {height}); give a picture of at least 1 x 1")
    megapixels = width * height / 1e6
    if megapixels > max_megapixels:
        raise ImageError(
            f"{name} has {megapixels:.0f} megapixels ({width} x {height}), more than the limit of "
            f"{max_megapixels:g}; raise it with --max-megapixels {-(-megapixels // 1):.0f} "
            "(max_megapixels= in Python) if you trust the file"
        )


_MOST_SCANS = 100  # as libtiff's; encoders make some ten
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


def _all_of(pil: PILImage.Image) -> bytes:
    """The file of a picture."""
    file = cast(Any, pil).fp
    place = file.tell()
    file.seek(0)
    data: bytes = file.read()
    file.seek(place)
    return data


def _check_scans(data: bytes, name: str) -> None:
    """Refuse a JPEG that tells every pixel over and over again: 14 bytes can cost a pass over all of them."""
    if data.count(b"\xff\xda") <= _MOST_SCANS:  # at most so many: some may be of a thumbnail, or a film
        return
    place = scans = 0
    while found := _MARKER.search(data, place):
        kind, place = found[0][1], found.end()
        if kind == 0xD9:  # the end
            return
        scans += kind == 0xDA
        if scans > _MOST_SCANS:
            raise ImageError(f"{name} is a JPEG of more than {_MOST_SCANS} scans; save it anew")
        if kind not in (0x01, 0xD8):  # these have no length
            place += int.from_bytes(data[place : place + 2], "big")


def _picture_of_array(array: npt.NDArray[Any], name: str) -> Picture:
    frame = frame_from_array(array)
    height, width = frame.image.shape[:2]
    return Picture(
        name=name,
        format="array",
        size=(height, width),
        frames=1,
        loop=0,
        metadata=Metadata(),
        notes=(),
        _read=lambda: iter([frame]),
        _close=lambda: None,
    )


def _picture_of_pil(
    pil: PILImage.Image, name: str, close: Callable[[], None], *, first_only: bool
) -> Picture:
    animated = pil.format in ("GIF", "WEBP", "PNG", "AVIF")
    if first_only and pil.format in ("TIFF", "GIF"):  # which have to be read to the end to be counted
        pages = 2 if getattr(pil, "is_animated", False) else 1
    else:
        pages = int(getattr(pil, "n_frames", 1))
    notes = []
    if pages > 1 and pil.format == "TIFF":
        notes.append(f"{name} has {'several' if first_only else pages} pages; only the first is used")
    exif = None
    try:
        exif = _exif_to_keep(pil)
    except Exception:  # foreign bytes can break the parser in any way
        notes.append(f"{name}: its EXIF data is damaged and is left out")
    if _has_profile_of_its_own(pil) and _to_srgb(pil) is None:
        notes.append(f"{name}: its colour profile cannot be used, so its colours may be a little off")
    width, height = pil.size
    if _orientation(pil) in (5, 6, 7, 8) and pil.format != "TIFF":  # Pillow turns these itself
        width, height = height, width
    # Profiles of grey, CMYK and Lab pictures are used up in the conversion to RGB.
    icc = pil.info.get("icc_profile") if pil.mode in ("RGB", "RGBA", "P", "YCbCr") else None
    # A PNG animation may begin with a picture for programs that show no animations.
    first = 1 if animated and pages > 2 and pil.info.get("default_image") else 0
    frames = pages - first if animated else 1
    return Picture(
        name=name,
        format=pil.format or "PIL",
        size=(height, width),
        frames=frames,
        loop=_loop(pil),
        metadata=Metadata(exif, icc or None, _dpi(pil)),
        notes=tuple(notes),
        _read=lambda: _frames_of_pil(pil, name, range(first, first + frames), close),
        _close=close,
    )


def _frames_of_pil(
    pil: PILImage.Image, name: str, frames: range, close: Callable[[], None]
) -> Iterator[Frame]:
    moving = len(frames) > 1
    for index in frames:
        with _reading(name):
            if moving:
                pil.seek(index)
            pil.load()
            duration = float(pil.info.get("duration", 0) or 100) if moving else 0.0
            frame = [Frame(*_pil_arrays(_upright(pil), name), duration)]
        if index == frames[-1]:
            close()  # a still's own pixels are not needed any more: a quarter of the memory
        yield frame.pop()  # this generator must not hold it while it waits


def _loop(pil: PILImage.Image) -> int:
    """Times an animation is shown. GIF counts repeats, and none said is none; 0 is for ever everywhere."""
    if pil.format != "GIF":
        return int(pil.info.get("loop", 0))
    repeats = pil.info.get("loop")
    return 1 if repeats is None else int(repeats) + 1 if repeats else 0


def _dpi(pil: PILImage.Image) -> tuple[float, float] | None:
    try:
        horizontal, vertical = (float(value) for value in pil.info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    return (horizontal, vertical) if 0 < horizontal < 1e6 and 0 < vertical < 1e6 else None


_ORIENTATION, _EXIF_IFD, _GPS_IFD = 0x0112, 0x8769, 0x8825
_SIZE_TAGS = (0xA002, 0xA003)
_TIFF_TEXT_TAGS = (270, 271, 272, 305, 306, 315, 33432)  # description, make, model ... copyright


def _orientation(pil: PILImage.Image) -> int:
    try:
        return int(pil.getexif().get(_ORIENTATION, 1))
    except Exception:  # foreign bytes can break the parser in any way
        return 1


def _exif_to_keep(pil: PILImage.Image) -> bytes | None:
    """The Exif block without what no longer holds: orientation, size, a TIFF file's own structure."""
    exif = pil.getexif()
    if not len(exif):
        return None
    kept = PILImage.Exif()
    for tag, value in exif.items():
        if tag == _ORIENTATION or (pil.format == "TIFF" and tag not in _TIFF_TEXT_TAGS):
            continue
        if tag not in (_EXIF_IFD, _GPS_IFD, 0x014A):
            kept[tag] = value
    for tag in (_EXIF_IFD, _GPS_IFD):
        block = {key: value for key, value in exif.get_ifd(tag).items() if key not in _SIZE_TAGS}
        if block:
            kept.get_ifd(tag).update(block)
            kept[tag] = block
    return kept.tobytes() if len(kept) else None


def _upright(pil: PILImage.Image) -> PILImage.Image:
    return ImageOps.exif_transpose(pil) if _orientation(pil) in range(2, 9) else pil


def _pil_arrays(pil: PILImage.Image, name: str) -> tuple[Image, Alpha | None]:
    if pil.mode in ("I;16", "I;16L", "I;16B", "I;16N", "I", "F"):
        return _deep_grey(pil, name), None
    if pil.mode in ("RGBa", "La") or pil.has_transparency_data:
        rgba = np.asarray(pil.convert("RGBA"))
        image = np.ascontiguousarray(rgba[..., :3])
        opacity = rgba[..., 3]
        return image, None if opacity.min() == 255 else opacity.astype(np.float32) * np.float32(1 / 255)
    transform = _to_srgb(pil)
    if transform is not None:
        pil = transform.apply(pil)
    return _rgb_array(pil if pil.mode == "RGB" else pil.convert("RGB")), None


def _rgb_array(pil: PILImage.Image) -> Image:
    """The pixels of an RGB picture, by strips: Pillow would hold two more copies on the way."""
    width, height = pil.size
    image = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, 256):
        bottom = min(top + 256, height)
        image[top:bottom] = np.asarray(pil.crop((0, top, width, bottom)))
    return image


def _deep_grey(pil: PILImage.Image, name: str) -> Image:
    """16-bit (Pillow would clip, not scale) and float grey as RGB."""
    values = np.asarray(pil)
    if pil.mode == "F":
        scale = 255.0
    elif values.max(initial=0) <= 65535 and values.min(initial=0) >= 0:
        scale = 255 / 65535
    else:
        scale = 0.0
    if scale == 0.0 or not (values.min() >= 0 and values.max() * scale <= 255):
        raise ImageError(
            f"{name} has grey values from {values.min()} to {values.max()}; expected 0 to 65535, or "
            "0 to 1 in a float picture: scale it first"
        )
    grey = np.rint(values * scale).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def _has_profile_of_its_own(pil: PILImage.Image) -> bool:
    """Is it CMYK, Lab or grey with a profile, which RGB pixels cannot keep?"""
    return pil.mode in ("CMYK", "LAB", "L") and bool(pil.info.get("icc_profile"))


def _to_srgb(pil: PILImage.Image) -> ImageCmsTransform | None:
    """From such a profile to sRGB; None if there is none or it is no good."""
    if not _has_profile_of_its_own(pil):
        return None
    from PIL import ImageCms

    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(pil.info["icc_profile"]))
        return ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), pil.mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None


@contextlib.contextmanager
def _reading(name: str) -> Iterator[None]:
    """Decoders of foreign bytes fail in many ways; the user gets one sentence."""
    try:
        yield
    except (ImageError, MissingExtraError):
        raise
    except MemoryError:
        raise ImageError(f"{name} needs more memory than there is; make it smaller first") from None
    except Exception as error:
        raise ImageError(
            f"{name} is damaged or incomplete: {error}; get it again from where it came"
        ) from error


# Writing -----------------------------------------------------------------------------------------


def _encode_with_pillow(
    frames: Sequence[Pixels],
    file_format: FileFormat,
    params: WriteParams,
    metadata: Metadata,
    durations: Sequence[float],
    loop: int,
) -> bytes:
    options = _pillow_options(file_format, params, metadata)
    if file_format.alpha == "hard":
        frames = [_hard_alpha(frame) for frame in frames]
    pictures = [PILImage.fromarray(frame) for frame in frames]
    if len(pictures) > 1:
        times: list[Any] = [max(1, round(duration)) for duration in durations]
        options |= {"save_all": True, "append_images": pictures[1:], "duration": times, "loop": loop}
        if file_format.name == "gif":
            options |= {"disposal": 2, "loop": {0: 0, 1: None}.get(loop, loop - 1)}
    file = io.BytesIO()
    try:
        pictures[0].save(file, file_format.pillow, **options)
    except (OSError, ValueError, OverflowError, RuntimeError, struct.error) as error:
        height, width = frames[0].shape[:2]
        raise OutputError(
            f"{file_format.name.upper()} cannot hold this picture of {width} x {height}: {error}; write PNG"
        ) from error
    return file.getvalue()


def _pillow_options(file_format: FileFormat, params: WriteParams, metadata: Metadata) -> dict[str, Any]:
    options: dict[str, Any] = {}
    match file_format.name:
        case "jpeg" | "avif":
            options["quality"] = params.quality
        case "webp":
            options |= {"lossless": True} if params.quality == 100 else {"quality": params.quality}
            options["method"] = 4
        case "png":
            options["compress_level"] = params.png_level
    if file_format.name not in ("gif", "bmp"):
        if metadata.exif:
            options["exif"] = metadata.exif
        if metadata.icc:
            options["icc_profile"] = metadata.icc
    if metadata.dpi and file_format.name in ("jpeg", "png", "bmp"):
        options["dpi"] = metadata.dpi
    return options


def _hard_alpha(frame: Pixels) -> Pixels:
    if frame.ndim < 3 or frame.shape[2] < 4:
        return frame
    hard = frame.copy()
    solid = frame[..., 3] >= 128
    hard[..., 3] = 255
    hard[~solid] = 0
    return hard
