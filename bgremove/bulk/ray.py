"""A batch on Ray: on a cluster, or on worker processes of this machine.

Ray Data hands the pictures out, a few at a time, and gives them to another worker when one dies. Workers
write results themselves, each whole or not at all, and look first whether a worker before them has: so a
picture that is done again is not made again.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import socket
import threading
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import bgremove
from bgremove.bulk import places
from bgremove.bulk.params import BatchParams
from bgremove.bulk.work import Job, Row, Task, do, failed
from bgremove.errors import BGRemoveError, MissingExtraError, OptionError
from bgremove.removers.base import Remover

_LIVES = 3  # workers that may die at a picture
_AT_ONCE = 8  # pictures that a worker gets
_THREADS = 8  # at most, that keep a GPU busy
_SECONDS = 10.0  # until a cluster must have answered
_STORE = 256 << 20  # bytes that workers of this machine share; pictures do not go that way


def run_on_ray(
    tasks: Sequence[Task], job: Job, params: BatchParams, stop: threading.Event
) -> Iterator[tuple[Task, Row]]:
    """Do the tasks with a pool of workers, each of which builds its remover once.

    On a cluster, paths must mean the same on every machine, and bgremove must be installed there.

    Raises:
        BGRemoveError: if the remover cannot be built, or there is no cluster.
        MissingExtraError: without Ray.
    """
    absolute = [_absolute(task) for task in tasks]
    with _ray(params) as ray:
        workers, resources = _workers(ray, job, params, len(tasks))
        ledger = ray.remote(num_cpus=0, max_restarts=-1)(_Ledger).remote()
        chunk = max(1, min(_AT_ONCE, math.ceil(len(tasks) / (4 * workers))))
        rows = [{"index": n, "task": json.dumps(asdict(one))} for n, one in enumerate(absolute)]
        pictures = ray.data.from_items(rows, override_num_blocks=math.ceil(len(tasks) / chunk)).map_batches(
            _Worker,
            fn_constructor_args=(job, ledger, resources),
            batch_size=chunk,
            compute=ray.data.ActorPoolStrategy(size=workers),
            **resources,
        )
        told: set[int] = set()
        for made in pictures.iter_rows():
            if made["fatal"]:
                raise BGRemoveError(made["fatal"])
            index = int(made["index"])
            if index not in told:
                told.add(index)
                yield tasks[index], Row(**json.loads(made["row"]))
            if stop.is_set():
                return


class _Worker:
    """What works on one core, or with one GPU."""

    def __init__(self, job: Job, ledger: Any, resources: dict[str, float]) -> None:
        self._job, self._ledger = job, ledger
        self._threads = min(_THREADS, int(resources.get("num_cpus", 1)))
        self._remover: Remover | None = None
        self._problem = ""
        from bgremove.batch import for_workers, keep_memory
        from bgremove.removers.onnx import sharing_cores
        from bgremove.removers.together import run_together

        keep_memory()
        try:
            with for_workers(self._threads) if self._threads > 1 else sharing_cores(1):
                self._remover = run_together(job.create_remover(), self._threads)
        except BGRemoveError as error:
            self._problem = str(error)  # raised here, it would be raised again at every new worker

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        from bgremove.batch import in_parallel

        tasks = [
            (int(n), Task(**json.loads(text))) for n, text in zip(batch["index"], batch["task"], strict=True)
        ]
        rows: list[tuple[int, Row]] = []
        if not self._problem:
            rows = list(in_parallel(self._one, tasks, workers=self._threads, crowded=True))
        elif tasks:
            rows = [(tasks[0][0], failed(tasks[0][1], self._problem))]
        return {
            "index": [index for index, _ in rows],
            "row": [json.dumps(row.as_dict()) for _, row in rows],
            "fatal": [self._problem for _ in rows],
        }

    def _one(self, item: tuple[int, Task]) -> tuple[int, Row]:
        index, task = item
        assert self._remover is not None
        if self._begin(task) > _LIVES:
            why = f"{_LIVES} workers ended while they did it; it may need more memory than there is"
            row = failed(task, f"{places.shown(task.source)}: {why}")
        else:
            row = do(task, self._remover, self._job)
        self._ledger.end.remote(task.source)
        return index, row

    def _begin(self, task: Task) -> int:
        """How many workers have begun this picture and not ended it, with this one."""
        import ray

        try:
            return int(ray.get(self._ledger.begin.remote(task.source)))
        except ray.exceptions.RayError:  # it was with a machine that is gone
            return 1


class _Ledger:
    """Counts the workers that begin a picture and do not live to end it."""

    def __init__(self) -> None:
        self._begun: Counter[str] = Counter()

    def begin(self, source: str) -> int:
        self._begun[source] += 1
        return self._begun[source]

    def end(self, source: str) -> None:
        del self._begun[source]


def _workers(ray: Any, job: Job, params: BatchParams, pictures: int) -> tuple[int, dict[str, float]]:
    """How many workers, and what each takes."""
    there = ray.cluster_resources()
    cores, gpus = int(there.get("CPU", 1)), int(there.get("GPU", 0))
    if job.device == "cuda" and not gpus:
        raise OptionError("device must be auto or cpu on a cluster without GPUs; got cuda")
    if gpus and job.device != "cpu":
        count = min(params.workers or gpus, gpus, pictures)
        return count, {"num_gpus": 1, "num_cpus": max(1, min(_THREADS, cores // gpus))}
    if params.workers > cores:
        raise OptionError(f"workers must be at most {cores}, the cores of the cluster; got {params.workers}")
    return max(1, min(params.workers or cores, pictures)), {"num_cpus": 1}


def _absolute(task: Task) -> Task:
    """With paths that mean the same to processes that began in other folders."""

    def absolute(place: str) -> str:
        return place if places.is_address(place) else os.path.abspath(place)

    return replace(
        task,
        source=absolute(task.source),
        targets={output: absolute(target) for output, target in task.targets.items()},
        before={absolute(target): state for target, state in task.before.items()},
    )


@contextlib.contextmanager
def _ray(params: BatchParams) -> Iterator[Any]:
    """Ray, connected to a cluster; if it was not so before, it is not afterwards."""
    with _environment(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Ray says of itself
        try:
            import ray
            import ray.data
        except ImportError:
            raise MissingExtraError('the engine ray needs an extra: pip install "bgremove[ray]"') from None
        mine = not ray.is_initialized()
        if mine:
            _connect(ray, params)
        _quiet(ray)
        try:
            yield ray
        finally:
            if mine:
                ray.shutdown()


def _connect(ray: Any, params: BatchParams) -> None:
    _knock(params.address)
    here: dict[str, Any] = {"num_cpus": params.workers or None, "object_store_memory": _STORE}
    there = {"address": params.address} if params.address else {"address": "local", **here}
    try:
        with _silent():
            ray.init(
                **there,
                include_dashboard=None if params.address else False,
                configure_logging=True,
                logging_level=logging.ERROR,
                log_to_driver=False,
            )
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0].partition(". ")[0].rstrip(".")
        where = f"at {params.address}" if params.address else "on this machine"
        raise BGRemoveError(
            f"there is no Ray cluster {where}: {first}; check that it runs, or take --engine local"
        ) from None


def _knock(address: str) -> None:
    """Find out whether anybody answers there at all: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS).close()
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        raise BGRemoveError(
            f"there is no Ray cluster at {address}: {why}; check that it runs, or take --engine local"
        ) from None


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Ray's own code, which is no Python, writes to the terminal when it begins; errors are raised."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            kept = os.dup(2)
            stack.callback(os.close, kept)
            nothing = os.open(os.devnull, os.O_WRONLY)
            stack.callback(os.close, nothing)
            os.dup2(nothing, 2)
            stack.callback(os.dup2, kept, 2)
        yield


def _quiet(ray: Any) -> None:
    """Progress and errors are told by the batch itself."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """Ray's processes find this package as this one does, and keep to themselves."""
    own = str(Path(bgremove.__file__).parents[1])
    wanted = {
        "PYTHONPATH": os.pathsep.join(filter(None, [own, os.environ.get("PYTHONPATH", "")])),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_BACKEND_LOG_LEVEL": "fatal",
        "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # what Ray prints on stdout when a worker dies
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
