"""What is known of a video, and one frame of it."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from bgremove.arrays import Alpha, Image


@dataclass(frozen=True)
class VideoInfo:
    """What a video's header says, as its frames will come.

    Attributes:
        name: for messages.
        size: (height, width) of the frames: upright, with square pixels, after any `size` asked for.
        rate: frames a second; of a variable rate, the mean.
        variable: True if the frames' own times count, not their number.
        duration: seconds, of the part that is read; None if nobody knows.
        frames: how many will come, as far as is known beforehand; None if nobody knows.
        alpha: do the frames have transparency of their own?
        sound: has it a sound track?
        start: seconds from the beginning of the source to the part that is read.
        notes: sentences about what was converted.
    """

    name: str
    size: tuple[int, int]
    rate: Fraction
    variable: bool = False
    duration: Fraction | None = None
    frames: int | None = None
    alpha: bool = False
    sound: bool = False
    start: Fraction = Fraction(0)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class VideoFrame:
    """One frame.

    Attributes:
        number: in the source, from 0; frames that are left out count.
        time: seconds after the beginning of the source at which it is shown.
        image: (H, W, 3) uint8 RGB, upright.
        alpha: (H, W) float32, its own transparency; None if it has none.
        duration: seconds shown, where the file says so (animations); else None.
    """

    number: int
    time: Fraction
    image: Image
    alpha: Alpha | None = None
    duration: Fraction | None = None
