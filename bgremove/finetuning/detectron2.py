"""``bgremove finetune detectron2``: a Mask R-CNN of the zoo learns a user's own subjects.

The training is Detectron2's own (its trainer, its solver, its augmentation); the pictures come from folders
of images and masks, or from a COCO file. What is left is a folder that :mod:`bgremove.removers.detectron2`
uses by its name, ``detectron2:FOLDER``.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bgremove.arrays import Alpha, Image
from bgremove.compositing import alpha_to_bytes, checkerboard, composite
from bgremove.console import say_nothing, stop_on_ctrl_c
from bgremove.demo import contact_sheet
from bgremove.errors import BGRemoveError, DataError, OptionError, OutputError, WeightsError
from bgremove.finetuning.params import FREE, FinetuneParams
from bgremove.finetuning.records import Records, read_records, spread, union
from bgremove.io import FORMATS, encode, make_folder, read_frame, read_image, write_bytes
from bgremove.metrics import iou
from bgremove.pairs import first_few
from bgremove.pipeline import Settings, cut
from bgremove.removers.base import Device, RemoverInfo
from bgremove.removers.detectron2 import (
    BEST,
    CONFIG,
    ClassNames,
    Detectron2Params,
    Detectron2Remover,
    place,
    quiet_torch,
    read_config,
    read_weights,
    transfer_weights,
    zoo_config,
    zoo_file,
)
from bgremove.weights import fetch_weights

if TYPE_CHECKING:
    from bgremove.finetuning.trainer import Trainer

SETTINGS, SHEET = "settings.json", "best.jpg"
_DRAWN = 6  # pictures of val/
NOTHING: Literal["none"] = "none"
"""In place of weights to start from: random ones."""


@dataclass(frozen=True)
class Finetuned:
    """What a fine-tuning left.

    Attributes:
        out: its folder; ``detectron2:OUT`` is the model's name.
        iou: validation IoU of the best weights.
        step: the step they are from.
        steps: done in all.
        stopped: whether it was stopped before its end; the same with ``resume`` goes on.
    """

    out: Path
    iou: float
    step: int
    steps: int
    stopped: bool = False


def finetune(
    data: Path,
    out: Path,
    config: str = "",
    *,
    params: FinetuneParams | None = None,
    weights: Path | Literal["none"] | None = None,
    resume: bool = False,
    device: Device = "auto",
    quiet: bool = False,
    say: Callable[[str], object] = say_nothing,
) -> Finetuned:
    """Fine-tune a Mask R-CNN on pictures with masks, or on a COCO file.

    Args:
        data: see :func:`~bgremove.finetuning.records.read_records`.
        out: gets the config, the best weights, the last state, settings, measures and Detectron2's log.
        config: a config of the zoo by its name, or a file of one's own; not needed to go on.
        params: the settings; None takes the defaults, or those that a resumed training has.
        weights: to start from; None takes those that the zoo has for the config.
        resume: go on from the last saved state in `out`.
        device: ``auto`` takes a GPU if there is one.
        quiet: no progress bar.
        say: called with sentences on what is done.

    Raises:
        MissingExtraError: if Detectron2 is not here.
        DataError: if there is nothing to learn from.
        OptionError: if the config cannot be used, or settings contradict a resumed training's.
        WeightsError: if weights cannot be had or used.
        OutputError: if `out` holds another training.
        BGRemoveError: if the training fails.
    """
    if params is None:
        params = read_settings(out) if resume and (out / SETTINGS).exists() else FinetuneParams()
    from bgremove.detectron2_source import import_detectron2

    import_detectron2()
    where, why = place(device)
    _check_out(out, config, params, resume=resume)
    start = _start(config) if not resume else None
    parts = _read(data, params, quiet=quiet, say=say)
    if resume:
        _check_same_work(out, parts)
    cfg = _settings(out / CONFIG if start is None else start[0], parts[0].classes, params, out, where)
    job = _Job(out, cfg, params, parts, say)
    if start is None:
        job.take_up()
    else:
        job.begin(start, weights, config)
    count = f"{len(parts[0].items)} pictures to learn from and {len(parts[1].items)} to check"
    names = ", ".join(first_few(parts[0].classes, 5))
    say(f"{why}; {count}; {names}; {params.steps} steps of {params.batch_size}")
    return job.run(quiet=quiet, resume=resume)


# Before it begins ----------------------------------------------------------------------------------


def _check_out(out: Path, config: str, params: FinetuneParams, *, resume: bool) -> None:
    """Refuse to mix two trainings in one folder."""
    begun = (out / SETTINGS).exists()
    if not resume:
        if not config:
            raise OptionError("config must name a network to start from, as mask_rcnn_R_50_FPN_3x")
        if begun or (out / CONFIG).exists() or (out / "last_checkpoint").exists():
            raise OutputError(
                f"{out} holds a training already; go on with it (--resume), or give another folder (--out)"
            )
        return
    if not begun or not (out / "last_checkpoint").exists():
        raise OptionError(f"{out} holds no fine-tuning with a saved state to go on with; leave out --resume")
    stored = read_settings(out)
    for name, before in stored.model_dump().items():
        value = getattr(params, name)
        if value != before and name not in FREE:
            raise OptionError(
                f"{name} was {before} in the training that is resumed, not {value}; leave it out"
            )


def read_settings(out: Path) -> FinetuneParams:
    """The settings of the fine-tuning in `out`.

    Raises:
        DataError: if they cannot be read.
    """
    return FinetuneParams(**_stored(out)["finetune"])


def _stored(out: Path) -> dict[str, Any]:
    try:
        stored: dict[str, Any] = json.loads((out / SETTINGS).read_text(encoding="utf-8"))
        return {name: stored[name] for name in ("finetune", "work")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{out / SETTINGS} cannot be read as a fine-tuning's settings: {error}") from error


def _work(parts: tuple[Records, Records]) -> dict[str, Any]:
    return {"train": len(parts[0].items), "val": len(parts[1].items), "classes": list(parts[0].classes)}


def _check_same_work(out: Path, parts: tuple[Records, Records]) -> None:
    before, now = _stored(out)["work"], _work(parts)
    if before != now:
        what = next(name for name in now if before.get(name) != now[name])
        raise OptionError(
            f"{out} was begun with {before.get(what)} ({what}), not {now[what]}; go on with the same "
            "pictures (--data), or begin another training"
        )


def _start(config: str) -> tuple[Path, RemoverInfo | None]:
    """The config's file, and its row in the table if it is one of the zoo."""
    from bgremove.registry import REMOVERS, full_name

    info = REMOVERS.get(full_name(config))
    if info is not None and info.kind == "detectron2" and info.weights is not None:
        return zoo_file(zoo_config(info.weights)), info
    path = Path(config).expanduser()
    if not path.is_file():
        zoo = [one.name for one in REMOVERS.values() if one.name.startswith("mask_rcnn")]
        raise OptionError(
            f"config must be a file, or one of the zoo ({', '.join(zoo)}); got {config!r}, and there is no "
            "such file"
        )
    return path, None


def _read(
    data: Path, params: FinetuneParams, *, quiet: bool, say: Callable[[str], object]
) -> tuple[Records, Records]:
    from tqdm import tqdm

    names = [name for part in params.classes.split(",") if (name := part.strip())]
    with tqdm(desc="reading the masks", unit="picture", leave=False, delay=1, disable=quiet or None) as bar:
        parts = read_records(data, names, separate=params.separate, progress=bar.update)
    for part, what in zip(parts, ("train", "val"), strict=True):
        if part.problems:
            say(f"{what}: {len(part.items)} pictures can be used; left out:")
            for sentence in first_few(part.problems):
                say(f"  {sentence}")
    return parts


def _settings(path: Path, classes: tuple[str, ...], params: FinetuneParams, out: Path, where: str) -> Any:
    """Detectron2's settings for this training."""
    cfg = read_config(path)
    if cfg.MODEL.META_ARCHITECTURE != "GeneralizedRCNN":
        raise OptionError(
            f"{path} describes a {cfg.MODEL.META_ARCHITECTURE}, which learns from pictures labelled pixel by "
            "pixel; take a mask_rcnn config"
        )
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = len(classes)
    cfg.MODEL.DEVICE = where
    cfg.INPUT.MASK_FORMAT = "bitmask"
    if params.shorter_side is not None:
        longest = round(params.shorter_side * cfg.INPUT.MAX_SIZE_TRAIN / max(cfg.INPUT.MIN_SIZE_TRAIN))
        cfg.INPUT.MIN_SIZE_TRAIN = (params.shorter_side,)
        cfg.INPUT.MIN_SIZE_TEST = params.shorter_side
        cfg.INPUT.MAX_SIZE_TRAIN = cfg.INPUT.MAX_SIZE_TEST = longest
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = ()
    solver = cfg.SOLVER
    solver.IMS_PER_BATCH, solver.MAX_ITER = params.batch_size, params.steps
    solver.WARMUP_ITERS = max(1, round(params.warmup * params.steps))
    solver.STEPS = tuple(sorted({round(share * params.steps) for share in (0.7, 0.9)} - {0, params.steps}))
    solver.REFERENCE_WORLD_SIZE = 0
    solver.AMP.ENABLED = params.half and where == "cuda"
    cfg.OUTPUT_DIR = str(out)
    return cfg


def _from_scratch(cfg: Any) -> None:
    """Group normalisation, nothing frozen: He et al., "Rethinking ImageNet pre-training", ICCV 2019."""
    model = cfg.MODEL
    model.RESNETS.NORM = model.FPN.NORM = model.ROI_MASK_HEAD.NORM = "GN"
    model.RESNETS.STRIDE_IN_1X1 = False
    model.BACKBONE.FREEZE_AT = 0


class _Job:
    """One training: its folder, and what becomes of the best weights."""

    def __init__(
        self,
        out: Path,
        cfg: Any,
        params: FinetuneParams,
        parts: tuple[Records, Records],
        say: Callable[[str], object],
    ) -> None:
        self.out, self.cfg, self.params, self.parts, self.say = out, cfg, params, parts, say
        self.best: tuple[float, int] = (-1.0, 0)
        self.loss = float("nan")
        self.start: dict[str, Any] = {}  # the weights to start from, until they are in the network
        self.from_file: Path | None = None

    def begin(
        self, start: tuple[Path, RemoverInfo | None], weights: Path | Literal["none"] | None, config: str
    ) -> None:
        """Find the weights to start from, then make the folder."""
        info = start[1]
        self.cfg.MODEL.BACKBONE.FREEZE_AT = self.params.freeze
        if weights == NOTHING:
            _from_scratch(self.cfg)
            self.say("starts from random weights, which takes many more pictures and steps")
        else:
            if weights is None and (info is None or info.weights is None):
                raise OptionError(
                    f"weights must name a file to start from, or {NOTHING}: {config} is none of the zoo's "
                    "configs"
                )
            if weights is None:
                assert info is not None and info.weights is not None
                self.from_file = fetch_weights(info.weights, name=info.name)
            else:
                self.from_file = weights
                if not weights.is_file():
                    raise WeightsError(f"there is no file of weights {weights}; check the path")
            self.start = read_weights(self.from_file)
        per_picture = 0.00125 if weights == NOTHING else 0.00025
        self.cfg.SOLVER.BASE_LR = self.params.lr or per_picture * self.params.batch_size
        make_folder(self.out)
        for_use = self.cfg.clone()
        for_use.MODEL.DEVICE, for_use.OUTPUT_DIR = "cuda", "./output"
        write_bytes(self.out / CONFIG, for_use.dump().encode(), overwrite=True)
        stored = {"finetune": self.params.model_dump(), "work": _work(self.parts), "from": config}
        write_bytes(self.out / SETTINGS, f"{json.dumps(stored, indent=2)}\n".encode(), overwrite=True)

    def take_up(self) -> None:
        """Go on with what the folder has."""
        if (self.out / BEST).exists():
            data = read_weights(self.out / BEST)
            self.best = float(data["iou"]), int(data["step"])

    def run(self, *, quiet: bool, resume: bool) -> Finetuned:
        import torch
        from tqdm import tqdm

        from bgremove.finetuning.trainer import Stopped, Trainer

        torch.manual_seed(self.params.seed)  # of what begins anew

        with (
            _own_log(self.out),
            quiet_torch(),
            stop_on_ctrl_c(gently=True) as stop,
            tqdm(total=self.params.steps, desc="learning", unit="step", disable=quiet or None) as bar,
        ):

            def step(number: int, loss: float) -> None:
                self.loss = loss
                bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
                bar.update(number - bar.n)

            trainer = Trainer(
                self.cfg, self.params, self.parts[0].items,
                evaluate=lambda: self._evaluate(trainer), stop=stop.is_set, step=step,
            )  # fmt: skip
            try:
                if resume:
                    self._go_on(trainer)
                    bar.update(trainer.start_iter)
                else:
                    self._put_weights(trainer)
                with contextlib.redirect_stdout(io.StringIO()):
                    trainer.train()
                self._draw(trainer)
            except Stopped:
                return Finetuned(self.out, *self.best, trainer.iter + 1, stopped=True)
            except FloatingPointError as error:
                rate = self.cfg.SOLVER.BASE_LR
                raise BGRemoveError(
                    f"the training ran away: its loss is no number any more after {trainer.iter + 1} steps; "
                    f"begin again with a smaller --lr than {rate:g}"
                ) from error
            except (RuntimeError, MemoryError) as error:
                first = (str(error).strip().splitlines() or [type(error).__name__])[0]
                more = "; take a smaller --batch-size or --shorter-side" if "out of memory" in first else ""
                raise BGRemoveError(f"the training failed: {first.rstrip('.')}{more}") from error
            finally:
                trainer.close()
        return Finetuned(self.out, *self.best, min(trainer.iter, self.params.steps))

    def _go_on(self, trainer: Trainer) -> None:
        try:
            trainer.go_on()
        except Exception as error:  # an unpickler fails in any way over what is no pickle
            raise WeightsError(
                f"the saved state in {self.out} cannot be read ({type(error).__name__}); begin another "
                "training"
            ) from error
        self.say(f"goes on after step {trainer.start_iter}")

    def _put_weights(self, trainer: Trainer) -> None:
        if self.from_file is None:
            return
        taken, new = transfer_weights(trainer.model, self.start, self.from_file)
        self.start = {}
        some = f", {', '.join(first_few(new, 3))}" if new else ""
        self.say(f"{taken} weights from {self.from_file.name}; {len(new)} begin anew{some}")

    def _remover(self, model: Any) -> Detectron2Remover:
        return Detectron2Remover(Detectron2Params(), model, self.cfg, ClassNames(self.parts[0].classes))

    def _draw(self, trainer: Trainer) -> None:
        """A sheet of pictures of val/ with what the best weights make of them."""
        trainer.model.load_state_dict(read_weights(self.out / BEST)["model"])
        remover, settings, rows = self._remover(trainer.model.eval()), Settings.build(), []
        for record in spread(self.parts[1].items, _DRAWN)[:_DRAWN]:
            frame, truth = read_frame(record["file_name"]), union(record).astype(np.float32)
            found = cut(frame, remover, settings)
            height, width = truth.shape
            board = checkerboard(height, width, max(6, height // 32))
            rows.append(
                [
                    (Path(record["file_name"]).name, frame.image),
                    ("truth", _grey(truth)),
                    (f"found, IoU {iou(found.alpha, truth):.3f}", _grey(found.alpha)),
                    ("cut-out", composite(found.foreground, board, found.alpha)),
                ]
            )
        write_bytes(self.out / SHEET, encode([contact_sheet(rows)], FORMATS["jpeg"]), overwrite=True)

    def _evaluate(self, trainer: Trainer) -> dict[str, float]:
        """Mean IoU of everything that is found with everything that is there; the best weights are kept."""
        trainer.model.eval()
        try:
            remover = self._remover(trainer.model)
            values = []
            for record in spread(self.parts[1].items, self.params.val_pictures):
                alpha = remover.predict(read_image(record["file_name"])).alpha
                values.append(iou(alpha, union(record).astype(np.float32)))
        finally:
            trainer.model.train()
        mean, step = float(np.mean(values)), min(trainer.iter + 1, self.params.steps)
        better = mean > self.best[0]
        if better:
            self.best = mean, step
            self._keep(trainer.model)
        self.say(
            f"step {step} of {self.params.steps}: loss {self.loss:.3f}, validation IoU {mean:.4f}"
            + (", the best so far" if better else "")
        )
        return {"val_iou": mean}

    def _keep(self, model: Any) -> None:
        import torch

        data = {
            "model": {name: value.detach().cpu().clone() for name, value in model.state_dict().items()},
            "classes": list(self.parts[0].classes),
            "iou": self.best[0],
            "step": self.best[1],
        }
        written = io.BytesIO()
        torch.save(data, written)
        write_bytes(self.out / BEST, written.getvalue(), overwrite=True)


def _grey(alpha: Alpha) -> Image:
    return np.repeat(alpha_to_bytes(alpha)[..., None], 3, axis=2)


@contextlib.contextmanager
def _own_log(out: Path) -> Iterator[None]:
    """What Detectron2 tells goes into a file of the training's folder."""
    handler = logging.FileHandler(out / "log.txt", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s: %(message)s"))
    loggers = [logging.getLogger(name) for name in ("detectron2", "fvcore", "iopath")]
    before = [(one.level, one.propagate) for one in loggers]
    for one in loggers:
        one.addHandler(handler)
        one.setLevel(logging.INFO)
        one.propagate = False
    try:
        yield
    finally:
        for one, (level, propagate) in zip(loggers, before, strict=True):
            one.removeHandler(handler)
            one.setLevel(level)
            one.propagate = propagate
        handler.close()
