"""Full pricing by the workers of an executor, against this process alone.

What is timed is what cell generation does when it proves a bound: the best direction of
every cell (``best_directions``, with the floor that cell generation has) and the bound
over all cells (``bound_rho``), at the residual of a network that is nearly optimal.
Cells are enumerated, workers are there and have the cells before the clock starts.

All that comes back is compared with that of this process, bit for bit.

Dask makes its workers give freed memory back to the system at once
(``MALLOC_TRIM_THRESHOLD_``), which also fixes what glibc takes for large; every
temporary array is then mapped anew, and page faults take as long as the arithmetic.
`DASK_MEMORY` undoes that, as anybody can in the configuration of Dask.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any, NamedTuple

import numpy as np

from benchmarks.local_training import descend
from pyomo_relu import Cells, TrainingProblem, enumerate_cells
from pyomo_relu.certificates import RhoBound, bound_rho
from pyomo_relu.certificates.directions import CellDirections, best_directions

Array = np.ndarray[Any, np.dtype[np.float64]]

#: glibc's settings for workers of Dask: arrays up to 32 MB stay with the process.
DASK_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": 2**25,
    "MALLOC_TRIM_THRESHOLD_": 2**28,
}
#: Calls that are timed; their median is what counts.
CALLS = 5
#: Iterations for the network whose residual is priced.
ITERATIONS = 1_000


class Pricing(NamedTuple):
    """What pricing found, and the seconds of every call.

    Attributes
    ----------
    cells : int
        How many were priced.
    violated : int
        Of how many the best direction exceeds the penalty.
    bound : RhoBound
        Over all cells.
    seconds, cpu : float
        Medians, wall-clock and processor time of this process.
    """

    cells: int
    violated: int
    bound: RhoBound
    seconds: float
    cpu: float


@contextmanager
def workers(kind: str, number: int) -> Iterator[Executor | None]:
    """Start workers of one thread each, and end them.

    Parameters
    ----------
    kind : {"none", "processes", "dask"}
        Nobody, a pool of processes, or a Dask cluster on the loopback interface.
    number : int
        How many.
    """
    if kind == "none":
        yield None
    elif kind == "processes":
        before = os.environ.get("OMP_NUM_THREADS")
        os.environ["OMP_NUM_THREADS"] = "1"
        try:
            with ProcessPoolExecutor(number, mp_context=get_context("spawn")) as pool:
                yield pool
        finally:
            os.environ.pop("OMP_NUM_THREADS")
            if before is not None:
                os.environ["OMP_NUM_THREADS"] = before
    else:
        import dask
        from distributed import Client, LocalCluster

        environment = {"OMP_NUM_THREADS": 1, **DASK_MEMORY}
        prefix = "distributed.nanny.pre-spawn-environ"
        with (
            dask.config.set({f"{prefix}.{k}": v for k, v in environment.items()}),
            LocalCluster(
                n_workers=number,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                dashboard_address=None,
            ) as cluster,
            Client(cluster) as client,
        ):
            client.wait_for_workers(number)
            yield client.get_executor()


def nearly_optimal_dual(problem: TrainingProblem) -> Array:
    """Return the scaled residual (n, c) of a network from a random start."""
    X, Y = problem.X, problem.Y
    rng = np.random.default_rng(0)
    network = descend(X, Y, problem.beta, rng, iterations=ITERATIONS)
    residual = Y - np.maximum(X @ network.first, 0.0) @ network.second
    return residual / problem.scaled.y_scale


def price(
    problem: TrainingProblem, cells: Cells, Z: Array, executor: Executor | None
) -> tuple[CellDirections, RhoBound]:
    """Price all cells once."""
    scaled = problem.scaled
    found = best_directions(problem, cells, Z, floor=scaled.beta, executor=executor)
    bound = bound_rho(
        cells,
        scaled.X,
        Z,
        rotation=scaled.basis.T @ cells.basis,
        activation=scaled.activation,
        executor=executor,
    )
    return found, bound


def measure_pricing(
    X: Array, Y: Array, beta: float, kind: str, number: int, *, calls: int = CALLS
) -> Pricing:
    """Time pricing of all cells of a training problem with the squared loss.

    Parameters
    ----------
    X, Y, beta
        The problem.
    kind, number
        As for :func:`workers`.
    calls : int
        How often it is timed.

    Raises
    ------
    RuntimeError
        The workers' result is not that of this process.
    """
    problem = TrainingProblem(X, Y, beta)
    cells = enumerate_cells(problem)
    Z = nearly_optimal_dual(problem)
    expected, bound = price(problem, cells, Z, None)
    times = []
    with workers(kind, number) as executor:
        for _ in range(1 + calls):
            begin = time.perf_counter(), time.process_time()
            found, other = price(problem, cells, Z, executor)
            times.append(
                (time.perf_counter() - begin[0], time.process_time() - begin[1])
            )
            for mine, theirs in zip(expected, found, strict=True):
                if mine.tobytes() != theirs.tobytes():
                    raise RuntimeError(f"{number} workers ({kind}): other directions")
            if other != bound:
                raise RuntimeError(f"{number} workers ({kind}): {other}, not {bound}")
    # The first call brought the cells to the workers.
    seconds, cpu = (statistics.median(each) for each in zip(*times[1:], strict=True))
    violated = int(np.sum(expected.values > problem.scaled.beta))
    return Pricing(len(cells), violated, bound, seconds, cpu)
