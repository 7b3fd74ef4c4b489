"""``bgremove live``: a file to nowhere, to a real window with real keys, and what cannot be."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.cli_helpers import bgremove_here, bgremove_there, decode, environment
from tests.live.screens import Screen, a_screen

pytest.importorskip("av", reason='videos need the extra: pip install "bgremove[video]"')

from tests.video.clips import clip  # noqa: E402

FAST = ("--model", "contour", "--smoothing", "none")
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="screens are X's on Linux only")


def test_a_file_to_nowhere_says_what_it_did(tmp_path: Path) -> None:
    made = clip(tmp_path / "disc.mp4", frames=20, rate=Fraction(40))
    done = bgremove_here("live", made.path, "--to", "none", *FAST)
    assert done.exit_code == 0, done.output
    first, last = done.stderr.strip().splitlines()
    assert first == "disc.mp4 to nowhere; Ctrl-C ends it"
    match = re.fullmatch(r"(\d+) of 20 frames shown, \d+\.\d a second, \d+ ms after they were seen", last)
    assert match and 1 <= int(match[1]) <= 20
    assert bgremove_here("live", made.path, "--to", "none", "-q", *FAST).stderr == ""


def test_the_shipped_network_is_the_default(tmp_path: Path) -> None:
    made = clip(tmp_path / "disc.mp4", frames=6, size=(192, 256))
    done = bgremove_here("live", made.path, "--to", "none")
    assert done.exit_code == 0 and "of 6 frames shown" in done.stderr


@pytest.mark.parametrize(
    ("words", "says", "status"),
    [
        (["98"], "there is no camera 98, or another program uses it; ", 1),
        (["missing.mp4"], "missing.mp4", 1),
        (["0", "--background", "plaid"], "unknown background 'plaid'", 2),
        (["0", "--camera-size", "tall"], "--camera-size must be width x height, as 640x480; got 'tall'", 2),
        (["0", "--blur-radius", "-1"], "--blur-radius must be a number from 0 to 500; got -1", 2),
        (["0", "--model", "nothing"], "unknown remover 'nothing'", 2),
        (["0", "--canny-low", "3", "--model", "grabcut"], "--canny-low is a setting of contour", 2),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(words: list[str], says: str, status: int) -> None:
    done = bgremove_here("live", "--to", "none", *words)
    assert says in done.stderr and done.stderr.count("\n") == 1
    assert done.exit_code == status


@linux
def test_without_a_screen_the_process_goes_on_to_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    made = clip(tmp_path / "disc.mp4", frames=4)
    done = bgremove_there("live", made.path, *FAST)
    assert done.returncode == 1
    assert done.stderr.decode().startswith("Error: there is no screen here to open a window on; take --to")


def test_ctrl_c_ends_it_well(tmp_path: Path) -> None:
    made = clip(tmp_path / "disc.mp4", frames=10)
    command = [sys.executable, "-m", "bgremove", "live", str(made.path), "--loop", "--to", "none", *FAST]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment())
    try:
        assert running.stderr is not None
        assert running.stderr.readline() == "disc.mp4 to nowhere; Ctrl-C ends it\n"
        time.sleep(1)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=60)
    finally:
        running.kill()
        running.communicate()
    assert running.returncode == 0
    first, last = said.strip().splitlines()
    assert first == "ending; Ctrl-C again stops at once" and "frames shown" in last


def test_its_help_has_the_keys_and_every_setting() -> None:
    text = bgremove_here("live", "--help").stdout
    for word in ("space   freeze", "--background TEXT", "--smoothing", "--camera-size", "--canny-low"):
        assert (word in text) == (word != "--canny-low"), word
    assert "--canny-low" in bgremove_here("live", "--help", "--model", "contour").stdout


def near(screen: Screen, colour: tuple[int, int, int]) -> int:
    """Pixels of the screen of nearly that colour."""
    return int((np.abs(screen.picture().astype(int) - colour).max(axis=2) < 12).sum())


@linux
def test_a_window_with_all_its_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shipped network, a real window on a screen that nobody sees, keys as a person presses them."""
    made = clip(tmp_path / "disc.mp4", frames=30, size=(240, 320), rate=Fraction(20))
    folder = tmp_path / "saved"
    with a_screen() as screen:
        monkeypatch.setenv("DISPLAY", screen.name)
        command = [
            *(sys.executable, "-m", "bgremove", "live", str(made.path), "--loop", "-o", str(folder)),
            *("--background", "#ff00ff"),
        ]
        running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment())
        try:
            window = screen.window("bgremove live")
            wait = screen.until
            wait(lambda: "yes" if near(screen, (255, 0, 255)) > 20_000 else "")
            wait(lambda: "yes" if near(screen, (225, 130, 60)) > 500 else "")  # the disc before it
            screen.press(window, "plus")
            wait(lambda: "yes" if near(screen, (255, 255, 255)) > 20_000 else "")
            screen.press(window, "s")
            wait(lambda: next((str(one) for one in folder.glob("live-*.png")), ""))
            screen.press(window, "b")  # none: the chequered ground
            wait(
                lambda: "yes" if near(screen, (252, 252, 252)) > 8_000 < near(screen, (214, 214, 214)) else ""
            )
            screen.press(window, "space")
            wait(lambda: "yes" if still(screen) else "")
            screen.press(window, "b")  # the frame as it is, also while it stands still
            wait(lambda: "yes" if near(screen, (214, 214, 214)) < 500 else "")
            assert near(screen, (255, 0, 255)) == 0
            screen.press(window, "space")
            screen.press(window, "q")
            _, said = running.communicate(timeout=60)
        finally:
            running.kill()
            running.communicate()
    assert running.returncode == 0, said
    lines = said.strip().splitlines()
    assert lines[0].startswith("disc.mp4 to a window; keys: b background, ")
    [saved] = folder.glob("live-*.png")
    assert lines[1] == f"wrote {saved}"
    assert re.fullmatch(r"\d+ of \d+ frames shown, .*", lines[2]) and len(lines) == 3
    pixels = decode(saved)
    assert pixels.shape == (240, 320, 3), "no words are in it"
    assert (pixels == 255).all(axis=2).mean() > 0.4 and pixels[:30, :150].min() > 200


def still(screen: Screen) -> bool:
    """Does nothing move?"""
    before = screen.picture()
    time.sleep(0.4)
    return bool((before == screen.picture()).all())


@linux
def test_closing_the_window_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = clip(tmp_path / "disc.mp4", frames=10)
    with a_screen() as screen:
        monkeypatch.setenv("DISPLAY", screen.name)
        command = [sys.executable, "-m", "bgremove", "live", str(made.path), "--loop", *FAST]
        running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment())
        try:
            window = screen.window("bgremove live")
            screen.until(lambda: "yes" if screen.picture().any() else "")
            screen.close(window)
            _, said = running.communicate(timeout=60)
        finally:
            running.kill()
            running.communicate()
    assert running.returncode == 0 and "frames shown" in said, said
