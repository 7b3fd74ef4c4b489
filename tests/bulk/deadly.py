"""A batch on Ray with a picture that ends every worker that looks at it; run as a process of its own."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from bgremove.arrays import Alpha, Image
from bgremove.bulk.params import BatchParams
from bgremove.bulk.ray import run_on_ray
from bgremove.bulk.work import Job, Task
from bgremove.options import Params
from bgremove.pipeline import Settings
from bgremove.removers.base import Remover


class Deadly(Remover):
    """Ends its process when the first pixel is black."""

    def predict_alpha(self, image: Image) -> Alpha:
        if not image[0, 0].any():
            os.kill(os.getpid(), signal.SIGKILL)
        return (image[..., 0] > 128).astype("float32")


class DeadlyJob(Job):
    """Of workers that have this remover."""

    def create_remover(self) -> Remover:
        return Deadly(Params())


def main(folder: Path, out: Path) -> None:
    tasks = [Task(str(path), {"cutout": str(out / path.name)}) for path in sorted(folder.iterdir())]
    job, params = DeadlyJob(Settings.build("contour")), BatchParams(engine="ray", workers=2)
    for task, row in run_on_ray(tasks, job, params, threading.Event()):
        print(Path(task.source).name, row.status, row.error)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
