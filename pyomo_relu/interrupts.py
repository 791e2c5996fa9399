"""Ctrl-C during a call into compiled code."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["deferred_interrupt", "noticing_interrupts"]


@contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Hold SIGINT back until the block ends, and tell whether it came.

    An exception that is raised inside a callback of compiled code is printed and
    lost, or aborts that code half-way. Here the signal sets a flag that the code can
    be told to stop on, and goes to its usual handler at the end of the block, which
    raises ``KeyboardInterrupt``. Outside the main thread, where Python delivers no
    signals, this does nothing.

    Yields
    ------
    callable
        ``interrupted()``: whether the signal has come.

    Examples
    --------
    >>> try:
    ...     with deferred_interrupt() as interrupted:
    ...         signal.raise_signal(signal.SIGINT)
    ...         print("still here:", interrupted())
    ... except KeyboardInterrupt:
    ...     print("and now it stops")
    still here: True
    and now it stops
    """
    came: list[int] = []
    previous = signal.getsignal(signal.SIGINT)
    # None: the handler was not installed from Python and could not be put back.
    in_charge = (
        threading.current_thread() is threading.main_thread() and previous is not None
    )

    def remember(number: int, frame: Any) -> None:
        came.append(number)

    if in_charge:
        signal.signal(signal.SIGINT, remember)
    try:
        yield lambda: bool(came)
    finally:
        if in_charge:
            signal.signal(signal.SIGINT, previous)
    if came:
        signal.raise_signal(signal.SIGINT)


@contextmanager
def noticing_interrupts() -> Iterator[Callable[[], bool]]:
    """Tell whether Ctrl-C came, also where a solver caught the exception.

    Outside the main thread, where Python delivers no signals, this does nothing.

    Yields
    ------
    callable
        Whether it came.
    """
    came: list[int] = []
    previous = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(
        previous
    ):
        yield lambda: False
        return

    def notice(number: int, frame: Any) -> None:
        came.append(number)
        previous(number, frame)

    signal.signal(signal.SIGINT, notice)
    try:
        yield lambda: bool(came)
    finally:
        signal.signal(signal.SIGINT, previous)
