"""The counters, read as Prometheus reads them."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bgremove.webapp import ServeParams, create_app
from bgremove.webapp.metrics import Metrics


@dataclass
class Numbers:
    """Stands for the queue and for what is kept."""

    waiting: int = 0
    working: int = 0
    pictures: int = 0
    nbytes: int = 0


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (one.name, tuple(sorted(one.labels.items()))): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


@pytest.fixture
def numbers() -> Numbers:
    return Numbers()


@pytest.fixture
def metrics(numbers: Numbers) -> Metrics:
    return Metrics(numbers, numbers)


def test_requests_are_counted_by_route_method_and_status(metrics: Metrics) -> None:
    metrics.seen("/api/remove", "POST", 200, 0.3)
    metrics.seen("/api/remove", "POST", 200, 3)
    metrics.seen("/api/remove", "POST", 429, 0.001)
    found = samples(metrics.text())
    labels = (("method", "POST"), ("route", "/api/remove"), ("status", "200"))
    assert found["bgremove_requests_total", labels] == 2
    assert found["bgremove_request_seconds_sum", (("route", "/api/remove"),)] == pytest.approx(3.301)
    assert found["bgremove_request_seconds_bucket", (("le", "0.5"), ("route", "/api/remove"))] == 2


def test_a_visitors_own_words_make_no_new_series(metrics: Metrics) -> None:
    for number in range(50):
        metrics.seen("-", f"METHOD{number}", 405, 0.001)
        metrics.picture(f"onnx:/somewhere/{number}.onnx")
    lines = metrics.text().splitlines()
    assert sum(line.startswith("bgremove_requests_total") for line in lines) == 1
    assert sum(line.startswith("bgremove_pictures_total") for line in lines) == 1
    assert "/somewhere" not in metrics.text()


def test_gauges_are_read_anew_each_time(metrics: Metrics, numbers: Numbers) -> None:
    numbers.waiting, numbers.working, numbers.pictures, numbers.nbytes = 3, 2, 7, 1000
    found = samples(metrics.text())
    assert [found[f"bgremove_{name}", ()] for name in ("waiting", "working")] == [3, 2]
    assert [found[f"bgremove_kept_{name}", ()] for name in ("pictures", "bytes")] == [7, 1000]
    numbers.waiting = 0
    assert samples(metrics.text())["bgremove_waiting", ()] == 0


@pytest.mark.skipif(sys.platform != "linux", reason="the process's memory is told on Linux only")
def test_the_processs_memory_is_told(metrics: Metrics) -> None:
    assert samples(metrics.text())["process_resident_memory_bytes", ()] > 10e6


def test_two_apps_in_a_process_do_not_mix() -> None:
    first, second = (create_app(ServeParams()).test_client() for _ in range(2))
    assert first.get("/healthz").status_code == 503
    labels = (("method", "GET"), ("route", "/healthz"), ("status", "503"))
    assert samples(first.get("/metrics").text)["bgremove_requests_total", labels] == 1
    assert ("bgremove_requests_total", labels) not in samples(second.get("/metrics").text)


def test_an_unknown_address_is_counted_without_its_name() -> None:
    client = create_app(ServeParams()).test_client()
    client.get("/secret-name?token=abc")
    text = client.get("/metrics").text
    assert 'status="404"' in text
    assert "secret" not in text
