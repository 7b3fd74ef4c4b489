"""The loop: the newest frame wins, whatever its steps take."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bgremove.errors import VideoError
from bgremove.live.backdrops import Backdrops
from bgremove.live.session import LiveSession, Newest, Shown
from bgremove.live.sources import LiveFrame, Source, open_source
from bgremove.removers.base import Remover
from bgremove.video.cutting import FrameCutter
from bgremove.video.params import CutSettings
from tests.live.removers import DiscRemover

pytest.importorskip("av", reason='videos need the extra: pip install "bgremove[video]"')

from tests.video.clips import Clip, clip, draw  # noqa: E402

SETTINGS: dict[str, Any] = {"smoothing": "none", "edges": "none", "foreground": "none"}


class Still(Source):
    """One picture, again and again, 50 times a second."""

    rate = 50.0

    def __init__(self, *, fails_at: int = 10**9) -> None:
        self.image, self.alpha = draw(0.5)
        self.fails_at = fails_at

    def frames(self, stop: threading.Event) -> Iterator[LiveFrame]:
        number = 0
        while not stop.wait(0.02):
            if number == self.fails_at:
                raise VideoError("the camera was unplugged")
            yield LiveFrame(number, self.image, time.monotonic())
            number += 1


def cutter(remover: Remover, **values: Any) -> FrameCutter:
    return FrameCutter(remover, CutSettings.build(remover, **{**SETTINGS, **values}))


def all_of(session: LiveSession, seconds: float = 30) -> list[Shown]:
    """Everything that is shown until the end."""
    end, shown = time.monotonic() + seconds, []
    while not session.over:
        assert time.monotonic() < end, "it never ends"
        one = session.next(0.05)
        if one is not None:
            shown.append(one)
    return shown


@pytest.fixture
def second(tmp_path: Path) -> Clip:
    """A second of the disc."""
    return clip(tmp_path / "disc.mp4", frames=30, rate=Fraction(30))


def test_newest_gives_the_newest() -> None:
    box = Newest[int]()
    assert box.take(0.01) is None
    box.put(1)
    box.put(2)
    assert box.take() == 2 and box.take(0.01) is None
    box.put(3)
    box.close()
    assert not box.over and box.take() == 3
    assert box.over and box.take() is None


def test_patience_waits_until_something_is_taken() -> None:
    box = Newest[int]()
    box.put(1)
    thread = threading.Thread(target=lambda: box.put(2, patient=True))
    thread.start()
    time.sleep(0.1)
    assert thread.is_alive() and box.take() == 1
    thread.join(5)
    assert box.take() == 2


def test_a_quick_remover_shows_nearly_all_frames_in_order(second: Clip) -> None:
    with (
        open_source(second.path) as source,
        LiveSession(source, cutter(DiscRemover()), Backdrops("colour")) as session,
    ):
        shown = all_of(session)
        result = session.result()
    numbers = [one.frame.number for one in shown]
    assert numbers == sorted(set(numbers)) and numbers[-1] == 29
    assert result.seen == 30 and result.shown == len(shown) >= 15
    assert result.dropped == 30 - len(shown)
    one = shown[len(shown) // 2]
    assert one.cut is not None
    truth = second.alphas[one.frame.number]
    assert float(np.abs(one.cut.alpha - truth).mean()) < 0.08
    assert one.pixels[0, -1].tolist() == [255, 255, 255], "white is the first colour"


def test_a_slow_remover_drops_frames_and_never_lags(second: Clip) -> None:
    """0.15 s a frame: at most 7 of 30 in that second, and none is shown later than two steps take."""
    remover = DiscRemover(0.15)
    with (
        open_source(second.path) as source,
        LiveSession(source, cutter(remover), Backdrops("colour")) as session,
    ):
        shown = all_of(session)
        result = session.result()
    assert 2 <= result.shown <= 9 and remover.asked <= 9
    assert result.seen == 30 and result.dropped >= 21
    assert shown[-1].frame.number == 29, "the last one is shown"
    assert result.longest < 1.0 and result.delay >= 0.15
    gaps = np.diff([one.frame.number for one in shown])
    assert gaps.max() >= 4


def test_what_shows_it_may_be_slow_too() -> None:
    with LiveSession(Still(), cutter(DiscRemover()), Backdrops("colour")) as session:
        for _ in range(4):
            time.sleep(0.2)
            shown = session.next(5)
            assert shown is not None and time.monotonic() - shown.frame.taken < 0.5


def test_a_mirror_exchanges_left_and_right() -> None:
    source = Still()
    with LiveSession(source, cutter(DiscRemover()), Backdrops("off"), mirror=True) as session:
        shown = session.next(10)
    assert shown is not None and np.array_equal(shown.pixels, source.image[:, ::-1])


def test_off_asks_no_network_and_a_change_does() -> None:
    remover, backdrops = DiscRemover(), Backdrops("off")
    with LiveSession(Still(), cutter(remover), backdrops) as session:
        shown = session.next(10)
        assert shown is not None and shown.cut is None and remover.asked == 0
        backdrops.next()
        for _ in range(200):
            shown = session.next(10)
            if shown is not None and shown.cut is not None:
                break
        assert shown is not None and shown.cut is not None and remover.asked > 0


def test_frozen_it_asks_no_more_and_its_background_changes() -> None:
    remover, backdrops = DiscRemover(), Backdrops("off")
    with LiveSession(Still(), cutter(remover), backdrops) as session:
        shown = session.next(10)
        assert shown is not None
        session.freeze(True)
        while session.next(0.2) is not None:
            pass
        assert session.next(0.3) is None and session.frozen
        backdrops.kind = "colour"
        changed = session.again(shown)
        assert changed.cut is not None and changed.pixels[0, -1].tolist() == [255, 255, 255]
        assert changed.frame is shown.frame
        asked = remover.asked
        backdrops.step(2)
        assert session.again(changed).pixels[0, -1].tolist() == [16, 16, 16] and remover.asked == asked
        session.freeze(False)
        fresh = session.next(10)
        assert fresh is not None and time.monotonic() - fresh.frame.taken < 0.5, "no old frame comes then"


def test_what_fails_is_said_where_it_is_shown() -> None:
    with LiveSession(Still(fails_at=3), cutter(DiscRemover()), Backdrops("colour")) as session:
        with pytest.raises(VideoError, match="unplugged"):
            for _ in range(200):
                session.next(0.1)


def test_a_remover_that_fails_is_said_too() -> None:
    class Broken(DiscRemover):
        def predict_alpha(self, image: Any) -> Any:
            raise VideoError("no more")

    with LiveSession(Still(), cutter(Broken()), Backdrops("colour")) as session:
        with pytest.raises(VideoError, match="no more"):
            for _ in range(200):
                session.next(0.1)


def test_what_nobody_thought_of_is_a_sentence_too() -> None:
    class Broken(DiscRemover):
        def predict_alpha(self, image: Any) -> Any:
            raise ZeroDivisionError("of nothing")

    with LiveSession(Still(), cutter(Broken()), Backdrops("colour")) as session:
        with pytest.raises(VideoError, match="unexpected ZeroDivisionError: of nothing") as caught:
            for _ in range(200):
                session.next(0.1)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_its_threads_end_with_it() -> None:
    before = threading.active_count()
    for frozen in (False, True):
        with LiveSession(Still(), cutter(DiscRemover()), Backdrops("colour")) as session:
            assert session.next(10) is not None
            session.freeze(frozen)
        assert threading.active_count() == before


def test_the_rate_and_the_delay_are_known() -> None:
    with LiveSession(Still(), cutter(DiscRemover(0.05)), Backdrops("colour")) as session:
        assert session.rate == 0 and session.delay == 0
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            session.next(0.1)
        assert 3 < session.rate < 22
        assert 0.05 <= session.delay < 0.5
        assert 3 < session.result().rate < 22
