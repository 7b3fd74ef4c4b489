"""``bgremove setup`` as a user calls it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..cli_helpers import bgremove_here, is_one_sentence, python_there
from ..http_server import Server
from ..test_detectron2_source import apart, archived, folder, forget, server, small

__all__ = ["apart", "server"]  # fixtures


def test_the_help_says_what_it_does() -> None:
    assert "bgremove setup detectron2" in bgremove_here("setup", "--help").output
    shown = " ".join(bgremove_here("setup", "detectron2", "--help").output.split())
    assert "--archive FILE" in shown and "--quiet" in shown and "no package that is there is changed" in shown
    assert "Detectron2" in bgremove_here("--help").output


def test_the_help_loads_nothing() -> None:
    code = (
        "import sys\nfrom click.testing import CliRunner\nfrom bgremove.cli import main\n"
        "assert CliRunner().invoke(main, ['setup', 'detectron2', '--help']).exit_code == 0\n"
        "print(' '.join({name.partition('.')[0] for name in sys.modules}))"
    )
    done = python_there(code)
    assert done.returncode == 0, done.stderr
    assert not set(done.stdout.split()) & {"numpy", "torch", "pooch", "requests", "detectron2"}


def test_it_says_what_it_did_and_the_second_time_too(server: Server) -> None:
    done = bgremove_here("setup", "detectron2")
    assert done.exit_code == 0, done.output
    lines = done.stderr.splitlines()
    assert done.stdout == "" and any(line.startswith("put Detectron2 at commit ") for line in lines)
    assert lines[-1].startswith("ready: Detectron2 0.6 without its compiled part")
    forget()
    again = bgremove_here("setup", "detectron2")
    assert again.stderr.startswith(f"Detectron2 is in {folder()} already") and len(server.requests) == 1


def test_an_archive_and_quiet(server: Server, tmp_path: Path) -> None:
    archive = archived(tmp_path / "d2.zip", small())
    done = bgremove_here("setup", "detectron2", "--archive", archive, "-q")
    assert (done.exit_code, done.output, server.requests) == (0, "", [])
    assert (folder() / "detectron2" / "__init__.py").is_file()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("none.zip", "cannot read "),
        ("photo.jpg", "is no .tar.gz or .zip"),
        ("other.zip", "does not hold Detectron2 at commit "),
    ],
)
def test_a_wrong_archive_gets_one_sentence(server: Server, tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff")
    archived(tmp_path / "other.zip", small(LICENSE="none"))
    done = bgremove_here("setup", "detectron2", "--archive", tmp_path / name)
    assert done.exit_code == 1 and words in done.stderr and is_one_sentence(done.stderr)
    assert not folder().exists() and server.requests == []
