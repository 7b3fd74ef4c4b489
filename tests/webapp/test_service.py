from __future__ import annotations

import dataclasses
import hashlib
import io
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

from bgremove.errors import ImageError, OptionError, UnknownRemoverError, WeightsError
from bgremove.pipeline import Settings, process
from bgremove.registry import REMOVERS
from bgremove.removers.base import Remover
from bgremove.removers.onnx import OnnxRemover
from bgremove.threads import map_on_threads
from bgremove.webapp.config import ServeParams
from bgremove.webapp.errors import Busy, Refused, TooLarge, TooSlow
from bgremove.webapp.service import Line, Removers, Service, Ticket, shown_model
from bgremove.weights import Weights
from tests.http_server import Server as FileServer
from tests.http_server import serving
from tests.removers.onnx_models import conv
from tests.test_io import endless_tiff
from tests.webapp.conftest import photo_bytes


@pytest.fixture(scope="module")
def service() -> Service:
    return Service(ServeParams(workers=2, max_megapixels=2, max_upload_mb=1))


def test_cut_is_what_the_library_gives(service: Service, cat: bytes) -> None:
    settings = service.settings()
    found = service.cut(cat, settings)
    expected = process(cat, settings.create_remover(), Settings.build(output="alpha"))
    np.testing.assert_array_equal(np.rint(found.alpha * 255), expected.frames["alpha"][0])
    assert found.notes == () and 0 < found.seconds < 10


def test_load_says_what_is_ready() -> None:
    service = Service(ServeParams())
    assert not service.loaded
    assert "lite is ready" in service.load()
    assert service.loaded


def test_a_file_of_many_pages_is_looked_at_at_once() -> None:
    service = Service(ServeParams())
    data = endless_tiff(30_000)  # 7 s to count; a file of 25 MB, many minutes
    began = time.process_time()
    picture = service.look(data, name="a.tif")
    assert time.process_time() - began < 2
    assert picture.notes == ("a.tif has several pages; only the first is used",)


def test_a_strip_without_end_is_refused(service: Service) -> None:
    file = io.BytesIO()
    PILImage.new("L", (70_000, 1)).save(file, "PNG")
    with pytest.raises(TooLarge, match="70000 x 1 pixels, and sides of at most 65500"):
        service.look(file.getvalue())


def test_metadata_is_kept_for_the_result(service: Service) -> None:
    file = io.BytesIO()
    PILImage.open(io.BytesIO(photo_bytes())).save(file, "JPEG", dpi=(300, 300))
    assert service.cut(file.getvalue(), service.settings()).metadata.dpi == (300, 300)


def test_no_subject_is_said(service: Service) -> None:
    file = io.BytesIO()
    PILImage.new("RGB", (64, 64), "grey").save(file, "PNG")
    found = service.cut(file.getvalue(), service.settings())
    assert found.empty
    assert any("lite found no subject" in note for note in found.notes)


def test_first_picture_of_an_animation(service: Service) -> None:
    frames = [PILImage.new("RGB", (40, 30), colour) for colour in ("red", "blue")]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    found = service.cut(file.getvalue(), service.settings("contour"), name="wave.gif")
    assert found.image[0, 0].tolist() == [255, 0, 0]
    assert "wave.gif is an animation; only its first picture is used" in found.notes


# What is refused ---------------------------------------------------------------------------------


def test_too_many_bytes(service: Service) -> None:
    with pytest.raises(TooLarge, match=r"cat has 1\.2 MB, more than the 1 MB"):
        service.open(bytes(1_200_000), name="cat")


def test_too_many_pixels_are_refused_before_they_are_decoded(service: Service) -> None:
    file = io.BytesIO()
    PILImage.new("1", (12000, 12000)).save(file, "PNG")
    assert len(file.getvalue()) < 30_000  # 144 megapixels in so little
    began = time.process_time()
    with pytest.raises(TooLarge, match="144 megapixels .* limit of 2; make it smaller") as caught:
        service.cut(file.getvalue(), service.settings())
    assert "--" not in str(caught.value)
    assert time.process_time() - began < 0.5


def test_what_is_no_picture(service: Service) -> None:
    for data in (b"", b"GIF89a", b"%PDF-1.4", b"<svg/>", photo_bytes()[:2000]):
        with pytest.raises(ImageError):
            service.cut(data, service.settings("contour"))


@pytest.mark.parametrize(
    ("model", "values", "error", "says"),
    [
        ("nope", {}, UnknownRemoverError, "unknown remover 'nope'"),
        ("onnx:/etc/passwd", {}, Refused, "whoever runs this server"),
        ("onnx", {}, Refused, "whoever runs this server"),
        ("detectron2:a.yaml@b.pkl", {}, Refused, "whoever runs this server"),
        ("", {"background": "/etc/passwd"}, OptionError, "unknown background '/etc/passwd'"),
        ("", {"background": "."}, OptionError, "upload a picture"),
        ("", {"background": b"GIF89a"}, OptionError, "upload a picture as a file"),
        ("", {"model_file": "x"}, OptionError, "unknown setting 'model_file'"),
        ("", {"hint": "x"}, OptionError, "unknown setting 'hint'"),
        ("", {"self": 1}, OptionError, "unknown setting 'self'"),
        ("", {"cls": 1}, OptionError, "unknown setting 'cls'"),
        ("", {"output": "instances"}, OptionError, "instances"),
        ("", {"input_size": 4000}, OptionError, "input_size must be at most 640 on this server"),
        ("", {"opening": 90}, OptionError, "opening must be at most 30 px on this server"),
        ("", {"grow": -90}, OptionError, "grow must be at most 30 px"),
        ("", {"feather": "soft"}, OptionError, "feather must be a number from 0 to 100"),
        ("", {"preset": "none-such"}, OptionError, "unknown preset"),
    ],
)
def test_settings_that_a_visitor_must_not_have(
    service: Service, model: str, values: dict[str, object], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        service.settings(model, **values)  # type: ignore[arg-type]


def test_the_served_model_may_be_a_file(tmp_path: Path) -> None:
    path = conv(tmp_path / "own.onnx", [[0.3, 0.3, 0.3]], then="Sigmoid")
    service = Service(ServeParams(model=f"onnx:{path}"))
    assert service.settings().model == f"onnx:{path}"
    assert service.settings("auto").model == f"onnx:{path}"
    assert service.settings(f"onnx:{path}").model == f"onnx:{path}"
    with pytest.raises(Refused):
        service.settings(f"onnx:{path}x")
    assert "own.onnx is ready" in service.load()
    assert str(tmp_path) not in service.load()
    assert shown_model(f"onnx:{path}") == "onnx:own.onnx"


# Networks that are kept --------------------------------------------------------------------------


def test_other_settings_use_the_same_network(service: Service) -> None:
    removers = [service.remover(service.settings(stretch=value)) for value in (False, True, False, True)]
    assert removers[0] is removers[2] and removers[1] is removers[3] and removers[0] is not removers[1]
    first, second = removers[:2]
    assert isinstance(first, OnnxRemover) and isinstance(second, OnnxRemover)
    assert first._session is second._session
    assert not first.params.stretch and second.params.stretch


def test_many_settings_build_one_network_and_keep_few_ways(tmp_path: Path) -> None:
    path = conv(tmp_path / "own.onnx", [[0.3, 0.3, 0.3]], then="Sigmoid")
    service = Service(ServeParams(model=f"onnx:{path}"))
    sizes = range(64, 264, 8)
    found = [service.remover(service.settings(input_size=size)) for size in sizes]
    assert len({id(one._session) for one in found if isinstance(one, OnnxRemover)}) == 1
    assert [one.grain(640, 640) for one in found] == [640 / size for size in sizes]
    kept = service._removers
    assert len(kept) == 1 and len(kept._ways) == 16


def test_networks_make_room_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """The served one stays, and of the others those used last that fit."""
    built = []

    class Network:
        note = ""

    def create(self: Settings, *_: object) -> Network:
        built.append(self.model)
        return Network()

    monkeypatch.setattr(Settings, "create_remover", create)
    kept = Removers("auto")
    names = ["lite", "u2net", "silueta", "u2net", "birefnet-general", "u2net", "lite"]
    for name in names:
        kept.get(Settings.build(name))
    assert built == ["lite", "u2net", "silueta", "birefnet-general", "u2net"]
    assert len(kept) == 2  # lite and u2net: birefnet-general had to go for it


def test_a_network_that_fails_is_tried_again(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Removers("auto")
    settings = Settings.build("u2net")
    outcomes = [OptionError("no internet"), "network"]

    def create(self: Settings, *_: object) -> object:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(Settings, "create_remover", create)
    with pytest.raises(OptionError, match="no internet"):
        kept.get(settings)
    assert str(kept.get(settings)) == "network"


# The line ----------------------------------------------------------------------------------------


def test_places_are_given_in_order() -> None:
    service = Service(ServeParams(workers=1, queue=5, seconds=30))
    order: list[int] = []
    tickets = [Ticket() for _ in range(5)]

    def wait(number: int) -> None:
        with service.turn(tickets[number]):
            order.append(number)

    threads = []
    with service.turn():
        for number in range(5):
            threads.append(threading.Thread(target=wait, args=(number,)))
            threads[-1].start()
            _until(lambda count=number: service.waiting == count + 1)
        assert [service.place(one) for one in tickets] == [1, 2, 3, 4, 5]
        assert service.working == 1
    for thread in threads:
        thread.join(5)
    assert order == [0, 1, 2, 3, 4]
    assert service.working == service.waiting == 0


def test_a_full_line_says_when_to_come_again() -> None:
    service = Service(ServeParams(workers=1, queue=0))
    refused: list[Busy] = []

    def ask() -> None:
        try:
            with service.turn():
                pass
        except Busy as error:
            refused.append(error)

    with service.turn():
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join(5)
    assert refused[0].status == 429
    assert int(refused[0].headers["Retry-After"]) >= 1
    ask()
    assert len(refused) == 1


def test_waiting_ends_in_time() -> None:
    service = Service(ServeParams(workers=1, seconds=1))
    raised: list[TooSlow] = []

    def ask() -> None:
        try:
            service.run(lambda: None)
        except TooSlow as error:
            raised.append(error)

    with service.turn():
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join(5)
        assert raised[0].status == 503
        assert service.waiting == 0 and service.working == 1
    assert service.working == 0


def test_work_that_takes_too_long_keeps_its_place_until_it_ends() -> None:
    service = Service(ServeParams(workers=1, seconds=1))
    over = threading.Event()
    with pytest.raises(TooSlow, match="longer than the 1 s") as caught:
        service.run(lambda: over.wait(20))
    assert caught.value.status == 504
    assert service.working == 1  # it still goes on
    over.set()
    _until(lambda: service.working == 0)
    assert service.run(lambda: "next") == "next"


def test_a_client_that_goes_away_leaves_the_line() -> None:
    line = Line(1, 5)
    first, second = Ticket(), Ticket()
    first.deadline = second.deadline = time.monotonic() + 30
    line.enter(first, lambda: False)
    with pytest.raises(TooSlow, match="went away"):
        line.enter(second, lambda: True)
    assert line.waiting == 0
    line.leave(0.1)
    assert line.working == 0


def test_a_turn_within_a_turn_takes_no_place(cat: bytes) -> None:
    service = Service(ServeParams(workers=1, queue=0))
    with service.turn():
        assert service.cut(cat, service.settings("contour")).alpha.shape == (360, 480)
        assert service.working == 1
    assert service.run(lambda: service.run(lambda: service.cut(cat, service.settings("contour")))).band >= 0
    assert service.working == 0


def test_a_failure_gives_its_place_back() -> None:
    service = Service(ServeParams(workers=1, queue=0))
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            service.run(lambda: 1 // 0)
    with pytest.raises(TimeoutError):  # one of the work's own is not taken for ours
        service.run(_own_timeout)
    assert service.working == 0


def _own_timeout() -> None:
    raise TimeoutError


def test_pictures_at_once_are_never_more_than_the_workers() -> None:
    service = Service(ServeParams(workers=2, queue=50))
    lock, at_once, most = threading.Lock(), 0, 0

    def work() -> None:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.01)
        with lock:
            at_once -= 1

    threads = [threading.Thread(target=service.run, args=(work,)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert most == 2 and service.working == 0


def _until(condition: object, seconds: float = 5) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.01)


def test_networks_of_the_server_leave_the_cores_to_each_other(service: Service, tmp_path: Path) -> None:
    def spins(remover: object) -> bool:
        assert isinstance(remover, OnnxRemover)
        key = "session.intra_op.allow_spinning"
        options = remover._session.get_session_options()
        try:
            return bool(options.get_session_config_entry(key) != "0")
        except RuntimeError:  # not set
            return True

    assert spins(Settings.build().create_remover())
    assert not spins(service.remover(service.settings()))


def test_headers_are_looked_at_for_so_long(
    service: Service, monkeypatch: pytest.MonkeyPatch, cat: bytes
) -> None:
    assert service.look(cat).size == (360, 480)
    monkeypatch.setattr("bgremove.webapp.service._LOOK_SECONDS", 0.1)
    monkeypatch.setattr(service, "open", lambda *_, **__: time.sleep(1))
    with pytest.raises(TooSlow, match="could not be looked at in time"):
        service.look(cat)


def test_work_on_many_tiles_gives_its_place_back(cat: bytes) -> None:
    """Closed-form edges of a large picture take minutes; they end soon after the request did."""
    service = Service(ServeParams(workers=1, seconds=1))
    tiles: list[int] = []

    def work() -> None:
        for _ in map_on_threads(lambda _: time.sleep(0.05), range(2000)):
            tiles.append(1)

    with pytest.raises(TooSlow, match="longer than the 1 s"):
        service.run(work)
    end = time.monotonic() + 3
    while service.working and time.monotonic() < end:
        time.sleep(0.02)
    assert service.working == 0 and 0 < len(tiles) < 1000
    assert service.cut(cat, service.settings("contour")).alpha.size


# Models that are not here yet ---------------------------------------------------------------------


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """A server of this machine that has the file of ``u2netp``, which is not here yet."""
    network = conv(tmp_path / "made.onnx", [[0.3, 0.3, 0.3]]).read_bytes()
    monkeypatch.setenv("BGREMOVE_HOME", str(tmp_path / "home"))
    with serving(network, "u2netp.onnx") as server:
        digest = f"sha256:{hashlib.sha256(network).hexdigest()}"
        row = REMOVERS["u2netp"]
        weights = Weights(server.url, digest, 0.1, "u2netp.onnx")
        monkeypatch.setitem(REMOVERS, "u2netp", dataclasses.replace(row, weights=weights))
        yield server


def until_settled(service: Service, settings: Settings, seconds: float = 20) -> Remover:
    """The remover, asked for again and again while it is downloaded."""
    end = time.monotonic() + seconds
    while True:
        try:
            return service.remover(settings)
        except Busy:
            assert time.monotonic() < end
            time.sleep(0.02)


def test_a_model_is_downloaded_while_nobody_waits(
    service: Service, published: FileServer, cat: bytes
) -> None:
    settings = service.settings("u2netp")
    with pytest.raises(Busy, match=r"u2netp \(0 MB\) is being downloaded, once; try again in 5 s") as caught:
        service.cut(cat, settings)
    assert caught.value.headers == {"Retry-After": "5"}
    assert service.working == 0, "the place is free again"
    assert isinstance(until_settled(service, settings), OnnxRemover)
    assert len(published.requests) == 1


def test_a_download_that_fails_is_said_once_without_the_servers_folders(
    service: Service, published: FileServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    published.names = ("something.onnx",)
    settings = service.settings("u2netp")
    with pytest.raises(
        WeightsError, match="u2netp could not be downloaded to this server, whose log"
    ) as caught:
        until_settled(service, settings)
    assert str(tmp_path) not in str(caught.value)
    assert str(tmp_path) in caplog.text
    published.names = ("u2netp.onnx",)
    assert isinstance(until_settled(service, settings), OnnxRemover)
