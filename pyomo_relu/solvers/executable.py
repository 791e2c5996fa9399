"""Solvers that are programs of their own: run, watched and stopped."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyomo_relu.errors import InputError, SolverError
from pyomo_relu.interrupts import deferred_interrupt

__all__ = ["Run", "banner_version", "run", "working_directory"]


@dataclass(frozen=True)
class Run:
    """How a program ended.

    Attributes
    ----------
    code : int
        Its exit code; minus the number of the signal that stopped it.
    log : str
        What it printed, on both streams.
    seconds : float
        Wall-clock time.
    timed_out : bool
        Whether it was stopped because of the time limit.
    """

    code: int
    log: str
    seconds: float
    timed_out: bool


@contextmanager
def working_directory(parent: Path | str | None, prefix: str) -> Iterator[Path]:
    """Give a new directory: kept below ``parent``, or temporary where that is None.

    Parameters
    ----------
    parent : path or None
        An existing directory.
    prefix : str
        How the name of the new one starts.

    Yields
    ------
    Path

    Raises
    ------
    InputError
        If ``parent`` is no directory in which one can be made.
    """
    if parent is None:
        with tempfile.TemporaryDirectory(prefix=f"{prefix}-") as name:
            yield Path(name)
        return
    try:
        name = tempfile.mkdtemp(prefix=f"{prefix}-", dir=parent)
    except OSError as error:
        raise InputError(
            f"working_dir={os.fspath(parent)!r} takes no files ({error.strerror}); "
            f"give an existing directory that is writable, or None"
        ) from error
    yield Path(name)


def run(
    command: Sequence[str],
    directory: Path,
    *,
    time_limit: float | None = None,
    streams: Sequence[Any] = (),
    environment: dict[str, str] | None = None,
) -> Run:
    """Run a program, and stop it with its children at the limit or at an interrupt.

    Parameters
    ----------
    command : sequence of str
        The program and its arguments.
    directory : Path
        Where it runs.
    time_limit : float, optional
        Seconds of wall-clock time; the program is not started where none are left.
    streams : sequence of text streams
        They get what it prints, line by line.
    environment : dict, optional
        Variables that are added to ours.

    Returns
    -------
    Run

    Raises
    ------
    SolverError
        If the program cannot be started.
    """
    start = time.perf_counter()
    timed_out = threading.Event()
    if time_limit is not None and time_limit <= 0.0:
        return Run(-signal.SIGTERM, "", 0.0, timed_out=True)
    process: subprocess.Popen[str] | None = None

    def stop() -> None:
        timed_out.set()
        if process is not None:
            _kill(process)

    timer = None if time_limit is None else threading.Timer(time_limit, stop)
    lines = []
    try:
        # An interrupt half-way through the start would leave a program of which nobody
        # knows.
        with deferred_interrupt():
            process = _start(command, directory, environment or {})
        if timer is not None:
            timer.start()
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            for stream in streams:
                stream.write(line)
                stream.flush()
        code = process.wait()
    finally:
        if timer is not None:
            timer.cancel()
        if process is not None:
            if process.poll() is None:
                _kill(process)
                process.wait()
            if process.stdout is not None:
                process.stdout.close()
    return Run(
        code=code,
        log="".join(lines),
        seconds=time.perf_counter() - start,
        # It may have ended by itself at the very moment.
        timed_out=timed_out.is_set() and code != 0,
    )


def _start(
    command: Sequence[str], directory: Path, environment: dict[str, str]
) -> subprocess.Popen[str]:
    try:
        return subprocess.Popen(
            list(command),
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            text=True,
            encoding="utf-8",
            errors="replace",
            # A group of its own, which can be stopped as a whole.
            start_new_session=True,
        )
    except OSError as error:
        raise SolverError(f"cannot run {command[0]!r}: {error}") from error


def _kill(process: subprocess.Popen[str]) -> None:
    """Stop a program and all that it started."""
    with suppress(ProcessLookupError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()


_versions: dict[tuple[str, float, tuple[str, ...]], tuple[int, ...]] = {}


def banner_version(
    path: str, name: str, arguments: tuple[str, ...] = ()
) -> tuple[int, ...]:
    """Return the version that a program prints when it starts.

    Parameters
    ----------
    path : str
        The program.
    name : str
        What stands before the version, for instance ``CSDP``.
    arguments : tuple of str, optional
        With which it prints it and stops.

    Returns
    -------
    tuple of int
        Empty where it prints none. It is asked once.
    """
    try:
        key = (path, os.path.getmtime(path), arguments)
    except OSError:
        return ()
    if key not in _versions:
        with tempfile.TemporaryDirectory() as directory:
            try:
                command = [path, *arguments]
                banner = run(command, Path(directory), time_limit=10.0).log
            except SolverError:
                banner = ""
        found = re.search(rf"{name}\D{{0,20}}?(\d+(?:\.\d+)*)", banner)
        _versions[key] = tuple(map(int, found.group(1).split("."))) if found else ()
    return _versions[key]
