"""Archives of source code: what is in them, git's names for it, and those that must not be unpacked."""

from __future__ import annotations

import io
import re
import stat
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from bgremove import source_archives
from bgremove.errors import WeightsError
from bgremove.source_archives import SourceFile, manifest, read_archive, tree_id

FILES = {  # in the order in which git sorts them, which is not that of their names
    "a.txt": SourceFile("100644", b"a\n"),
    "a/b/c": SourceFile("100644", b""),
    "a/link": SourceFile("120000", b"../a.txt"),
    "a0": SourceFile("100755", b"#!/bin/sh\n"),
    "\xe4": SourceFile("100644", bytes(range(256))),
}
TREE = "8e7476d8c63331b6d1075dedf329f87db6e32e27"  # by: git add . && git write-tree


def tar(path: Path, files: Iterable[tuple[str, SourceFile]], kind: bytes = tarfile.REGTYPE) -> Path:
    """A ``.tar.gz``; `kind` is that of its ordinary files."""
    with tarfile.open(path, "w:gz") as archive:
        for name, file in files:
            member = tarfile.TarInfo(name)
            member.mode = 0o775 if file.mode == "100755" else 0o664
            member.type = tarfile.SYMTYPE if file.mode == "120000" else kind
            if member.type == tarfile.REGTYPE:
                member.size = len(file.data)
                archive.addfile(member, io.BytesIO(file.data))
            else:
                member.linkname = file.data.decode()
                archive.addfile(member)
    return path


def zipped(path: Path, files: Iterable[tuple[str, SourceFile]]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("top/", b"")
        for name, file in files:
            info = zipfile.ZipInfo(name)
            info.create_system, info.compress_type = 3, zipfile.ZIP_DEFLATED  # 3 is Unix
            mode = stat.S_IFLNK | 0o777 if file.mode == "120000" else int(file.mode[-3:], 8) | stat.S_IFREG
            info.external_attr = mode << 16
            archive.writestr(info, file.data)
    return path


def in_folder() -> list[tuple[str, SourceFile]]:
    return [(f"top-1/{name}", file) for name, file in FILES.items()]


@pytest.mark.parametrize("make", [tar, zipped])
def test_files_come_without_the_folder_that_holds_them_all(tmp_path: Path, make: type) -> None:
    assert read_archive(make(tmp_path / "with", in_folder())) == FILES
    assert read_archive(make(tmp_path / "without", FILES.items())) == FILES


def test_the_tree_id_is_that_of_git() -> None:
    assert tree_id(FILES) == tree_id(dict(reversed(FILES.items()))) == TREE
    assert tree_id({}) == "4b825dc642cb6eb9a060e54bf8d69288fbee4904"  # git's empty tree


@pytest.mark.parametrize("name", FILES)
def test_every_change_shows_in_both_digests(name: str) -> None:
    old = FILES[name]
    changes: list[dict[str, SourceFile]] = [
        {**FILES, name: SourceFile(old.mode, old.data + b"x")},
        {**FILES, name: SourceFile("100755" if old.mode == "100644" else "100644", old.data)},
        {key: file for key, file in FILES.items() if key != name},
        {key + "x" * (key == name): file for key, file in FILES.items()},
        {**FILES, "more": SourceFile("100644", b"")},
    ]
    for changed in changes:
        assert tree_id(changed) != TREE
        assert manifest(changed) != manifest(FILES)


def test_the_manifest_lists_every_file() -> None:
    lines = manifest(FILES).splitlines()
    assert [line.split(" ", 2)[2] for line in lines] == ["a.txt", "a/b/c", "a/link", "a0", "\xe4"]
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert lines[1] == f"100644 {empty} a/b/c"


@pytest.mark.parametrize("make", [tar, zipped])
@pytest.mark.parametrize(
    "name", ["/etc/x", "../x", "a/../../x", "a//x", "./x", "a/.", "C:x", "a\\..\\x", "a/..", ".."]
)
def test_names_outside_the_folder_are_refused(tmp_path: Path, make: type, name: str) -> None:
    path = make(tmp_path / "bad", [*FILES.items(), (name, SourceFile("100644", b"x"))])
    with pytest.raises(WeightsError, match=r"would lie outside of its folder; nothing of it was unpacked"):
        read_archive(path)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("make", [tar, zipped])
@pytest.mark.parametrize("target", [b"/etc/passwd", b"../../x", b"../a/../../x", b"C:\\x", b"..\\..\\x"])
def test_links_that_lead_outside_are_refused(tmp_path: Path, make: type, target: bytes) -> None:
    path = make(tmp_path / "bad", [*FILES.items(), ("a/bad", SourceFile("120000", target))])
    with pytest.raises(WeightsError, match="link 'a/bad' leads outside of its folder"):
        read_archive(path)


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_other_kinds_of_files_are_refused(tmp_path: Path, kind: bytes) -> None:
    path = tar(tmp_path / "bad", [("x", SourceFile("100644", b"/etc/passwd"))], kind)
    with pytest.raises(WeightsError, match="'x' in it is neither a file, a folder nor a link"):
        read_archive(path)


@pytest.mark.parametrize("make", [tar, zipped])
def test_too_much_is_refused(tmp_path: Path, make: type, monkeypatch: pytest.MonkeyPatch) -> None:
    zeros = SourceFile("100644", bytes(300_000))
    monkeypatch.setattr(source_archives, "_MOST_BYTES", 200_000)
    with pytest.raises(WeightsError, match="it unpacks to too much"):
        read_archive(make(tmp_path / "bomb", [("x", zeros)]))
    (tmp_path / "large").write_bytes(bytes(200_001))
    with pytest.raises(WeightsError, match="it is too large"):
        read_archive(tmp_path / "large")
    monkeypatch.setattr(source_archives, "_MOST_FILES", 4)
    with pytest.raises(WeightsError, match="too many files"):
        read_archive(make(tmp_path / "many", FILES.items()))


def test_ambiguous_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"it holds 'a\.txt' twice"):
        read_archive(tar(tmp_path / "x", [*FILES.items(), ("a.txt", FILES["a0"])]))
    for names in (["x", "x/y"], ["x/y", "x"]):
        with pytest.raises(WeightsError, match="'x' is a file and a folder at once"):
            tree_id({name: FILES["a0"] for name in names})


def test_what_is_no_archive_gets_one_sentence(tmp_path: Path) -> None:
    whole = tar(tmp_path / "whole", in_folder()).read_bytes()
    path = tmp_path / "file"
    for data in (b"", b"<!DOCTYPE html>", whole[:-30], whole[:20], b"PK\x03\x04junk"):
        path.write_bytes(data)
        with pytest.raises(WeightsError, match=re.escape(f"{path} is no .tar.gz or .zip")):
            read_archive(path)
    with pytest.raises(WeightsError, match="cannot read .*none: No such file"):
        read_archive(tmp_path / "none")
