"""Folders and zips, honest and hostile."""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from bgremove.datasets import files
from bgremove.datasets.files import open_places
from bgremove.errors import DataError

from .pictures import add_pairs, picture, save, zipped


def test_a_folder_and_its_zip_hold_the_same(tmp_path: Path) -> None:
    add_pairs(tmp_path / "set", ["a", "sub/b"])
    save(tmp_path / "set" / ".trash" / "c.png", picture())
    save(tmp_path / "set" / "__MACOSX" / "d.png", picture())
    (tmp_path / "set" / "readme.txt").write_text("hello")
    path = zipped(tmp_path / "set", tmp_path / "set.zip")
    with open_places([tmp_path / "set", path]) as contents:
        assert contents.problems == ()
        entries = contents.entries
        assert [entry.name for entry in entries] == [
            "images/a.jpg", "images/sub/b.jpg", "masks/a.png", "masks/sub/b.png",
        ] * 2  # fmt: skip
        for plain, packed in zip(entries[:4], entries[4:], strict=True):
            data = (tmp_path / "set" / plain.name).read_bytes()
            assert plain.read() == packed.read() == data
            assert plain.checksum() == packed.checksum() == zlib.crc32(data)
            assert plain.size == packed.size == len(data)
            assert plain.path == tmp_path / "set" / plain.name and packed.path is None


def test_the_output_is_no_input(tmp_path: Path) -> None:
    add_pairs(tmp_path, ["a"])
    add_pairs(tmp_path / "out" / "train", ["b"])
    with open_places([tmp_path], without=tmp_path / "out") as contents:
        assert [entry.name for entry in contents.entries] == ["images/a.jpg", "masks/a.png"]


def test_a_place_that_is_neither(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no .*nothing.zip; give a folder or a zip"), open_places(
        [tmp_path / "nothing.zip"]
    ):  # fmt: skip
        pass
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(DataError, match="text.zip cannot be read as a zip"), open_places(
        [tmp_path / "text.zip"]
    ):  # fmt: skip
        pass


@pytest.mark.parametrize("name", ["../out.png", "a/../../out.png", "/out.png", "C:/out.png", "..\\out.png"])
def test_names_that_lead_out_of_a_zip_are_left_out(tmp_path: Path, name: str) -> None:
    data = save(tmp_path / "a.png", picture()).read_bytes()
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr(zipfile.ZipInfo(name), data)
        archive.writestr("images/good.png", data)
    with open_places([tmp_path / "bad.zip"]) as contents:
        assert [entry.name for entry in contents.entries] == ["images/good.png"]
        assert len(contents.problems) == 1 and "its name leads out of the zip" in contents.problems[0]


def test_files_and_zips_that_are_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images/bomb.png", bytes(3_000_000))
        archive.writestr("images/small.png", bytes(900_000))
        archive.writestr("images/tiny.png", bytes(900_000))
    monkeypatch.setattr(files, "MAX_FILE", 10**6)
    with open_places([tmp_path / "bomb.zip"]) as contents:
        assert [entry.name for entry in contents.entries] == ["images/small.png", "images/tiny.png"]
        assert "bomb.png is left out: it would have 3 MB" in contents.problems[0]
    monkeypatch.setattr(files, "MAX_TOTAL", 10**6)
    with pytest.raises(DataError, match="would unpack to more than"), open_places([tmp_path / "bomb.zip"]):
        pass


def test_a_zip_that_lies_about_a_size_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "liar.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images/a.png", bytes(2_000_000))
    data = path.read_bytes()
    path.write_bytes(data.replace(struct.pack("<I", 2_000_000), struct.pack("<I", 1000)))
    with open_places([path]) as contents:
        [entry] = contents.entries
        assert entry.size == 1000
        with pytest.raises(DataError, match=r"images/a.png cannot be read: Bad CRC"):
            entry.read()


def test_broken_and_locked_members(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).bytes(5000)
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images/a.png", noise)
    data = bytearray(path.read_bytes())
    data[1000] ^= 255
    path.write_bytes(data)
    with open_places([path]) as contents, pytest.raises(DataError, match="a.png cannot be read: Bad CRC"):
        contents.entries[0].read()
    data[1000] ^= 255
    place = data.index(b"PK\x01\x02")
    data[6] |= 1  # the flag of a password, in both headers
    data[place + 8] |= 1
    path.write_bytes(data)
    with open_places([path]) as contents, pytest.raises(DataError, match="password.*unpack the zip and give"):
        contents.entries[0].read()
