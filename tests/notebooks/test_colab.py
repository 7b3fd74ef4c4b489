"""What the notebook's cells call: downloads, backgrounds, figures, and zips in and out."""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PILImage

from bgremove import colab, pipeline
from bgremove.demo import sample_path
from bgremove.errors import ImageError
from tests.cli_helpers import save_disc
from tests.http_server import serving
from tests.notebooks.notebooks import HERE


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, in which the notebook runs."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(path: Path | None) -> list[str]:
    """What is in a zip; it must be whole."""
    assert path is not None
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return archive.namelist()


def shown(figure: Any) -> PILImage.Image:
    """The picture of a figure."""
    return PILImage.open(io.BytesIO(figure.data))


# The web -----------------------------------------------------------------------------------------


def test_a_picture_is_downloaded_as_it_is(here: Path) -> None:
    data = save_disc(here / "disc.png").read_bytes()
    with serving(data, "disc.png") as server:
        assert colab.download(server.url) == data


@pytest.mark.parametrize(
    ("name", "body", "says"),
    [
        ("missing.png", b"", "the server answered 404"),
        ("page.png", b"<html>no picture</html>", "page.png"),
    ],
)
def test_what_is_no_picture_is_said_in_a_sentence(name: str, body: bytes, says: str) -> None:
    with serving(body, "page.png") as server:
        address = server.url.replace("page.png", name)
        with pytest.raises(ImageError, match=says):
            colab.download(address)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "photo.jpg", "http://", "http://127.0.0.1:9/a.png"])
def test_addresses_that_cannot_be_had(url: str) -> None:
    with pytest.raises(ImageError) as caught:
        colab.download(url)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200


def test_downloads_are_bounded(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(colab, "MAX_DOWNLOAD", 100)
    with serving(save_disc(here / "disc.png").read_bytes(), "disc.png") as server:
        with pytest.raises(ImageError, match="larger than"):
            colab.download(server.url)


# Photos and background ---------------------------------------------------------------------------


def test_photos_from_the_web(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(save_disc(here / "disc.png").read_bytes(), "my%20disc.png", "disc.png") as server:
        photos = colab.choose_photos(f"{server.url} {server.url}.nothing")
    assert [photo.name for photo in photos.items] == ["my disc.png"]
    assert "Skipped http" in capsys.readouterr().out
    assert colab.first(photos).shape == (96, 128, 3)


def test_without_any_there_are_the_samples(capsys: pytest.CaptureFixture[str]) -> None:
    photos = colab.choose_photos("http://127.0.0.1:9/a.png")
    assert [Path(photo.name).name for photo in photos.items] == ["coffee.jpg", "cat.jpg", "astronaut.jpg"]
    assert "sample photographs" in capsys.readouterr().out


def test_a_photo_that_cannot_be_read_is_passed_over(capsys: pytest.CaptureFixture[str]) -> None:
    from bgremove.widgets.photos import Photo, Photos

    photos = Photos([Photo("broken.jpg", b"\xff\xd8nothing")])
    assert colab.first(photos).shape == (400, 600, 3)  # the first sample's
    assert "Skipped broken.jpg" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["transparent", "blur"])
def test_backgrounds_without_a_picture(kind: str) -> None:
    assert colab.choose_background(kind) == kind


def test_backgrounds_of_a_colour_and_a_picture(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert colab.choose_background("colour", "255, 0, 255") == "255, 0, 255"
    assert colab.choose_background("image") == sample_path("stars.jpg")
    assert "stars" in capsys.readouterr().out
    data = save_disc(here / "disc.png").read_bytes()
    with serving(data, "disc.png") as server:
        assert colab.choose_background("image", url=server.url) == data


@pytest.mark.parametrize(
    ("kind", "colour", "says"),
    [("colour", "redish", "unknown background 'redish'"), ("plaid", "", "got 'plaid'")],
)
def test_a_wrong_background_is_said_and_none_is_taken(
    kind: str, colour: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert colab.choose_background(kind, colour) == "transparent"
    said = capsys.readouterr().out
    assert said.startswith("Skipped the background; it is transparent: ") and says in said


# Figures -----------------------------------------------------------------------------------------


def test_figures_are_side_by_side_and_small() -> None:
    wide = np.full((1500, 3000, 4), 255, np.uint8)
    figure = shown(colab.show(photo=wide[..., :3], mask=wide[..., 0], cut_out=wide))
    assert figure.width <= 1500 and figure.width > 3 * figure.height


def test_methods_are_compared_in_one_figure(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [save_disc(here / f"{name}.png") for name in "abcd"]
    figure = shown(colab.compare(files, "contour, contour, onnx:nothing.onnx", background="#ff0000", most=2))
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("contour: ") and said[1].startswith("Skipped onnx:nothing.onnx: ")
    assert len(said) == 2
    pixels = np.asarray(figure.convert("RGB")).astype(int)
    red = (pixels - (255, 0, 0)).__abs__().max(axis=2) < 40
    columns, rows = np.flatnonzero(red.any(axis=0)), np.flatnonzero(red.any(axis=1))
    assert columns.min() > figure.width / 2, "the photo at the left, the result at the right"
    assert np.count_nonzero(np.diff(rows) > 1) == 1, "two rows"


# Zips --------------------------------------------------------------------------------------------


def test_a_folder_becomes_a_zip_beside_it(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_disc(here / "in" / "a.jpg")
    save_disc(here / "in" / "a.png")
    save_disc(here / "in" / "sub" / "b.png")
    (here / "in" / "broken.jpg").write_bytes(b"\xff\xd8nothing")
    (here / "in" / "notes.txt").write_text("no picture", encoding="utf-8")
    path = colab.cut_out_all(str(here / "in"), model="contour")
    assert path == here / "in-cutouts.zip"
    assert names(path) == ["a.png", "a-2.png", "sub/b.png"]
    said = capsys.readouterr().out
    assert "broken.jpg" in said and f"3 of 4 pictures are in {path}" in said
    with zipfile.ZipFile(path) as archive, archive.open("sub/b.png") as file:
        picture = PILImage.open(file)
        assert (picture.mode, picture.size) == ("RGBA", (128, 96))
    assert sorted(one.name for one in here.iterdir()) == ["in", "in-cutouts.zip"]


def test_a_zip_becomes_another_and_none_is_replaced(here: Path) -> None:
    data = save_disc(here / "disc.png").read_bytes()
    with zipfile.ZipFile(here / "set.zip", "w") as archive:
        archive.writestr("x/disc.png", data)
        archive.writestr("../evil.png", data)
        archive.writestr("__MACOSX/._disc.png", b"nothing")
    paths = [colab.cut_out_all("set.zip", model="contour", background="white") for _ in range(2)]
    assert paths == [Path("set-cutouts.zip"), Path("set-cutouts-2.zip")]
    assert names(paths[0]) == names(paths[1]) == ["x/disc.png"]
    assert not (here.parent / "evil.png").exists()


def test_what_cannot_be_done_leaves_nothing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "empty").mkdir()
    (here / "bad").mkdir()
    (here / "bad" / "a.png").write_bytes(b"nothing")
    for source, says in [
        ("empty", "holds no pictures"),
        ("bad", "0 of 1 pictures could be done"),
        ("not-there", "there is no not-there"),
        ("/content/drive/MyDrive/photos", "Colab only"),
    ]:
        assert colab.cut_out_all(source, model="contour") is None
        assert says in capsys.readouterr().out
    assert colab.cut_out_all("bad", model="nonsense") is None
    assert "unknown remover" in capsys.readouterr().out
    assert sorted(one.name for one in here.iterdir()) == ["bad", "empty"]


def test_an_interruption_keeps_what_is_done(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abc":
        save_disc(here / "in" / f"{name}.png")
    calls = []

    def process(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return pipeline.process(*args, **kwargs)

    monkeypatch.setattr("bgremove.colab.process", process)
    assert names(colab.cut_out_all("in", model="contour")) == ["a.png", "b.png"]


# Colab -------------------------------------------------------------------------------------------


@pytest.fixture
def stand_in(here: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The stand-in of Colab's package can be imported; gives the list of its calls."""
    monkeypatch.syspath_prepend(HERE / "stand_in")
    monkeypatch.setenv("COLAB_STAND_IN", str(here))
    yield here / "calls.txt"
    for name in [name for name in sys.modules if name.startswith("google.colab")]:
        del sys.modules[name]
    if "google" in sys.modules:
        vars(sys.modules["google"]).pop("colab", None)


def test_the_drive_is_mounted_for_a_folder_in_it(stand_in: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert colab.cut_out_all("/content/drive/MyDrive/photos", model="contour") is None
    assert stand_in.read_text(encoding="utf-8") == "mount /content/drive\n"
    assert "Skipped the folder: there is no /content/drive/MyDrive/photos" in capsys.readouterr().out


def test_a_cancelled_upload_leaves_the_samples(stand_in: Path) -> None:
    photos = colab.choose_photos()
    assert [Path(photo.name).name for photo in photos.items] == ["coffee.jpg", "cat.jpg", "astronaut.jpg"]
    assert colab.choose_background("image") == sample_path("stars.jpg")
    assert stand_in.read_text(encoding="utf-8") == "upload 1\nupload 2\n"


# The runtime -------------------------------------------------------------------------------------


def test_there_is_no_colab_here() -> None:
    assert colab.colab_module("files") is None


def test_the_runtime_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    colab.set_up(detectron2=False)
    said = capsys.readouterr().out
    assert said.startswith("bgremove ")
    assert colab.gpu_name() in said
    assert bool(colab.gpu_name()) != ("Change runtime type > T4 GPU" in said)
