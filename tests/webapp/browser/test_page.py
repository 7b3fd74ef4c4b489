"""The page in a real browser: from a dropped photo to the file, and back to nothing."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image as PILImage

import bgremove
from bgremove.webapp.server import Server
from tests.webapp.browser.hands import brush, done, drawn, drop, paste, pixels_of, saved, settled
from tests.webapp.conftest import photo_bytes

if TYPE_CHECKING:
    from playwright.sync_api import FilePayload, Page

    Opener = Callable[..., Page]

LARGE = """() => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([new Uint8Array(26_000_000)], "big.jpg", { type: "image/jpeg" }));
    const dropped = new DragEvent("drop", { dataTransfer: transfer, bubbles: true });
    document.querySelector("#app").dispatchEvent(dropped);
}"""


@pytest.fixture(scope="module")
def cat() -> bytes:
    return photo_bytes("cat", (480, 320))


@pytest.fixture(scope="module")
def coffee() -> bytes:
    return photo_bytes("coffee", (420, 280))


def test_two_dropped_photos_are_cut_out_by_themselves(open_page: Opener, cat: bytes, coffee: bytes) -> None:
    page = open_page()
    drop(page, cat_jpg=cat, coffee_jpg=coffee)
    done(page, 2)
    assert page.locator(".thumb-name").all_inner_texts() == ["cat.jpg", "coffee.jpg"]
    alpha = settled(page, lambda pixels: pixels.shape == (320, 480, 4))[..., 3]
    expected = pixels_of(bgremove.remove(cat))[..., 3]
    assert np.abs(alpha.astype(int) - expected).max() <= 1
    page.locator(".thumb-pick").nth(1).click()
    alpha = settled(page, lambda pixels: pixels.shape == (280, 420, 4))[..., 3]
    assert np.abs(alpha.astype(int) - pixels_of(bgremove.remove(coffee))[..., 3]).max() <= 1


def test_a_colour_behind_it_is_seen_at_once_and_exact_in_the_file(open_page: Opener, cat: bytes) -> None:
    page = open_page()
    drop(page, cat_jpg=cat)
    done(page)
    page.click('.tile[data-kind="colour"]')
    page.click('.swatch[data-value="#8ecae6"]')
    behind = page.locator("#backing").evaluate("(one) => getComputedStyle(one).backgroundColor")
    assert behind == "rgb(142, 202, 230)"
    name, data = saved(page)
    assert name == "cat.png" or name.startswith("cat"), name
    made = pixels_of(data)
    expected = pixels_of(bgremove.remove(cat, background="#8ecae6"))
    assert np.abs(made.astype(int) - expected).max() <= 2  # the server keeps mattes in 8 bits
    assert (made[-1, -1] == (142, 202, 230)).all() or (made[0, 0] == (142, 202, 230)).all()


def test_what_the_brush_erases_and_restores_is_the_same_in_the_file(open_page: Opener, cat: bytes) -> None:
    page = open_page()
    drop(page, cat_jpg=cat)
    done(page)
    whole = drawn(page)[..., 3]
    brush(page, (0.5, 0.4), (0.6, 0.55))
    erased = settled(page, lambda pixels: (pixels[..., 3] != whole).any())[..., 3]
    assert erased[128, 240] == 0
    brush(page, (0.05, 0.05), (0.2, 0.08), mode="restore")
    both = settled(page, lambda pixels: (pixels[..., 3] != erased).any())[..., 3]
    assert both[16, 24] == 255
    _, data = saved(page)
    assert np.abs(pixels_of(data)[..., 3].astype(int) - both).max() <= 2  # the page works in 8 bits

    page.keyboard.press("Control+z")
    settled(page, lambda pixels: (pixels[..., 3] == erased).all())
    page.click("#undo")
    settled(page, lambda pixels: (pixels[..., 3] == whole).all())
    assert page.locator("#undo").is_disabled()
    page.keyboard.press("Control+Shift+z")
    settled(page, lambda pixels: (pixels[..., 3] == erased).all())
    page.click("#unpaint")
    settled(page, lambda pixels: (pixels[..., 3] == whole).all())
    _, data = saved(page)
    np.testing.assert_array_equal(pixels_of(data)[..., 3], pixels_of(bgremove.remove(cat))[..., 3])


def test_refine_asks_the_server_and_can_be_undone(open_page: Opener, coffee: bytes) -> None:
    page = open_page()
    drop(page, coffee_jpg=coffee)
    done(page)
    whole = drawn(page)[..., 3]
    brush(page, (0.25, 0.3), (0.3, 0.2), mode="erase")
    erased = settled(page, lambda pixels: (pixels[..., 3] != whole).any())[..., 3]
    brush(page, (0.25, 0.3), (0.35, 0.2), mode="refine")
    refined = settled(page, lambda pixels: (pixels[..., 3] != erased).any())[..., 3]
    _, data = saved(page)
    assert np.abs(pixels_of(data)[..., 3].astype(int) - refined).max() <= 2
    page.click("#undo")
    settled(page, lambda pixels: (pixels[..., 3] == erased).all())
    brush(page, (0.75, 0.75), (0.7, 0.7), mode="refine")  # stands on the first cut, not on the newest
    page.locator('.thumb[data-state="done"]').wait_for()
    after = settled(page, lambda pixels: (pixels[..., 3] != erased).any() or True)[..., 3]
    same = np.s_[40:100, 90:140]
    assert np.abs(after[same].astype(int) - erased[same]).max() <= 2


def test_own_picture_and_blur_behind_it(open_page: Opener, cat: bytes) -> None:
    page = open_page()
    drop(page, cat_jpg=cat)
    done(page)
    colours = np.random.default_rng(5).integers(0, 256, (4, 7, 3), np.uint8)
    file = io.BytesIO()
    PILImage.fromarray(colours).resize((140, 80), PILImage.Resampling.NEAREST).save(file, "PNG")
    with page.expect_response("**/page/background"):
        page.set_input_files(
            "#backdrop-file", {"name": "a.png", "mimeType": "image/png", "buffer": file.getvalue()}
        )
    page.locator('.tile[data-kind="picture"][aria-checked="true"]').wait_for()
    for fit in ("cover", "contain", "stretch", "tile"):
        page.click(f'.segmented [data-value="{fit}"]')
        shown = drawn(page, "backdrop")[..., :3]
        _, data = saved(page)
        clear = drawn(page)[..., 3] == 0
        difference = np.abs(pixels_of(data)[clear].astype(int) - shown[clear])
        assert difference.mean() < 8, (fit, difference.mean())
    tiles = shown
    page.click('.tile[data-kind="blur"]')
    shown = settled(page, lambda pixels: np.abs(pixels[..., :3].astype(int) - tiles).mean() > 20, "backdrop")
    _, data = saved(page)
    clear = drawn(page)[..., 3] == 0
    difference = np.abs(pixels_of(data)[clear].astype(int) - shown[clear][:, :3])
    assert difference.mean() < 4, difference.mean()


def test_formats_mask_crop_and_zip(open_page: Opener, cat: bytes, coffee: bytes) -> None:
    page = open_page()
    drop(page, cat_jpg=cat, coffee_jpg=coffee)
    done(page, 2)
    page.click("#save-more")
    page.click('#formats [data-value="jpeg"]')
    name, data = saved(page, "#download-one")
    assert name.endswith(".jpg") or name.endswith(".jpeg")
    with PILImage.open(io.BytesIO(data)) as picture:
        assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (480, 320))
    assert pixels_of(data)[2, 2].min() > 245  # JPEG has no transparency
    page.click('#formats [data-value="webp"]')
    page.click("#crop")
    with PILImage.open(io.BytesIO(saved(page, "#download-one")[1])) as picture:
        assert (picture.format, picture.mode) == ("WEBP", "RGBA")
        assert picture.size < (480, 320)
    page.click("#crop")
    page.click('#formats [data-value="png"]')
    page.click('#save-menu [data-value="mask"]')
    assert set(np.unique(pixels_of(saved(page, "#download-one")[1]))) == {0, 255}
    page.click('#save-menu [data-value="picture"]')
    _, data = saved(page, "#zip")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert len(archive.namelist()) == 2
        sizes = {pixels_of(archive.read(one)).shape for one in archive.namelist()}
    assert sizes == {(320, 480, 4), (280, 420, 4)}


def test_copy_to_the_clipboard(open_page: Opener, cat: bytes) -> None:
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    drop(page, cat_jpg=cat)
    done(page)
    page.click("#save-more")
    page.click("#copy")
    page.get_by_text("on the clipboard").first.wait_for()
    types = page.evaluate("async () => (await navigator.clipboard.read()).flatMap((one) => one.types)")
    assert types == ["image/png"]


def test_a_broken_picture_among_good_ones(open_page: Opener, cat: bytes) -> None:
    page = open_page(refusals=True)
    hostile = "<img src=x onerror=alert(1)>.jpg"
    files: list[FilePayload] = [
        {"name": "good.jpg", "mimeType": "image/jpeg", "buffer": cat},
        {"name": hostile, "mimeType": "image/jpeg", "buffer": b"\xff\xd8\xff\xe0 this is no picture"},
        {"name": "empty.png", "mimeType": "image/png", "buffer": b""},
        {"name": "also-good.jpg", "mimeType": "image/jpeg", "buffer": cat},
    ]
    page.set_input_files("#file", files)
    done(page, 2)
    bad = page.locator('.thumb[data-state="failed"]')
    bad.nth(1).wait_for()
    assert bad.nth(0).locator(".thumb-name").inner_text() == hostile
    for sentence in bad.locator(".thumb-state").all_inner_texts():
        assert sentence[0].isupper() and sentence[-1] in ".?" and "Traceback" not in sentence, sentence
    bad.nth(0).locator(".thumb-pick").click()
    assert page.locator("#trouble-text").inner_text() == bad.nth(0).locator(".thumb-state").inner_text()
    page.click("#trouble-remove")
    page.locator('.thumb[data-state="failed"]').nth(1).wait_for(state="detached")
    assert page.locator(".thumb").count() == 3


def test_a_picture_without_a_subject_says_so(open_page: Opener) -> None:
    page = open_page()
    file = io.BytesIO()
    PILImage.new("RGB", (300, 200), (120, 160, 200)).save(file, "PNG")
    drop(page, sky_png=file.getvalue())
    done(page)
    assert page.locator(".thumb-state").inner_text() == "No subject found"
    page.locator("#pill-text", has_text="no subject").wait_for()


def test_too_large_a_file_is_not_even_sent(open_page: Opener) -> None:
    page = open_page()
    page.evaluate(LARGE)
    page.locator('.thumb[data-state="failed"]').wait_for()
    assert "25 MB" in page.locator("#trouble-text").inner_text()
    assert not page.locator("#trouble-retry").is_visible()


def test_a_reload_finds_the_pictures_and_clear_removes_them(
    open_page: Opener, server: Server, cat: bytes, coffee: bytes
) -> None:
    page = open_page()
    drop(page, cat_jpg=cat, coffee_jpg=coffee)
    done(page, 2)
    kept = server.parts.store.pictures
    shown = drawn(page)
    page.reload()
    done(page, 2)
    np.testing.assert_array_equal(settled(page, lambda pixels: pixels.shape == shown.shape), shown)
    page.click("#clear")
    page.click("#ask-yes")
    page.locator("#cleared").wait_for()
    assert "removed from the server" in page.locator("#cleared").inner_text()
    assert page.locator(".thumb").count() == 0
    assert server.parts.store.pictures == kept - 2
    page.reload()
    page.locator("#sample-row .sample").first.wait_for()
    assert page.locator("#welcome").is_visible()


def test_a_pasted_picture_and_a_sample(open_page: Opener) -> None:
    page = open_page()
    page.locator("#sample-row .sample img[src]").first.wait_for()
    paste(page, photo_bytes("coffee", (300, 200), "PNG"))
    done(page)
    assert page.locator("#title").inner_text() == "pasted.png"
    page.click("#clear")
    page.click("#ask-yes")
    page.locator("#cleared").wait_for()
    page.locator("#sample-row .sample").first.click()
    done(page)
    assert page.locator(".thumb-name").inner_text().endswith(".jpg")


def test_settings_cut_anew_and_keep_the_strokes(open_page: Opener, cat: bytes) -> None:
    page = open_page()
    drop(page, cat_jpg=cat)
    done(page)
    brush(page, (0.5, 0.4), (0.55, 0.45))
    page.click("#tab-model")
    assert page.locator("#apply").is_disabled()
    page.locator("summary", has_text="Edges and clean-up").click()
    grow = page.get_by_label("Grow, exactly")
    grow.fill("-12")
    grow.press("Tab")
    page.click("#apply")
    page.locator("#apply", has_text="Applied").wait_for()
    done(page)
    expected = pixels_of(bgremove.remove(cat, grow=-12))[..., 3].astype(int)
    away = np.s_[200:, :]
    alpha = settled(page, lambda pixels: np.abs(pixels[away][..., 3] - expected[away]).max() <= 1)[..., 3]
    assert alpha[128, 240] == 0
    page.keyboard.press("Control+z")
    page.locator("#apply", has_text="Applied").wait_for()
    assert grow.input_value() == "0"


def test_what_is_wrong_with_a_setting_is_said_beside_it(open_page: Opener, cat: bytes) -> None:
    page = open_page(refusals=True)
    drop(page, cat_jpg=cat)
    done(page)
    page.click("#tab-model")
    page.locator("summary", has_text="Edges and clean-up").click()
    low = page.get_by_label("Background threshold, exactly")
    low.fill("250")
    low.press("Tab")
    page.click("#apply")
    page.locator(".apply .sentence", has_text="must be below").wait_for()
    assert page.locator("#layer-cut").is_visible()  # what was there stays
