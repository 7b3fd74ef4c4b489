from __future__ import annotations

import io
import threading
import time
import zipfile
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image as PILImage

from bgremove.pipeline import Settings, process
from bgremove.removers.base import Remover, SegmentRemover
from bgremove.segments import Segment, Segments, SelectParams
from bgremove.webapp import Parts
from bgremove.webapp.pictures import outline, preview_size, safe_stem, shown_name
from bgremove.webapp.service import Removers
from tests.webapp.conftest import photo_bytes, pixels_of


class Page:
    """What the page's script does."""

    def __init__(self, client: FlaskClient) -> None:
        self.client = client
        self.key = client.post("/page/visitors").get_json()["visitor"]

    def call(self, method: str, path: str, **options: Any) -> Any:
        headers = {"X-Visitor": self.key} | options.pop("headers", {})
        return self.client.open(f"/page/{path}", method=method, headers=headers, **options)

    def add(self, data: bytes, name: str = "cat.jpg") -> Any:
        form = {"file": (io.BytesIO(data), name)}
        return self.call("POST", "pictures", data=form, content_type="multipart/form-data")

    def cut(self, id: str, **body: Any) -> Any:
        return self.call("POST", f"pictures/{id}/cut", json=body)

    def result(self, id: str, **body: Any) -> Any:
        return self.call("POST", f"pictures/{id}/result", json=body)


@pytest.fixture
def page(client: FlaskClient) -> Page:
    return Page(client)


@pytest.fixture
def cat_id(page: Page, cat: bytes) -> str:
    id: str = page.add(cat).get_json()["id"]
    assert page.cut(id).status_code == 200
    return id


def sentence(answer: Any, status: int) -> str:
    assert answer.status_code == status, answer.get_data(as_text=True)[:500]
    assert set(answer.get_json()) == {"error"}
    text: str = answer.get_json()["error"]
    assert "Traceback" not in text and len(text) > 15
    return text


# From a drop to what is seen ---------------------------------------------------------------------


def test_from_drop_to_preview(page: Page) -> None:
    added = page.add(photo_bytes(size=(2000, 1500)), "my cat.jpg")
    assert added.status_code == 201
    facts = added.get_json()
    assert {key: facts[key] for key in ("name", "width", "height", "state", "note")} == {
        "name": "my cat.jpg",
        "width": 2000,
        "height": 1500,
        "state": "new",
        "note": "",
    }
    cut = page.cut(facts["id"]).get_json()
    assert cut["revision"] == 1 and not cut["empty"] and cut["note"] == "" and cut["segments"] == []
    assert cut["preview"] == {"width": 1600, "height": 1200}
    left, top, right, bottom = cut["box"]
    assert 0 <= left < right <= 2000 and 0 <= top < bottom <= 1500
    parts = {
        name: pixels_of(page.call("GET", f"pictures/{facts['id']}/{name}").data)
        for name in ("original.jpg", "foreground.jpg", "alpha.png")
    }
    assert parts["original.jpg"].shape == parts["foreground.jpg"].shape == (1200, 1600, 3)
    assert parts["alpha.png"].shape == (1200, 1600) and parts["alpha.png"].dtype == np.uint8
    outside = parts["alpha.png"] == 0
    assert 0.2 < outside.mean() < 0.8
    # Where alpha is 0 the foreground is the photo, but for what JPEG does near the subject.
    difference = np.abs(parts["original.jpg"].astype(int) - parts["foreground.jpg"])[outside]
    assert np.percentile(difference, 99) <= 4
    state = page.call("GET", f"pictures/{facts['id']}").get_json()
    assert state["state"] == "done" and state["cut"] == cut and state["revisions"] == [1]


def test_preview_of_what_is_small_is_itself(page: Page, cat_id: str) -> None:
    answer = page.call("GET", f"pictures/{cat_id}/alpha.png?r=1")
    expected = process(photo_bytes(), Settings.build().create_remover(), Settings.build(output="alpha"))
    np.testing.assert_array_equal(pixels_of(answer.data), expected.frames["alpha"][0])
    assert answer.headers["Cache-Control"] == "private, no-store"


def test_original_can_be_seen_before_the_cut(page: Page, cat: bytes) -> None:
    id = page.add(cat).get_json()["id"]
    assert pixels_of(page.call("GET", f"pictures/{id}/original.jpg").data).shape == (360, 480, 3)
    sentence(page.call("GET", f"pictures/{id}/alpha.png"), 404)


def test_orientation_is_applied(page: Page) -> None:
    exif = PILImage.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    with PILImage.open(io.BytesIO(photo_bytes())) as picture:
        picture.save(file, "JPEG", exif=exif)
    facts = page.add(file.getvalue()).get_json()
    assert (facts["width"], facts["height"]) == (360, 480)
    assert page.cut(facts["id"]).get_json()["preview"] == {"width": 360, "height": 480}


def test_settings_change_the_cut(page: Page, cat_id: str) -> None:
    def alpha(**settings: Any) -> Any:
        cut = page.cut(cat_id, settings=settings).get_json()
        return pixels_of(page.call("GET", f"pictures/{cat_id}/alpha.png?r={cut['revision']}").data)

    plain, grown, soft = alpha(), alpha(grow=8), alpha(feather="6")
    assert (grown > 128).sum() > 1.02 * (plain > 128).sum()
    assert ((soft > 20) & (soft < 235)).sum() > 1.5 * ((plain > 20) & (plain < 235)).sum()
    np.testing.assert_array_equal(alpha(), plain)


def test_preset_and_model(page: Page, cat_id: str) -> None:
    assert page.cut(cat_id, model="contour", preset="hair").status_code == 200
    assert "unknown preset" in sentence(page.cut(cat_id, preset="nothing"), 400)
    assert "unknown remover" in sentence(page.cut(cat_id, model="u3net"), 400)
    assert "whoever runs" in sentence(page.cut(cat_id, model="onnx:/etc/passwd"), 403)


def test_one_failure_harms_no_other(page: Page, cat: bytes) -> None:
    broken = page.add(cat[: len(cat) // 2], "broken.jpg").get_json()["id"]
    good = page.add(cat).get_json()["id"]
    assert "broken.jpg is damaged or incomplete" in sentence(page.cut(broken), 400)
    assert page.cut(good).status_code == 200
    states = {one["id"]: one for one in page.call("GET", "pictures").get_json()["pictures"]}
    assert states[broken]["state"] == "failed" and "damaged" in states[broken]["error"]
    assert states[good]["state"] == "done"


def test_wrong_settings_are_said(page: Page, cat_id: str) -> None:
    long = sentence(page.cut(cat_id, settings={"feather": "9" * 10_000 + "x"}), 400)
    assert len(long) < 1100
    assert "feather must be" in sentence(page.cut(cat_id, settings={"feather": -1}), 400)
    assert "unknown setting 'fether'; did you mean 'feather'" in sentence(
        page.cut(cat_id, settings={"fether": 1}), 400
    )
    for settings in ([1], "grow", 5):
        assert "settings must be an object" in sentence(page.cut(cat_id, settings=settings), 400)
    for name in ("self", "cls", "model", "preset"):
        answer = page.cut(cat_id, settings={name: "lite"})
        assert answer.status_code in (200, 400), answer.text
    assert "model must be text" in sentence(page.cut(cat_id, model=3), 400)


def test_waiting_shows_its_place(page: Page, cat: bytes, app_parts: Parts) -> None:
    ids = [page.add(cat).get_json()["id"] for _ in range(4)]
    service = app_parts.service
    over = threading.Event()
    blockers = [threading.Thread(target=service.run, args=(lambda: over.wait(20),)) for _ in range(2)]
    cutters = [threading.Thread(target=page.cut, args=(id,)) for id in ids]
    for thread in blockers:
        thread.start()
    _until(lambda: service.working == 2)
    for number, thread in enumerate(cutters, 1):
        thread.start()
        _until(lambda count=number: service.waiting == count)
    states = page.call("GET", "pictures").get_json()["pictures"]
    assert [(one["state"], one["place"]) for one in states] == [("waiting", n) for n in (1, 2, 3, 4)]
    over.set()
    for thread in [*blockers, *cutters]:
        thread.join(20)
    assert {one["state"] for one in page.call("GET", "pictures").get_json()["pictures"]} == {"done"}


def test_a_picture_may_be_cleared_while_it_is_cut(page: Page, cat: bytes, app_parts: Parts) -> None:
    id = page.add(cat).get_json()["id"]
    over = threading.Event()
    service = app_parts.service
    blockers = [threading.Thread(target=service.run, args=(lambda: over.wait(20),)) for _ in range(2)]
    for thread in blockers:
        thread.start()
    _until(lambda: service.working == 2)
    codes: list[int] = []
    cutter = threading.Thread(target=lambda: codes.append(page.cut(id).status_code))
    cutter.start()
    _until(lambda: service.waiting == 1)
    assert page.call("DELETE", f"pictures/{id}").status_code == 204
    over.set()
    for thread in [*blockers, cutter]:
        thread.join(20)
    assert codes == [200] and app_parts.store.pictures == 0


def _until(condition: Any, seconds: float = 5) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


# Visitors ----------------------------------------------------------------------------------------


def test_pictures_of_others_cannot_be_had(client: FlaskClient, page: Page, cat_id: str) -> None:
    other = Page(client)
    for method, path in [
        ("GET", f"pictures/{cat_id}"),
        ("GET", f"pictures/{cat_id}/original.jpg"),
        ("GET", f"pictures/{cat_id}/foreground.jpg"),
        ("GET", f"pictures/{cat_id}/alpha.png"),
        ("POST", f"pictures/{cat_id}/cut"),
        ("POST", f"pictures/{cat_id}/refine"),
        ("POST", f"pictures/{cat_id}/result"),
        ("DELETE", f"pictures/{cat_id}"),
    ]:
        body: dict[str, Any] = {} if method == "GET" else {"json": {}}
        assert "not here any more" in sentence(other.call(method, path, **body), 404)
        assert "X-Visitor" in sentence(other.call(method, path, headers={"X-Visitor": ""}, **body), 400)
        assert "load the page again" in sentence(
            other.call(method, path, headers={"X-Visitor": "wrong"}, **body), 404
        )
    assert other.call("GET", "pictures").get_json() == {"pictures": []}
    assert other.call("POST", "zip", json={"items": [{"id": cat_id}]}).status_code == 404
    assert other.call("DELETE", "pictures").status_code == 204
    assert page.call("GET", f"pictures/{cat_id}").status_code == 200


def test_clearing(page: Page, cat_id: str, app_parts: Parts) -> None:
    assert app_parts.store.nbytes > 10_000
    assert page.call("DELETE", "pictures").status_code == 204
    assert app_parts.store.nbytes == app_parts.store.pictures == 0
    sentence(page.cut(cat_id), 404)


def test_uploads_that_are_none(page: Page, cat: bytes) -> None:
    assert "field file" in sentence(page.call("POST", "pictures"), 400)
    assert "field file" in sentence(page.call("POST", "pictures", data=cat), 400)
    form = {"file": "text, not a file"}
    multipart = "multipart/form-data"
    assert "field file" in sentence(page.call("POST", "pictures", data=form, content_type=multipart), 400)
    assert "is empty" in sentence(page.add(b""), 400)
    assert "is not a picture" in sentence(page.add(b"<svg/>", "a.png"), 400)
    text = sentence(page.add(b"#!/bin/sh", "../../etc/x.sh"), 400)
    assert "x.sh is not a picture" in text and ".." not in text


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\fakepath\\cat.jpg", "cat.jpg"),
        ("a\r\nSet-Cookie: x=1.jpg", "aSet-Cookie: x=1.jpg"),
        ("\u202egpj.tac", "gpj.tac"),
        ("Mäuse 猫.png", "Mäuse 猫.png"),
        ("x" * 300 + ".png", "x" * 80 + "..." + "x" * 26 + ".png"),
        ("", ""),
        (None, ""),
    ],
)
def test_names_are_shown_without_harm(name: str | None, shown: str) -> None:
    assert shown_name(name) == shown


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("cat.jpg", "cat"),
        (".htaccess", "htaccess"),
        ("a/b\\c.png", "a_b_c"),
        ('x";\r\n.png', "x____"),
        ("...", "picture"),
        ("猫.png", "猫"),
    ],
)
def test_names_of_downloads(name: str, stem: str) -> None:
    assert safe_stem(name) == stem


def test_a_name_with_markup_is_only_text(page: Page, cat: bytes) -> None:
    answer = page.add(cat, "<img src=x onerror=alert(1)>.jpg")
    assert answer.content_type == "application/json"
    assert answer.get_json()["name"] == "<img src=x onerror=alert(1)>.jpg"
    id = answer.get_json()["id"]
    page.cut(id)
    assert "<" not in page.result(id).headers["Content-Disposition"]


# Downloads ---------------------------------------------------------------------------------------


def test_a_download_is_what_the_library_makes(page: Page, cat: bytes, cat_id: str) -> None:
    remover = Settings.build().create_remover()
    for output in ("cutout", "alpha", "mask"):
        answer = page.result(cat_id, output=output, format="png")
        assert answer.mimetype == "image/png"
        assert answer.headers["Content-Disposition"] == f"attachment; filename=cat-{output}.png"
        expected = process(cat, remover, Settings.build(output=output)).frames[output][0]
        difference = np.abs(pixels_of(answer.data).astype(int) - expected)
        # Soft pixels went through 8 bits of alpha on the way.
        assert difference.max() <= (8 if output == "cutout" else 255)
        assert (difference > 1).mean() < 2e-3


def test_composites(page: Page, cat: bytes, cat_id: str) -> None:
    remover = Settings.build().create_remover()
    for background in ("#3366cc", "blur"):
        answer = page.result(cat_id, output="composite", background=background, format="png")
        expected = process(cat, remover, Settings.build(background=background)).frames["composite"][0]
        difference = np.abs(pixels_of(answer.data).astype(int) - expected)
        assert (difference > 2).mean() < 2e-3
    answer = page.result(cat_id, background="#3366cc", format="jpeg", quality=80)
    assert answer.mimetype == "image/jpeg" and pixels_of(answer.data).shape == (360, 480, 3)


def test_own_background_picture(page: Page, cat_id: str) -> None:
    assert "no background picture" in sentence(page.result(cat_id, background="picture"), 400)
    file = io.BytesIO()
    PILImage.new("RGB", (50, 20), (10, 200, 30)).save(file, "PNG")
    form = {"file": (io.BytesIO(file.getvalue()), "green.png")}
    put = page.call("PUT", "background", data=form, content_type="multipart/form-data")
    assert put.get_json() == {"width": 50, "height": 20}
    for fit in ("cover", "contain", "stretch", "tile"):
        answer = page.result(cat_id, background="picture", background_fit=fit)
        made, alpha = pixels_of(answer.data), pixels_of(page.result(cat_id, output="alpha").data)
        assert (made[alpha == 0] == (10, 200, 30)).all()
    assert page.call("DELETE", "background").status_code == 204
    sentence(page.result(cat_id, background="picture"), 400)
    form = {"file": (io.BytesIO(b"nothing"), "green.png")}
    sentence(page.call("PUT", "background", data=form, content_type="multipart/form-data"), 400)


def test_crop_padding_and_size(page: Page, cat_id: str) -> None:
    left, top, right, bottom = page.call("GET", f"pictures/{cat_id}").get_json()["cut"]["box"]
    made = pixels_of(page.result(cat_id, crop=True, padding="0").data)
    assert made.shape == (bottom - top, right - left, 4)
    assert max(pixels_of(page.result(cat_id, size="100").data).shape) == 100


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"format": "jpeg"}, "JPEG cannot be transparent; choose a background"),
        ({"output": "instances"}, "output must be one of"),
        ({"output": "trimap"}, "output must be one of"),
        ({"output": ["cutout"]}, "output must be one of"),
        ({"background": "/etc/passwd"}, "unknown background"),
        ({"background": 7}, "background must be text"),
        ({"quality": 200}, "quality must be a whole number from 1 to 100"),
        ({"format": "exe"}, "format must be one of"),
        ({"size": "large"}, "size must be"),
        ({"padding": "-5"}, "padding must be"),
        ({"revision": "1"}, "revision must be a whole number"),
        ({"edits": {}}, "edits must be a list"),
        ({"edits": [{"mode": "burn"}]}, "mode must be one of"),
    ],
)
def test_wrong_choices_are_said(page: Page, cat_id: str, body: dict[str, Any], says: str) -> None:
    assert says in sentence(page.result(cat_id, **body), 400)


def test_versions_that_are_gone(page: Page, cat_id: str) -> None:
    assert "version 7" in sentence(page.result(cat_id, revision=7), 404)
    assert "version 7" in sentence(page.call("GET", f"pictures/{cat_id}/alpha.png?r=7"), 404)
    assert "number" in sentence(page.call("GET", f"pictures/{cat_id}/alpha.png?r=x"), 400)


def test_a_zip_of_all(page: Page, cat: bytes, cat_id: str) -> None:
    second = page.add(cat, "CAT.png").get_json()["id"]
    page.cut(second)
    items = [{"id": cat_id, "revision": 1}, {"id": second}]
    answer = page.call("POST", "zip", json={"items": items, "background": "white", "format": "jpeg"})
    assert answer.mimetype == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.data)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["cat-composite.jpg", "CAT-composite-2.jpg"]
        assert pixels_of(archive.read("cat-composite.jpg")).shape == (360, 480, 3)
    wrong: list[Any] = [[], "all", [{"id": "nothing"}], [cat_id], [{"id": cat_id, "revision": 9}]]
    for one in wrong:
        assert page.call("POST", "zip", json={"items": one}).status_code in (400, 404)


def test_a_zip_has_a_picture_once(page: Page, cat_id: str) -> None:
    answer = page.call("POST", "zip", json={"items": [{"id": cat_id}] * 2})
    assert answer.status_code == 400 and "each picture once" in answer.get_json()["error"]


def test_slow_readers_of_zips_leave_threads_to_others(page: Page, cat_id: str) -> None:
    items = {"items": [{"id": cat_id}]}
    open_ones = [page.call("POST", "zip", json=items, buffered=False) for _ in range(4)]
    refused = page.call("POST", "zip", json=items)
    assert refused.status_code == 429 and refused.headers["Retry-After"] == "5"
    for one in open_ones:
        assert one.status_code == 200
        one.close()
    assert page.call("POST", "zip", json=items).data


def test_what_fails_in_a_zip_is_named_in_it(page: Page, cat: bytes, cat_id: str) -> None:
    answer = page.call("POST", "zip", json={"items": [{"id": cat_id}], "format": "jpeg"})
    with zipfile.ZipFile(io.BytesIO(answer.data)) as archive:
        assert "JPEG cannot be transparent" in archive.read("not made.txt").decode()


# Touching up -------------------------------------------------------------------------------------

LINE = {"size": 60, "softness": 0.5, "points": [[200, 180], [300, 180]]}


def test_strokes_are_in_the_download(page: Page, cat_id: str) -> None:
    plain = pixels_of(page.result(cat_id, output="alpha").data)
    strokes = [{"mode": "erase", **LINE}]
    erased = pixels_of(page.result(cat_id, output="alpha", edits=strokes).data)
    assert plain[180, 250] > 200 and erased[180, 250] == 0
    strokes.append({"mode": "restore", **LINE})
    assert pixels_of(page.result(cat_id, output="alpha", edits=strokes).data)[180, 250] == 255
    # What is restored has the photo's colours, not the black of what is hidden.
    corner = {"mode": "restore", "size": 80, "softness": 0, "points": [[470, 10]]}
    made = pixels_of(page.result(cat_id, edits=[corner]).data)
    photo = pixels_of(page.call("GET", f"pictures/{cat_id}/original.jpg").data)
    assert made[5, 475, 3] == 255
    assert np.abs(made[5, 475, :3].astype(int) - photo[5, 475]).max() < 30


def test_refine_makes_a_new_revision(page: Page, cat_id: str) -> None:
    erase, refine = {"mode": "erase", **LINE}, {"mode": "refine", **LINE}
    answer = page.call(
        "POST", f"pictures/{cat_id}/refine", json={"revision": 1, "edits": [erase, refine, erase]}
    )
    found = answer.get_json()
    assert found["revision"] == 2
    alpha = pixels_of(page.call("GET", f"pictures/{cat_id}/alpha.png?r=2").data)
    before = pixels_of(page.call("GET", f"pictures/{cat_id}/alpha.png?r=1").data)
    assert alpha[180, 250] > 128  # found again, and the stroke after it is not in it yet
    np.testing.assert_array_equal(alpha[:100, :100], before[:100, :100])
    assert "stroke of mode refine" in sentence(
        page.call("POST", f"pictures/{cat_id}/refine", json={"edits": [erase]}), 400
    )


def test_own_transparency_stays(page: Page) -> None:
    """The brush cannot bring back what the file itself does not show."""
    rgba = np.full((120, 160, 4), 255, np.uint8)
    rgba[30:90, 40:120, :3] = (200, 30, 30)
    rgba[:, :40, 3] = 0
    file = io.BytesIO()
    PILImage.fromarray(rgba).save(file, "PNG")
    id = page.add(file.getvalue(), "a.png").get_json()["id"]
    page.cut(id, model="contour")
    strokes = [{"mode": "restore", "size": 400, "softness": 0, "points": [[80, 60]]}]
    alpha = pixels_of(page.result(id, output="alpha", edits=strokes).data)
    assert (alpha[:, :40] == 0).all() and (alpha[:, 41:] == 255).all()


# Segments ----------------------------------------------------------------------------------------


class Halves(SegmentRemover):
    """Finds a left and a right half, and counts how often it looks."""

    looks = 0

    def find_segments(self, image: Any) -> Segments:
        Halves.looks += 1
        height, width = image.shape[:2]
        left = np.zeros((height, width), np.bool_)
        left[10:-10, 10 : width // 2] = True
        found = (Segment.of("person", left, score=0.9), Segment.of("dog", left[:, ::-1].copy(), score=0.8))
        return Segments(height, width, tuple(one for one in found if one is not None))


def test_segments_can_be_chosen(page: Page, cat: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Removers, "get", _halves)
    Halves.looks = 0
    id = page.add(cat).get_json()["id"]
    cut = page.cut(id, model="mask_rcnn_R_50_FPN_3x").get_json()
    assert [
        (one["index"], one["label"], one["score"], one["kind"], one["chosen"]) for one in cut["segments"]
    ] == [
        (0, "person", 0.9, "thing", True),
        (1, "dog", 0.8, "thing", True),
    ]
    [polygon] = cut["segments"][0]["outline"]
    assert [min(p[0] for p in polygon), max(p[0] for p in polygon)] == [10, 239]
    again = page.cut(id, model="mask_rcnn_R_50_FPN_3x", settings={"index": "1", "edges": "none"}).get_json()
    assert [one["chosen"] for one in again["segments"]] == [False, True]
    assert again["box"] == [240, 10, 470, 350]
    assert Halves.looks == 1  # kept from the first time
    alpha = pixels_of(page.call("GET", f"pictures/{id}/alpha.png").data)
    assert (alpha[:, :230] == 0).all() and alpha[180, 300] == 255


def _halves(self: Removers, settings: Settings) -> Remover:
    assert isinstance(settings.remover, SelectParams)
    return Halves(settings.remover)


def test_outlines_have_holes() -> None:
    mask = np.zeros((100, 100), np.bool_)
    mask[10:90, 10:90] = True
    mask[40:60, 40:60] = False
    outer, inner = outline(mask, (50, 50))
    assert [min(outer), max(outer)] == [[5, 5], [44, 44]]
    assert min(inner) == [19, 20] or min(inner) == [20, 19] or min(inner)[0] in (19, 20)
    assert outline(np.zeros((9, 9), np.bool_), (9, 9)) == []


@pytest.mark.parametrize(
    ("size", "preview"), [((3000, 2000), (1600, 1067)), ((800, 600), (800, 600)), ((20000, 3), (1600, 1))]
)
def test_preview_sizes(size: tuple[int, int], preview: tuple[int, int]) -> None:
    assert preview_size(*size) == preview


# The rest ----------------------------------------------------------------------------------------


def test_samples(client: FlaskClient) -> None:
    for name in ("cat", "coffee.jpg"):
        answer = client.get(f"/page/samples/{name}")
        assert answer.mimetype == "image/jpeg" and pixels_of(answer.data).ndim == 3
    for name in ("nothing", "..%2f..%2fsetup", "lite.onnx", "cat.jpg.jpg"):
        sentence(client.get(f"/page/samples/{name}"), 404)


def test_page_and_config(client: FlaskClient) -> None:
    answer = client.get("/")
    assert answer.status_code == 200 and answer.mimetype == "text/html"
    assert answer.headers["Cache-Control"] == "no-store"
    assert client.get("/page/config").get_json()["models"]


def test_errors_of_ours_have_a_number_and_no_traceback(
    page: Page, cat: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    id = page.add(cat, "secret-name.jpg").get_json()["id"]

    def broken(*_: object) -> None:
        raise RuntimeError("a secret of the inside")

    monkeypatch.setattr("bgremove.webapp.page.keep_cut", broken)
    text = sentence(page.cut(id), 500)
    assert "something went wrong here (number " in text and "secret" not in text
    number = text.partition("number ")[2].partition(" ")[0]
    assert any(number in record.getMessage() and record.exc_info for record in caplog.records)
    state = page.call("GET", f"pictures/{id}").get_json()
    assert "secret" not in state["error"]


def test_logs_hold_no_names_and_no_tokens(page: Page, cat: bytes, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "bgremove.webapp")
    id = page.add(cat, "my-secret-name.jpg").get_json()["id"]
    page.call("GET", f"pictures/{id}?token=my-secret-token")
    assert "GET /page/pictures/<id> 200" in caplog.text
    assert "secret" not in caplog.text and id not in caplog.text and page.key not in caplog.text


@pytest.mark.parametrize(
    "data", [b"{", b"[]", b"null", b"7", b'{"a": NaN', b"\xff\xfe", b'"' * 100, b"[" * 200_000]
)
def test_broken_json(page: Page, cat_id: str, data: bytes) -> None:
    for path in (f"pictures/{cat_id}/cut", f"pictures/{cat_id}/result", f"pictures/{cat_id}/refine", "zip"):
        answer = page.call("POST", path, data=data, content_type="application/json")
        assert "JSON object" in sentence(answer, 400)


def test_wrong_methods_and_addresses(page: Page, cat_id: str) -> None:
    assert page.call("PATCH", "pictures").status_code == 405
    assert "nothing under this address" in sentence(page.call("GET", "nowhere"), 404)
    sentence(page.call("GET", "pictures/../../x"), 404)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF", "JPEG2000"])
def test_damaged_files_get_a_sentence(page: Page, kind: str) -> None:
    """Real files with some bytes changed, left out or put in: all are cut out or refused."""
    whole = photo_bytes(size=(96, 72), kind=kind)
    random = np.random.default_rng(sorted(kind.encode()))
    refused = 0
    for _ in range(15):
        data = bytearray(whole)
        for _ in range(random.choice([1, 4, 20])):
            at = int(random.integers(min(len(data), random.choice([60, 600, 100_000]))))
            new = random.integers(0, 256, random.integers(0, 3), np.uint8).tobytes()
            data[at : at + int(random.integers(0, 3))] = new
        answer = page.add(bytes(data), "damaged")
        if answer.status_code == 201:
            id = answer.get_json()["id"]
            answer = page.cut(id, model="contour")
            page.call("DELETE", f"pictures/{id}")
        if answer.status_code != 200:
            refused += 1
            assert answer.status_code in (400, 413), answer.text
            assert len(sentence(answer, answer.status_code)) < 400
    assert refused >= 1
