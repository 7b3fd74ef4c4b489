"""Pictures for a training: decoded once into a file, varied when taken, in an order set by the seed."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from bgremove.arrays import Image
from bgremove.pairs import Pair, read_pair
from bgremove.threads import map_on_threads
from bgremove.training.augment import Grey, augmented, background_swapped, filled, resized
from bgremove.training.params import AugmentParams

Batch = tuple[Tensor, Tensor]
"""Pictures (N, 3, H, W) and truths (N, 1, H, W), both uint8."""

CACHE_LIMIT = 8e9  # bytes, of all that a training keeps


def read_square(pair: Pair, size: int, threshold: float | None) -> tuple[Image, Grey]:
    """A picture and its truth as squares: (size, size, 3) and (size, size) uint8.

    Raises:
        DataError: if the pair cannot be read.
    """
    image, truth = read_pair(pair, threshold=threshold)
    return resized(image, np.rint(truth * 255).astype(np.uint8), size)


class Cache:
    """Decoded pictures in two files, which every process of this machine maps into its memory.

    Args:
        folder: where the files are; the name says which pictures.
        pairs: what is read.
        size: side of the stored squares, pixels.
        threshold: makes truths hard.
    """

    def __init__(
        self, folder: Path, name: str, pairs: Sequence[Pair], size: int, threshold: float | None
    ) -> None:
        self.folder = folder
        self._pairs, self._size, self._threshold = pairs, size, threshold
        self._images, self._truths = folder / f"{name}_images.npy", folder / f"{name}_truths.npy"

    def bytes(self) -> int:
        """The room it takes."""
        return 4 * self._size**2 * len(self._pairs)

    def make(self, progress: Callable[[], object]) -> None:
        """Read all pictures; `progress` is called after each.

        Raises:
            DataError: for the first that cannot be read.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        count, size = len(self._pairs), self._size
        images = np.lib.format.open_memmap(self._images, "w+", np.uint8, (count, size, size, 3))
        truths = np.lib.format.open_memmap(self._truths, "w+", np.uint8, (count, size, size))

        def store(index: int) -> None:
            images[index], truths[index] = read_square(self._pairs[index], size, self._threshold)
            progress()

        for _ in map_on_threads(store, range(count)):
            pass

    def open(self) -> Decoded:
        """What is in the files."""
        return Decoded(self._images, self._truths)

    def delete(self) -> None:
        """Take the files away."""
        self._images.unlink(missing_ok=True)
        self._truths.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # another's files may be there still
            self.folder.rmdir()


def fits(caches: Sequence[Cache]) -> bool:
    """Whether there is room for all of `caches` together, and they are not huge; they are in one folder."""
    place = caches[0].folder
    while not place.exists():
        place = place.parent
    total = sum(cache.bytes() for cache in caches)
    return total <= CACHE_LIMIT and total < 0.8 * shutil.disk_usage(place).free


class Decoded:
    """Decoded pictures and truths in files, read as they are needed; another process opens them itself."""

    def __init__(self, images: Path, truths: Path) -> None:
        self._paths = images, truths
        self._arrays: tuple[Any, Any] | None = None

    def __getitem__(self, index: int) -> tuple[Image, Grey]:
        images, truths = self.arrays
        return np.asarray(images[index]), np.asarray(truths[index])

    @property
    def arrays(self) -> tuple[Any, Any]:
        """(N, S, S, 3) and (N, S, S) uint8."""
        if self._arrays is None:
            images, truths = (np.load(path, mmap_mode="r") for path in self._paths)
            self._arrays = images, truths
        return self._arrays

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_arrays": None}


class Pictures(Dataset[tuple[Image, Grey]]):
    """Pairs as squares; with `augment`, each varied by the seed, the epoch and its number alone.

    Args:
        pairs: the pictures.
        source: decoded pictures (see :class:`Cache`), or None to read each when it is taken.
        size: side of the squares, pixels.
        threshold: makes truths hard, where there is no `source`.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        source: Decoded | None,
        size: int,
        threshold: float | None,
        *,
        augment: AugmentParams | None = None,
        seed: int = 0,
        epoch: int = 0,
    ) -> None:
        self._pairs, self._source, self._size, self._threshold = pairs, source, size, threshold
        self._augment, self._seed, self._epoch = augment, seed, epoch

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, number: int) -> tuple[Image, Grey]:
        """The picture of that number; numbers go on beyond the last picture, for other variations."""
        index = number % len(self._pairs)
        image, truth = self._stored(index)
        if self._augment is None:
            return resized(image, truth, self._size)
        rng = np.random.default_rng((self._seed, self._epoch, number))
        if rng.random() < self._augment.swap:
            if rng.random() < self._augment.fill:
                image = filled(image, truth, self._stored(int(rng.integers(len(self))))[0], rng)
            image = background_swapped(image, truth, *self._stored(int(rng.integers(len(self)))), rng)
        return augmented(image, truth, self._size, self._augment, rng)

    def _stored(self, index: int) -> tuple[Image, Grey]:
        if self._source is not None:
            return self._source[index]
        # Larger than is shown, so that what is enlarged stays sharp.
        side = self._size if self._augment is None else round(self._size * 1.25)
        return read_square(self._pairs[index], side, self._threshold)


class Order(Sampler[list[int]]):
    """The batches of an epoch for one of several processes, set by the seed and the epoch.

    Every process gets as many batches, all of them full; what is left over comes in another epoch. Where
    there are more places than pictures, the second round's numbers begin after the last picture's.

    Args:
        count: number of pictures.
        batch: pictures a batch.
        images: pictures an epoch, of all processes; 0 is `count`.
        rank, world: which process of how many.
    """

    def __init__(
        self, count: int, batch: int, *, images: int = 0, seed: int = 0, epoch: int = 0,
        rank: int = 0, world: int = 1,
    ) -> None:  # fmt: skip
        self._batch, self._rank, self._world = min(batch, max(1, count // world)), rank, world
        wanted = images or count
        self._batches = max(1, wanted // (self._batch * world))
        rng = np.random.default_rng((seed, epoch))
        needed = self._batches * self._batch * world
        rounds = -(-needed // count)
        self._order = np.concatenate([rng.permutation(count) + turn * count for turn in range(rounds)])[
            :needed
        ]

    def __len__(self) -> int:
        return self._batches

    def __iter__(self) -> Iterator[list[int]]:
        for number in range(self._batches):
            start = (number * self._world + self._rank) * self._batch
            yield self._order[start : start + self._batch].tolist()


def load(pictures: Pictures, order: Sampler[list[int]], workers: int) -> DataLoader[tuple[Image, Grey]]:
    """Batches of `pictures` in `order`, prepared by as many processes; 0: by this one."""
    return DataLoader(pictures, batch_sampler=order, num_workers=workers, collate_fn=collate)


def collate(items: Sequence[tuple[Image, Grey]]) -> Batch:
    """Squares as one batch."""
    images = torch.from_numpy(np.stack([image for image, _ in items])).permute(0, 3, 1, 2)
    return images, torch.from_numpy(np.stack([truth for _, truth in items]))[:, None]
