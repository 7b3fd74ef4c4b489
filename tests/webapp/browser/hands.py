"""What a user does with the page, and what there is to see then."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image as PILImage

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

DROP = """(files) => {
    const transfer = new DataTransfer();
    for (const [name, type, text] of files) {
        const bytes = Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
        transfer.items.add(new File([bytes], name, { type }));
    }
    return transfer;
}"""
PIXELS = """(canvas) => {
    const { width, height } = canvas;
    const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
    let text = "";
    for (let at = 0; at < data.length; at += 32768) {
        text += String.fromCharCode(...data.subarray(at, at + 32768));
    }
    return [width, height, btoa(text)];
}"""

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


def drop(page: Page, **files: bytes) -> None:
    """Drop files onto the page; ``cat_jpg=...`` is called cat.jpg."""
    named = [
        (name.replace("_", "."), "image/jpeg", base64.b64encode(data).decode())
        for name, data in files.items()
    ]
    transfer = page.evaluate_handle(DROP, named)
    page.dispatch_event("#app", "drop", {"dataTransfer": transfer})


def paste(page: Page, data: bytes) -> None:
    """Paste a picture."""
    transfer = page.evaluate_handle(DROP, [("image.png", "image/png", base64.b64encode(data).decode())])
    page.evaluate("(data) => dispatchEvent(new ClipboardEvent('paste', { clipboardData: data }))", transfer)


def done(page: Page, count: int = 1) -> None:
    """Wait until so many pictures are cut out, and one is shown."""
    page.locator('.thumb[data-state="done"]').nth(count - 1).wait_for()
    settled(page, lambda pixels: pixels.shape != (150, 300, 4))  # a canvas that nothing was drawn on


def drawn(page: Page, layer: str = "cut") -> Pixels:
    """The pixels of one of the stage's canvases: (H, W, 4)."""
    width, height, text = page.locator(f"#layer-{layer}").evaluate(PIXELS)
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)


def settled(page: Page, wanted: Any, layer: str = "cut") -> Pixels:
    """The same, as soon as `wanted` is true of them."""
    for _ in range(60):
        pixels = drawn(page, layer)
        if wanted(pixels):
            return pixels
        page.wait_for_timeout(50)
    raise AssertionError("the page does not show what it should")


def saved(page: Page, button: str = "#download") -> tuple[str, bytes]:
    """Press a button that makes a file: its name and content."""
    with page.expect_download() as download:
        page.click(button)
    return download.value.suggested_filename, download.value.path().read_bytes()


def pixels_of(data: bytes) -> Pixels:
    """The pixels of a file's content."""
    with PILImage.open(io.BytesIO(data)) as picture:
        return np.array(picture)


def brush(page: Page, *points: tuple[float, float], mode: str = "erase") -> None:
    """A stroke through points given as shares of the picture's width and height."""
    page.click("#tab-touch")
    page.click(f'#modes [data-value="{mode}"]')
    box = page.locator("#frame").bounding_box()
    assert box is not None
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places:
        page.mouse.move(*place, steps=4)
    page.mouse.up()


def focused(page: Page) -> Locator:
    """What has the keyboard."""
    return page.locator(":focus")
