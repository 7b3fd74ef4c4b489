"""The one call most people need: the same kind out as in, and no surprise with files."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image as PILImage

import bgremove
from bgremove.arrays import Image
from bgremove.errors import (
    BGRemoveError,
    BGRemoveWarning,
    DeviceError,
    ImageError,
    OptionError,
    OutputError,
    UnknownRemoverError,
)
from tests.conftest import Example, KnownRemover, soft_disc
from tests.finding import Finding, two_subjects

Noise = Callable[..., Image]


@pytest.fixture
def known(disc: Example) -> KnownRemover:
    return KnownRemover(disc.alpha)


def as_dtype(image: npt.NDArray[Any], dtype: Any) -> npt.NDArray[Any]:
    """`image` with values that 8 bits cannot hold."""
    top = 1.0 if np.dtype(dtype).kind == "f" else np.iinfo(dtype).max
    jitter = np.random.default_rng(0).uniform(-0.4, 0.4, image.shape) if np.dtype(dtype) != np.uint8 else 0
    return (np.clip(image + jitter, 0, 255) / 255 * top).astype(dtype)


# The same kind out as in ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, ">u2", np.float16, np.float32, np.float64])
def test_arrays_keep_their_dtype_and_their_precision(dtype: Any, disc: Example, known: KnownRemover) -> None:
    array = as_dtype(disc.image, dtype)
    made = bgremove.remove(array, known, preset="raw")
    assert made.dtype == array.dtype and made.shape == (160, 200, 4)
    solid, gone = disc.alpha == 1, disc.alpha == 0
    np.testing.assert_array_equal(made[solid][:, :3], array[solid])  # every bit of it
    assert not made[gone].any()
    top = 1.0 if np.dtype(dtype).kind == "f" else float(np.iinfo(dtype).max)
    assert np.abs(made[..., 3] / top - disc.alpha).max() < 0.003
    soft = ~solid & (disc.alpha > 0.3)
    assert np.abs(made[soft][:, :3] / top - disc.foreground[soft] / 255).mean() < 0.01


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("output", ["alpha", "mask", "trimap", "composite", "crop"])
def test_every_output_in_the_arrays_dtype(
    dtype: Any, output: str, disc: Example, known: KnownRemover
) -> None:
    made = bgremove.remove(as_dtype(disc.image, dtype), known, "#00f", output=output, preset="raw")
    assert made.dtype == dtype
    assert made.shape[2:] == ((3,) if output in ("composite", "crop") else ())
    top = 1 if np.dtype(dtype).kind == "f" else np.iinfo(dtype).max
    assert made.max() == top
    if output == "composite":
        assert (made[disc.alpha == 0] == (0, 0, top)).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("layout", ["(H, W)", "(H, W, 1)", "(H, W, 2)", "(H, W, 4)"])
def test_grey_arrays_and_arrays_with_alpha(
    dtype: Any, layout: str, disc: Example, known: KnownRemover
) -> None:
    grey = as_dtype(disc.image[..., :1], dtype)
    top = 1 if np.dtype(dtype).kind == "f" else np.iinfo(dtype).max
    half = np.full_like(grey, top // 2 if top > 1 else 0.5)
    array = {
        "(H, W)": grey[..., 0],
        "(H, W, 1)": grey,
        "(H, W, 2)": np.dstack([grey, half]),
        "(H, W, 4)": np.dstack([grey] * 3 + [half]),
    }[layout]
    made = bgremove.remove(array, known, preset="raw")
    assert made.dtype == dtype and made.shape == (160, 200, 4)
    solid = disc.alpha == 1
    np.testing.assert_array_equal(made[solid][:, :3], np.broadcast_to(grey[solid], (solid.sum(), 3)))
    full = 0.5 if layout in ("(H, W, 2)", "(H, W, 4)") else 1
    assert made[solid][:, 3].astype(float).mean() / top == pytest.approx(full, abs=0.003)


def test_arrays_are_left_alone(disc: Example, known: KnownRemover) -> None:
    before = disc.image.copy()
    for background in ("transparent", "white", "blur"):
        made = bgremove.remove(disc.image, known, background)
        made[:] = 0
    np.testing.assert_array_equal(disc.image, before)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "I;16", "F"])
def test_pil_images(mode: str, disc: Example, known: KnownRemover) -> None:
    if mode == "I;16":
        source = PILImage.fromarray(disc.image[..., 0].astype(np.uint16) * 257)
    elif mode == "F":
        source = PILImage.fromarray(disc.image[..., 0].astype(np.float32) / 255)
    else:
        source = PILImage.fromarray(disc.image).convert(mode)
    made = bgremove.remove(source, known)
    assert isinstance(made, PILImage.Image) and made.mode == "RGBA" and made.size == (200, 160)
    assert bgremove.remove(source, known, "white").mode == "RGB"
    assert bgremove.remove(source, known, output="alpha").mode == "L"
    assert source.mode == mode  # and still usable
    source.load()


def test_what_a_pil_image_says_of_itself_is_kept(disc: Example, known: KnownRemover) -> None:
    source = PILImage.fromarray(disc.image)
    exif = source.getexif()
    exif[0x010F] = "Maker"
    source.info.update({"dpi": (300, 300), "icc_profile": b"a profile"})
    made = bgremove.remove(source, known)
    assert made.info["dpi"] == (300, 300) and made.info["icc_profile"] == b"a profile"
    assert made.getexif()[0x010F] == "Maker"
    assert "icc_profile" not in bgremove.remove(source, known, output="alpha").info
    assert not bgremove.remove(source, known, strip=True).info


def test_a_turned_pil_image_comes_back_upright(disc: Example) -> None:
    source = PILImage.fromarray(np.rot90(disc.image).copy())
    source.getexif()[0x0112] = 6
    made = bgremove.remove(source, KnownRemover(disc.alpha), "white")
    assert made.size == (200, 160) and made.getexif().get(0x0112, 1) == 1
    inside = disc.alpha == 1
    np.testing.assert_array_equal(np.asarray(made)[inside], disc.image[inside])


def test_an_animated_pil_image_is_refused(disc: Example, known: KnownRemover) -> None:
    file = io.BytesIO()
    frames = [PILImage.fromarray(np.roll(disc.image, 9 * index, 1)) for index in range(3)]
    frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:])
    with PILImage.open(file) as source, pytest.raises(ImageError, match="pass its bytes or its path"):
        bgremove.remove(source, known)


def test_bytes_become_the_bytes_of_a_png(subject_file: Path, known: KnownRemover, disc: Example) -> None:
    data = bgremove.remove(subject_file.read_bytes(), known)
    assert isinstance(data, bytes) and data.startswith(b"\x89PNG")
    webp = bgremove.remove(subject_file.read_bytes(), known, format="webp", quality=100)
    rgba = [np.asarray(PILImage.open(io.BytesIO(made)).convert("RGBA")) for made in (data, webp)]
    np.testing.assert_array_equal(rgba[0][..., 3], rgba[1][..., 3])
    np.testing.assert_array_equal(rgba[0], bgremove.remove(disc.image, known))


@pytest.mark.parametrize("wrong", [None, 3, [[1, 2]], {"a": 1}])
def test_other_things_are_refused(wrong: Any) -> None:
    with pytest.raises(ImageError, match="expected a path, .* got"):
        bgremove.remove(wrong)


# Files ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [str, Path])
def test_a_path_writes_beside_it_and_gives_the_path(
    kind: Any, subject_file: Path, known: KnownRemover
) -> None:
    before = subject_file.read_bytes()
    made = bgremove.remove(kind(subject_file), known)
    assert type(made) is type(kind(subject_file))
    assert Path(made) == subject_file.with_name("disc_cutout.png")
    assert subject_file.read_bytes() == before
    with PILImage.open(made) as written:
        assert (written.mode, written.size) == ("RGBA", (200, 160))
    assert sorted(os.listdir(subject_file.parent)) == ["disc.png", "disc_cutout.png"]


@pytest.mark.parametrize(
    ("settings", "name", "mode"),
    [
        ({"background": "white"}, "disc_composite.png", "RGB"),
        ({"output": "alpha"}, "disc_alpha.png", "L"),
        ({"format": "webp"}, "disc_cutout.webp", "RGBA"),
        ({"background": "white", "format": "jpeg"}, "disc_composite.jpg", "RGB"),
    ],
)
def test_names_beside(
    settings: dict[str, Any], name: str, mode: str, subject_file: Path, known: KnownRemover
) -> None:
    made = bgremove.remove(subject_file, known, **settings)
    assert made.name == name
    with PILImage.open(made) as written:
        assert written.mode == mode


def test_an_existing_file_is_refused_before_the_work(subject_file: Path) -> None:
    class Untouched(KnownRemover):
        def predict_alpha(self, image: Image) -> Any:
            raise AssertionError("the work was started")

    remover = Untouched(np.zeros((1, 1), np.float32))
    target = subject_file.with_name("there.png")
    target.write_bytes(b"mine")
    with pytest.raises(OptionError, match="there.png exists; pass overwrite=True"):
        bgremove.remove(subject_file, remover, to=target)
    with pytest.raises(OptionError, match="disc.png is the input itself; give another name"):
        bgremove.remove(subject_file, remover, to=subject_file, overwrite=True)
    link = subject_file.with_name("link.png")
    link.symlink_to(subject_file)
    with pytest.raises(OptionError, match="is the input itself"):
        bgremove.remove(subject_file, remover, to=link, overwrite=True)
    with pytest.raises(OptionError, match="white.jpg cannot hold transparency; pass background='white'"):
        bgremove.remove(subject_file, remover, to=subject_file.with_name("white.jpg"))
    with pytest.raises(OptionError, match="no format written here"):
        bgremove.remove(subject_file, remover, to=subject_file.with_name("a.xyz"))
    assert target.read_bytes() == b"mine"


def test_overwriting_when_told(subject_file: Path, known: KnownRemover) -> None:
    target = subject_file.with_name("there.png")
    target.write_bytes(b"mine")
    assert bgremove.remove(subject_file, known, to=target, overwrite=True) == target
    with PILImage.open(target) as written:
        assert written.mode == "RGBA"


def test_a_failing_picture_leaves_nothing_behind(tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    file = io.BytesIO()
    PILImage.fromarray(soft_disc().image).save(file, "JPEG")
    broken.write_bytes(file.getvalue()[:900])
    with pytest.raises(ImageError, match="broken.jpg is damaged or incomplete"):
        bgremove.remove(broken, "contour")
    assert os.listdir(tmp_path) == ["broken.jpg"]


def test_a_folder_that_is_not_there(subject_file: Path, known: KnownRemover) -> None:
    with pytest.raises(OutputError, match="No such file or directory; nothing was changed"):
        bgremove.remove(subject_file, known, to=subject_file.parent / "none" / "out.png")


def test_to_goes_with_a_path(disc: Example, known: KnownRemover, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="to= goes with a path"):
        bgremove.remove(disc.image, known, to=tmp_path / "out.png")


def test_the_pixel_limit(subject_file: Path, known: KnownRemover) -> None:
    with pytest.raises(ImageError, match="more than the limit of 0.01"):
        bgremove.remove(subject_file, known, max_megapixels=0.01)


# Settings and models --------------------------------------------------------------------------------


def test_settings_reach_their_step(disc: Example, known: KnownRemover) -> None:
    plain = bgremove.remove(disc.image, known, output="alpha", preset="raw")
    grown = bgremove.remove(disc.image, known, output="alpha", preset="raw", grow=5)
    assert grown.sum() > 1.1 * plain.sum()
    kept = bgremove.remove(disc.image, known, foreground="none")
    soft = disc.alpha > 0.1
    np.testing.assert_array_equal(kept[soft][:, :3], disc.image[soft])
    cropped = bgremove.remove(disc.image, known, crop=True, padding=3, preset="raw")
    assert cropped.shape == (112, 112, 4)  # alpha reaches 0.1 at 53 px
    assert bgremove.remove(disc.image, known, size=80).shape == (64, 80, 4)


@pytest.mark.parametrize(
    ("settings", "error", "sentence"),
    [
        ({"model": "grabcat"}, UnknownRemoverError, "did you mean 'grabcut'"),
        ({"model": "contour", "canny_lo": 3}, OptionError, "did you mean 'canny_low'"),
        ({"model": "contour", "canny_low": 99}, OptionError, "canny_low must be a whole number from 1 to 40"),
        ({"feather": float("nan")}, OptionError, "feather must be a number from 0 to 100; got nan"),
        ({"device": "gpu"}, DeviceError, "device must be one of auto, cpu, cuda; got 'gpu'"),
        ({"model": "contour", "device": "cuda"}, DeviceError, "runs on the CPU only"),
        ({"output": "composite"}, OptionError, "a composite needs a background"),
        ({"output": "alpha,mask"}, OptionError, "output must be one name here.* got alpha, mask"),
        ({"output": ("alpha", "mask")}, OptionError, "output must be one name here"),
        ({"output": "everything"}, OptionError, "output must be one or more"),
        ({"background": "blurred"}, OptionError, "unknown background 'blurred'"),
        ({"preset": "best"}, OptionError, "unknown preset 'best'"),
        ({"model": "contour", "hint": np.zeros((160, 200), np.uint8)}, OptionError, "takes no hint"),
        ({"model": "grabcut", "hint": np.zeros((9, 9), np.uint8)}, ImageError, "hint must be uint8"),
    ],
)
def test_mistakes_in_one_sentence(
    settings: dict[str, Any], error: type[BGRemoveError], sentence: str, disc: Example
) -> None:
    with pytest.raises(error, match=sentence) as caught:
        bgremove.remove(disc.image, **settings)
    assert "\n" not in str(caught.value)


def test_no_subject_warns_and_gives_an_empty_cutout() -> None:
    flat = np.full((60, 80, 3), 120, np.uint8)
    for model in ("contour", "grabcut"):
        with pytest.warns(BGRemoveWarning, match="found no subject, so the result is empty") as caught:
            made = bgremove.remove(flat, model)
        assert not made.any()
        assert caught[0].filename == __file__  # the caller's line, not one of ours


def test_one_remover_for_many_calls(photo: Image, disc: Example) -> None:
    remover = bgremove.create_remover("grabcut")
    first = bgremove.remove(disc.image, remover)
    bgremove.remove(photo, remover)
    np.testing.assert_array_equal(bgremove.remove(disc.image, remover), first)
    np.testing.assert_array_equal(bgremove.remove(disc.image, "grabcut"), first)


def test_from_several_threads_at_once(disc: Example) -> None:
    expected = bgremove.remove(disc.image, "grabcut")
    made: list[npt.NDArray[Any]] = []
    threads = [
        threading.Thread(target=lambda: made.append(bgremove.remove(disc.image, "grabcut"))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 4
    for one in made:
        np.testing.assert_array_equal(one, expected)


def test_backgrounds_of_every_kind(disc: Example, known: KnownRemover, tmp_path: Path) -> None:
    below = tmp_path / "below.png"
    PILImage.fromarray(disc.background).save(below)
    for background in (below, str(below), below.read_bytes(), PILImage.open(below), disc.background):
        made = bgremove.remove(disc.image, known, background, preset="raw")
        assert np.abs(made.astype(int) - disc.image).mean() < 0.5  # back where it came from
    made = bgremove.remove(disc.image, known, (255, 0, 9))
    assert (made[disc.alpha == 0] == (255, 0, 9)).all()
    glass = bgremove.remove(disc.image, known, "#ff000980")
    assert (glass[disc.alpha == 0] == (255, 0, 9, 128)).all()


def test_predict_alpha_is_the_raw_matte(disc: Example, known: KnownRemover) -> None:
    assert bgremove.predict_alpha(disc.image, known) is known.alpha
    alpha = bgremove.predict_alpha(disc.image, "contour", canny_high=100, max_area=0.9)
    assert alpha.shape == (160, 200) and alpha.dtype == np.float32
    with pytest.raises(ImageError, match="image must be uint8"):
        bgremove.predict_alpha(disc.image / 255, known)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="did you mean 'blur'"):
        bgremove.predict_alpha(disc.image, "contour", blurr=3)


def test_a_photo_with_the_defaults(photo: Image) -> None:
    """The whole of what a newcomer types."""
    made = bgremove.remove(photo)
    assert made.shape == (*photo.shape[:2], 4)
    assert 0.05 < (made[..., 3] > 128).mean() < 0.9


def test_memory_does_not_grow_with_calls(subject_file: Path) -> None:
    """rembg's sessions grow with every distinct option."""
    code = (
        "import resource, sys\n"
        "import bgremove\n"
        "data = open(sys.argv[1], 'rb').read()\n"
        "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "def work(value): bgremove.remove(data, 'contour', canny_low=1 + value % 40, canny_high=100,\n"
        "    min_area=0.0001 + value / 1e5, max_area=0.9, output='alpha')\n"
        "for value in range(20): work(value)\n"
        "before = peak()\n"
        "for value in range(20, 120): work(value)\n"
        "print(peak() - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, subject_file], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 8_000


def test_a_network_that_was_exported_again_is_loaded_again(tmp_path: Path) -> None:
    """Train, export, look, train on: the second look must show the second network."""
    pytest.importorskip("onnx", reason="needs the extra train")
    from tests.removers import onnx_models

    path = tmp_path / "net.onnx"
    image = np.full((40, 40, 3), (255, 0, 0), np.uint8)

    def matte() -> float:
        settings: dict[str, Any] = {"mean": (0, 0, 0), "std": (1, 1, 1), "activation": "none"}
        alpha = bgremove.remove(image, f"onnx:{path}", output="alpha", preset="raw", **settings)
        return float(alpha.mean())

    onnx_models.conv(path, [(1.0, 0.0, 0.0)])
    assert matte() == 255
    onnx_models.conv(path, [(0.5, 0.0, 0.0)])
    os.utime(path, ns=(1, 1))
    assert matte() == pytest.approx(128, abs=1)


# Instances ------------------------------------------------------------------------------------------


def test_instances_are_a_list_of_what_came(tmp_path: Path) -> None:
    image, found = two_subjects()
    remover = Finding(found)
    person, table = bgremove.remove(image, remover, output="instances", edges="none")
    assert (person.label, person.score, table.label) == ("person", 0.9, "dining table")
    assert person.box == (10, 10, 40, 50)
    np.testing.assert_array_equal(table.result[..., 3] == 255, found.items[1].mask)
    floats = bgremove.remove(image / np.float32(255), remover, output="instances", edges="none")
    assert floats[0].result.dtype == np.float32 and floats[0].result.max() == 1
    drawn = bgremove.remove(PILImage.fromarray(image), remover, output="instances")
    assert [one.result.mode for one in drawn] == ["RGBA", "RGBA"]
    file = io.BytesIO()
    PILImage.fromarray(image).save(file, "PNG")
    data = bgremove.remove(file.getvalue(), remover, output="instances")
    assert PILImage.open(io.BytesIO(data[1].result)).size == (100, 60)


def test_instances_of_a_path_are_files(tmp_path: Path) -> None:
    image, found = two_subjects()
    path = tmp_path / "a.png"
    PILImage.fromarray(image).save(path)
    remover = Finding(found)
    written = bgremove.remove(str(path), remover, output="instances")
    assert [one.result for one in written] == [
        str(tmp_path / "a_instance_01_person.png"),
        str(tmp_path / "a_instance_02_dining-table.png"),
    ]
    with pytest.raises(OptionError, match="a_instance_01_person.png exists; pass overwrite=True"):
        bgremove.remove(path, remover, output="instances")
    again = bgremove.remove(path, remover, output="instances", overwrite=True)
    assert [one.result for one in again] == [Path(one.result) for one in written]
    elsewhere = bgremove.remove(path, remover, output="instances", to=tmp_path / "x.webp")
    assert [one.result.name for one in elsewhere] == [
        "x_instance_01_person.webp", "x_instance_02_dining-table.webp",
    ]  # fmt: skip


def test_no_instances_is_an_empty_list_and_a_warning() -> None:
    image, found = two_subjects()
    with pytest.warns(BGRemoveWarning, match="empty: nothing that was found fits classes dog"):
        assert bgremove.remove(image, Finding(found, classes="dog"), output="instances") == []
    with pytest.raises(OptionError, match="output must be one name here"):
        bgremove.remove(image, Finding(found), output="instances,alpha")
    with pytest.raises(OptionError, match="instances need a model that tells subjects apart"):
        bgremove.remove(image, "contour", output="instances")
