"""Detectron2's own trainer, with pictures in an order that an interrupted training can go on with.

Imported only after :func:`bgremove.detectron2_source.import_detectron2`.
"""

from __future__ import annotations

import random
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.data import DatasetMapper, build_batch_data_loader
from detectron2.data import transforms as T
from detectron2.engine import DefaultTrainer, HookBase, hooks
from detectron2.utils.events import JSONWriter
from torch.utils.data import Dataset, Sampler

from bgremove.finetuning.params import FinetuneParams
from bgremove.finetuning.records import Record
from bgremove.io import read_image

_WRITE_EVERY = 20  # steps


class Mapper(DatasetMapper):  # type: ignore[misc]
    """Detectron2's own, but pictures are read as they are for prediction: upright, sRGB, any format."""

    def __call__(self, dataset_dict: Record) -> Record:
        record = dict(dataset_dict)
        image = read_image(record["file_name"])
        if self.image_format == "BGR":
            image = image[:, :, ::-1]
        seen = T.AugInput(np.ascontiguousarray(image))
        transforms = self.augmentations(seen)
        record["image"] = torch.as_tensor(np.ascontiguousarray(seen.image.transpose(2, 0, 1)))
        record["annotations"] = [dict(one) for one in record["annotations"]]
        self._transform_annotations(record, transforms, seen.image.shape[:2])
        return record


class Stream(Dataset[Record]):
    """An endless order of pictures, each round shuffled anew; place `n` in it is always the same.

    So are the random changes of the picture there: what a training sees does not depend on how often
    it was interrupted, nor on how many processes prepare its pictures.
    """

    def __init__(self, records: Sequence[Record], prepare: Callable[[Record], Record], seed: int) -> None:
        self._records, self._prepare, self._seed = records, prepare, seed

    def __getitem__(self, n: int) -> Record:
        past, place = divmod(n, len(self._records))
        order = np.random.default_rng((self._seed, past)).permutation(len(self._records))
        before = np.random.get_state(), random.getstate()
        seed = int(np.random.default_rng((self._seed, past, place)).integers(2**32))
        np.random.seed(seed)
        random.seed(seed)
        try:
            return self._prepare(self._records[order[place]])
        finally:
            np.random.set_state(before[0])
            random.setstate(before[1])


class Places(Sampler[int]):
    """Places of a :class:`Stream`, from `first` to the end of the training."""

    def __init__(self, count: int) -> None:
        self.first, self.count = 0, count

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.first, self.count))

    def __len__(self) -> int:
        return self.count - self.first


class Trainer(DefaultTrainer):  # type: ignore[misc]
    """Detectron2's trainer on records of our own.

    Args:
        cfg: Detectron2's settings.
        params: ours.
        records: to train on.
        evaluate: called now and then, gives what is to be recorded.
        stop: says whether to stop after this step, with a saved state.
        step: called after each step with its number from 1, and the loss.
    """

    def __init__(
        self,
        cfg: Any,
        params: FinetuneParams,
        records: Sequence[Record],
        *,
        evaluate: Callable[[], dict[str, float]],
        stop: Callable[[], bool],
        step: Callable[[int, float], None],
    ) -> None:
        self._params, self._evaluate, self._stop, self._step = params, evaluate, stop, step
        self._stream = Stream(records, Mapper(cfg, is_train=True), params.seed)
        self._places = Places(params.steps * params.batch_size)
        super().__init__(cfg)

    def build_train_loader(self, cfg: Any) -> Any:
        return build_batch_data_loader(
            self._stream,
            self._places,
            self._params.batch_size,
            num_workers=self._params.workers,
            pin_memory=cfg.MODEL.DEVICE == "cuda",
        )

    def build_hooks(self) -> list[Any]:
        self._writers = self.build_writers()
        return [
            hooks.IterationTimer(),
            hooks.LRScheduler(),
            _Save(self._params.save_every),
            hooks.EvalHook(self._params.evaluate_every, self._evaluate),
            hooks.PeriodicWriter(self._writers, period=_WRITE_EVERY),
            _Watch(),
        ]

    def build_writers(self) -> list[Any]:
        folder = Path(self.cfg.OUTPUT_DIR)
        writers: list[Any] = [JSONWriter(str(folder / "metrics.json"))]
        try:
            import tensorboard  # noqa: F401
            from detectron2.utils.events import TensorboardXWriter
        except ImportError:
            return writers
        return [*writers, TensorboardXWriter(str(folder))]

    def go_on(self) -> None:
        """Take up the last saved state of the folder."""
        self.resume_or_load(resume=True)
        self._places.first = self.start_iter * self._params.batch_size

    def run_step(self) -> None:
        # What a network chooses at random, such as the boxes it learns from, goes by the step alone. An
        # iterator of pictures draws a number, too, when it is made.
        _ = self._trainer._data_loader_iter
        torch.manual_seed(self._params.seed + self.iter)
        super().run_step()

    def save(self) -> None:
        """Save the state after this step, in place of the last one."""
        name = f"model_{self.iter:07d}"
        last = self.checkpointer.get_checkpoint_file() if self.checkpointer.has_checkpoint() else ""
        self.checkpointer.save(name, iteration=self.iter)
        if last and Path(last).name != f"{name}.pth":
            Path(last).unlink(missing_ok=True)

    def close(self) -> None:
        """Close the files of measures; no more can be done after it."""
        for writer in self._writers:
            writer.close()

    def should_stop(self) -> bool:
        """Whether somebody wants it to stop now."""
        return self._stop()

    def tell(self) -> None:
        """Say how far it is."""
        loss = self.storage.latest().get("total_loss", (float("nan"), 0))[0]
        self._step(self.iter + 1, loss)


class Stopped(Exception):
    """The training was stopped, and can go on."""


class _Save(HookBase):  # type: ignore[misc]
    """Saves the state now and then, and at the end."""

    trainer: weakref.ProxyType[Trainer]

    def __init__(self, every: int) -> None:
        self._every = every

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if done % self._every == 0 or done == self.trainer.max_iter:
            self.trainer.save()


class _Watch(HookBase):  # type: ignore[misc]
    trainer: weakref.ProxyType[Trainer]

    def after_step(self) -> None:
        self.trainer.tell()
        if self.trainer.should_stop() and self.trainer.iter + 1 < self.trainer.max_iter:
            self.trainer.save()
            raise Stopped
