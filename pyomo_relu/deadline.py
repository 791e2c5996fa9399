"""When work has to end."""

from __future__ import annotations

import time

__all__ = ["Deadline"]

#: Seconds that a solver is given at least.
_LEAST = 0.1


class Deadline:
    """A number of seconds from now on.

    Parameters
    ----------
    seconds : float, optional
        None is for ever.

    Examples
    --------
    >>> Deadline(None).is_over, Deadline(1e-9).is_over
    (False, True)
    """

    def __init__(self, seconds: float | None = None) -> None:
        self.seconds = None if seconds is None else float(seconds)
        self._begin = time.perf_counter()

    @property
    def elapsed(self) -> float:
        """Seconds since it was made."""
        return time.perf_counter() - self._begin

    @property
    def is_over(self) -> bool:
        """Whether the seconds have passed."""
        return self.seconds is not None and self.elapsed > self.seconds

    @property
    def for_solver(self) -> float | None:
        """Seconds that are left to a solver, a tenth at least; None is for ever."""
        if self.seconds is None:
            return None
        return max(self.seconds - self.elapsed, _LEAST)
