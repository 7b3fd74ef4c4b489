"""The small networks, and one thread: more of them would wait for each other on a busy machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """For torch, where a test uses it."""
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else 1
    if torch:
        torch.set_num_threads(1)
    yield
    if torch:
        torch.set_num_threads(before)


@pytest.fixture(scope="module")
def tiny() -> Iterator[None]:
    """Networks ``tiny`` and ``plain`` in the table, as a third one would be."""
    from bgremove.training.registry import NETWORKS
    from tests.training.tiny import ROWS

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "cpu_count", lambda: 1)  # a training takes as many threads
        for name, row in ROWS.items():
            patch.setitem(NETWORKS, name, row)
        yield


@pytest.fixture(scope="session")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight discs to train on, four to validate on, soft at their edges; not to be changed."""
    from tests.training.tiny import disc_data

    return disc_data(tmp_path_factory.mktemp("data"))
