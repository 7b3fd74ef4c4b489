"""A batch on the cores of this machine."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence

from bgremove.batch import for_workers, in_parallel, usual_workers
from bgremove.bulk import places
from bgremove.bulk.params import BatchParams
from bgremove.bulk.work import Job, Row, Task, do
from bgremove.removers.together import run_together

_WAITING = 4  # workers more than cores, where pictures come from far away


def run_here(
    tasks: Sequence[Task], job: Job, params: BatchParams, stop: threading.Event
) -> Iterator[tuple[Task, Row]]:
    """Do the tasks with one remover and several threads, each of which does a picture from end to end.

    Raises:
        BGRemoveError: if the remover cannot be built.
    """
    workers = params.workers or usual_workers(len(tasks), job.plan.model)
    if not params.workers and any(_far(task) for task in tasks):
        workers += _WAITING
    workers = min(workers, len(tasks))
    with for_workers(min(workers, os.cpu_count() or 1)):
        remover = run_together(job.create_remover(), workers)
    yield from in_parallel(lambda task: (task, do(task, remover, job)), tasks, workers=workers, stop=stop)


def _far(task: Task) -> bool:
    return places.is_address(task.source) or any(map(places.is_address, task.targets.values()))
