"""The live view: the camera's frames come one by one, and each frame's matte goes back."""

from __future__ import annotations

import io
import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from flask import Blueprint, Response, jsonify, make_response, render_template, request
from PIL import Image as PILImage
from PIL import UnidentifiedImageError

from bgremove import __version__
from bgremove.arrays import Image
from bgremove.registry import remover_info
from bgremove.webapp import parts
from bgremove.webapp.config import ServeParams
from bgremove.webapp.errors import Busy, NotFound, TooLarge, WrongRequest

if TYPE_CHECKING:
    from bgremove.removers.base import Remover
    from bgremove.video.cutting import FrameCutter
    from bgremove.video.params import CutSettings

blueprint = Blueprint("live", __name__)

FRAME_BYTES = 1_500_000
"""The largest frame that is taken, in bytes."""

FRAME_SIDE = 1280
"""The longest side of one, in pixels."""

_GONE = 30.0  # seconds without a frame
_NEW_SCENE = 2.0  # likewise: what was seen before says nothing any more
_PATIENCE = 2.0  # seconds that a frame waits for the one before


@dataclass(eq=False)
class Session:
    """One camera.

    Attributes:
        id: unguessable.
        latest: the newest frame's number that came.
        done: that of the last one whose matte was made.
        waiting: frames that wait for the one in work.
        seen: when a frame came last, by the monotonic clock.
        frames: how many mattes were made.
    """

    cutter: FrameCutter
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    latest: int = -1
    done: int = -1
    seen: float = field(default_factory=time.monotonic)
    frames: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Live:
    """The cameras that are looked at now; one network serves them all."""

    def __init__(self, params: ServeParams) -> None:
        remover_info(params.live_model)  # an unknown one is said at once
        self.params = params
        self._lock = threading.Lock()
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._building = threading.Lock()
        self._built: tuple[Remover, CutSettings] | None = None
        self._places = threading.BoundedSemaphore(params.at_work)

    @property
    def count(self) -> int:
        """How many cameras there are."""
        return len(self._sessions)

    def begin(self) -> Session:
        """A camera more.

        Raises:
            Busy: if there are too many.
        """
        if not self.params.live:
            raise WrongRequest("this server has no live view")
        self.sweep()
        with self._lock:
            if len(self._sessions) >= self.params.live:
                raise Busy(
                    f"{len(self._sessions)} live views are open, which is all there are; try again later",
                    15,
                )
        from bgremove.video.cutting import FrameCutter

        session = Session(FrameCutter(*self._network()))
        with self._lock:
            self._sessions[session.id] = session
        return session

    def end(self, id: str) -> None:
        """Forget a camera."""
        with self._lock:
            self._sessions.pop(id, None)

    def session(self, id: str) -> Session:
        """The camera of this id.

        Raises:
            NotFound: if it is none, or no frame came for long.
        """
        with self._lock:
            found = self._sessions.get(id)
        if found is None:
            raise NotFound("this live view is over, since nothing came for a while; start it again")
        return found

    def sweep(self) -> None:
        """Forget the cameras that send nothing any more."""
        now = time.monotonic()
        with self._lock:
            for one in [one for one in self._sessions.values() if now - one.seen > _GONE]:
                del self._sessions[one.id]

    def close(self) -> None:
        """Forget everything."""
        with self._lock:
            self._sessions.clear()
            self._built = None

    def matte(self, session: Session, number: int, data: bytes) -> bytes | None:
        """The matte of a camera's frame, a grey PNG of its size; None if a newer one came meanwhile.

        Args:
            number: frames of higher numbers are newer.
            data: the frame, a JPEG.

        Raises:
            WrongRequest, TooLarge: if it is none, or too large.
            Busy: if others take all the time.
        """
        image = _decoded(data)
        with self._lock:
            session.latest = max(session.latest, number)
        if not session.lock.acquire(timeout=_PATIENCE):
            return None
        try:
            if number < session.latest or number <= session.done:
                return None
            if not self._places.acquire(timeout=_PATIENCE):
                raise Busy("others take all of this server's time just now; try again in 2 s", 2)
            try:
                return self._made(session, number, image)
            finally:
                self._places.release()
        finally:
            session.lock.release()

    def _made(self, session: Session, number: int, image: Image) -> bytes:
        import cv2

        from bgremove.compositing import alpha_to_bytes
        from bgremove.threads import alone
        from bgremove.video.cutting import finish

        now = time.monotonic()
        if now - session.seen > _NEW_SCENE:
            session.cutter.reset()
        settings = session.cutter.settings
        with alone():
            cut = finish(session.cutter.look(image), settings.refine, settings.foreground)
        grey = alpha_to_bytes(cut.alpha)
        session.done, session.seen = number, time.monotonic()
        session.frames += 1
        return bytes(cv2.imencode(".png", grey, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1])

    def _network(self) -> tuple[Remover, CutSettings]:
        from bgremove.video.params import CutSettings

        with self._building:
            if self._built is None:
                settings = CutSettings.build(self.params.live_model, foreground="none")
                self._built = settings.create_remover(), settings
            return self._built


def _decoded(data: bytes) -> Image:
    """A frame's pixels, after a look at its header."""
    import cv2
    import numpy as np

    try:
        with PILImage.open(io.BytesIO(data), formats=("JPEG",)) as header:
            width, height = header.size
    except (PILImage.DecompressionBombError, PILImage.DecompressionBombWarning):
        raise TooLarge(f"a frame may be {FRAME_SIDE} px wide and high; this one is far larger") from None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        raise WrongRequest("a frame must be a JPEG") from None
    if max(width, height) > FRAME_SIDE:
        raise TooLarge(f"a frame may be {FRAME_SIDE} px wide and high; got {width} x {height}")
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    if pixels is None:
        raise WrongRequest("a frame must be a JPEG; this one is broken")
    return cast(Image, pixels)


# Addresses ---------------------------------------------------------------------------------------


@blueprint.get("/live")
def view() -> Response:
    """The live view alone, also for frames; or what asks for the token."""
    name = "live.html" if parts().guard.allowed() else "login.html"
    response = make_response(render_template(name, version=__version__))
    response.headers["Cache-Control"] = "no-store"
    response.headers["Permissions-Policy"] = "camera=(self), microphone=()"
    return response


@blueprint.post("/page/live")
def begin() -> tuple[Response, int]:
    """A camera begins."""
    live = parts().live
    parts().service.need(live.params.live_model)
    session = live.begin()
    return jsonify(id=session.id, model=live.params.live_model, side=FRAME_SIDE, bytes=FRAME_BYTES), 201


@blueprint.post("/page/live/<id>")
def frame(id: str) -> Response:
    """One frame: its matte, or 204 if a newer one has come."""
    session = parts().live.session(id)
    text = request.args.get("n", "")
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise WrongRequest("n must be the number of the frame")
    if (request.content_length or 0) > FRAME_BYTES:
        raise TooLarge(f"a frame may have {FRAME_BYTES / 1e6:g} MB")
    began = time.perf_counter()
    data = parts().live.matte(session, int(text), request.get_data(cache=False))
    if data is None:
        return make_response("", 204)
    response = Response(data, mimetype="image/png")
    response.headers["Cache-Control"] = "private, no-store"
    response.headers["Server-Timing"] = f"matte;dur={(time.perf_counter() - began) * 1000:.1f}"
    return response


@blueprint.delete("/page/live/<id>")
def end(id: str) -> Response:
    """The camera is off."""
    parts().live.end(id)
    return make_response("", 204)
