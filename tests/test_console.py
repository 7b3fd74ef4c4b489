"""What is said on a terminal, and what is not said elsewhere."""

from __future__ import annotations

import io
import sys
import time

import pytest

from bgremove.console import Progress, printable, say, stop_on_ctrl_c


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def use_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make stderr one; to be called in the test itself, as capturing starts anew after the fixtures."""
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    return screen


def test_a_long_wait_shows_what_is_done_and_the_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = use_terminal(monkeypatch)
    with Progress(1, "photo.jpg") as progress:
        time.sleep(1.3)
        progress.phase("loading u2net")
        time.sleep(1)
        progress.advance(0)
    assert "photo.jpg, 00:01" in terminal.getvalue() and "loading u2net, 00:02" in terminal.getvalue()
    assert terminal.getvalue().rpartition("\r")[0].endswith(" "), "the line is cleared in the end"


def test_a_short_wait_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = use_terminal(monkeypatch)
    with Progress(1, "photo.jpg"):
        pass
    assert terminal.getvalue().strip() == ""


def test_several_pictures_show_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = use_terminal(monkeypatch)
    with Progress(4, "a.jpg") as progress:
        progress.advance(0)
        progress.advance(1)
        time.sleep(1.2)
    assert "2/4" in terminal.getvalue() and "failed=1" in terminal.getvalue()


@pytest.mark.parametrize("quiet", [False, True])
def test_elsewhere_nothing_is_shown(quiet: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    stream: io.StringIO = Terminal() if quiet else io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with Progress(4, "a.jpg", quiet=quiet) as progress:
        progress.advance(0)
        time.sleep(1.1)
    assert stream.getvalue() == ""


def test_every_message_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    say("two\nlines\x1b[31m, and \udcff")
    assert capsys.readouterr().err == "two\\nlines\\x1b[31m, and \\udcff\n"
    assert printable("schöne 照片.jpg") == "schöne 照片.jpg"


def test_the_handler_of_ctrl_c_is_put_back() -> None:
    import signal

    before = signal.getsignal(signal.SIGINT)
    with stop_on_ctrl_c(gently=True) as stop:
        assert not stop.is_set()
        if before != signal.SIG_IGN:
            signal.raise_signal(signal.SIGINT)
            assert stop.is_set()
    assert signal.getsignal(signal.SIGINT) == before
