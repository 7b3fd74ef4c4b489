"""The training itself, on Lightning: one process or many, CPU or GPU, one machine or several."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler
from torchmetrics import MeanMetric

from bgremove.pairs import Pair
from bgremove.training.callbacks import callbacks
from bgremove.training.data import Batch, Cache, Decoded, Order, Pictures, fits, load
from bgremove.training.losses import deep_loss, segmentation_loss
from bgremove.training.muon import Muon
from bgremove.training.params import AugmentParams, LossParams, TrainParams
from bgremove.training.registry import create_network, network_info
from bgremove.training.schedule import rate_at, size_at

METRICS = ("val_loss", "val_iou", "val_dice", "val_accuracy", "val_mae")


class Figures(torch.nn.Module):
    """The running means of an epoch by name, over all processes."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.means = torch.nn.ModuleDict({name: MeanMetric() for name in names})

    def add(self, name: str, values: Tensor) -> None:
        """Count `values` in."""
        metric = self.means[name]
        assert isinstance(metric, MeanMetric)
        metric.update(values)

    def take(self, name: str) -> Tensor:
        """The mean so far; then begin anew."""
        metric = self.means[name]
        assert isinstance(metric, MeanMetric)
        mean: Tensor = metric.compute()
        metric.reset()
        return mean


class Learner(lightning.LightningModule):
    """A network with its loss, its optimiser and its figures."""

    def __init__(self, train: Mapping[str, Any], loss: Mapping[str, Any], steps: int) -> None:
        """Take settings as plain values: they go into the checkpoint.

        Args:
            train, loss: values of :class:`TrainParams` and :class:`LossParams`.
            steps: optimiser steps of the whole training.
        """
        super().__init__()
        self.save_hyperparameters({"train": dict(train), "loss": dict(loss), "steps": steps})
        self.train_params, self.loss_params, self.steps = TrainParams(**train), LossParams(**loss), steps
        self.info = network_info(self.train_params.network)
        self.network = create_network(self.info.name)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.figures = Figures(("train_loss", *METRICS))
        # Kept out of the weights: they belong to the table's row.
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(self.info.mean).view(3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(self.info.std).view(3, 1, 1) * 255, persistent=False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Logits for (N, 3, H, W) uint8 RGB, the finest scale first."""
        prepared = (images.float() - self.mean) / self.std
        scales: list[Tensor] = self.network(prepared.contiguous(memory_format=torch.channels_last))
        return scales

    def training_step(self, batch: Batch, index: int) -> Tensor:
        images, truths = batch
        loss: Tensor = deep_loss(self(images), truths.float() / 255, self.loss_params)
        self.figures.add("train_loss", loss.detach())
        return loss

    def validation_step(self, batch: Batch, index: int) -> Tensor:
        """The mattes (N, 1, H, W) of a batch, after counting them."""
        images, truths = batch[0], batch[1].float() / 255
        logits = self(images)[0].float()
        mattes: Tensor = logits.sigmoid()
        self.figures.add("val_loss", segmentation_loss(logits, truths, self.loss_params))
        found, there = mattes > 0.5, truths > 0.5
        both = (found & there).sum((1, 2, 3)).float()
        either = (found | there).sum((1, 2, 3)).float()
        # Nothing there and nothing found is right.
        self.figures.add("val_iou", torch.where(either > 0, both / either.clamp(min=1), 1.0))
        total = both + either
        self.figures.add("val_dice", torch.where(total > 0, 2 * both / total.clamp(min=1), 1.0))
        self.figures.add("val_accuracy", (found == there).float().mean((1, 2, 3)))
        self.figures.add("val_mae", (mattes - truths).abs().mean((1, 2, 3)))
        return mattes

    def on_validation_epoch_end(self) -> None:
        if self.trainer.state.fn == "fit" and not self.trainer.sanity_checking:
            self.log("train_loss", self.figures.take("train_loss"), prog_bar=True, sync_dist=False)
        for name in METRICS:
            self.log(name, self.figures.take(name), prog_bar=name == "val_iou", sync_dist=False)

    def configure_optimizers(self) -> Any:
        params = self.train_params
        optimiser = _optimiser(self.network, params)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda step: rate_at(step, self.steps, params.warmup, params.final_lr)
        )
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _optimiser(network: torch.nn.Module, params: TrainParams) -> torch.optim.Optimizer:
    """The optimiser that the settings name; biases and normalisations do not decay."""
    if params.optimizer == "muon":
        return Muon(network.parameters(), params.rate, params.weight_decay)
    weights = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    groups: list[dict[str, Any]] = [{"params": weights}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=params.rate, weight_decay=params.weight_decay)


class Data(lightning.LightningDataModule):
    """Training and validation pictures, decoded once where that is wanted.

    Args:
        train, val: the pairs.
        folder: where decoded pictures are kept.
        quiet: no progress bar.
    """

    def __init__(
        self,
        train: Sequence[Pair],
        val: Sequence[Pair],
        params: TrainParams,
        augment: AugmentParams,
        folder: Path,
        *,
        quiet: bool,
    ) -> None:
        super().__init__()
        self._quiet = quiet
        self._pairs = {"train": train, "val": val}
        self._params, self._augment = params, augment
        self._threshold = 0.5 if params.threshold_masks else None
        self._caches = {
            name: Cache(folder, name, pairs, params.size, self._threshold)
            for name, pairs in self._pairs.items()
        }
        self._keeps = params.cache == "on" or (params.cache == "auto" and fits(list(self._caches.values())))
        self._sources: dict[str, Decoded | None] = {"train": None, "val": None}

    def prepare_data(self) -> None:
        """Decode everything; Lightning calls it in one process of each machine."""
        if not self._keeps:
            return
        from tqdm import tqdm

        total = sum(map(len, self._pairs.values()))
        with tqdm(
            total=total, desc="reading pictures", unit="pair", leave=False, delay=1,
            disable=self._quiet or None,
        ) as bar:  # fmt: skip
            for cache in self._caches.values():
                cache.make(bar.update)

    def setup(self, stage: str) -> None:
        """Open what was decoded."""
        if self._keeps:
            self._sources = {name: cache.open() for name, cache in self._caches.items()}

    def train_dataloader(self) -> DataLoader[Any]:
        """This epoch's batches at this epoch's size; made anew for each."""
        assert self.trainer is not None
        params, epoch = self._params, self.trainer.current_epoch
        multiple = network_info(params.network).multiple
        size = size_at(epoch, params.epochs, params.start_size, params.size, multiple)
        pictures = Pictures(
            self._pairs["train"], self._sources["train"], size, self._threshold,
            augment=self._augment, seed=params.seed, epoch=epoch,
        )  # fmt: skip
        order = Order(
            len(pictures), params.batch_size, images=params.epoch_images, seed=params.seed, epoch=epoch,
            rank=self.trainer.global_rank, world=self.trainer.world_size,
        )  # fmt: skip
        return load(pictures, order, params.workers)

    def val_dataloader(self) -> DataLoader[Any]:
        """Every validation picture once, shared out among the processes."""
        assert self.trainer is not None
        pictures = Pictures(self._pairs["val"], self._sources["val"], self._params.size, self._threshold)
        shares = range(self.trainer.global_rank, len(pictures), self.trainer.world_size)
        order = BatchSampler(_These(shares), self._params.batch_size, drop_last=False)
        return load(pictures, order, self._params.workers)

    def forget(self) -> None:
        """Delete the decoded pictures."""
        self._sources = {"train": None, "val": None}
        for cache in self._caches.values():
            cache.delete()


class _These(SequentialSampler):
    """The given numbers, in order."""

    def __init__(self, numbers: Sequence[int]) -> None:
        super().__init__(numbers)
        self._numbers = numbers

    def __iter__(self) -> Iterator[int]:
        return iter(self._numbers)


def fit(
    pairs: tuple[Sequence[Pair], Sequence[Pair]],
    out: Path,
    params: TrainParams,
    loss: LossParams,
    augment: AugmentParams,
    *,
    resume: Path | None = None,
    pretrained: Mapping[str, Tensor] | None = None,
    spawn: bool = False,
    quiet: bool = False,
    say: Callable[[str], object],
) -> lightning.Trainer:
    """Train, and leave checkpoints, logs, curves and strips in `out`.

    Args:
        pairs: to train on, and to validate on.
        out: folder of the results.
        params, loss, augment: the settings.
        resume: a checkpoint to go on from, exactly.
        pretrained: a network's weights to start from.
        spawn: start further processes from this one, not by running the command again.
        quiet: no progress bar.
        say: called with a sentence after each epoch.

    Raises:
        KeyboardInterrupt: after Ctrl-C; what was finished can be gone on with.
        SystemExit: after SIGTERM, likewise.
    """
    world = processes(params)
    accelerator, devices = "gpu" if torch.cuda.is_available() else "cpu", world // params.nodes
    if accelerator == "cpu" and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // devices))
    per_epoch = len(Order(len(pairs[0]), params.batch_size, images=params.epoch_images, world=world))
    lightning.seed_everything(params.seed, verbose=False)
    learner = Learner(params.model_dump(), loss.model_dump(), per_epoch * params.epochs)
    if pretrained is not None:
        learner.network.load_state_dict(dict(pretrained))
    data = Data(*pairs, params, augment, out / "cache", quiet=quiet)
    with _calm():
        trainer = lightning.Trainer(
            accelerator=accelerator,
            devices=devices,
            num_nodes=params.nodes,
            strategy="auto" if world == 1 else "ddp_spawn" if spawn else "ddp",
            precision="bf16-mixed" if uses_bf16(params.precision) else "32-true",
            max_epochs=params.epochs,
            callbacks=callbacks(out, params, -(-len(pairs[1]) // world), quiet=quiet, say=say),
            logger=TensorBoardLogger(out, name="tensorboard", version=""),
            gradient_clip_val=params.clip or None,
            use_distributed_sampler=False,
            reload_dataloaders_every_n_epochs=1,
            num_sanity_val_steps=0,
            enable_progress_bar=False,  # there is one of ours
            enable_model_summary=False,
            log_every_n_steps=20,
        )
        try:
            with _signals_kept():
                trainer.fit(learner, data, ckpt_path=resume, weights_only=True)
        except SIGTERMException:
            raise
        except SystemExit as stopped:  # what Lightning makes of Ctrl-C
            raise KeyboardInterrupt from stopped
        finally:
            if trainer.is_global_zero:
                data.forget()
    return trainer


def processes(params: TrainParams) -> int:
    """How many processes train together: a GPU each, or a share of the CPU."""
    found = torch.cuda.device_count() if torch.cuda.is_available() else 1
    return (params.devices or found) * params.nodes


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Lightning leaves Ctrl-C ignored once it has answered one; a notebook goes on."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def uses_bf16(precision: str) -> bool:
    """Whether to compute in bfloat16; "auto" does where the hardware does."""
    if precision != "auto":
        return precision == "bf16"
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported())


class _calm(warnings.catch_warnings):
    """Without Lightning's advice: on loggers, workers and the like, which are set on purpose."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", module="torch")
        import logging

        for name in ("lightning.pytorch", "lightning.fabric"):
            logging.getLogger(name).setLevel(logging.ERROR)
