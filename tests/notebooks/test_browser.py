"""Background_Removal.ipynb in JupyterLab and a real browser: all cells run, a slider moved, Run pressed.

The pictures of the page go into ``artifacts/``, to be looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.notebooks.browsing import all_run, cell_of, errors_of
from tests.notebooks.notebooks import BACKGROUND_REMOVAL, ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page


@pytest.fixture(scope="module")
def page(lab: str, browser: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The notebook's page, after all its cells have run."""
    profile = tmp_path_factory.mktemp("profile")
    with all_run(lab, browser, BACKGROUND_REMOVAL, profile, height=7600) as page:
        yield page


@pytest.fixture(scope="module", autouse=True)
def pictures(page: Page) -> Iterator[Path]:
    """Where the page's pictures go: one before, one after the tests."""
    folder = ROOT / "artifacts"
    folder.mkdir(exist_ok=True)
    page.screenshot(path=folder / "notebook.png")
    yield folder
    page.screenshot(path=folder / "notebook-after.png")


def app_of(page: Page, cell: str) -> Locator:
    """The form that a cell shows."""
    return cell_of(page, BACKGROUND_REMOVAL, cell).locator(".bgremove-app").first


def picture_of(app: Locator) -> str:
    """The last picture that a form shows, as its address."""
    source = app.locator(".bgremove-view img, .bgremove-steps img").last.get_attribute("src")
    assert source and source.startswith("data:image/")
    return source


def test_no_cell_failed_and_every_form_is_there(page: Page) -> None:
    assert errors_of(page) == []
    for cell in ("form", "detectron2", "classical"):
        assert app_of(page, cell).is_visible(), cell


def test_the_shipped_networks_form_shows_a_result_at_once(page: Page) -> None:
    assert picture_of(app_of(page, "form"))


def test_detectron2s_form_says_what_is_missing(page: Page) -> None:
    sentence = app_of(page, "detectron2").locator(".bgremove-error").first.inner_text()
    reasons = ("bgremove setup detectron2", "torchvision", "could not be downloaded")
    assert any(reason in sentence for reason in reasons), sentence
    assert "Traceback" not in sentence


def test_a_moved_slider_and_run_change_the_picture(page: Page) -> None:
    app = app_of(page, "classical")
    before = picture_of(app)
    handle = app.locator(".widget-slider .noUi-handle").first
    handle.focus()
    for _ in range(12):
        handle.press("ArrowRight")
    app.locator(".bgremove-run").first.click()
    page.wait_for_function(
        "([node, before]) => [...node.querySelectorAll('.bgremove-view img, .bgremove-steps img')].at(-1)"
        "?.src !== before",
        arg=[app.element_handle(), before],
    )
    assert picture_of(app) != before


def test_the_figure_of_all_methods_is_shown(page: Page) -> None:
    figures = page.locator(".jp-OutputArea-output img[src^='data:image/jpeg']")
    assert figures.count() >= 2
    widths = [figure.evaluate("one => one.naturalWidth") for figure in figures.all()]
    assert max(widths) >= 1000


def test_the_upload_button_shows_no_number_of_files(page: Page) -> None:
    style = "one => [getComputedStyle(one).fontSize, getComputedStyle(one, '::after').content]"
    assert page.locator(".bgremove-upload").first.evaluate(style) == ["0px", '"Upload photos"']
