"""Strips, and the films made of them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image as PILImage

from bgremove.arrays import Alpha, Image
from bgremove.errors import DataError, ImageError, OptionError, OutputError
from bgremove.training import timelapse
from bgremove.training.timelapse import Timelapse, frame_rate, make_timelapse, read_strips, strip, write_strip
from tests.cli_helpers import decode, files, is_one_sentence, python_there
from tests.conftest import soft_disc

av: Any = pytest.importorskip("av", reason="needs the extra video")
WHITE = 200  # the caption's letters are brighter than this, labels and ground are not


def example(height: int = 48, width: int = 64, radius: float = 16.0) -> tuple[Image, Alpha]:
    made = soft_disc(height, width, radius=radius)
    return made.image, made.alpha


def write_run(folder: Path, samples: int = 2, epochs: int = 4, height: int = 48, width: int = 64) -> Path:
    """A training's folder whose predictions grow towards the truth."""
    image, truth = example(height, width)
    for sample in range(1, samples + 1):
        for epoch in range(1, epochs + 1):
            _, prediction = example(height, width, radius=16.0 * epoch / epochs)
            write_strip(folder, sample, epoch, image, truth, prediction)
    return folder


def gif_frames(path: Path) -> tuple[list[npt.NDArray[np.uint8]], list[int]]:
    """All frames as RGB, and how long each is shown, ms."""
    frames, durations = [], []
    with PILImage.open(path) as picture:
        for index in range(getattr(picture, "n_frames", 1)):
            picture.seek(index)
            frames.append(np.array(picture.convert("RGB")))
            durations.append(int(picture.info["duration"]))
    return frames, durations


def mp4_frames(path: Path) -> list[npt.NDArray[np.uint8]]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


# Strips -----------------------------------------------------------------------------------------------


def test_a_strip_shows_the_three_with_their_own_pixels() -> None:
    image, truth = example(160, 120)
    prediction = 1 - truth
    made = strip(image, truth, prediction, caption="epoch 1")
    height, width = image.shape[:2]
    gap = (made.shape[1] - 3 * width) // 4
    assert 1 <= gap <= 4 and made.dtype == np.uint8
    [top] = [
        y
        for y in range(made.shape[0] - height)
        if np.array_equal(made[y : y + height, gap : gap + width], image)
    ]
    for index, matte in enumerate((truth, prediction), 1):
        left = gap + index * (width + gap)
        panel = made[top : top + height, left : left + width]
        assert np.abs(panel / 255 - matte[..., None]).max() < 0.003
    below = made[top + height :]
    assert (below > WHITE).any() and (made[:top] > 150).any()  # caption, labels


@pytest.mark.parametrize("size", [(1, 1), (8, 200), (30, 20), (64, 64), (128, 300)])
def test_a_caption_is_never_cut(size: tuple[int, int]) -> None:
    def letters(height: int, width: int) -> Any:
        image = np.zeros((height, width, 3), np.uint8)
        nothing = np.zeros((height, width), np.float32)
        made = strip(image, nothing, nothing, caption="epoch 1234, IoU 0.987")
        ink = made[-20:].min(axis=2) > WHITE
        assert not ink[[0, -1]].any() and not ink[:, [0, -1]].any()
        return ink[:, ink.any(axis=0)]

    np.testing.assert_array_equal(letters(*size), letters(100, 1000))


def test_line_breaks_in_a_caption_do_no_harm() -> None:
    image, truth = example()
    one = strip(image, truth, truth, caption="epoch 1 IoU 1")
    np.testing.assert_array_equal(strip(image, truth, truth, caption="epoch 1\n IoU\t1"), one)


@pytest.mark.parametrize(
    ("truth", "prediction", "sentence"),
    [
        (np.zeros((5, 5), np.float32), np.zeros((48, 64), np.float32), "truth must have the image's height"),
        (np.zeros((48, 64), np.float32), np.full((48, 64), 2.0, np.float32), "prediction must lie within"),
        (np.zeros((48, 64), np.uint8), np.zeros((48, 64), np.float32), "truth must be float"),
    ],
)
def test_wrong_arrays_are_refused(truth: Any, prediction: Any, sentence: str) -> None:
    with pytest.raises(ImageError, match=sentence):
        strip(example()[0], truth, prediction, caption="")


def test_where_strips_are_written(tmp_path: Path) -> None:
    image, truth = example()
    path = write_strip(tmp_path, 1, 1, image, truth, truth)
    assert path == tmp_path / "timelapse" / "sample_01" / "epoch_001.png"
    np.testing.assert_array_equal(decode(path), strip(image, truth, truth, caption="epoch 1, IoU 1.000"))
    write_strip(tmp_path, 1, 1, image, truth, 1 - truth, iou=0.25)  # after a resume
    np.testing.assert_array_equal(decode(path), strip(image, truth, 1 - truth, caption="epoch 1, IoU 0.250"))
    assert set(files(tmp_path)) == {"timelapse/sample_01/epoch_001.png"}


def test_the_iou_in_the_caption(tmp_path: Path) -> None:
    image = np.zeros((40, 80, 3), np.uint8)
    truth, prediction = np.zeros((40, 80), np.float32), np.zeros((40, 80), np.float32)
    truth[:, :40], prediction[:, 20:60] = 1, 0.75  # 20 columns of 60 agree
    path = write_strip(tmp_path, 1, 7, image, truth, prediction)
    np.testing.assert_array_equal(decode(path), strip(image, truth, prediction, caption="epoch 7, IoU 0.333"))
    nothing = np.zeros_like(truth)
    path = write_strip(tmp_path, 1, 8, image, nothing, nothing)
    np.testing.assert_array_equal(decode(path), strip(image, nothing, nothing, caption="epoch 8, IoU 1.000"))


def test_strips_are_found_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    image, truth = example(8, 8)
    for sample, epoch in [(10, 1), (2, 1000), (2, 999), (2, 10), (100, 3)]:
        write_strip(tmp_path, sample, epoch, image, truth, truth)
    (tmp_path / "timelapse" / "sample_02" / ".bgremove-1.part").write_bytes(b"half")
    (tmp_path / "timelapse" / "sample_02" / "epoch_x.png").write_bytes(b"other")
    found = read_strips(tmp_path)
    assert [(sample, list(epochs)) for sample, epochs in found.items()] == [
        (2, [10, 999, 1000]),
        (10, [1]),
        (100, [3]),
    ]
    assert found[2][1000].name == "epoch_1000.png"
    assert read_strips(tmp_path / "timelapse") == found


def test_no_strips_are_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no strips .* train with --timelapse first"):
        read_strips(tmp_path)
    with pytest.raises(DataError, match="is no folder"):
        read_strips(tmp_path / "none")


# Films ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["gif", "mp4"])
def test_all_samples_one_above_the_other(tmp_path: Path, kind: str) -> None:
    run, out = write_run(tmp_path / "run"), tmp_path / "films" / f"all.{kind}"
    ticks: list[int] = []
    made = make_timelapse(run, out, hold=0, on_frame=lambda: ticks.append(1))
    frames = gif_frames(out)[0] if kind == "gif" else mp4_frames(out)
    assert made == Timelapse(out, 4, 2, frames[0].shape[:2], Fraction(5), 0.8) and len(ticks) == 4
    strips = read_strips(run)
    for epoch, frame in enumerate(frames, 1):
        expected = np.concatenate([decode(strips[sample][epoch]) for sample in (1, 2)])
        part = frame[: expected.shape[0], : expected.shape[1]]
        assert np.abs(part.astype(int) - expected).mean() < 4
        assert max(np.subtract(frame.shape[:2], expected.shape[:2])) <= 1  # even sizes for H.264
    assert set(files(tmp_path / "films")) == {out.name}


@pytest.mark.parametrize("kind", ["gif", "mp4"])
def test_one_sample(tmp_path: Path, kind: str) -> None:
    run = write_run(tmp_path / "run", samples=1)
    image, truth = example()
    inverse = write_strip(run, 2, 1, image, truth, 1 - truth)
    make_timelapse(run, tmp_path / f"two.{kind}", sample=2, hold=0)
    [frame] = gif_frames(tmp_path / "two.gif")[0] if kind == "gif" else mp4_frames(tmp_path / "two.mp4")
    expected = decode(inverse)
    assert np.abs(frame[: expected.shape[0], : expected.shape[1]].astype(int) - expected).mean() < 4
    with pytest.raises(OptionError, match="sample 3 is not there; this timelapse has 1, 2"):
        make_timelapse(run, tmp_path / "three.gif", sample=3)


@pytest.mark.parametrize(
    ("fps", "hold", "expected"),
    [
        (5.0, 2.0, [200, 200, 200, 2000]),
        (5.0, 0.0, [200, 200, 200, 200]),
        (30.0, 0.0, [30, 40, 30, 30]),  # ends at 33, 67, 100 and 133 ms
        (29.97, 1.0, [30, 40, 30, 1000]),
        (50.0, 0.0, [20, 20, 20, 20]),
        (0.1, 0.0, [10000] * 4),
    ],
)
def test_a_gif_honours_its_rate(tmp_path: Path, fps: float, hold: float, expected: list[int]) -> None:
    made = make_timelapse(write_run(tmp_path, samples=1), tmp_path / "x.gif", fps=fps, hold=hold)
    assert gif_frames(tmp_path / "x.gif")[1] == expected
    assert made.seconds == pytest.approx(sum(expected) / 1000)


def test_the_error_of_a_gif_never_adds_up(tmp_path: Path) -> None:
    make_timelapse(write_run(tmp_path, 1, 30, 8, 8), tmp_path / "x.gif", fps=23.976, hold=0)
    ends = np.cumsum(gif_frames(tmp_path / "x.gif")[1])
    exact = np.arange(1, 31) * 1001 / 24
    assert np.abs(ends - exact).max() <= 5


def test_a_gif_is_for_ever_and_still_where_nothing_changes(tmp_path: Path) -> None:
    write_run(tmp_path, samples=1, height=96, width=128)
    make_timelapse(tmp_path, tmp_path / "x.gif")
    frames, _ = gif_frames(tmp_path / "x.gif")
    with PILImage.open(tmp_path / "x.gif") as picture:
        assert picture.info["loop"] == 0
    shown = frames[0].shape[1] // 3
    for frame in frames[1:]:
        np.testing.assert_array_equal(frame[:100, :shown], frames[0][:100, :shown])


def test_equal_epochs_keep_their_time(tmp_path: Path) -> None:
    path = write_run(tmp_path, samples=1, epochs=1) / "timelapse" / "sample_01" / "epoch_001.png"
    for epoch in (2, 3):
        path.with_name(f"epoch_{epoch:03d}.png").write_bytes(path.read_bytes())
    make_timelapse(tmp_path, tmp_path / "x.gif", hold=1)
    assert sum(gif_frames(tmp_path / "x.gif")[1]) == 1400


@pytest.mark.parametrize(
    ("fps", "hold", "rate", "count"),
    [
        (5.0, 2.0, Fraction(5), 13),
        (29.97, 1.0, Fraction(30000, 1001), 33),
        (12.5, 0.0, Fraction(25, 2), 4),
        (0.5, 2.0, Fraction(1, 2), 4),
        (Fraction(24000, 1001), 0.5, Fraction(24000, 1001), 15),
    ],
)
def test_an_mp4_has_a_real_rate(
    tmp_path: Path, fps: float | Fraction, hold: float, rate: Fraction, count: int
) -> None:
    made = make_timelapse(write_run(tmp_path), tmp_path / "x.mp4", fps=fps, hold=hold)
    with av.open(str(tmp_path / "x.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == rate and stream.codec_context.name == "h264"
        assert stream.duration * stream.time_base == count / rate
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert stream.width % 2 == stream.height % 2 == 0
        assert len(list(container.decode(stream))) == count
    assert made.fps == rate and made.seconds == pytest.approx(float(count / rate))
    data = (tmp_path / "x.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # a browser can begin before it has all


def test_the_last_epoch_of_an_mp4_stays(tmp_path: Path) -> None:
    make_timelapse(write_run(tmp_path, samples=1), tmp_path / "x.mp4", hold=1)
    frames = mp4_frames(tmp_path / "x.mp4")
    last = decode(tmp_path / "timelapse" / "sample_01" / "epoch_004.png")
    differences = [
        np.abs(frame[: last.shape[0], : last.shape[1]].astype(int) - last).mean() for frame in frames
    ]
    assert len(frames) == 8 and min(differences[:3]) > max(differences[3:]) + 0.5


@pytest.mark.parametrize(
    ("fps", "rate"),
    [
        (5, Fraction(5)),
        (23.976, Fraction(24000, 1001)),
        (23.98, Fraction(24000, 1001)),
        (29.97, Fraction(30000, 1001)),
        (59.94, Fraction(60000, 1001)),
        (0.1, Fraction(1, 10)),
        (3.3, Fraction(33, 10)),
        (Fraction(1, 3), Fraction(1, 3)),
    ],
)
def test_rates_as_fractions(fps: float | Fraction, rate: Fraction) -> None:
    assert frame_rate(fps) == rate


@pytest.mark.parametrize("kind", ["gif", "mp4"])
def test_strips_of_different_sizes_and_missing_epochs(tmp_path: Path, kind: str) -> None:
    for sample, epoch, height, width in [(1, 1, 20, 30), (1, 2, 41, 61), (2, 2, 33, 99), (1, 3, 20, 30)]:
        image, truth = example(height, width)
        write_strip(tmp_path, sample, epoch, image, truth, truth)
    out = tmp_path / f"x.{kind}"
    made = make_timelapse(tmp_path, out, hold=0)
    frames = gif_frames(out)[0] if kind == "gif" else mp4_frames(out)
    strips = {
        (sample, epoch): decode(path)
        for sample, one in read_strips(tmp_path).items()
        for epoch, path in one.items()
    }
    below = strips[1, 2].shape[0]
    assert made.size[0] in (below + strips[2, 2].shape[0], below + strips[2, 2].shape[0] + 1)
    for frame, above, under in zip(frames, [(1, 1), (1, 2), (1, 3)], [None, (2, 2), (2, 2)], strict=True):
        expected = np.full_like(frame, timelapse._GROUND)
        expected[: strips[above].shape[0], : strips[above].shape[1]] = strips[above]
        if under:
            expected[below : below + strips[under].shape[0], : strips[under].shape[1]] = strips[under]
        assert np.abs(frame.astype(int) - expected).mean() < 4


# What is refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "values", "error", "sentence"),
    [
        ("x.avi", {}, OptionError, "a timelapse is a .gif or an .mp4; got 'x.avi', name it x.gif"),
        ("x", {}, OptionError, "a timelapse is a .gif or an .mp4"),
        ("there.gif", {}, OutputError, "there.gif exists; add --overwrite"),
        ("x.gif", {"fps": 0}, OptionError, "fps must be a number from 0.1 to 120; got 0"),
        ("x.gif", {"fps": 60}, OptionError, "fps must be at most 50 in a GIF; got 60"),
        ("x.mp4", {"hold": -1}, OptionError, "hold must be a number from 0 to 60"),
        ("x.mp4", {"sample": 0}, OptionError, "sample must be a whole number of at least 1; got 0"),
    ],
)
def test_what_makes_no_sense(
    tmp_path: Path, name: str, values: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    write_run(tmp_path, 1, 1)
    (tmp_path / "there.gif").write_bytes(b"mine")
    before = files(tmp_path)
    with pytest.raises(error, match=sentence) as caught:
        make_timelapse(tmp_path, tmp_path / name, **values)
    assert is_one_sentence(str(caught.value)) and files(tmp_path) == before


def test_an_output_is_replaced_when_told_to(tmp_path: Path) -> None:
    (tmp_path / "x.gif").write_bytes(b"old")
    make_timelapse(write_run(tmp_path, 1, 2), tmp_path / "x.gif", overwrite=True)
    assert len(gif_frames(tmp_path / "x.gif")[0]) == 2


@pytest.mark.parametrize("kind", ["gif", "mp4"])
def test_a_damaged_strip_leaves_the_output_as_it_was(tmp_path: Path, kind: str) -> None:
    write_run(tmp_path / "run", 1, 3)
    strip_file = tmp_path / "run" / "timelapse" / "sample_01" / "epoch_002.png"
    strip_file.write_bytes(strip_file.read_bytes()[:200])
    (tmp_path / f"x.{kind}").write_bytes(b"old")
    with pytest.raises(ImageError, match="epoch_002.png"):
        make_timelapse(tmp_path / "run", tmp_path / f"x.{kind}", overwrite=True)
    assert (tmp_path / f"x.{kind}").read_bytes() == b"old"
    assert {path.name for path in tmp_path.iterdir()} == {"run", f"x.{kind}"}


def test_a_video_that_came_out_wrong_is_found(tmp_path: Path) -> None:
    make_timelapse(write_run(tmp_path, 1, 3), tmp_path / "x.mp4", hold=0)
    path, size, rate = str(tmp_path / "x.mp4"), mp4_frames(tmp_path / "x.mp4")[0].shape[:2], Fraction(5)
    timelapse._check_mp4(av, path, size, rate, 3)
    for wrong in [(size, rate, 4), (size, Fraction(6), 3), ((2, 2), rate, 3)]:
        with pytest.raises(OutputError, match="the MP4 came out wrong: 3 frames of .* nothing was written"):
            timelapse._check_mp4(av, path, *wrong)


def test_what_the_encoder_cannot_do_is_said(tmp_path: Path) -> None:
    image, nothing = np.zeros((1, 6000, 3), np.uint8), np.zeros((1, 6000), np.float32)
    write_strip(tmp_path, 1, 1, image, nothing, nothing)
    with pytest.raises(
        OutputError, match="16384 pixels a side; these strips are 18[0-9]+ x .* or a .gif"
    ) as caught:
        make_timelapse(tmp_path, tmp_path / "x.mp4")
    assert is_one_sentence(str(caught.value)) and not (tmp_path / "x.mp4").exists()


def test_without_pyav_a_gif_still_works(tmp_path: Path) -> None:
    write_run(tmp_path, 1, 2)
    code = """
import sys
sys.modules["av"] = None
from pathlib import Path
from bgremove.training.timelapse import make_timelapse
try:
    make_timelapse(Path("."), Path("x.mp4"))
except ImportError as error:
    print(error)
make_timelapse(Path("."), Path("x.gif"))
assert "torch" not in sys.modules
"""
    done = python_there(code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert 'an MP4 needs PyAV: pip install "bgremove[video]"; a GIF (-o FILE.gif) does not' in done.stdout
    assert (tmp_path / "x.gif").exists() and not (tmp_path / "x.mp4").exists()
