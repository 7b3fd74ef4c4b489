"""Pictures for a training: decoded once, varied by the seed, in an order set by the seed."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image as PILImage

from bgremove.errors import DataError, ImageError
from bgremove.pairs import Pair, find_pairs
from bgremove.training.augment import resized
from bgremove.training.params import AugmentParams

pytest.importorskip("torch", reason="needs the extra train")

import torch  # noqa: E402

from bgremove.training.data import (  # noqa: E402
    CACHE_LIMIT,
    Cache,
    Order,
    Pictures,
    collate,
    fits,
    load,
    read_square,
)


@pytest.fixture
def pairs(discs: Path) -> tuple[Pair, ...]:
    return find_pairs(discs / "train").pairs


def stored(folder: Path, pairs: tuple[Pair, ...], size: int = 32, threshold: float | None = None) -> Cache:
    cache = Cache(folder, "train", pairs, size, threshold)
    cache.make(lambda: None)
    return cache


def batches(order: Order) -> list[list[int]]:
    found = list(order)
    assert len(found) == len(order)
    return found


# The cache ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [None, 0.5])
@pytest.mark.parametrize("size", [24, 40, 64])
def test_what_is_kept_is_what_is_read(
    tmp_path: Path, pairs: tuple[Pair, ...], size: int, threshold: float | None
) -> None:
    images, truths = stored(tmp_path / "cache", pairs, size, threshold).open().arrays
    assert images.shape == (len(pairs), size, size, 3) and images.dtype == np.uint8
    assert truths.shape == (len(pairs), size, size) and truths.dtype == np.uint8
    for index, pair in enumerate(pairs):
        image, truth = read_square(pair, size, threshold)
        np.testing.assert_array_equal(images[index], image)
        np.testing.assert_array_equal(truths[index], truth)
    assert len({images[i].tobytes() for i in range(len(pairs))}) == len(pairs)


def test_it_says_how_far_it_is_and_how_large(tmp_path: Path, pairs: tuple[Pair, ...]) -> None:
    done: list[int] = []
    cache = Cache(tmp_path / "cache", "train", pairs, 32, None)
    cache.make(lambda: done.append(1))
    assert len(done) == len(pairs)
    size = sum(path.stat().st_size for path in (tmp_path / "cache").iterdir())
    assert cache.bytes() == 4 * 32 * 32 * len(pairs)
    assert cache.bytes() <= size <= cache.bytes() + 1024
    cache.delete()
    assert list(tmp_path.rglob("*")) == []
    cache.delete()  # twice is no mistake


def test_what_was_kept_before_is_not_taken(tmp_path: Path, pairs: tuple[Pair, ...]) -> None:
    """Other pictures, another size: all is read again."""
    stored(tmp_path, pairs)
    images, _ = stored(tmp_path, pairs[3:5], 24).open().arrays
    np.testing.assert_array_equal(images[0], read_square(pairs[3], 24, None)[0])
    assert images.shape == (2, 24, 24, 3)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets how many bytes the disk has free."""

    def leave(free: int) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))

    return leave


def test_training_and_validation_share_the_room(
    tmp_path: Path, pairs: tuple[Pair, ...], disk: Callable[[int], None]
) -> None:
    def there(*counts: int) -> list[Cache]:
        return [Cache(tmp_path, "any", pairs[:1] * count, 100, None) for count in counts]

    disk(10**12)
    assert sum(cache.bytes() for cache in there(100_000, 100_000)) == CACHE_LIMIT
    assert fits(there(199_990, 10)) and not fits(there(199_990, 11))
    assert not fits(there(200_001)) and not fits(there(120_000, 90_000))
    disk(10_100_000)
    assert fits(there(100, 100))
    disk(9_900_000)
    assert not fits(there(100, 100)) and fits(there(100))


def test_room_for_a_folder_that_is_not_there_yet(tmp_path: Path, pairs: tuple[Pair, ...]) -> None:
    assert fits([Cache(tmp_path / "not" / "yet", "train", pairs, 32, None)])


def test_a_pair_that_cannot_be_read_is_named(tmp_path: Path, pairs: tuple[Pair, ...]) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(pairs[0].image.read_bytes()[:100])
    with pytest.raises((DataError, ImageError), match="broken.png"):
        stored(tmp_path / "cache", (*pairs, Pair("broken", broken, pairs[0].mask)))


# Reading --------------------------------------------------------------------------------------------


def test_soft_masks_stay_soft_and_can_be_made_hard(pairs: tuple[Pair, ...]) -> None:
    soft = read_square(pairs[0], 40, None)[1]
    np.testing.assert_array_equal(soft, np.asarray(PILImage.open(pairs[0].mask)))
    assert ((soft > 20) & (soft < 235)).sum() > 20
    hard = read_square(pairs[0], 40, 0.5)[1]
    np.testing.assert_array_equal(hard, np.where(soft >= 128, 255, 0))


def test_validation_pictures_are_the_plain_ones(pairs: tuple[Pair, ...]) -> None:
    pictures = Pictures(pairs, None, 32, None)
    assert len(pictures) == len(pairs)
    for index in (0, 5):
        image, truth = pictures[index]
        wanted = resized(
            np.asarray(PILImage.open(pairs[index].image)), np.asarray(PILImage.open(pairs[index].mask)), 32
        )
        np.testing.assert_array_equal(image, wanted[0])
        np.testing.assert_array_equal(truth, wanted[1])


def test_smaller_pictures_come_from_the_same_cache(tmp_path: Path, pairs: tuple[Pair, ...]) -> None:
    source = stored(tmp_path, pairs, 64).open()
    image, truth = Pictures(pairs, source, 32, None)[0]
    whole = resized(*source[0], 32)
    np.testing.assert_array_equal(image, whole[0])
    np.testing.assert_array_equal(truth, whole[1])


# Variation by the seed ------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [True, False])
def test_pictures_vary_by_seed_epoch_and_number_alone(
    tmp_path: Path, pairs: tuple[Pair, ...], kept: bool
) -> None:
    source = stored(tmp_path, pairs).open() if kept else None

    def taken(index: int, seed: int = 1, epoch: int = 2) -> bytes:
        pictures = Pictures(pairs, source, 32, None, augment=AugmentParams(), seed=seed, epoch=epoch)
        image, truth = pictures[index]
        assert image.shape == (32, 32, 3) and truth.shape == (32, 32)
        return image.tobytes() + truth.tobytes()

    assert taken(3) == taken(3)
    assert len({taken(3), taken(4), taken(3, seed=2), taken(3, epoch=3), taken(3, seed=2, epoch=1)}) == 5


def test_varied_soft_truths_are_soft(pairs: tuple[Pair, ...]) -> None:
    pictures = Pictures(pairs, None, 64, None, augment=AugmentParams())
    truths = np.stack([pictures[index][1] for index in range(len(pairs))])
    assert truths.max() == 255 and truths.min() == 0
    assert ((truths > 20) & (truths < 235)).mean() > 0.01


def test_backgrounds_and_subjects_are_exchanged_and_truths_stay(pairs: tuple[Pair, ...]) -> None:
    still = {
        "flip": 0,
        "rotate": 0,
        "zoom": 1,
        "shrink": 1,
        "stretch": 0,
        "colour": 0,
        "grey": 0,
        "degrade": 0,
    }

    def taken(**settings: float) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
        pictures = Pictures(pairs, None, 64, None, augment=AugmentParams(**still, **settings))
        images, truths = zip(*(pictures[index] for index in range(len(pairs))), strict=True)
        return np.stack(images).astype(np.int64), np.stack(truths)

    swapped, truths = taken(swap=1)
    filled, same_truths = taken(swap=1, fill=1)
    np.testing.assert_array_equal(truths, same_truths)
    plain, _ = taken()
    subject, rest = truths == 255, truths == 0
    assert np.abs(swapped - plain)[subject].mean() < 3 < 10 < np.abs(swapped - plain)[rest].mean()
    assert np.abs(filled - plain)[subject].mean() > 10


def test_a_picture_taken_twice_in_an_epoch_varies(pairs: tuple[Pair, ...]) -> None:
    pictures = Pictures(pairs, None, 32, None, augment=AugmentParams())
    order = batches(Order(len(pairs), 4, images=4 * len(pairs)))
    seen = [image.tobytes() for batch in load(pictures, order, 0) for image in batch[0].numpy()]  # type: ignore[arg-type]
    assert len(set(seen)) == len(seen) == 4 * len(pairs)


def test_a_worker_is_not_sent_all_pictures(tmp_path: Path, pairs: tuple[Pair, ...]) -> None:
    cache = stored(tmp_path, pairs, 128)
    assert len(pickle.dumps(Pictures(pairs, cache.open(), 128, None))) < cache.bytes() / 4


# Order ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 4, 5, 20])
def test_every_picture_once_an_epoch(batch: int) -> None:
    found = batches(Order(20, batch, seed=3))
    assert sorted(index for one in found for index in one) == list(range(20))
    assert {len(one) for one in found} == {batch}


def test_what_is_left_over_comes_in_another_epoch() -> None:
    seen = [{index for one in batches(Order(10, 4, epoch=epoch)) for index in one} for epoch in range(12)]
    assert all(len(epoch) == 8 for epoch in seen)
    assert set.union(*seen) == set(range(10))


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_an_epoch(world: int) -> None:
    shares = [batches(Order(24, 4, seed=1, epoch=5, rank=rank, world=world)) for rank in range(world)]
    assert len({len(share) for share in shares}) == 1
    flat = [sorted(index for one in share for index in one) for share in shares]
    assert sorted(sum(flat, [])) == list(range(24))
    # A step of all processes together is one larger batch of a single one.
    alone = batches(Order(24, 4 * world, seed=1, epoch=5))
    for number, larger in enumerate(alone):
        assert sum((share[number] for share in shares), []) == larger


def test_seed_and_epoch_set_the_order() -> None:
    def order(seed: int, epoch: int) -> list[list[int]]:
        return batches(Order(50, 10, seed=seed, epoch=epoch))

    assert order(1, 2) == order(1, 2)
    orders = [order(1, 2), order(1, 3), order(2, 2), order(2, 1), order(0, 0)]
    assert all(orders.count(one) == 1 for one in orders)
    assert order(0, 0) != [list(range(start, start + 10)) for start in range(0, 50, 10)]
    same = Order(50, 10)
    assert list(same) == list(same)


@pytest.mark.parametrize(("images", "wanted"), [(8, 2), (9, 2), (100, 25), (1, 1), (40, 10)])
def test_epoch_images_sets_the_length(images: int, wanted: int) -> None:
    found = batches(Order(20, 4, images=images))
    assert len(found) == wanted and all(len(one) == 4 for one in found)
    counts = np.bincount(sum(found, []), minlength=20)
    assert counts.max() - counts.min() <= 1  # none twice before all were there once


def test_epochs_of_few_images_reach_all_in_time() -> None:
    seen = {index for epoch in range(60) for one in Order(100, 5, images=10, epoch=epoch) for index in one}
    assert len(seen) > 95


def test_fewer_pictures_than_a_batch() -> None:
    assert [sorted(one) for one in Order(3, 16)] == [[0, 1, 2]]
    shares = [batches(Order(3, 16, rank=rank, world=2)) for rank in range(2)]
    assert [len(share) for share in shares] == [1, 1]


def test_few_pictures_are_shared_out_too() -> None:
    shares = [batches(Order(6, 16, rank=rank, world=2)) for rank in range(2)]
    assert sorted(index for share in shares for one in share for index in one) == list(range(6))


# Batches --------------------------------------------------------------------------------------------


def test_a_batch_is_channels_first(pairs: tuple[Pair, ...]) -> None:
    pictures = Pictures(pairs, None, 32, None)
    images, truths = collate([pictures[0], pictures[5]])
    assert images.shape == (2, 3, 32, 32) and images.dtype == torch.uint8
    assert truths.shape == (2, 1, 32, 32) and truths.dtype == torch.uint8
    np.testing.assert_array_equal(images[1].permute(1, 2, 0).numpy(), pictures[5][0])
    np.testing.assert_array_equal(truths[1, 0].numpy(), pictures[5][1])


@pytest.mark.parametrize("kept", [True, False])
def test_worker_processes_bring_the_same_batches(tmp_path: Path, pairs: tuple[Pair, ...], kept: bool) -> None:
    source = stored(tmp_path, pairs).open() if kept else None
    pictures = Pictures(pairs, source, 32, None, augment=AugmentParams(), seed=1, epoch=1)
    order = Order(len(pairs), 3, seed=1, epoch=1)
    here, there = list(load(pictures, order, 0)), list(load(pictures, order, 2))
    assert len(here) == len(there) == 2
    for one, other in zip(here, there, strict=True):
        assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])
