"""``bgremove train``: look at the data, say what is wrong with it, then train."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bgremove import __version__
from bgremove.console import say_nothing
from bgremove.errors import DataError, MissingExtraError, OptionError, OutputError, WeightsError
from bgremove.io import make_folder, write_bytes
from bgremove.options import Params
from bgremove.pairs import Listing, Pair, find_split, first_few, split_usable
from bgremove.training.params import AugmentParams, LossParams, TrainParams

if TYPE_CHECKING:
    from torch import Tensor

_TAKE = "take a checkpoints/best.ckpt"

SETTINGS = "settings.json"
LAST, BEST, HISTORY = Path("checkpoints/last.ckpt"), Path("checkpoints/best.ckpt"), Path("history.csv")
_FREE = {"workers", "devices", "nodes", "cache", "timelapse", "timelapse_samples"}
"""Settings that may differ when a training goes on; the others make it what it is."""


@dataclass(frozen=True)
class Trained:
    """What a training left.

    Attributes:
        out: its folder.
        best: the checkpoint of the best epoch.
        iou: that epoch's validation IoU.
        epoch: which it was, from 1.
        epochs: epochs done in all.
    """

    out: Path
    best: Path
    iou: float
    epoch: int
    epochs: int


def train(
    data: Path,
    out: Path,
    *,
    train: TrainParams | None = None,
    loss: LossParams | None = None,
    augment: AugmentParams | None = None,
    resume: bool = False,
    pretrained: Path | None = None,
    spawn: bool = True,
    quiet: bool = False,
    say: Callable[[str], object] = say_nothing,
) -> Trained | None:
    """Train a network on the pairs of ``data/train``, and judge it on those of ``data/val``.

    Args:
        data: folder with ``train`` and ``val``, each with ``images`` and ``masks``.
        out: folder for checkpoints, settings, curves and logs.
        train, loss, augment: the settings.
        resume: go on from the last finished epoch in `out`.
        pretrained: a checkpoint whose weights to start from.
        spawn: start further processes from this one, not by running the command again.
        quiet: no progress bars.
        say: called with sentences on what is done; for several processes it must be one that can be pickled.

    Returns:
        What it left; None in all but the first of several processes.

    Raises:
        DataError: if there is nothing to train or to validate on.
        OutputError: if `out` holds another training.
        OptionError: if settings contradict each other, or a resumed training's.
        WeightsError: if a checkpoint cannot be used.
        MissingExtraError: without the extra ``train``.
        KeyboardInterrupt, SystemExit: after Ctrl-C, after SIGTERM; `resume` goes on.
    """
    params, terms, changes = train or TrainParams(), loss or LossParams(), augment or AugmentParams()
    _need_extra()
    from bgremove.training.loop import fit, processes

    first = os.environ.get("LOCAL_RANK", "0") == "0" and os.environ.get("NODE_RANK", "0") == "0"
    _check_sizes(params)
    groups = {"train": params, "loss": terms, "augment": changes}
    _check_out(out, groups, resume=resume)
    listings = find_split(data)
    pairs = [
        _usable(listing, data / name, quiet=quiet or not first, say=say if first else say_nothing)
        for listing, name in zip(listings, ("train", "val"), strict=True)
    ]
    work = {"train": len(pairs[0]), "val": len(pairs[1]), "processes": processes(params)}
    _check_work(params, work)
    weights = None if pretrained is None else load_weights(pretrained, params.network)
    if resume:
        load_weights(out / LAST, params.network)
        _check_same_work(out, work)
    make_folder(out)
    if first and not resume:
        text = json.dumps(
            {**{name: group.model_dump() for name, group in groups.items()}, "work": work}, indent=2
        )
        write_bytes(out / SETTINGS, f"{text}\n".encode(), overwrite=True)
    if first:
        say(_opening(params, [len(part) for part in pairs]))
    trainer = fit(
        (pairs[0], pairs[1]), out, params, terms, changes,
        resume=out / LAST if resume else None, pretrained=weights, spawn=spawn, quiet=quiet, say=say,
    )  # fmt: skip
    if not trainer.is_global_zero:
        return None
    return _result(out)


def load_weights(checkpoint: Path, network: str | None = None) -> dict[str, Tensor]:
    """A trained network's weights by name, the averaged ones where there are such.

    Args:
        checkpoint: a ``.ckpt`` of a training; it is read without running what it may contain.
        network: which network they must be for; None takes the checkpoint's own.

    Raises:
        WeightsError: if it is no such file, or another network's.
    """
    from bgremove.training.registry import create_network

    loaded = read_checkpoint(checkpoint)
    try:
        found = str(loaded["hyper_parameters"]["train"]["network"])
    except (KeyError, TypeError) as error:
        raise WeightsError(f"{checkpoint} does not say which network it holds; {_TAKE}") from error
    if network is not None and network != found:
        raise WeightsError(f"{checkpoint} holds a {found}, not a {network}; take --network {found}")
    prefix = "network."
    state: dict[str, Tensor] = loaded["state_dict"]
    weights = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    wanted = create_network(found).state_dict()
    shapes = {name: tuple(value.shape) for name, value in weights.items()}
    if shapes != {name: tuple(value.shape) for name, value in wanted.items()}:
        raise WeightsError(
            f"{checkpoint} holds a {found} that is built otherwise than in bgremove {__version__}; use it "
            "with the version that trained it, or train anew"
        )
    return weights


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What is in a training's checkpoint: ``state_dict`` (tensors) and ``hyper_parameters`` (plain values).

    Raises:
        WeightsError: if it cannot be read, is damaged, or is no checkpoint of a training.
    """
    _need_extra()
    import torch

    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}; check the path") from error
    except Exception as error:  # an unpickler fails in any way over what is no pickle
        raise WeightsError(f"{path} is damaged, or no checkpoint of bgremove train; {_TAKE}") from error
    if not isinstance(loaded, dict) or not {"state_dict", "hyper_parameters"} <= loaded.keys():
        raise WeightsError(f"{path} is no checkpoint of bgremove train: it has no state_dict or no settings")
    return loaded


def _need_extra() -> None:
    try:
        import lightning  # noqa: F401
        import tensorboard  # noqa: F401
        import torch  # noqa: F401
        import torchmetrics  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f'training needs {error.name}, which is not installed: pip install "bgremove[train]"'
        ) from error


def _check_sizes(params: TrainParams) -> None:
    from bgremove.training.registry import network_info

    multiple = network_info(params.network).multiple
    for name, size in (("size", params.size), ("start_size", params.start_size)):
        if size % multiple:
            raise OptionError(f"{name} must be a multiple of {multiple} for {params.network}; got {size}")
    if params.start_size > params.size:
        raise OptionError(f"start_size must be at most size ({params.size}); got {params.start_size}")


def _check_out(out: Path, groups: dict[str, Params], *, resume: bool) -> None:
    """Refuse to mix two trainings in one folder."""
    begun = (out / SETTINGS).exists()
    if not resume:
        if begun:
            read_settings(out)  # ours, or it is something else's
        if any((out / name).exists() for name in (LAST, BEST, HISTORY)):
            raise OutputError(
                f"{out} holds a training already; go on with it (--resume), or give another folder (--out)"
            )
        return
    if not begun or not (out / LAST).exists():
        raise OptionError(f"{out} holds no training with a finished epoch to go on with; leave out --resume")
    stored = read_settings(out)
    for name, group in groups.items():
        for key, value in group.model_dump().items():
            before = stored[name].model_dump()[key]
            if value != before and key not in _FREE:
                raise OptionError(
                    f"{key} was {before} in the training that is resumed, not {value}; leave it out"
                )


def _check_work(params: TrainParams, work: Mapping[str, int]) -> None:
    """Refuse what no training can do with so few pictures."""
    from bgremove.training.registry import network_info

    world = work["processes"]
    for name in ("train", "val"):
        if work[name] < world:
            raise OptionError(
                f"devices must be at most the number of pictures: {work[name]} in {name}, {world} processes"
            )
    smallest = params.start_size or params.size
    if (
        min(params.batch_size, work["train"] // world) == 1
        and smallest <= network_info(params.network).multiple
    ):
        raise OptionError(
            f"batch_size must be at least 2 with pictures of {smallest} px: a single value has no variance"
        )


def _check_same_work(out: Path, work: Mapping[str, int]) -> None:
    """Refuse to go on with other pictures, or with other processes, which share them out otherwise."""
    try:
        before = json.loads((out / SETTINGS).read_text(encoding="utf-8"))["work"]
    except KeyError:  # begun by an older version
        return
    for name, count in work.items():
        if before.get(name) != count:
            what = name if name == "processes" else f"pairs in {name}"
            raise OptionError(
                f"{out} was begun with {before.get(name)} {what}, not {count}; go on with the same "
                "(--data, --devices, --nodes), or begin another training"
            )


def read_settings(out: Path) -> dict[str, Params]:
    """The settings of the training in `out`: ``train``, ``loss`` and ``augment``.

    Raises:
        DataError: if they cannot be read.
    """
    path = out / SETTINGS
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return {
            "train": TrainParams(**stored["train"]),
            "loss": LossParams(**stored["loss"]),
            "augment": AugmentParams(**stored["augment"]),
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} cannot be read as a training's settings: {error}") from error


def _usable(listing: Listing, folder: Path, *, quiet: bool, say: Callable[[str], object]) -> Sequence[Pair]:
    """The pairs that can be read, after saying which cannot and why."""
    from tqdm import tqdm

    with tqdm(
        total=len(listing.pairs), desc=f"checking {folder.name}", unit="pair", leave=False, delay=1,
        disable=quiet or None,
    ) as bar:  # fmt: skip
        good, bad = split_usable(listing.pairs, bar.update)
    problems = [*listing.problems, *bad]
    if not good:
        raise DataError(f"{folder} has no pair that can be used: {problems[0]}")
    if problems:
        say(f"{folder}: {len(good)} pairs can be used; left out:")
        for sentence in first_few(problems):
            say(f"  {sentence}")
    return good


def _opening(params: TrainParams, counts: Sequence[int]) -> str:
    import torch

    from bgremove.training.loop import uses_bf16
    from bgremove.training.registry import create_network

    weights = sum(p.numel() for p in create_network(params.network).parameters())
    place = torch.cuda.get_device_name() if torch.cuda.is_available() else "the CPU"
    kind = "bfloat16" if uses_bf16(params.precision) else "float32"
    return (
        f"{params.network} ({weights / 1e6:.2f} million weights) on {place} in {kind}: {counts[0]} pairs to "
        f"train on, {counts[1]} to validate on, {params.epochs} epoch{'' if params.epochs == 1 else 's'}"
    )


def _result(out: Path) -> Trained:
    from bgremove.training.curves import best_epoch, read_history

    history = read_history(out / HISTORY)
    best = best_epoch(history)
    row = best[0] if best else -1
    epochs = history["epoch"]
    return Trained(out, out / BEST, float(history["val_iou"][row]), int(epochs[row]), int(epochs[-1]))
