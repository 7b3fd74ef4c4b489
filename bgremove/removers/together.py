"""Several pictures in one run of a network, for workers that share it.

That keeps a GPU busy. The shipped network on a CPU takes as long for each of eight as for one alone (17 ms),
so there every worker runs it by itself.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from bgremove.removers.base import Remover
from bgremove.removers.onnx import OnnxRemover

R = TypeVar("R", bound=Remover)

_CPU = "CPUExecutionProvider"
_SAME = 0.02  # of 1, that values may differ by: sums come out a little otherwise in another order


def run_together(remover: R, workers: int, *, on_cpu: bool = False) -> R:
    """The remover, whose network takes what up to `workers` ask at once in one run, if that is of use.

    It is if it runs on an accelerator, its file lets the number of pictures be chosen, and two pictures at
    once give what each gives alone, which is tried here: some files say so, and mix them up.

    Args:
        remover: any; others than networks stay as they are.
        workers: that share it.
        on_cpu: also where it runs on the CPU.
    """
    if workers < 2 or not isinstance(remover, OnnxRemover):
        return remover
    session = remover._session
    if (session.get_providers()[0] != _CPU or on_cpu) and _takes_several(session, remover._size):
        remover._session = Together(session, workers)
    return remover


class Together:
    """An ``onnxruntime.InferenceSession`` that many threads call, one picture each.

    Whoever finds the network free runs it for all that wait; so it never waits for more to come.
    """

    def __init__(self, session: Any, most: int) -> None:
        self._session, self._most = session, most
        self._waiting: list[_Asked] = []
        self._lock, self._busy = threading.Lock(), threading.Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run(self, outputs: list[str], feeds: dict[str, Any], options: Any = None) -> list[Any]:
        """As the session's, for one picture."""
        [(name, blob)] = feeds.items()
        mine = _Asked(tuple(outputs), name, blob, options)
        with self._lock:
            self._waiting.append(mine)
        with self._busy:
            if mine.answer is None and mine.error is None:
                self._run(self._taken(mine))
        if mine.error is not None:
            raise mine.error
        assert mine.answer is not None
        return mine.answer

    def _taken(self, mine: _Asked) -> list[_Asked]:
        """This caller's picture, and others that go with it."""
        with self._lock:
            others = [one for one in self._waiting if one is not mine and one.goes_with(mine)]
            taken = [mine, *others[: self._most - 1]]
            self._waiting = [one for one in self._waiting if all(one is not other for other in taken)]
        return taken

    def _run(self, asked: list[_Asked]) -> None:
        first = asked[0]
        blob = first.blob if len(asked) == 1 else np.concatenate([one.blob for one in asked])
        try:
            answers = self._session.run(list(first.outputs), {first.name: blob}, first.options)
            for number, one in enumerate(asked):
                one.answer = [answer[number : number + 1] for answer in answers]
        except Exception as error:  # onnxruntime's errors have no common base of their own
            if len(asked) == 1:
                first.error = error
                return
            for one in asked:  # there may be too little memory for all of them at once
                self._run([one])


@dataclass(eq=False)
class _Asked:
    """What one thread wants, and gets."""

    outputs: tuple[str, ...]
    name: str
    blob: npt.NDArray[Any]
    options: Any
    answer: list[Any] | None = None
    error: Exception | None = None

    def goes_with(self, other: _Asked) -> bool:
        return (self.outputs, self.name) == (
            other.outputs,
            other.name,
        ) and self.blob.shape == other.blob.shape


def _takes_several(session: Any, size: tuple[int, int]) -> bool:
    """Can its first axis be chosen, and does it keep the pictures apart?"""
    [entry] = session.get_inputs()
    if isinstance(entry.shape[0], int):
        return False
    sides = [side if isinstance(side, int) else None for side in entry.shape[1:]]
    free = iter((3, *size) if sides.count(None) == 3 else size)
    shape = [2, *(next(free) if side is None else side for side in sides)]
    kind = {"tensor(float16)": np.float16, "tensor(double)": np.float64}.get(entry.type, np.float32)
    both = np.random.default_rng(0).normal(size=shape).astype(kind)
    both[1] *= -0.5
    try:
        together = session.run(None, {entry.name: both})
        alone = [session.run(None, {entry.name: both[n : n + 1]}) for n in (0, 1)]
    except Exception:  # onnxruntime's errors have no common base of their own
        return False
    return all(
        len(whole) == 2 and part.shape == whole[n : n + 1].shape and _near(part, whole[n : n + 1])
        for n in (0, 1)
        for whole, part in zip(together, alone[n], strict=True)
    )


def _near(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> bool:
    scale = max(1.0, float(np.abs(one).max(initial=0)))
    return float(np.abs(one.astype(np.float64) - other).max(initial=0)) <= _SAME * scale
