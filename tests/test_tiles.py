"""Tiles hold every needed pixel once, with their margin, and nothing more."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from bgremove.arrays import Mask
from bgremove.tiles import Tile, each_tile, tiles


def a_mask(shape: tuple[int, int], share: float, seed: int) -> Mask:
    return np.random.default_rng(seed).random(shape) < share


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("shape", [(1, 1), (1, 37), (53, 1), (40, 90), (64, 64)])
def test_every_needed_pixel_is_in_one_tile(shape: tuple[int, int], seed: int) -> None:
    needed = a_mask(shape, [1.0, 0.3, 0.01, 0.001, 0.05, 0.0][seed], seed)
    count = np.zeros(shape, int)
    for tile in tiles(needed, size=16, margin=3):
        count[tile.inner] += 1
        part = needed[tile.inner]
        assert max(part.shape) <= 16
        # As small as its needed pixels allow: its first and last row and column hold one.
        assert part[0].any() and part[-1].any() and part[:, 0].any() and part[:, -1].any()
    assert (count[needed] == 1).all()
    assert count.max(initial=0) <= 1


@pytest.mark.parametrize("margin", [0, 5, 200])
def test_the_margin_ends_at_the_picture(margin: int) -> None:
    needed = a_mask((70, 50), 0.05, 1)
    number = np.arange(needed.size).reshape(needed.shape)
    for tile in tiles(needed, size=32, margin=margin):
        rows, columns = tile.outer
        assert rows.start == max(0, tile.inner[0].start - margin)
        assert rows.stop == min(70, tile.inner[0].stop + margin)
        assert columns.start == max(0, tile.inner[1].start - margin)
        assert columns.stop == min(50, tile.inner[1].stop + margin)
        np.testing.assert_array_equal(number[tile.outer][tile.within], number[tile.inner])


def test_nothing_needed_is_no_work() -> None:
    assert list(tiles(np.zeros((30, 30), bool), margin=2)) == []


def test_each_tile_works_on_all_of_them() -> None:
    needed = a_mask((100, 120), 0.2, 3)
    done = np.zeros_like(needed)
    lock, seen = threading.Lock(), []

    def work(tile: Tile) -> None:
        done[tile.inner] |= needed[tile.inner]
        with lock:
            seen.append(tile)

    each_tile(work, needed, size=32, margin=4)
    np.testing.assert_array_equal(done, needed)
    assert len(seen) == len(list(tiles(needed, size=32, margin=4)))


def test_an_error_in_a_tile_is_raised() -> None:
    def work(tile: Tile) -> None:
        raise RuntimeError("in a tile")

    with pytest.raises(RuntimeError, match="in a tile"):
        each_tile(work, np.ones((40, 40), bool), size=16, margin=0)
