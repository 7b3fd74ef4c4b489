"""Controls that the program itself changes, without hearing of it as if the user had."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Silenced:
    """Something whose listeners look at :attr:`_silent` first."""

    _silent = False

    @contextmanager
    def _silently(self) -> Iterator[None]:
        before, self._silent = self._silent, True
        try:
            yield
        finally:
            self._silent = before
