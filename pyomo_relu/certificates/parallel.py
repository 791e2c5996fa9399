r"""Work on blocks of cells, here or by the workers of an executor.

Cells are large and dual points small: workers keep the cells. A task names them by a
token; a worker that does not have them says so, and the task is sent to it again with
the cells in it. Which worker takes a task is for the executor to decide, so this needs
nothing but ``submit``: ``concurrent.futures``, ``client.get_executor()`` of
``dask.distributed`` and ``mpi4py.futures`` will do, however they start workers.

What a task returns depends on its block alone, not on who works on it: results are
those without an executor (bit for bit where all have the same BLAS). A part that is
lost, with its worker or on the way, is done here.
"""

from __future__ import annotations

import logging
import os
import pickle
import socket
import threading
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, wait
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar
from uuid import uuid4

from pyomo_relu.certificates.cell_maps import CellBlock, CellBlocks
from pyomo_relu.errors import InputTypeError

__all__ = ["run_on_blocks"]

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
#: Number of a block, and what else the function takes.
Task = tuple[int, tuple[Any, ...]]

#: Parts for each worker, and in all if their number is not known.
_PARTS_PER_WORKER, _PARTS = 4, 8
#: Least work of a part, in cells: some milliseconds, more than it costs to send it.
LEAST_WORK = 20_000
#: Sets of cells that a worker keeps.
_KEPT = 2
#: Most copies of the cells that one call sends for each worker: one that is meant for a
#: worker may reach another, and an executor that always gets it wrong must not go on.
_COPIES_PER_WORKER = 2
#: Seconds without any result after which this process takes a part as well: an
#: executor that has lost all its workers may wait for new ones for ever.
_PATIENCE = 60.0

_cache: OrderedDict[str, tuple[CellBlock, ...]] = OrderedDict()
_lock = threading.Lock()


class _Answer(NamedTuple):
    """What a worker returns.

    Attributes
    ----------
    worker : tuple of str and int
        Its name.
    moment : int
        When it looked for the cells, on its own clock.
    results : list or None
        The results, None if it lacked the cells.
    """

    worker: tuple[str, int]
    moment: int
    results: list[Any] | None


def run_on_blocks(
    function: Callable[..., Result],
    cells: CellBlocks,
    tasks: Sequence[Task],
    shared: tuple[Any, ...],
    executor: Executor | None = None,
    work: Sequence[float] | None = None,
) -> list[Result]:
    """Return ``function(block, *shared, *arguments)`` of every task, in their order.

    Memory: while cells are being sent, one pickled copy of them here and what the
    executor holds of tasks in flight, one or two copies for each worker that lacks
    them; on a worker, the cells of the last two calls with different ones.

    Parameters
    ----------
    function : callable
        At the top level of a module, so that it can be sent by its name.
    cells : CellBlocks
        The blocks.
    tasks : sequence of (int, tuple)
        Number of a block, and further arguments.
    shared : tuple
        Arguments of all tasks, sent with each part: small.
    executor : concurrent.futures.Executor, optional
        Who works. By default, or where there is little work, this process.
    work : sequence of float, optional
        How much each task costs, in the time that a cell takes; by default the number
        of cells of its block.

    Raises
    ------
    InputTypeError
        The executor has no method `submit`.
    Exception
        What the function raises: here, after a worker has failed in the same way.
    """
    usable = callable(getattr(executor, "submit", None))
    if executor is not None and (isinstance(executor, type) or not usable):
        raise InputTypeError(
            "executor must be a concurrent.futures.Executor, such as "
            "ProcessPoolExecutor(2), dask's client.get_executor() or an "
            f"MPIPoolExecutor, or None; got {executor!r}."
        )
    if work is None:
        work = [float(len(cells.blocks[number])) for number, _ in tasks]
    parts = [] if executor is None else _parts(tasks, work, executor)
    if executor is None or len(parts) < 2:
        return _work(cells.blocks, function, shared, tasks)
    run = _Run(executor, cells, function, shared, parts)
    with _known(cells):
        return [result for part in run.results() for result in part]


def _parts(
    tasks: Sequence[Task], work: Sequence[float], executor: Executor
) -> list[list[Task]]:
    """Cut tasks into runs of about the same work."""
    workers = getattr(executor, "_max_workers", None)
    most = _PARTS if not isinstance(workers, int) else _PARTS_PER_WORKER * workers
    total = float(sum(work))
    each = max(total / max(most, 1), float(LEAST_WORK))
    parts: list[list[Task]] = []
    size = 0.0
    for task, cost in zip(tasks, work, strict=True):
        # Half of a task more or less: nearer to the wanted size.
        if not parts or size + 0.5 * cost > each:
            parts.append([])
            size = 0.0
        parts[-1].append(task)
        size += cost
    return parts


def _work(
    blocks: Sequence[CellBlock],
    function: Callable[..., Result],
    shared: tuple[Any, ...],
    part: Sequence[Task],
) -> list[Result]:
    return [function(blocks[number], *shared, *more) for number, more in part]


@contextmanager
def _known(cells: CellBlocks) -> Iterator[None]:
    """Let threads of this process, and processes forked from it, have the cells."""
    with _lock:
        nested = cells.token in _cache
        _cache[cells.token] = cells.blocks
    try:
        yield
    finally:
        if not nested:
            with _lock:
                _cache.pop(cells.token, None)


def _answer(
    token: str,
    payload: bytes | None,
    key: str,
    shared: bytes,
    part: bytes,
) -> _Answer:
    """Work on a part, on a worker.

    `key` is different for every task: Dask takes equal ones for the same. All is
    pickled here: Dask would put arrays at odd addresses, for which NumPy sums in
    another order than for aligned ones.
    """
    worker = socket.gethostname(), os.getpid()
    with _lock:
        blocks = _cache.get(token)
        moment = time.monotonic_ns()
    if blocks is None:
        if payload is None:
            return _Answer(worker, moment, None)
        blocks = pickle.loads(payload)
        with _lock:
            _cache[token] = blocks
            while len(_cache) > _KEPT:
                _cache.popitem(last=False)
    with _lock:
        if token in _cache:
            _cache.move_to_end(token)
    function, arguments = pickle.loads(shared)
    results = _work(blocks, function, arguments, pickle.loads(part))
    return _Answer(worker, moment, results)


class _Run:
    """Parts on their way to workers and back."""

    def __init__(
        self,
        executor: Executor,
        cells: CellBlocks,
        function: Callable[..., Any],
        shared: tuple[Any, ...],
        parts: list[list[Task]],
    ) -> None:
        self.executor, self.cells = executor, cells
        self.function, self.shared, self.parts = function, shared, parts
        self.pickled = pickle.dumps((function, shared), protocol=5)
        self.found: dict[int, list[Any]] = {}
        #: Futures in flight: their part, and whether the cells are in them.
        self.pending: dict[Future[_Answer], tuple[int, bool]] = {}
        #: Parts that wait for workers to have the cells, and workers without them.
        self.waiting: list[int] = []
        self.lacking: set[tuple[str, int]] = set()
        #: When workers had them.
        self.having: dict[tuple[str, int], int] = {}
        self.copies = 0
        self.payload: bytes | None = None
        self.reported = False

    def results(self) -> list[list[Any]]:
        """Return the results of every part, in their order."""
        try:
            for number in range(len(self.parts)):
                self.send(number)
            while self.pending or self.waiting:
                done, _ = wait(
                    self.pending, timeout=_PATIENCE, return_when=FIRST_COMPLETED
                )
                for future in done:
                    self.receive(future)
                if not done:
                    self.help_out()
        finally:
            for future in self.pending:
                future.cancel()
        return [self.found[number] for number in range(len(self.parts))]

    def send(self, number: int, *, with_cells: bool = False) -> None:
        """Send a part, or do it here if the executor refuses."""
        try:
            future = self.carry(number) if with_cells else self.submit(number, None)
        except Exception as error:
            self.lost(number, error)
        else:
            self.pending[future] = number, with_cells

    def submit(self, number: int, payload: bytes | None) -> Future[_Answer]:
        """Submit a part."""
        return self.executor.submit(
            _answer,
            self.cells.token,
            payload,
            uuid4().hex,
            self.pickled,
            pickle.dumps(self.parts[number], protocol=5),
        )

    def carry(self, number: int) -> Future[_Answer]:
        """Submit a part with the cells in it."""
        self.copies += 1
        if self.payload is None:
            self.payload = pickle.dumps(self.cells.blocks, protocol=5)
        with warnings.catch_warnings():
            # Dask's: it would rather have such data before, which nobody else offers.
            warnings.filterwarnings("ignore", "Sending large graph")
            return self.submit(number, self.payload)

    @property
    def carriers(self) -> int:
        """How many tasks in flight have the cells in them."""
        return sum(with_cells for _, with_cells in self.pending.values())

    def receive(self, future: Future[_Answer]) -> None:
        """Take what has come back."""
        number, with_cells = self.pending.pop(future)
        try:
            error = future.exception()
        except CancelledError as cancelled:
            error = cancelled
        if error is not None:
            self.lost(number, error)
        else:
            self.take(number, future.result())
        if with_cells or not self.pending:
            waiting, self.waiting = self.waiting, []
            for other in waiting:
                self.send(other)

    def take(self, number: int, answer: _Answer) -> None:
        """Take an answer, or see to it that the worker gets the cells."""
        worker = answer.worker
        if answer.results is not None:
            self.lacking.discard(worker)
            self.having[worker] = max(self.having.get(worker, 0), answer.moment)
            self.found[number] = answer.results
        elif answer.moment < self.having.get(worker, 0):
            # It has been given them since.
            self.send(number)
        else:
            self.lacking.add(worker)
            self.ask_again(number)

    def ask_again(self, number: int) -> None:
        """Send a part again that has met a worker without the cells."""
        most = _COPIES_PER_WORKER * len(self.lacking | self.having.keys())
        # One copy for each worker that has asked; other parts wait until it is there.
        if self.carriers < len(self.lacking) and self.copies < most:
            self.send(number, with_cells=True)
        elif self.pending:
            self.waiting.append(number)
        else:
            self.work_here(number)

    def lost(self, number: int, error: BaseException) -> None:
        """Do a part here whose worker, or whose way, has failed."""
        if not self.reported:
            self.reported = True
            logger.warning(
                "a worker of %s failed (%s: %s); its cells are priced in this process",
                type(self.executor).__name__,
                type(error).__name__,
                error,
            )
        self.work_here(number)

    def work_here(self, number: int) -> None:
        """Do a part in this process."""
        self.found[number] = _work(
            self.cells.blocks, self.function, self.shared, self.parts[number]
        )

    def help_out(self) -> None:
        """Do a part that nobody seems to work on."""
        if self.waiting:
            self.work_here(self.waiting.pop())
            return
        future, (number, _) = self.pending.popitem()
        future.cancel()
        self.work_here(number)
