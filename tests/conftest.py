"""Pictures whose true matte is known, and a photograph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

import bgremove
from bgremove.arrays import Alpha, Image
from bgremove.options import Params
from bgremove.removers.base import Remover

ASSETS = Path(bgremove.__file__).parent / "assets"


@dataclass(frozen=True)
class Example:
    """``image = alpha * foreground + (1 - alpha) * background``, all four known."""

    image: Image
    alpha: Alpha
    foreground: Image
    background: Image


def soft_disc(height: int = 160, width: int = 200, radius: float = 50.0, edge: float = 8.0) -> Example:
    """A disc whose edge goes from 1 to 0 over `edge` pixels, colours changing slowly across it."""
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    distance = np.hypot(rows - (height - 1) / 2, columns - (width - 1) / 2)
    alpha = np.clip((radius - distance) / edge + 0.5, 0, 1).astype(np.float32)
    across, down = columns / max(width - 1, 1), rows / max(height - 1, 1)
    foreground = np.dstack([230 - 30 * down, 120 + 60 * across, 40 + 20 * down])
    background = np.dstack([20 + 40 * across, 70 + 30 * down, 150 - 50 * across])
    foreground, background = np.rint(foreground), np.rint(background)
    image = np.rint(background + alpha[..., None] * (foreground - background))
    return Example(*(image.astype(np.uint8), alpha, foreground.astype(np.uint8), background.astype(np.uint8)))


class KnownRemover(Remover):
    """A remover that knows the answer, for steps that come after it."""

    def __init__(self, alpha: Alpha) -> None:
        super().__init__(Params())
        self.alpha = alpha

    def predict_alpha(self, image: Image) -> Alpha:
        assert image.shape[:2] == self.alpha.shape
        return self.alpha


@pytest.fixture
def disc() -> Example:
    """A soft-edged disc with known alpha over a known background, 160 x 200."""
    return soft_disc()


@pytest.fixture
def photo() -> Image:
    """A real photograph (``assets/coffee.jpg``), 160 x 240."""
    with PILImage.open(ASSETS / "coffee.jpg") as picture:
        return np.array(picture.convert("RGB").resize((240, 160), PILImage.Resampling.LANCZOS))


@pytest.fixture
def subject_file(tmp_path: Path, disc: Example) -> Path:
    """The disc as a PNG file."""
    path = tmp_path / "disc.png"
    PILImage.fromarray(disc.image).save(path)
    return path


@pytest.fixture
def noise() -> Callable[..., Image]:
    """Random pixels of a shape, the same at every call."""
    return lambda *shape: np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@pytest.fixture(scope="session")
def detectron2() -> None:
    """The real Detectron2 and torchvision, imported; tests that use it are marked by it, see below."""
    pytest.importorskip("torchvision", reason="torchvision is not installed")
    from bgremove.detectron2_source import import_detectron2

    import_detectron2()


WITHOUT_DETECTRON2 = "Detectron2 is not here; bgremove setup detectron2 puts it in place"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "detectron2: runs the real Detectron2, where it is set up")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Tests that ask for the fixture ``detectron2``, if only through another, need no mark of their own."""
    if "detectron2" in getattr(item, "fixturenames", ()):
        item.add_marker("detectron2")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests of the real Detectron2 are skipped where it is not: it needs 5 GB of PyTorch's other build."""
    if item.get_closest_marker("detectron2"):
        from bgremove.detectron2_source import detectron2_path

        if detectron2_path() is None:
            pytest.skip(WITHOUT_DETECTRON2)


def pytest_report_teststatus(report: pytest.TestReport | pytest.CollectReport) -> tuple[str, str, str] | None:
    """These are counted apart: any other skipped test counts as a failure in ``.ci/run``."""
    marks = getattr(report, "keywords", ())  # of a test; the report of a file has none
    if report.skipped and "detectron2" in marks and WITHOUT_DETECTRON2 in str(report.longrepr):
        return "without Detectron2", "s", "SKIPPED"
    return None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    left_out = terminalreporter.stats.get("without Detectron2", [])
    if left_out:
        terminalreporter.write_line(f"{len(left_out)} tests were not run: {WITHOUT_DETECTRON2}")
