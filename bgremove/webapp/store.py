"""The pictures of the visitors: in memory, each visitor's own, and not for long."""

from __future__ import annotations

from bgremove.webapp.config import ServeParams


class Store:
    """What is kept for the visitors of the page."""

    def __init__(self, params: ServeParams) -> None:
        self.params = params

    @property
    def pictures(self) -> int:
        """Pictures kept now."""
        return 0

    @property
    def nbytes(self) -> int:
        """Memory they take."""
        return 0

    def clear(self) -> None:
        """Forget everything."""
