"""Pricing by the workers of an executor: the result is that of this process."""

import logging
import multiprocessing
import os
import signal
import threading
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from contextlib import contextmanager
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyomo_relu import ReLUNetwork, TrainingProblem, certify, enumerate_cells
from pyomo_relu.activations import LeakyReLU, ReLU
from pyomo_relu.certificates import bound_rho, cell_maps, parallel, rho
from pyomo_relu.certificates.cell_maps import CellMaps, DualPoint, cell_blocks
from pyomo_relu.certificates.directions import best_directions
from pyomo_relu.certificates.faces import maximum_over_cone
from pyomo_relu.errors import InputTypeError


@contextmanager
def small_parts(cells=24):
    """Cut even small instances into many blocks and parts."""
    with (
        mock.patch.object(cell_maps, "BLOCK_CELLS", cells),
        mock.patch.object(parallel, "LEAST_WORK", 1),
    ):
        yield


class Instance:
    """A problem with a few hundred cells in a dozen blocks and more."""

    def __init__(self, seed=0, n=14, d=3, c=2, activation="relu"):
        rng = np.random.default_rng(seed)
        X, Y = rng.normal(size=(n, d)), rng.normal(size=(n, c))
        self.problem = TrainingProblem(X, Y, 0.1, activation=activation)
        self.Z = rng.normal(size=(n, c))
        # Cut into blocks at the first use, here.
        self.cells = enumerate_cells(self.problem)
        self.blocks = cell_blocks(self.cells)

    def price(self, executor=None, floor=None):
        """Return everything that pricing says, in comparable form."""
        scaled = self.problem.scaled
        bound = bound_rho(
            self.cells,
            scaled.X,
            self.Z,
            rotation=scaled.basis.T @ self.cells.basis,
            activation=scaled.activation,
            executor=executor,
        )
        found = best_directions(
            self.problem, self.cells, self.Z, floor=floor, executor=executor
        )
        return bound, found.values.tobytes(), found.directions.tobytes()


class Watched(Executor):
    """Counts what is sent to another executor, and strikes at the k-th task."""

    def __init__(self, executor, workers=None, strike_at=None, strike=None):
        self.executor, self.strike_at, self.strike = executor, strike_at, strike
        self.tasks = self.copies = 0
        if workers is not None:
            self._max_workers = workers

    def submit(self, function, token, payload, *more):
        # Executors may unpickle arrays to any address, and NumPy's sums depend on it.
        assert not any(isinstance(each, (np.ndarray, tuple, list)) for each in more)
        self.tasks += 1
        self.copies += payload is not None
        if self.tasks == self.strike_at:
            self.strike()
        return self.executor.submit(function, token, payload, *more)


class Simulated(Executor):
    """Workers with memories of their own, one step at a time: nothing is left to luck.

    Each takes the next task when everybody waits. `deaf` workers take none; `deadly`
    numbers of tasks kill them, and their tasks with them; cells never reach the
    `unlucky` one; the `slow` one takes a task at every third step.
    """

    def __init__(
        self,
        workers=2,
        reverse=False,
        deaf=False,
        deadly=(),
        unlucky=None,
        slow=None,
    ):
        self.memories = [type(parallel._cache)() for _ in range(workers)]
        self._max_workers = workers
        self.reverse, self.deaf, self.deadly = reverse, deaf, deadly
        self.unlucky, self.slow, self.steps = unlucky, slow, 0
        self.queue, self.copies, self.tasks = [], 0, 0

    def submit(self, function, *arguments):
        future = Future()
        self.queue.append((future, function, arguments))
        self.copies += arguments[1] is not None
        return future

    def step(self, pending, timeout=None, return_when=None):
        """Stand in for `concurrent.futures.wait`."""
        self.steps += 1
        for number, memory in enumerate(self.memories):
            if number == self.slow and self.steps % 3:
                continue
            ready = [
                task
                for task in self.queue
                if not task[0].cancelled()
                and (number != self.unlucky or task[2][1] is None)
            ]
            if self.deaf or not ready:
                continue
            task = ready[-1 if self.reverse else 0]
            self.queue.remove(task)
            future, function, arguments = task
            self.tasks += 1
            if self.tasks in self.deadly:
                memory.clear()
                future.set_exception(BrokenExecutor("a worker was killed"))
                continue
            with (
                mock.patch.object(parallel, "_cache", memory),
                mock.patch.object(parallel.os, "getpid", lambda name=number: name),
            ):
                future.set_result(function(*arguments))
        return [future for future in pending if future.done()], set()

    @contextmanager
    def at_work(self):
        with mock.patch.object(parallel, "wait", self.step):
            yield self


# -- blocks ---------------------------------------------------------------------------


@pytest.mark.parametrize("d", [1, 2, 3, 4])
def test_blocks_hold_every_cell_once_with_its_geometry(d):
    with small_parts(10):
        case = Instance(d=d, n=9)
    scaled = case.problem.scaled
    rotation = scaled.basis.T @ case.cells.basis
    point = DualPoint(scaled.X, case.Z, rotation, scaled.activation)
    whole = CellMaps(case.cells, scaled.X, case.Z, rotation, scaled.activation)
    positions = np.concatenate([block.positions for block in case.blocks.blocks])
    assert sorted(positions) == list(range(len(case.cells)))
    for block in case.blocks.blocks:
        assert len(block) <= 10
        maps = point.maps(block)
        np.testing.assert_array_equal(
            maps.maps(np.arange(len(block))), whole.maps(block.positions)
        )
        for local, position in enumerate(block.positions.tolist()):
            for ours, theirs in zip(
                maps.geometry(local), whole.geometry(position), strict=True
            ):
                np.testing.assert_allclose(ours, theirs, atol=1e-15)


def test_neighbours_share_a_block():
    """Blocks are local: they need far fewer rays than if cells were dealt out."""
    with small_parts(300):
        case = Instance(n=60, d=3)
    used = [len(block.ray_table) for block in case.blocks.blocks]
    assert len(used) > 8
    assert sum(used) < 1.5 * len(case.cells.ray_table)


@given(
    st.integers(0, 10_000),
    st.integers(1, 4),
    st.sampled_from([ReLU(), LeakyReLU(-2.0)]),
)
@settings(max_examples=30, deadline=None)
def test_the_ray_bound_is_no_less_than_the_maximum(seed, d, activation):
    rng = np.random.default_rng(seed)
    X, Z = rng.normal(size=(8, d)), rng.normal(size=(8, 2))
    with small_parts():
        blocks = cell_blocks(enumerate_cells(X)).blocks
    point = DualPoint(X, Z, np.eye(d), activation)
    for block in blocks:
        maps = point.maps(block)
        bound = cell_maps.ray_bound(maps, maps.best_at_rays()[0], 0.0)
        J = maps.maps(np.arange(len(block)))
        for i in range(len(block)):
            exact = maximum_over_cone(J[i], *maps.geometry(i)).upper
            assert bound[i] >= exact * (1.0 - 1e-13)


def test_the_ray_bound_is_close_where_cells_are_small():
    case = Instance(n=60)
    scaled = case.problem.scaled
    maps = DualPoint(scaled.X, case.Z, np.eye(3), ReLU()).maps(case.blocks.blocks[0])
    best, _ = maps.best_at_rays()
    assert np.median(cell_maps.ray_bound(maps, best, 0.0) / best) < 1.01


def test_a_rotation_that_shortens_vectors_is_paid_for():
    """Coordinates half as long hold vectors twice as long: twice the bound."""
    case = Instance()
    block = case.blocks.blocks[0]
    plain = DualPoint(case.problem.scaled.X, case.Z, np.eye(3), ReLU()).maps(block)
    short = DualPoint(case.problem.scaled.X, case.Z, np.eye(3) / 2, ReLU()).maps(block)
    best = plain.best_at_rays()[0]
    np.testing.assert_allclose(
        cell_maps.ray_bound(short, best, 0.0),
        2.0 * cell_maps.ray_bound(plain, best, 0.0),
        rtol=1e-12,
    )
    flat = DualPoint(case.problem.scaled.X, case.Z, np.diag([1.0, 1.0, 0.0]), ReLU())
    assert np.isinf(cell_maps.ray_bound(flat.maps(block), best, 0.0)).all()


# -- any executor ---------------------------------------------------------------------


@given(
    seed=st.integers(0, 10_000),
    d=st.integers(1, 4),
    c=st.integers(1, 5),
    activation=st.sampled_from(["relu", "absolute", "leaky_relu(-0.5)"]),
    quantile=st.sampled_from([None, 0.0, 0.5, 0.95]),
    workers=st.integers(1, 3),
    reverse=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_parts_say_what_the_whole_says(
    seed, d, c, activation, quantile, workers, reverse
):
    """Cut or not, here or by workers, in any order; and what it says is true."""
    whole = Instance(seed, n=8, d=d, c=c, activation=activation)
    assert len(whole.blocks.blocks) == 1
    exact = exact_maxima(whole)
    floor = None if quantile is None else float(np.quantile(exact, quantile))
    bound = whole.price(floor=floor)[0]
    with small_parts():
        cut = Instance(seed, n=8, d=d, c=c, activation=activation)
        here = cut.price(floor=floor)
        with Simulated(workers, reverse).at_work() as executor:
            assert cut.price(executor, floor) == here
    assert here[0].value == pytest.approx(bound.value, rel=1e-12)
    assert (here[0].decided, here[0].cells) == (bound.decided, bound.cells)
    assert exact.max() * (1 - 1e-13) <= here[0].value <= exact.max() * (1 + 1e-8)
    values = np.frombuffer(here[1])
    wanted = exact >= (exact.max() if floor is None else floor) * (1 + 1e-9)
    np.testing.assert_allclose(values[wanted], exact[wanted], rtol=1e-8)
    if floor is None:
        assert values.max() == pytest.approx(exact.max(), rel=1e-8)


@pytest.mark.parametrize("workers", [0, 2])
def test_cells_without_a_look_at_their_faces_keep_their_bounds(workers, monkeypatch):
    monkeypatch.setattr(rho, "_FACE_BUDGET", 0)
    monkeypatch.setattr(rho, "first_look", lambda *_, **__: 0.0)
    undecided = 0
    for seed in range(10):
        with small_parts(), Simulated(workers).at_work() as executor:
            case = Instance(seed, n=6)
            bound = case.price(executor if workers else None)[0]
        exact = exact_maxima(case)
        assert bound.value >= exact.max() * (1.0 - 1e-13)
        # The maximum is at no ray: nothing that was met decides its cell.
        if bound.attained < exact.max() * (1.0 - 1e-6):
            assert bound.decided < bound.cells
            undecided += 1
    assert undecided > 2


def exact_maxima(case):
    scaled = case.problem.scaled
    rotation = scaled.basis.T @ case.cells.basis
    maps = CellMaps(case.cells, scaled.X, case.Z, rotation, scaled.activation)
    J = maps.maps(np.arange(len(case.cells)))
    return np.array(
        [maximum_over_cone(J[i], *maps.geometry(i)).upper for i in range(len(J))]
    )


def test_cells_are_sent_to_each_worker_once():
    with small_parts():
        case = Instance()
        here = case.price(floor=0.0)
        with Simulated(2).at_work() as executor:
            assert case.price(executor, floor=0.0) == here
            assert executor.copies == 2
            assert case.price(executor, floor=0.0) == here
            assert executor.copies == 2
            assert all(list(m) == [case.blocks.token] for m in executor.memories)


def test_a_slow_worker_is_not_sent_one_copy_after_another():
    """The other one takes the first that is meant for it; a second is on its way."""
    with small_parts():
        case = Instance()
        with Simulated(2, slow=1).at_work() as executor:
            bound_rho(case.cells, case.problem.scaled.X, case.Z, executor=executor)
        assert executor.copies == 3


def test_what_a_worker_said_before_it_had_the_cells_is_no_complaint():
    """Answers that arrive together are read in any order."""
    with small_parts():
        case = Instance()
        with Simulated(1).at_work() as executor:

            def has_results(future):
                return future.result().results is not None

            def wait(pending, **_):
                done, _ = executor.step(pending)
                if executor.copies == 0:
                    return done[:1], set()
                # What came before is read after the first results.
                while not any(map(has_results, done)):
                    done, _ = executor.step(pending)
                return sorted(done, key=has_results, reverse=True), set()

            with mock.patch.object(parallel, "wait", wait):
                bound_rho(case.cells, case.problem.scaled.X, case.Z, executor=executor)
        assert executor.copies == 1


def test_cells_that_never_arrive_are_not_sent_for_ever():
    with small_parts(8):
        case = Instance()
        with Simulated(2, unlucky=1).at_work() as executor:
            executor._max_workers = 8
            bound_rho(case.cells, case.problem.scaled.X, case.Z, executor=executor)
        assert executor.copies == 4
        assert not executor.memories[1]
        with Simulated(2, unlucky=1).at_work() as executor:
            assert case.price(executor, floor=0.0) == case.price(floor=0.0)
        with Simulated(1, unlucky=0).at_work() as executor:
            assert case.price(executor, floor=0.0) == case.price(floor=0.0)


def test_workers_keep_two_sets_of_cells():
    with small_parts():
        cases = [Instance(seed) for seed in range(3)]
        with Simulated(1).at_work() as executor:
            for copies, case in enumerate(cases, start=1):
                assert case.price(executor) == case.price()
                assert executor.copies == copies
            cases[1].price(executor)
            assert executor.copies == 3
            cases[0].price(executor)
            assert executor.copies == 4
        assert set(executor.memories[0]) == {cases[i].blocks.token for i in (0, 1)}


@pytest.mark.parametrize("deadly", [{1}, {3, 4}, {2, 9, 11}, set(range(1, 200))])
def test_parts_of_killed_workers_are_done_here(deadly, caplog):
    with small_parts():
        case = Instance()
        here = case.price(floor=0.0)
        with Simulated(2, deadly=deadly).at_work() as executor:
            assert case.price(executor, floor=0.0) == here
        assert executor.tasks >= min(deadly)
    assert "a worker was killed" in caplog.text


def test_trouble_is_reported_once_for_each_call(caplog):
    with small_parts():
        case = Instance()
        with Simulated(2, deadly=set(range(1, 200))).at_work() as executor:
            bound_rho(case.cells, case.problem.scaled.X, case.Z, executor=executor)
    assert len(caplog.records) == 1
    assert caplog.records[0].levelno == logging.WARNING


def test_workers_that_never_answer_are_not_waited_for():
    with small_parts():
        case = Instance()
        here = case.price()
        with Simulated(2, deaf=True).at_work() as executor:
            assert case.price(executor) == here
        assert executor.queue
        assert all(future.cancelled() for future, *_ in executor.queue)


def test_an_executor_that_is_shut_down(caplog):
    executor = ThreadPoolExecutor(2)
    executor.shutdown()
    with small_parts():
        case = Instance()
        assert case.price(executor) == case.price()
    assert "shutdown" in caplog.text


def test_an_interrupt_cancels_what_is_pending():
    executor = Simulated(2)
    with (
        small_parts(),
        mock.patch.object(parallel, "wait", side_effect=KeyboardInterrupt),
    ):
        case = Instance()
        with pytest.raises(KeyboardInterrupt):
            case.price(executor)
    assert len(executor.queue) > 2
    assert all(future.cancelled() for future, *_ in executor.queue)
    assert case.blocks.token not in parallel._cache


def fails(block, message):
    """Fail as a mistake in the program would."""
    raise ZeroDivisionError(message)


def test_mistakes_are_raised():
    with small_parts(), ThreadPoolExecutor(2) as executor:
        blocks = Instance().blocks
        tasks = [(i, ()) for i in range(len(blocks.blocks))]
        with pytest.raises(ZeroDivisionError, match="a mistake"):
            parallel.run_on_blocks(fails, blocks, tasks, ("a mistake",), executor)


@pytest.mark.parametrize("executor", [2, "processes", ThreadPoolExecutor])
def test_what_is_no_executor(executor):
    with pytest.raises(InputTypeError, match="get_executor"):
        Instance().price(executor)


def test_little_work_is_done_here():
    case = Instance()
    executor = Simulated()
    assert case.price(executor) == case.price()
    assert not executor.queue
    assert not executor.copies


def test_a_certificate_is_the_same_with_an_executor():
    with small_parts(), ThreadPoolExecutor(2) as threads:
        case = Instance()
        rng = np.random.default_rng(1)
        network = ReLUNetwork(rng.normal(size=(3, 4)), rng.normal(size=(4, 2)))
        here = certify(case.problem, network, cells=case.cells)
        executor = Watched(threads, workers=2)
        there = certify(case.problem, network, cells=case.cells, executor=executor)
    assert executor.tasks > 2
    assert (there.lower_bound, there.rho) == (here.lower_bound, here.rho)
    assert (there.decided, there.cells) == (here.decided, here.cells)


# -- threads and processes ------------------------------------------------------------


def test_threads_share_the_cells():
    with small_parts(), ThreadPoolExecutor(2) as threads:
        case = Instance()
        executor = Watched(threads, workers=2)
        assert case.price(executor, floor=0.0) == case.price(floor=0.0)
    assert executor.tasks > 8
    assert executor.copies == 0


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_a_process_is_sent_the_cells_once(method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} on this system")
    context = multiprocessing.get_context(method)
    with small_parts(), ProcessPoolExecutor(1, mp_context=context) as processes:
        first, second = Instance(0), Instance(1)
        executor = Watched(processes, workers=1)
        for _ in range(2):
            assert first.price(executor, floor=0.0) == first.price(floor=0.0)
        # A process that is forked while the cells are known has them.
        assert executor.copies == (1 if method == "spawn" else 0)
        for _ in range(2):
            assert second.price(executor) == second.price()
        assert executor.copies == (2 if method == "spawn" else 1)


def test_two_processes_and_one_that_is_killed(caplog):
    context = multiprocessing.get_context("spawn")
    with small_parts(), ProcessPoolExecutor(2, mp_context=context) as processes:
        case = Instance()
        here = case.price(floor=0.0)
        executor = Watched(processes, workers=2)
        for _ in range(3):
            assert case.price(executor, floor=0.0) == here
        assert 1 <= executor.copies < executor.tasks
        assert not caplog.records

        def kill():
            os.kill(next(iter(processes._processes)), signal.SIGKILL)

        executor = Watched(processes, 2, strike_at=5, strike=kill)
        assert case.price(executor, floor=0.0) == here
        assert executor.tasks >= 5
    assert "its cells are priced in this process" in caplog.text


# -- a Dask cluster -------------------------------------------------------------------


@pytest.fixture(scope="module")
def dask_client():
    distributed = pytest.importorskip(
        "distributed", reason="dask.distributed is not installed"
    )
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=None,
            silence_logs=logging.CRITICAL,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def test_two_dask_workers(dask_client):
    with small_parts():
        case = Instance()
        here = case.price(floor=0.0)
        executor = Watched(dask_client.get_executor())
        for _ in range(3):
            assert case.price(executor, floor=0.0) == here
        assert 1 <= executor.copies < executor.tasks
        tokens = dask_client.run(lambda: list(parallel._cache))
        assert [case.blocks.token] in tokens.values()


@pytest.mark.parametrize("strike_at", [3, 10])
def test_a_dask_worker_that_is_killed(dask_client, strike_at):
    """The nanny starts another, which lacks the cells and is sent them."""
    dask_client.wait_for_workers(2)
    pids = dask_client.run(os.getpid)
    victim = next(iter(pids.values()))
    with small_parts():
        case = Instance(seed=strike_at)
        here = case.price(floor=0.0)
        executor = Watched(
            dask_client.get_executor(),
            strike_at=strike_at,
            strike=lambda: os.kill(victim, signal.SIGKILL),
        )
        assert case.price(executor, floor=0.0) == here
        assert executor.tasks >= strike_at
        dask_client.wait_for_workers(2)
        assert case.price(executor, floor=0.0) == here


def test_all_dask_workers_lost_in_the_middle(dask_client):
    """Tasks that are cancelled, as when the cluster is taken away, are done here."""
    with small_parts():
        case = Instance(seed=7)
        here = case.price(floor=0.0)
        inner = dask_client.get_executor()
        blocked = threading.Event()

        def cancel():
            blocked.set()
            inner.shutdown(wait=False)

        executor = Watched(inner, strike_at=4, strike=cancel)
        assert case.price(executor, floor=0.0) == here
        assert blocked.is_set()
