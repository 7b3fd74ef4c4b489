"""How the page looks and feels: sizes, colours, keyboard, phones. Pictures of it go into ``artifacts/``."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.webapp.browser.conftest import DESKTOP, PHONE
from tests.webapp.browser.hands import done, drop, focused, saved
from tests.webapp.conftest import photo_bytes

if TYPE_CHECKING:
    from playwright.sync_api import Page, Response

    Opener = Callable[..., Page]

ASSETS = 150_000  # bytes, all together
NARROWEST = 30  # CSS pixels of what a finger is to hit

# Text and what it stands on: the nearest background that is not see-through.
CONTRAST = """() => {
    const channels = (text) => {
        const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
        canvas.fillStyle = text;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const linear = (one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
    const light = (colour) => {
        const [r, g, b] = colour.slice(0, 3).map((one) => linear(one / 255));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const upwards = (node) => (node ? [node, ...upwards(node.parentElement)] : []);
    const behind = (node) => {
        for (const one of upwards(node)) {
            const { backgroundColor, backgroundImage } = getComputedStyle(one);
            if (backgroundImage !== "none") return null;
            const colour = channels(backgroundColor);
            if (colour[3] > 250) return colour;
            if (colour[3] > 5) return null;
        }
        return [255, 255, 255];
    };
    const faint = (node) => upwards(node).some((one) => Number(getComputedStyle(one).opacity) < 1);
    const texts = (node) => [...node.childNodes].filter((one) => one.nodeType === 3).map((one) => one.data);
    const found = [];
    for (const node of document.querySelectorAll("body *")) {
        const text = texts(node).join("").trim();
        const wide = node.getBoundingClientRect().width > 1;
        const seen = wide && node.checkVisibility({ visibilityProperty: true });
        if (!text || !seen || faint(node) || node.closest("option, .tag, script")) continue;
        const ground = behind(node);
        if (!ground) continue;
        const [one, other] = [light(channels(getComputedStyle(node).color)), light(ground)];
        const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
        found.push([text.slice(0, 40), node.className || node.tagName, Math.round(ratio * 100) / 100]);
    }
    return found;
}"""
SHIFTS = """() => new Promise((done) => {
    let sum = 0;
    new PerformanceObserver((list) => {
        for (const one of list.getEntries()) if (!one.hadRecentInput) sum += one.value;
    }).observe({ type: "layout-shift", buffered: true });
    setTimeout(() => done(sum), 120);
})"""
NAMELESS = """() => {
    const named = (one) => one.getAttribute("aria-label") || one.labels?.length || one.textContent.trim();
    return [...document.querySelectorAll("button, input, select, [role=slider], [role=tab]")]
        .filter((one) => one.checkVisibility() && !named(one)).map((one) => one.outerHTML.slice(0, 120));
}"""
SMALL = """(least) => {
    const low = (one) => one.getBoundingClientRect().height < least && !one.closest(".thumb");
    return [...document.querySelectorAll("button, select, input[type=range], summary")]
        .filter((one) => one.checkVisibility() && !one.disabled && low(one))
        .map((one) => one.outerHTML.slice(0, 120));
}"""


@pytest.fixture(scope="module")
def cat() -> bytes:
    return photo_bytes("cat", None)


def no_weak_text(page: Page) -> None:
    """All text that is seen has WCAG's contrast AA."""
    found = page.evaluate(CONTRAST)
    assert len(found) > 5
    assert [one for one in found if one[2] < 4.5] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_desktop(open_page: Opener, artifacts: Path, cat: bytes, scheme: str) -> None:
    page = open_page(color_scheme=scheme)
    page.locator("#sample-row img[src]").first.wait_for()
    no_weak_text(page)
    page.screenshot(path=artifacts / f"page-{scheme}-welcome.png")
    drop(page, cat_jpg=cat, coffee_jpg=photo_bytes("coffee", None))
    done(page, 2)
    page.wait_for_timeout(700)  # the curtain
    no_weak_text(page)
    page.screenshot(path=artifacts / f"page-{scheme}.png")
    page.click('.tile[data-kind="colour"]')
    page.click('.swatch[data-value="#f2c14e"]')
    no_weak_text(page)
    page.screenshot(path=artifacts / f"page-{scheme}-colour.png")
    for tab in ("touch", "model"):
        page.click(f"#tab-{tab}")
        no_weak_text(page)
    page.locator("summary", has_text="Edges and clean-up").click()
    no_weak_text(page)
    page.screenshot(path=artifacts / f"page-{scheme}-model.png")
    page.click("#save-more")
    no_weak_text(page)
    page.screenshot(path=artifacts / f"page-{scheme}-save.png")
    page.keyboard.press("Escape")
    page.click("#clear")
    no_weak_text(page)
    page.click("#ask-yes")
    page.locator("#cleared").wait_for()
    no_weak_text(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_phone(open_page: Opener, artifacts: Path, cat: bytes, scheme: str) -> None:
    page = open_page(color_scheme=scheme, **PHONE)
    page.locator("#sample-row img[src]").first.wait_for()
    page.screenshot(path=artifacts / f"phone-{scheme}-welcome.png")
    assert page.locator("#camera").get_attribute("capture") == "environment"
    page.locator(".sample").nth(1).tap()
    done(page)
    page.wait_for_timeout(700)
    page.screenshot(path=artifacts / f"phone-{scheme}.png")
    for tab in ("touch", "model", "background"):
        page.tap(f"#tab-{tab}")
        wide = page.evaluate("() => document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, tab
        assert page.evaluate(SMALL, NARROWEST) == []
        no_weak_text(page)
        page.screenshot(path=artifacts / f"phone-{scheme}-{tab}.png")
    page.tap("#save-more")
    page.screenshot(path=artifacts / f"phone-{scheme}-save.png")
    name, _ = saved(page, "#download-one")
    assert name


def test_a_frame_in_a_notebook(open_page: Opener, artifacts: Path, cat: bytes) -> None:
    page = open_page(viewport={"width": 940, "height": 640})
    drop(page, cat_jpg=cat, more_jpg=cat)
    done(page, 2)
    page.wait_for_timeout(700)
    assert page.evaluate("() => document.documentElement.scrollHeight <= innerHeight")
    page.screenshot(path=artifacts / "page-frame.png")


def test_all_of_it_is_small(open_page: Opener, server_url: str) -> None:
    page = open_page("about:blank", ready=False)
    sizes: dict[str, int] = {}

    def seen(response: Response) -> None:
        if response.status == 200 and "/page/" not in response.url and "blob:" not in response.url:
            sizes[response.url.removeprefix(server_url)] = len(response.body())

    page.on("response", seen)
    page.goto(server_url)
    page.locator("#app[data-ready]").wait_for()
    page.wait_for_load_state("networkidle")
    assert {"", "static/app.js", "static/app.css"} <= set(sizes)
    assert sum(sizes.values()) < ASSETS, sizes


@pytest.fixture
def server_url(server: object) -> str:
    return f"{server.url.rstrip('/')}/"  # type: ignore[attr-defined]


def test_nothing_jumps(open_page: Opener, cat: bytes) -> None:
    page = open_page()
    page.locator("#sample-row img[src]").first.wait_for()
    assert page.evaluate(SHIFTS) < 0.02
    drop(page, cat_jpg=cat)
    done(page)
    page.wait_for_timeout(300)
    assert page.evaluate(SHIFTS) < 0.05


def test_with_the_keyboard_only(open_page: Opener) -> None:
    page = open_page()
    page.locator("#sample-row img[src]").first.wait_for()

    def tab_to(selector: str, key: str = "Tab") -> None:
        for _ in range(40):
            page.keyboard.press(key)
            if focused(page).count() and focused(page).evaluate(f"(one) => one.matches('{selector}')"):
                ring = focused(page).evaluate("(one) => getComputedStyle(one).outlineStyle")
                assert ring != "none" or selector == ".divider", selector
                return
        raise AssertionError(f"the keyboard does not get to {selector}")

    tab_to(".sample")
    page.keyboard.press("Enter")
    done(page)
    tab_to(".divider")
    page.wait_for_timeout(700)  # the curtain
    page.keyboard.press("ArrowLeft")
    assert page.locator("#divider").get_attribute("aria-valuenow") == "45"
    page.keyboard.press("End")
    assert page.locator("#divider").get_attribute("aria-valuenow") == "100"
    tab_to("#tab-background")
    page.keyboard.press("ArrowRight")
    assert page.locator("#tab-touch").get_attribute("aria-selected") == "true"
    page.keyboard.press("ArrowLeft")
    tab_to(".tile")
    page.keyboard.press("ArrowRight")
    assert page.locator('.tile[data-kind="colour"]').get_attribute("aria-checked") == "true"
    tab_to(".swatch")
    page.keyboard.press("Enter")
    assert page.locator("#hex").input_value() == "#ffffff"
    page.locator("#stage").focus()
    page.keyboard.press("+")
    assert float(page.locator("#zoom-text").inner_text().rstrip("%")) > 100
    page.keyboard.press("0")
    tab_to("#save-more", "Shift+Tab")
    page.keyboard.press("Enter")
    assert page.locator("#save-menu").is_visible()
    page.keyboard.press("Escape")
    assert focused(page).get_attribute("id") == "save-more"
    with page.expect_download():
        page.keyboard.press("Control+s")
    assert page.evaluate(NAMELESS) == []
    tab_to("#clear", "Shift+Tab")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.locator("#cleared").wait_for()
    page.locator("#live", has_text="were removed").wait_for(state="attached")


def test_the_theme_can_be_chosen_and_is_kept(open_page: Opener) -> None:
    page = open_page(color_scheme="dark", **{"viewport": DESKTOP["viewport"]})
    colour = "() => getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(colour)
    page.click("#theme")
    assert page.locator("#theme").get_attribute("aria-label") == "Theme: light"
    light = page.evaluate(colour)
    assert light != dark
    page.reload()
    page.locator("#app[data-ready]").wait_for()
    assert page.evaluate(colour) == light
    page.click("#theme")
    page.click("#theme")
    assert page.evaluate(colour) == dark
    assert re.search("system", page.locator("#theme").get_attribute("title") or "")
