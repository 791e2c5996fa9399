"""CBF files, as MOSEK reads them: it does that without a licence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import clarabel
import numpy as np
import pyomo.environ as pyo
import pytest
import scipy.sparse as sp

from pyomo_relu import PSDCone, solve
from pyomo_relu.solvers.standard_form import compile_conic
from pyomo_relu.writers.cbf import write_cbf
from pyomo_relu.writers.conic_entries import EPIGRAPH
from tests.solvers.conic_family import CLASSES, solvable
from tests.writers.conic_models import (
    everything,
    network_model,
    set_point,
    value_of_cone,
    values_of,
)

mosek = pytest.importorskip(
    "mosek", reason="MOSEK's Python package reads CBF: pip install mosek"
)

#: MOSEK's names of the cones of CBF; those of the format are in the file.
DOMAINS = {
    "L=": "rzero",
    "L+": "rplus",
    "L-": "rminus",
    "Q": "quadratic_cone",
    "QR": "rquadratic_cone",
    "EXP": "primal_exp_cone",
    "PSDCON": "svec_psd_cone",
}


@dataclass
class Problem:
    """What MOSEK has read: cones of ``F x + g``, and bounds of x."""

    F: sp.csr_matrix
    g: np.ndarray
    cones: list[tuple[str, np.ndarray]]
    c: np.ndarray
    c0: float
    maximise: bool
    lower: np.ndarray
    upper: np.ndarray


def name_of(constant: Any) -> str:
    """Return the name of one of MOSEK's constants, whose classes differ."""
    return str(constant).rpartition(".")[2]


def read(data: bytes, folder: Any) -> Problem:
    path = folder / "a.cbf"
    path.write_bytes(data)
    with mosek.Task() as task:
        task.readdata(str(path))
        n, rows = task.getnumvar(), task.getnumafe()
        assert task.getnumcon() == task.getnumbarvar() == task.getnumcone() == 0
        i, j, values = task.getafeftrip()
        cones = []
        for k in range(task.getnumacc()):
            domain = task.getaccdomain(k)
            assert not np.any(task.getaccb(k))
            kind = name_of(task.getdomaintype(domain))
            cones.append((kind, np.array(task.getaccafeidxlist(k))))
        bounds = [task.getvarbound(k) for k in range(n)]
        has_lower = [name_of(key) in ("lo", "ra", "fx") for key, _, _ in bounds]
        has_upper = [name_of(key) in ("up", "ra", "fx") for key, _, _ in bounds]
        return Problem(
            F=sp.csr_matrix((values, (i, j)), shape=(rows, n)),
            g=np.array([task.getafeg(k) for k in range(rows)]),
            cones=cones,
            c=np.array([task.getcj(k) for k in range(n)]),
            c0=task.getcfix(),
            maximise=task.getobjsense() == mosek.objsense.maximize,
            lower=np.where(has_lower, [low for _, low, _ in bounds], -np.inf),
            upper=np.where(has_upper, [up for _, _, up in bounds], np.inf),
        )


def by_clarabel(problem: Problem) -> float:
    """Optimum of what MOSEK has read."""
    blocks: list[Any] = []
    cones: list[Any] = []
    F, g = problem.F, problem.g
    n = F.shape[1]

    def add(A: Any, b: np.ndarray, cone: Any) -> None:
        blocks.append((sp.csr_matrix(A), b))
        cones.append(cone)

    for kind, rows in problem.cones:
        A, b, k = F[rows], g[rows], len(rows)
        if kind == "rzero":
            add(A, b, clarabel.ZeroConeT(k))
        elif kind in ("rplus", "rminus"):
            sign = 1.0 if kind == "rplus" else -1.0
            add(sign * A, sign * b, clarabel.NonnegativeConeT(k))
        elif kind == "quadratic_cone":
            add(A, b, clarabel.SecondOrderConeT(k))
        elif kind == "rquadratic_cone":
            turn = np.eye(k)
            turn[:2, :2] = np.array([[1.0, 1.0], [1.0, -1.0]]) / np.sqrt(2.0)
            add(turn @ A.toarray(), turn @ b, clarabel.SecondOrderConeT(k))
        elif kind == "primal_exp_cone":
            add(A[[2, 1, 0]], b[[2, 1, 0]], clarabel.ExponentialConeT())
        else:
            assert kind == "svec_psd_cone"
            order = _order(k)
            place = _lower(order)
            # Clarabel has the upper triangle column by column.
            rearranged = [place[i, j] for i in range(order) for j in range(i + 1)]
            add(A[rearranged], b[rearranged], clarabel.PSDTriangleConeT(order))
    identity = sp.identity(n, format="csr")
    below, above = np.isfinite(problem.lower), np.isfinite(problem.upper)
    add(identity[below], -problem.lower[below], clarabel.NonnegativeConeT(below.sum()))
    add(-identity[above], problem.upper[above], clarabel.NonnegativeConeT(above.sum()))
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    sign = -1.0 if problem.maximise else 1.0
    solution = clarabel.DefaultSolver(
        sp.csc_matrix((n, n)),
        sign * problem.c,
        sp.csc_matrix(-sp.vstack([A for A, _ in blocks])),
        np.concatenate([b for _, b in blocks]),
        cones,
        settings,
    ).solve()
    assert str(solution.status) == "Solved"
    return float(sign * solution.obj_val + problem.c0)


def _order(size: int) -> int:
    order = int(np.sqrt(2 * size))
    assert order * (order + 1) // 2 == size
    return order


def _lower(order: int) -> dict[tuple[int, int], int]:
    """Places of a lower triangle, column by column."""
    places = [(i, j) for j in range(order) for i in range(j, order)]
    return {place: k for k, place in enumerate(places)}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", list(CLASSES))
def test_optimum_of_the_family(name, seed, tmp_path):
    instance = solvable(name, seed)
    exported = write_cbf(compile_conic(instance.model))
    problem = read(exported.data, tmp_path)
    assert problem.maximise == (instance.model.objective.sense == pyo.maximize)
    assert by_clarabel(problem) == pytest.approx(instance.objective, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("sense", [pyo.minimize, pyo.maximize])
@pytest.mark.parametrize("name", ["everything", "dnn", "psd"])
def test_mosek_reads_what_the_model_says(name, sense, tmp_path):
    model = everything(sense=sense) if name == "everything" else network_model(name)
    objective = next(model.component_data_objects(pyo.Objective))
    exported = write_cbf(compile_conic(model))
    problem = read(exported.data, tmp_path)
    n = len(exported.columns)
    assert problem.F.shape[1] == n
    assert problem.maximise == (exported.sense == "maximize")
    assert problem.maximise == (objective.sense == pyo.maximize)
    assert exported.objective_sign == 1
    assert exported.objective_constant == 0.0
    # The same cones in the same order: those of CON, then those of PSDCON.
    found = [(kind, len(rows)) for kind, rows in problem.cones]
    lengths = [
        cone.order * (cone.order + 1) // 2 if cone.kind == "PSDCON" else cone.order
        for cone in exported.cones
    ]
    kinds = [DOMAINS[cone.kind] for cone in exported.cones]
    assert found == list(zip(kinds, lengths, strict=True))
    assert sum(kind == "svec_psd_cone" for kind, _ in found) == sum(
        cone.kind == "PSDCON" for cone in exported.cones
    )
    _check_bounds(exported, problem)
    rng = np.random.default_rng(0)
    for _ in range(3):
        x = rng.normal(size=n)
        _check_point(exported, problem, objective, x)


def _check_bounds(exported: Any, problem: Problem) -> None:
    """A bound is a domain of the variable where it is zero, and a row otherwise."""
    rows = {}
    for entry in exported.rows:
        rows.setdefault(id(entry.component), []).append(entry.role)
    for entry, lower, upper in zip(
        exported.columns, problem.lower, problem.upper, strict=True
    ):
        if entry.component is None:
            assert (lower, upper) == (-np.inf, np.inf)
            continue
        low, up = entry.component.bounds
        roles = []
        if low is not None and low == up and low != 0.0:
            roles = ["both bounds"]
        elif low is None or low != up:
            roles += ["lower bound"] if low is not None and low != 0.0 else []
            roles += ["upper bound"] if up is not None and up != 0.0 else []
        assert sorted(rows.get(id(entry.component), [])) == roles
        assert lower == (0.0 if low == 0.0 else -np.inf)
        assert upper == (0.0 if up == 0.0 else np.inf)


def _check_point(
    exported: Any, problem: Problem, objective: Any, x: np.ndarray
) -> None:
    set_point(exported.columns, x)
    value = problem.F @ x + problem.g
    rows = np.concatenate(
        [
            rows
            for (_, rows), cone in zip(problem.cones, exported.cones, strict=True)
            if cone.kind != "PSDCON"
        ]
    )
    assert len(rows) == len(exported.rows)
    scalars = [entry for entry in exported.rows if entry.role != EPIGRAPH]
    expected = values_of(scalars)
    squares = 0.0
    covered = np.isfinite(expected)
    for (_, places), cone in zip(problem.cones, exported.cones, strict=True):
        s, (first, last) = value[places], cone.rows
        if cone.kind in ("L=", "L+", "L-"):
            assert cone.component is None
            # What is written is the user's body less its side.
            sign = -1.0 if cone.kind == "L-" else 1.0
            np.testing.assert_allclose(s, sign * expected[first:last], atol=1e-10)
        elif cone.kind == "QR":
            assert exported.rows[first].role == EPIGRAPH
            assert exported.columns[-1].role == EPIGRAPH
            np.testing.assert_array_equal(s[:2], [x[-1], 1.0])
            squares = 0.5 * float(s[2:] @ s[2:])
        elif cone.kind == "PSDCON":
            M = np.zeros((cone.order, cone.order))
            for (i, j), k in _lower(cone.order).items():
                M[i, j] = M[j, i] = s[k] / (1.0 if i == j else np.sqrt(2.0))
            np.testing.assert_allclose(M, value_of_cone(cone), atol=1e-10)
        else:
            held = value_of_cone(cone)
            covered[first:last] = True
            if np.ndim(held) == 0:
                assert s[1:] @ s[1:] - s[0] ** 2 == pytest.approx(held, abs=1e-8)
            else:
                held = held[::-1] if cone.kind == "EXP" else held
                np.testing.assert_allclose(s, held, atol=1e-10)
    assert covered.all()
    sign = -1.0 if problem.maximise else 1.0
    above = x[-1] if exported.columns[-1].role == EPIGRAPH else 0.0
    read_objective = problem.c @ x + problem.c0 + sign * (squares - above)
    assert read_objective == pytest.approx(pyo.value(objective), rel=1e-10)


@pytest.mark.parametrize("build", [everything, lambda: network_model("dnn")])
def test_models_to_the_optimum_of_solve(build, tmp_path):
    model = build()
    problem = read(write_cbf(compile_conic(model)).data, tmp_path)
    expected = solve(model).incumbent_objective
    assert by_clarabel(problem) == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_a_model_without_objective_and_one_without_variables(tmp_path):
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(1, 3))
    m.c = pyo.Constraint(expr=2 * m.x <= 5)
    problem = read(write_cbf(compile_conic(m)).data, tmp_path)
    assert not problem.c.any()
    assert [kind for kind, _ in problem.cones] == ["rminus", "rplus"]
    m.x.fix(2.0)
    m.o = pyo.Objective(expr=m.x**2, sense=pyo.maximize)
    problem = read(write_cbf(compile_conic(m)).data, tmp_path)
    assert problem.F.shape == (0, 0)
    assert (problem.c0, problem.maximise) == (4.0, True)


def test_blocks_that_end_and_begin_at_one_place(tmp_path):
    # MOSEK 11 merges such neighbours, unless something stands between them.
    model = pyo.ConcreteModel()
    model.x = pyo.Var([0, 1], bounds=(-9, 9))
    model.first = PSDCone([[model.x[0], 1.0], [1.0, 2.0]])
    model.second = PSDCone([[model.x[1], 1.0], [1.0, 4.0]])
    model.third = PSDCone([[3.0, 1.0], [1.0, model.x[1]]])
    model.fourth = PSDCone([[3.0, 1.0], [1.0, model.x[0]]])
    model.objective = pyo.Objective(expr=model.x[0] + model.x[1])
    form = compile_conic(model)
    problem = read(write_cbf(form).data, tmp_path)
    blocks = [rows for kind, rows in problem.cones if kind == "svec_psd_cone"]
    order = [variable.index() for variable in form.variables]
    for rows, variable in zip(blocks, (0, 1, 1, 0), strict=True):
        used = problem.F[rows].nonzero()[1]
        assert {order[j] for j in used.tolist()} == {variable}
