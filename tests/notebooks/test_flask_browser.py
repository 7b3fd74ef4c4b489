"""Flask_BG_Remove.ipynb in JupyterLab and a real browser: the page in its frame, and what it asks for.

JupyterLab is at ``localhost`` and the page at ``127.0.0.1``, which are two sites to a browser: cookies do not
stick in the frame, as on Colab. The pictures go into ``artifacts/``, to be looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from bgremove.demo import sample_path
from tests.notebooks.browsing import all_run, cell_of, errors_of
from tests.notebooks.notebooks import FLASK, ROOT, read_notebook

if TYPE_CHECKING:
    from playwright.sync_api import FrameLocator, Page

pytest.importorskip("waitress", reason='the page needs the extra: pip install "bgremove[web]"')

RUN = "() => window.jupyterapp.commands.execute('notebook:run-cell')"
READY = "() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === 'idle'"


@pytest.fixture(scope="module")
def page(lab: str, browser: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The notebook's page, after all its cells have run."""
    profile = tmp_path_factory.mktemp("profile")
    elsewhere = lab.replace("127.0.0.1", "localhost")
    with all_run(elsewhere, browser, FLASK, profile, height=3000, allowed=is_here) as page:
        yield page


@pytest.fixture(scope="module", autouse=True)
def pictures(page: Page) -> Iterator[Path]:
    """Where the page's pictures go: before, between and after the tests."""
    folder = ROOT / "artifacts"
    folder.mkdir(exist_ok=True)
    page.screenshot(path=folder / "web-notebook.png")
    yield folder
    page.screenshot(path=folder / "web-notebook-after.png")


def is_here(url: str) -> bool:
    """Whether an address is of this machine."""
    return urlsplit(url).hostname == "127.0.0.1" or urlsplit(url).scheme in ("blob", "data")


def frame_of(page: Page) -> FrameLocator:
    """The page inside the notebook."""
    return cell_of(page, FLASK, "start").frame_locator("iframe")


def table_of(page: Page) -> str:
    """What the table of requests says."""
    return cell_of(page, FLASK, "requests").locator("[role=status]").inner_text()


def run(page: Page, cell: str) -> None:
    """Run a cell again."""
    cell_of(page, FLASK, cell).locator(".jp-Cell-inputWrapper").click()
    page.evaluate(RUN)
    page.wait_for_function(READY)


def write(page: Page, cell: str, text: str) -> None:
    """Put other code into a cell."""
    number = [one["id"] for one in read_notebook(FLASK)["cells"]].index(cell)
    page.evaluate(
        "([number, text]) => window.jupyterapp.shell.currentWidget.content.widgets[number]"
        ".model.sharedModel.setSource(text)",
        [number, text],
    )


def test_no_cell_failed_and_the_page_is_there(page: Page) -> None:
    assert errors_of(page) == []
    frame_of(page).locator("#choose").wait_for()
    assert "tick OPEN" in cell_of(page, FLASK, "public").inner_text()


def test_the_page_asks_without_a_cookie(page: Page) -> None:
    """Or this would not be what it is on Colab."""
    frame = next(one for one in page.frames if one.url.startswith("http://127.0.0.1:"))
    assert "#token" not in frame.url, "the token is not left in the address"
    status = frame.evaluate("() => fetch('page/config').then(answer => answer.status)")
    assert status == 401


def test_a_photo_is_cut_out_and_the_table_follows(page: Page, pictures: Path) -> None:
    frame_of(page).locator("#file").set_input_files(sample_path("cat.jpg"))
    row = cell_of(page, FLASK, "requests").locator("tr", has_text="/cut").first
    row.wait_for()
    cells = row.locator("td").all_inner_texts()
    assert cells[1] == "POST" and cells[3] == "200" and float(cells[4]) < 60
    assert "cat.jpg" not in cell_of(page, FLASK, "requests").inner_text()
    assert " 0 failed" in table_of(page)
    frame_of(page).locator("#save").wait_for()
    page.screenshot(path=pictures / "web-notebook-cut.png")


def test_starting_again_brings_a_new_page(page: Page) -> None:
    before = [one.url for one in page.frames if one.url.startswith("http://127.0.0.1:")]
    run(page, "start")
    cell_of(page, FLASK, "start").get_by_text("The page that was there is stopped").wait_for()
    frame_of(page).locator("#choose").wait_for()
    after = [one.url for one in page.frames if one.url.startswith("http://127.0.0.1:")]
    assert len(before) == len(after) == 1 and before != after
    # The table follows the new page, whose requests it learns of now and then.
    table = cell_of(page, FLASK, "requests").locator("[role=status]")
    table.filter(has_text=re.compile(r"^\s*[1-9]\d* requests, .* 0 failed")).wait_for()


def test_the_public_address_and_its_code_are_shown(page: Page) -> None:
    import cv2
    import numpy as np

    write(page, "public", "notebook.open_public()")
    run(page, "public")
    cell = cell_of(page, FLASK, "public")
    link = cell.get_by_role("link").get_attribute("href")
    assert link and link.startswith("http://127.0.0.1:") and "#token=" in link
    picture = cv2.imdecode(np.frombuffer(cell.locator("svg.segno").screenshot(), np.uint8), 1)
    assert cv2.QRCodeDetector().detectAndDecode(picture)[0] == link
    with page.context.expect_page() as opened:
        cell.get_by_role("link").click()
    opened.value.locator("#choose").wait_for()
    opened.value.close()


def test_the_token_is_asked_for_and_not_shown(page: Page) -> None:
    write(page, "public", "import os; del os.environ['NGROK_AUTHTOKEN']; notebook.open_public()")
    cell = cell_of(page, FLASK, "public")
    before = cell.get_by_role("link").get_attribute("href")
    cell.locator(".jp-Cell-inputWrapper").click()
    page.evaluate(f"() => void ({RUN})()")
    field = cell.locator("input.jp-Stdin-input")
    assert field.get_attribute("type") == "password"
    field.fill("typed_by_a_person_0123456789")
    field.press("Enter")
    page.wait_for_function(READY)
    assert cell.get_by_role("link").first.get_attribute("href") != before
    assert "typed_by" not in cell.inner_text()
