"""The door: a file that does not fit leaves the model as it was."""

import zlib

import numpy as np
import pyomo.environ as pyo
import pytest

from pyomo_relu import PSDCone, export, read_solution
from pyomo_relu.errors import InputError, InputTypeError
from pyomo_relu.solvers.errors import UnsupportedModelError
from tests.solution_files.solution_cases import by_scip, by_scip_for_ampl, run
from tests.solution_files.test_fuzz import damage, tokens
from tests.solution_files.test_round_trips import (
    by_cbc,
    by_csdp,
    by_glpk,
    by_highs,
    by_sdpa,
)

#: How often each file is damaged: ten thousand times in all.
TIMES = 1_250
UNTOUCHED = -123.0


def linear():
    model = pyo.ConcreteModel()
    model.x = pyo.Var([1, 2, 3], bounds=(0, 10), initialize=UNTOUCHED)
    model.objective = pyo.Objective(expr=2 * model.x[1] + 3 * model.x[2] + model.x[3])
    model.sum = pyo.Constraint(expr=model.x[1] + model.x[2] + model.x[3] >= 4.5)
    model.difference = pyo.Constraint(expr=model.x[1] - 3 * model.x[3] >= -6.25)
    model.dual = pyo.Suffix(direction=pyo.Suffix.IMPORT)
    return model


def conic():
    model = pyo.ConcreteModel()
    model.x = pyo.Var([1, 2], bounds=(-5, 5), initialize=UNTOUCHED)
    model.cone = PSDCone([[1.0, model.x[1]], [model.x[1], model.x[2]]])
    model.row = pyo.Constraint(expr=model.x[1] >= 0.75)
    model.objective = pyo.Objective(expr=model.x[2] + 0.5 * model.x[1])
    model.dual = pyo.Suffix(direction=pyo.Suffix.IMPORT)
    return model


def by_hand(folder, file):
    path = folder / "solution.csv"
    path.write_text("name,value\nx_1,0.6875\nx_2,1.5\nx_3,2.3125\n")
    return path


FILES = {
    "ampl": (linear, ".nl", by_scip_for_ampl),
    "highs": (linear, ".mps", by_highs),
    "scip": (linear, ".lp", by_scip),
    "cbc": (linear, ".mps", by_cbc),
    "glpk": (linear, ".mps", by_glpk),
    "csv": (linear, ".lp", by_hand),
    "csdp": (conic, ".dat-s", by_csdp),
    "sdpa": (conic, ".dat-s", by_sdpa),
}


def solved(kind, folder):
    make, suffix, program = FILES[kind]
    file = folder / f"model{suffix}"
    export(make(), file)
    return make, program(folder, file)


def state(model):
    return [v.value for v in model.x.values()], dict(model.dual.items())


@pytest.mark.parametrize("kind", FILES)
def test_damaged_files_are_read_or_refused(kind, tmp_path):
    make, path = solved(kind, tmp_path)
    data = path.read_bytes()
    model = make()
    untouched = state(model)
    read = read_solution(model, path)
    assert read.format == kind
    assert read.violation <= 1e-6
    rng = np.random.default_rng(zlib.crc32(kind.encode()))
    damaged = tmp_path / f"damaged{path.suffix}"
    refused = 0
    model = make()
    for _ in range(TIMES):
        text = damage(data, rng)
        damaged.write_bytes(text)
        try:
            read = read_solution(model, damaged)
        except InputError:
            refused += 1
            assert state(model) == untouched
            continue
        values, _ = state(model)
        assert np.isfinite(values).all()
        assert UNTOUCHED not in values
        assert read.violation <= 1e-4
        assert read.objective == pytest.approx(pyo.value(model.objective), abs=1e-9)
        if kind not in ("csdp", "sdpa"):
            assert set(np.add(values, 0.0)) <= tokens(text)
        # As it was before.
        for variable in model.x.values():
            variable.set_value(UNTOUCHED, skip_validation=True)
        model.dual.clear()
    assert refused > TIMES // 10


@pytest.mark.parametrize("kind", FILES)
def test_another_model(kind, tmp_path):
    make, path = solved(kind, tmp_path)
    more = make()
    more.y = pyo.Var(bounds=(0.5, 1))
    more.again = pyo.Constraint(expr=more.y + more.x[1] >= 0.1)
    other = make()
    other.objective.deactivate()
    other.another = pyo.Objective(expr=other.x[2] + 7 * other.x[1] + 1)
    other.tight = pyo.Constraint(expr=other.x[2] + other.x[1] <= 0.5)
    for model in (more, other):
        before = state(model)
        with pytest.raises(InputError):
            read_solution(model, path)
        assert state(model) == before


def test_another_objective_with_the_same_names(tmp_path):
    _, path = solved("scip", tmp_path)
    model = linear()
    model.objective.set_value(model.x[1] + model.x[2])
    with pytest.raises(InputError, match="another"):
        read_solution(model, path)


def test_the_name_map_tells_models_apart(tmp_path):
    _, path = solved("csv", tmp_path)
    model = linear()
    read_solution(model, path, names=tmp_path / "model.names.json")
    changed = linear()
    changed.another = pyo.Constraint(expr=changed.x[1] <= 9)
    read_solution(changed, path)
    changed = linear()
    changed.another = pyo.Constraint(expr=changed.x[1] <= 9)
    before = state(changed)
    with pytest.raises(InputError, match="not the one that was exported"):
        read_solution(changed, path, names=tmp_path / "model.names.json")
    assert state(changed) == before
    # The last bits of a coefficient are the processor's, and no other model.
    close = linear()
    close.sum.set_value(close.x[1] + close.x[2] + (1 + 1e-16) * close.x[3] >= 4.5)
    read_solution(close, path, names=tmp_path / "model.names.json")


def test_violations_are_refused_unless_allowed(tmp_path):
    path = tmp_path / "solution.csv"
    path.write_text("name,value\nx_1,0\nx_2,1.5\nx_3,2\n")
    with pytest.raises(InputError, match="'sum'"):
        read_solution(linear(), path)
    model = linear()
    read = read_solution(model, path, tolerance=1.0)
    assert read.violation == pytest.approx(1.0 / 5.5)
    assert read.worst == "sum"
    assert model.x[3].value == 2


@pytest.mark.parametrize("program", [by_highs, by_cbc, by_glpk])
def test_programs_that_found_nothing(program, tmp_path):
    model = linear()
    model.never = pyo.Constraint(expr=model.x[1] + model.x[2] >= 25)
    file = tmp_path / "model.mps"
    export(model, file)
    before = state(model)
    with pytest.raises(InputError, match=r"(?i)infeasible|no point|undefined"):
        read_solution(model, program(tmp_path, file))
    assert state(model) == before


def test_duals_of_the_conic_programs(tmp_path):
    for kind in ("csdp", "sdpa"):
        make, path = solved(kind, tmp_path)
        model = make()
        assert read_solution(model, path).has_duals
        # x_2 >= x_1^2: the objective is x^2 + x / 2 at x = 3/4.
        assert model.x[2].value == pytest.approx(0.5625, abs=1e-5)
        assert model.dual[model.row] == pytest.approx(2.0, abs=1e-4)
        assert model.dual[model.cone][0, 0] == pytest.approx(0.5625, abs=1e-4)


def test_wrong_arguments(tmp_path):
    _, path = solved("csv", tmp_path)
    for options in ({"tolerance": "x"}, {"tolerance": True}):
        with pytest.raises(InputTypeError):
            read_solution(linear(), path, **options)
    for options in (
        {"tolerance": 0.0},
        {"tolerance": float("nan")},
        {"format": "xyz"},
        {"names": path},
    ):
        with pytest.raises(InputError):
            read_solution(linear(), path, **options)
    with pytest.raises(InputTypeError):
        read_solution(linear(), 3)
    with pytest.raises(InputError):
        read_solution(linear(), tmp_path / "missing.sol")
    with pytest.raises(InputError):
        read_solution(linear(), tmp_path)
    with pytest.raises(InputTypeError):
        read_solution(3, path)


def test_a_conic_solution_of_a_model_that_is_none(tmp_path):
    _, path = solved("csdp", tmp_path)
    model = linear()
    model.x[1].domain = pyo.Integers
    with pytest.raises(UnsupportedModelError, match="x\\[1\\]"):
        read_solution(model, path)


def test_integer_programs(tmp_path):
    def make():
        model = linear()
        model.x[1].domain = pyo.Integers
        model.difference.set_value(2 * model.x[1] - 5 * model.x[3] >= 1)
        return model

    for program in (by_highs, by_cbc, by_glpk, by_scip):
        file = tmp_path / "model.mps"
        export(make(), file)
        model = make()
        if program is by_glpk:
            run(tmp_path, "glpsol", "--freemps", file.name, "--write", "glpk.txt")
            path = tmp_path / "glpk.txt"
        else:
            path = program(tmp_path, file)
        read = read_solution(model, path)
        assert not read.has_duals
        assert model.x[1].value == pytest.approx(round(model.x[1].value), abs=1e-6)


@pytest.mark.parametrize("name", ["a b", "ünï", "free", "x" * 300, "e9", "st", "1st"])
def test_odd_names_come_back(name, tmp_path):
    def make():
        model = pyo.ConcreteModel()
        model.add_component(name, pyo.Var([0, "k-1", "a [b]"], bounds=(1, 2)))
        variables = list(model.component(name).values())
        model.objective = pyo.Objective(expr=sum(variables))
        model.row = pyo.Constraint(expr=variables[0] >= 1.5)
        return model

    for suffix, program in (
        (".mps", by_highs),
        (".lp", by_scip),
        (".lp", by_cbc),
        (".mps", by_glpk),
        (".nl", by_scip_for_ampl),
    ):
        export(make(), tmp_path / f"model{suffix}")
        model = make()
        read_solution(model, program(tmp_path, tmp_path / f"model{suffix}"))
        values = [v.value for v in model.component(name).values()]
        assert values == pytest.approx([1.5, 1.0, 1.0])


def test_values_by_hand_for_a_model_with_cones(tmp_path):
    path = tmp_path / "solution.csv"
    path.write_text("name,value\nx_1,0.75\nx_2,0.5625\n")
    model = conic()
    assert read_solution(model, path).objective == pytest.approx(0.9375)
    path.write_text("name,value\nx_1,0.75\nx_2,0.55\n")
    with pytest.raises(InputError, match="'cone'"):
        read_solution(conic(), path)


def test_component_names_are_names_too(tmp_path):
    path = tmp_path / "solution.csv"
    path.write_text('name,value\n"x[1]",0.75\nx_2,0.5625\n')
    assert read_solution(conic(), path).objective == pytest.approx(0.9375)
    path.write_text('name,value\n"x[1]",0.75\nx_2,0.5625\nx_1,0.75\n')
    with pytest.raises(InputError, match="two values"):
        read_solution(conic(), path)


@pytest.mark.parametrize("dual", [-1.0, 77.0, -1e4, 0.5])
def test_wrong_duals_are_left_out(tmp_path, dual):
    def make():
        model = pyo.ConcreteModel()
        model.x = pyo.Var(bounds=(0, 4))
        model.y = pyo.Var(bounds=(0, 4))
        model.row = pyo.Constraint(expr=model.x + model.y == 5)
        model.objective = pyo.Objective(expr=2 * model.x + model.y, sense=pyo.maximize)
        model.dual = pyo.Suffix(direction=pyo.Suffix.IMPORT)
        return model

    def write(number):
        lines = ["by hand", "", "Options", "3", "1", "1", "0", "1", "1", "2", "2"]
        path = tmp_path / "model.sol"
        numbers = [str(number), "4", "1"]
        path.write_text("\n".join([*lines, *numbers, "objno 0 0", ""]))
        return path

    model = make()
    assert read_solution(model, write(1.0)).has_duals
    assert model.dual[model.row] == 1.0
    model = make()
    read = read_solution(model, write(dual))
    if dual == -1.0:
        # The other sign is right.
        assert read.has_duals
        assert model.dual[model.row] == 1.0
        return
    assert not read.has_duals
    assert len(model.dual) == 0


def test_suffixes_of_blocks_are_cleared(tmp_path):
    path = by_hand(tmp_path, None)
    model = linear()
    model.block = pyo.Block()
    model.block.dual = pyo.Suffix(direction=pyo.Suffix.IMPORT)
    model.block.dual[model.sum] = 99.0
    model.block.keep = pyo.Suffix(direction=pyo.Suffix.LOCAL)
    model.block.keep[model.sum] = 1.0
    read_solution(model, path)
    assert len(model.block.dual) == 0
    assert model.block.keep[model.sum] == 1.0


def test_glpk_on_an_lp_file_with_two_sided_rows(tmp_path):
    def make():
        model = pyo.ConcreteModel("x_2")
        model.x = pyo.Var([1, 2, 3], bounds=(0, 9))
        model.b = pyo.Constraint(expr=(1, model.x[3] + 2 * model.x[1], 5))
        model.a = pyo.Constraint(expr=model.x[2] - model.x[3] <= 2)
        model.objective = pyo.Objective(
            expr=model.x[2] + 3 * model.x[3] - model.x[1] + 4, sense=pyo.maximize
        )
        return model

    export(make(), tmp_path / "model.lp")
    model = make()
    read = read_solution(model, by_glpk(tmp_path, tmp_path / "model.lp"))
    assert read.objective == pytest.approx(26.0)
    assert [v.value for v in model.x.values()] == pytest.approx([0.0, 7.0, 5.0])


@pytest.mark.parametrize("suffix", [".nl", ".lp", ".mps"])
def test_scips_own_columns_are_passed_over(tmp_path, suffix):
    def make():
        model = pyo.ConcreteModel()
        model.x = pyo.Var(bounds=(0, 3))
        model.quadobjvar = pyo.Var(bounds=(0, 3))
        model.objective = pyo.Objective(
            expr=(model.x - 1) ** 2 + (model.quadobjvar - 2) ** 2 + 5
        )
        model.row = pyo.Constraint(expr=model.x + model.quadobjvar >= 1)
        return model

    export(make(), tmp_path / f"model{suffix}")
    model = make()
    read = read_solution(model, by_scip(tmp_path, tmp_path / f"model{suffix}"))
    assert read.objective == pytest.approx(5.0, abs=1e-5)
    assert model.quadobjvar.value == pytest.approx(2.0, abs=1e-3)
