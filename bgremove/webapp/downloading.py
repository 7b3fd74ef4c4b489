"""Models that are not here yet are downloaded while nobody waits for them with a place at work."""

from __future__ import annotations

import threading

from bgremove.detectron2_source import detectron2_path
from bgremove.errors import BGRemoveError, WeightsError
from bgremove.registry import remover_info
from bgremove.removers.base import RemoverInfo
from bgremove.webapp.errors import Busy, log
from bgremove.weights import fetch_weights, is_downloaded

_AGAIN = 5.0  # seconds
_AT_ONCE = 2


class Downloads:
    """What is downloaded now, and what went wrong with it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[str] = set()
        self._failed: dict[str, BGRemoveError] = {}

    def need(self, model: str) -> None:
        """Return if nothing has to be downloaded for `model`; else begin with it, or let it go on.

        Raises:
            Busy: while it is downloaded; the answer says when to come again.
            BGRemoveError: once, if that failed; the next call begins anew.
        """
        info = remover_info(model)
        if info.weights is None or info.weights.packaged:
            return
        if info.kind == "detectron2" and detectron2_path() is None:
            return  # which is said when it is built
        with self._lock:
            if info.name in self._failed:
                raise self._failed.pop(info.name)
            if info.name not in self._running:
                if is_downloaded(info.weights):
                    return
                if len(self._running) >= _AT_ONCE:
                    raise Busy(
                        f"{' and '.join(sorted(self._running))} are downloaded first; {info.name} can be had "
                        "after them",
                        2 * _AGAIN,
                    )
                self._running.add(info.name)
                # Not to be waited for when the server ends: an unfinished download is taken up again.
                threading.Thread(target=self._fetch, args=(info,), daemon=True).start()
        size = f" ({info.weights.size_mb:.0f} MB)" if info.weights.size_mb else ""
        raise Busy(f"{info.name}{size} is being downloaded, once; try again in {_AGAIN:.0f} s", _AGAIN)

    def _fetch(self, info: RemoverInfo) -> None:
        assert info.weights is not None
        failed = None
        try:
            fetch_weights(info.weights, name=info.name, progress=False)
        except BGRemoveError as error:
            log.warning("%s", error)  # with its address and the folder here, which are nobody else's matter
            failed = WeightsError(
                f"{info.name} could not be downloaded to this server, whose log says why; choose another "
                "model, or try again later"
            )
        with self._lock:
            self._running.discard(info.name)
            if failed is not None:
                self._failed[info.name] = failed
