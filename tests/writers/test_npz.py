"""The matrices in numpy's format, solved by Clarabel and SCS without this package."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import clarabel
import numpy as np
import pyomo.environ as pyo
import pytest
import scipy.sparse as sp

from pyomo_relu import solve
from pyomo_relu.solvers.standard_form import compile_conic
from pyomo_relu.writers.npz import LAYOUT, write_npz
from tests.solvers.conic_family import CLASSES, solvable
from tests.writers.conic_models import (
    everything,
    network_model,
    set_point,
    value_of_cone,
    values_of,
)


def load(data: bytes) -> dict[str, Any]:
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        return dict(file)


def matrix(file: dict[str, Any], name: str) -> sp.csc_matrix:
    parts = (file[f"{name}_{part}"] for part in ("data", "indices", "indptr"))
    return sp.csc_matrix(tuple(parts), shape=tuple(file[f"{name}_shape"]))


def by_clarabel(file: dict[str, Any]) -> float:
    cones = [
        clarabel.ZeroConeT(int(file["n_zero"])),
        clarabel.NonnegativeConeT(int(file["n_nonnegative"])),
        *(clarabel.SecondOrderConeT(int(k)) for k in file["soc_orders"]),
        *(clarabel.PSDTriangleConeT(int(k)) for k in file["psd_orders"]),
        *[clarabel.ExponentialConeT()] * int(file["n_exponential"]),
    ]
    factor = np.ones(len(file["b"]))
    start = int(file["n_zero"] + file["n_nonnegative"] + file["soc_orders"].sum())
    for k in file["psd_orders"]:
        column, row = np.tril_indices(k)
        factor[start : start + len(row)] = np.where(row == column, 1.0, 2.0**0.5)
        start += len(row)
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    A, P = matrix(file, "A"), matrix(file, "P")
    solution = clarabel.DefaultSolver(
        sp.triu(P, format="csc"),
        file["c"],
        sp.csc_matrix(sp.diags(factor) @ A),
        factor * file["b"],
        cones,
        settings,
    ).solve()
    assert str(solution.status) == "Solved"
    return float(file["sense"] * (solution.obj_val + file["c0"]))


def by_scs(file: dict[str, Any]) -> float:
    scs = pytest.importorskip("scs")
    order, factor = [], []
    start = int(file["n_zero"] + file["n_nonnegative"] + file["soc_orders"].sum())
    order += range(start)
    factor += [1.0] * start
    for k in file["psd_orders"]:
        # SCS has the lower triangle column by column.
        for j in range(k):
            for i in range(j, k):
                order.append(start + i * (i + 1) // 2 + j)
                factor.append(1.0 if i == j else 2.0**0.5)
        start += k * (k + 1) // 2
    order += range(start, len(file["b"]))
    factor += [1.0] * (len(file["b"]) - start)
    scaling = np.array(factor)
    A = sp.csc_matrix(sp.diags(scaling) @ matrix(file, "A").tocsr()[order])
    solver = scs.SCS(
        {
            "P": sp.triu(matrix(file, "P"), format="csc"),
            "A": A,
            "b": scaling * file["b"][order],
            "c": file["c"],
        },
        {
            "z": int(file["n_zero"]),
            "l": int(file["n_nonnegative"]),
            "q": file["soc_orders"].tolist(),
            "s": file["psd_orders"].tolist(),
            "ep": int(file["n_exponential"]),
        },
        verbose=False,
        eps_abs=1e-8,
        eps_rel=1e-8,
        max_iters=200_000,
    )
    solution = solver.solve()
    assert solution["info"]["status"] == "solved"
    return float(file["sense"] * (solution["info"]["pobj"] + file["c0"]))


@pytest.mark.parametrize("solver", [by_clarabel, by_scs])
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", list(CLASSES))
def test_optimum_of_the_family(name, seed, solver):
    instance = solvable(name, seed)
    file = load(write_npz(compile_conic(instance.model)).data)
    assert solver(file) == pytest.approx(instance.objective, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("solver", [by_clarabel, by_scs])
@pytest.mark.parametrize("build", [everything, lambda: network_model("dnn")])
def test_models_solved_elsewhere(build, solver):
    model = build()
    file = load(write_npz(compile_conic(model)).data)
    expected = solve(model).incumbent_objective
    assert solver(file) == pytest.approx(expected, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("sense", [pyo.minimize, pyo.maximize])
def test_the_rows_are_what_their_names_say(sense):
    model = everything(sense=sense)
    exported = write_npz(compile_conic(model))
    file = load(exported.data)
    assert int(file["layout"]) == LAYOUT
    assert file["column_names"].tolist() == [entry.name for entry in exported.columns]
    assert file["row_names"].tolist() == [entry.name for entry in exported.rows]
    assert [entry.component.name for entry in exported.columns] == [
        entry.name for entry in exported.columns
    ]
    x = np.random.default_rng(0).normal(size=len(file["c"]))
    set_point(exported.columns, x)
    slack = file["b"] - matrix(file, "A") @ x
    expected = values_of(exported.rows)
    # An equation is its side less its body here.
    expected[: int(file["n_zero"])] *= -1.0
    known = np.isfinite(expected)
    np.testing.assert_allclose(slack[known], expected[known], atol=1e-12)
    covered = known.copy()
    for cone in exported.cones:
        first, last = cone.rows
        covered[first:last] = True
        s, value = slack[first:last], value_of_cone(cone)
        if np.ndim(value) == 2:
            column, row = np.tril_indices(cone.order)
            np.testing.assert_allclose(s, value[row, column], atol=1e-12)
        elif np.ndim(value) == 1:
            np.testing.assert_allclose(s, value, atol=1e-12)
        else:
            assert s[1:] @ s[1:] - s[0] ** 2 == pytest.approx(value, abs=1e-9)
    assert covered.all()
    counts = {}
    for cone in exported.cones:
        counts.setdefault(cone.kind, []).append(cone)
    assert [c.order for c in counts["second-order"]] == file["soc_orders"].tolist()
    assert [c.order for c in counts["semidefinite"]] == file["psd_orders"].tolist()
    assert len(counts["exponential"]) == int(file["n_exponential"])
    for kind in counts.values():
        assert [cone.block for cone in kind] == list(range(len(kind)))
    P = matrix(file, "P")
    value = 0.5 * x @ (P @ x) + file["c"] @ x + file["c0"]
    assert file["sense"] * value == pytest.approx(pyo.value(model.objective))


def test_names_are_unicode_and_the_archive_has_no_date():
    m = pyo.ConcreteModel()
    m.x = pyo.Var(["größe", "a b", "x" * 300], bounds=(0, 1))
    m.row = pyo.Constraint(["μ"], rule=lambda m, _: sum(m.x.values()) == 1)
    m.o = pyo.Objective(expr=m.x["a b"])
    exported = write_npz(compile_conic(m))
    file = load(exported.data)
    assert sorted(file["column_names"].tolist()) == sorted(
        variable.name for variable in m.x.values()
    )
    assert file["row_names"][0] == m.row["μ"].name
    assert file["row_names"][1] == f"{file['column_names'][0]} upper bound"
    with zipfile.ZipFile(io.BytesIO(exported.data)) as archive:
        dates = {member.date_time for member in archive.infolist()}
    assert dates == {(1980, 1, 1, 0, 0, 0)}


def test_nothing_but_constants():
    m = pyo.ConcreteModel()
    m.x = pyo.Var(initialize=2.0)
    m.x.fix()
    m.o = pyo.Objective(expr=m.x**2, sense=pyo.maximize)
    file = load(write_npz(compile_conic(m)).data)
    assert file["A_shape"].tolist() == [0, 0]
    assert file["sense"] * file["c0"] == 4.0
    assert file["column_names"].shape == file["row_names"].shape == (0,)


SCRIPT = """
import hashlib
from pyomo_relu.solvers.standard_form import compile_conic
from pyomo_relu.writers.cbf import write_cbf
from pyomo_relu.writers.dat_s import write_dat_s
from pyomo_relu.writers.npz import write_npz
from tests.writers.conic_models import everything, network_model

for model in (everything(exponential=False), network_model("dnn")):
    for write in (write_cbf, write_dat_s, write_npz):
        print(hashlib.sha256(write(compile_conic(model)).data).hexdigest())
"""


def test_the_same_model_gives_the_same_bytes_in_every_conic_format():
    outputs = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=Path(__file__).parents[2],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("0", "1")
    }
    assert len(outputs) == 1
    assert len(outputs.pop().split()) == 6
