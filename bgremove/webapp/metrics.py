"""What the server counts, in the text format of Prometheus: requests, seconds, the queue, memory."""

from __future__ import annotations

from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
_BUCKETS = (0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120)


class Queue(Protocol):
    """What has pictures at work, and some waiting."""

    @property
    def waiting(self) -> int: ...

    @property
    def working(self) -> int: ...


class Kept(Protocol):
    """What keeps pictures."""

    @property
    def pictures(self) -> int: ...

    @property
    def nbytes(self) -> int: ...


class Metrics:
    """Counters of one server, in a registry of its own: two servers in a process do not mix.

    Nothing that a visitor writes becomes a label, or their number would have no end: a route is its pattern,
    a method is one of HTTP's own or ``other``.

    Args:
        service: asked how many are at work and how many wait, whenever the metrics are read.
        store: asked how many pictures it keeps, and in how much memory.

    Attributes:
        registry: for further metrics.
    """

    def __init__(self, service: Queue, store: Kept) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "bgremove_requests",
            "Requests answered",
            ("route", "method", "status"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "bgremove_request_seconds",
            "Seconds from the end of a request's header to its answer, waiting included",
            ("route",),
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._pictures = Counter(
            "bgremove_pictures",
            "Pictures cut out",
            ("model", "result"),
            registry=self.registry,
        )
        for name, description, read in (
            ("bgremove_waiting", "Requests that wait for their turn", lambda: service.waiting),
            ("bgremove_working", "Pictures at work", lambda: service.working),
            ("bgremove_kept_pictures", "Pictures kept for visitors of the page", lambda: store.pictures),
            ("bgremove_kept_bytes", "Memory that these take", lambda: store.nbytes),
        ):
            Gauge(name, description, registry=self.registry).set_function(read)
        ProcessCollector(registry=self.registry)  # process_resident_memory_bytes and others, on Linux

    def seen(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one request.

        Args:
            route: its pattern, as ``/page/pictures/<id>``, never the address itself.
            method: of HTTP.
            status: of the answer.
            seconds: that it took.
        """
        self._requests.labels(route, method if method in _METHODS else "other", str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def picture(self, model: str, *, empty: bool = False) -> None:
        """Count one picture that was cut out.

        Args:
            model: a name of the table, not a user's file.
            empty: nothing was found in it.
        """
        self._pictures.labels(model.partition(":")[0], "empty" if empty else "subject").inc()

    def text(self) -> str:
        """All of it, as Prometheus reads it (:data:`CONTENT_TYPE`)."""
        return generate_latest(self.registry).decode()
