"""What happens beside the steps of a training: records, strips, the average, checkpoints, the bar."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, WeightAveraging
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor
from tqdm import tqdm

from bgremove.training.curves import append_history, draw_curves, read_history
from bgremove.training.data import Batch
from bgremove.training.params import TrainParams
from bgremove.training.schedule import size_at
from bgremove.training.timelapse import write_strip

if TYPE_CHECKING:
    from bgremove.training.loop import Learner

CHECKPOINTS = "checkpoints"
HISTORY = "history.csv"


def callbacks(
    out: Path, params: TrainParams, shown: int, *, quiet: bool, say: Callable[[str], object]
) -> list[Callback]:
    """All of them, in the order in which they must come.

    Args:
        out: folder of the results.
        params: the settings.
        shown: how many validation pictures this process has.
        quiet: no progress bar.
        say: called with a sentence after each epoch.
    """
    records = Records(out)
    made: list[Callback] = [records]
    if params.timelapse:
        made.append(Timelapse(out, params.timelapse_samples, shown))
    if params.ema:
        made.append(WeightAveraging(multi_avg_fn=functools.partial(_average, params.ema)))
    if params.patience:
        made.append(EarlyStopping("val_iou", mode="max", patience=params.patience))
    if not quiet:
        made.append(Bar())
    folder = out / CHECKPOINTS
    # The last epoch's comes after all that counts epochs, so that going on from it repeats nothing.
    best = Checkpoint(folder, "best", "val_iou", mode="max", enable_version_counter=False)
    return [*made, best, Last(folder, records, say)]


class Records(Callback):
    """After each epoch: a row in the CSV, and the curves drawn anew.

    Attributes:
        sentence: what there is to say of the last epoch.
    """

    def __init__(self, out: Path) -> None:
        self._out = out
        self._started = time.monotonic()
        self.sentence = ""

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._started = time.monotonic()

    @rank_zero_only
    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        learner: Learner = pl_module  # type: ignore[assignment]
        params, epoch = learner.train_params, trainer.current_epoch
        figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
        row = {
            "epoch": epoch + 1,
            "step": trainer.global_step,
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
            **figures,
            "size": size_at(epoch, params.epochs, params.start_size, params.size, learner.info.multiple),
            "seconds": time.monotonic() - self._started,
        }
        history = self._out / HISTORY
        append_history(history, row)
        draw_curves_of(history, self._out / "curves.png")
        self.sentence = (
            f"epoch {epoch + 1}/{params.epochs}: loss {row.get('train_loss', 0):.3f}, validation IoU "
            f"{row.get('val_iou', 0):.4f}, Dice {row.get('val_dice', 0):.4f}, accuracy "
            f"{row.get('val_accuracy', 0):.4f}, MAE {row.get('val_mae', 0):.4f}, {row['seconds']:.0f} s "
            f"at {row['size']} px"
        )


def draw_curves_of(history: Path, out: Path) -> None:
    """The curves of a training's CSV as a PNG."""
    draw_curves(read_history(history), out)


class Timelapse(Callback):
    """After each epoch: what the network makes of some validation pictures, spread over all of them.

    Args:
        samples: how many.
        count: how many validation pictures this process has.
    """

    def __init__(self, out: Path, samples: int, count: int) -> None:
        self._out = out
        chosen = {number * count // samples for number in range(samples)}
        self._samples = {index: number + 1 for number, index in enumerate(sorted(chosen))}
        self._seen = 0

    def on_validation_epoch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        self._seen = 0

    @rank_zero_only
    def on_validation_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if trainer.sanity_checking:
            return
        for index, (image, truth, matte) in enumerate(zip(*batch, outputs, strict=True), self._seen):
            if index not in self._samples:
                continue
            write_strip(
                self._out,
                self._samples[index],
                trainer.current_epoch + 1,
                np.ascontiguousarray(image.permute(1, 2, 0).cpu().numpy()),
                truth[0].cpu().numpy().astype(np.float32) / np.float32(255),
                matte[0].float().cpu().numpy(),
            )
        self._seen += len(batch[0])


class Checkpoint(ModelCheckpoint):
    """Remembers its best also after the folder was moved."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        folder = Path(str(self.dirpath))
        moved = {**state_dict, "dirpath": self.dirpath}
        for key in ("best_model_path", "kth_best_model_path", "last_model_path"):
            if moved.get(key):
                moved[key] = str(folder / Path(moved[key]).name)
        known = moved.get("best_k_models", {})
        moved["best_k_models"] = {str(folder / Path(path).name): score for path, score in known.items()}
        super().load_state_dict(moved)


class Last(Checkpoint):
    """The last epoch, whatever its figures. Only now, as it can be gone on with, is it said to be over."""

    def __init__(self, folder: Path, records: Records, say: Callable[[str], object]) -> None:
        super().__init__(folder, "last", enable_version_counter=False, save_on_train_epoch_end=True)
        self._records, self._say = records, say

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        if trainer.is_global_zero:
            self._say(self._records.sentence)


class Bar(Callback):
    """How far the epoch is; for terminals."""

    def __init__(self) -> None:
        self._bar: Any = None

    @rank_zero_only
    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._bar = tqdm(
            total=trainer.num_training_batches,
            desc=f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}",
            unit="step",
            leave=False,
            file=sys.stderr,
            disable=None,
        )

    @rank_zero_only
    def on_train_batch_end(self, *_: Any) -> None:
        self._bar.update()

    @rank_zero_only
    def on_validation_start(self, *_: Any) -> None:
        if self._bar is not None:
            self._bar.set_postfix_str("validating")

    def on_train_epoch_end(self, *_: Any) -> None:
        self._close()

    def on_exception(self, *_: Any) -> None:
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def _average(
    decay: float, averages: Sequence[Tensor], current: Sequence[Tensor], count: Tensor | int
) -> None:
    """An exponential moving average that forgets sooner while it is young; counters are copied.

    Args:
        averages: all of one type; changed in place.
    """
    if averages[0].is_floating_point():
        steps = float(count)
        share = 1 - min(decay, (1 + steps) / (10 + steps))
        torch._foreach_lerp_(list(averages), list(current), share)
    else:
        torch._foreach_copy_(list(averages), list(current))
