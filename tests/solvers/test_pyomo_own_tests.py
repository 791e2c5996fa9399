"""Pyomo's own tests of solver interfaces, run on ours.

Pyomo keeps one module of tests that every one of its solver interfaces has to pass,
``pyomo.contrib.solver.tests.solvers.test_solvers``. Its tests are repeated for each
solver of lists at the top of the module (``all_solvers``, ``dual_solvers``, ...) while
the module is imported, so that adding a solver afterwards is too late. Here the source
of the *installed* module is parsed, the assignments to these lists and the class that
repeats the tests are taken out of the syntax tree, and the rest is executed as a new
module in which lists of our solvers and a decorator of our own stand in their place.
Nothing of it is copied or edited, the solvers of Pyomo are not tested again, and the
installed module stays as it is for whoever else imports it.

The decorator only notes the list that each test is for. Then one test method for each
solver of ours takes the place of the test, and pytest collects the classes like any
others: ``TestSolvers::test_duals_clarabel``.
"""

from __future__ import annotations

import ast
import importlib.resources
import types
import unittest
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pyomo.environ as pyo
import pytest

from pyomo_relu.solvers.clarabel import Clarabel
from pyomo_relu.solvers.conic_solver import ConicSolver
from pyomo_relu.solvers.csdp import CSDP
from pyomo_relu.solvers.scs import SCS
from pyomo_relu.solvers.sdpa import SDPA

pytest.importorskip(
    "parameterized",
    reason="Pyomo's tests of solvers import it (pip install parameterized)",
)

PACKAGE, FILE = "pyomo.contrib.solver.tests.solvers", "test_solvers.py"

SOLVERS: dict[str, type[ConicSolver]] = {
    "clarabel": Clarabel,
    "scs": SCS,
    "csdp": CSDP,
    "sdpa": SDPA,
}

#: Pyomo's lists of solvers, and whether they are for a class of problems that conic
#: solvers take.
LISTS = {
    "all_solvers": True,
    "dual_solvers": True,
    "qcp_solvers": True,
    "qp_solvers": True,
    "miqcqp_solvers": False,
    "mip_solvers": False,
    "nl_solvers": False,
    "nlp_solvers": False,
    "sos_solvers": False,
}

#: Tests that a solver cannot pass, and why: (test, solver) to a reason. One that passes
#: all the same is a failure.
CANNOT_PASS: dict[tuple[str, str], str] = {}


class _NoteTheList:
    """What takes the place of the class that repeats a test for each solver."""

    @staticmethod
    def expand(
        input: Iterable[tuple[Any, ...]], **options: Any
    ) -> Callable[[Any], Any]:
        def note(test: Any) -> Any:
            test.arguments = list(input)
            return test

        return note


def _execute() -> tuple[types.ModuleType, set[str]]:
    """Execute Pyomo's module with our lists; the module, and the lists it had."""
    path = importlib.resources.files(PACKAGE) / FILE
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    names: set[str] = set()
    kept = []
    for statement in tree.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)]) if name.endswith("_solvers"):
                names.add(name)
            case ast.ClassDef(name="mark_parameterized"):
                pass
            case _:
                kept.append(statement)
    tree.body = kept
    module = types.ModuleType(f"{PACKAGE}.{FILE.removesuffix('.py')} on our solvers")
    vars(module)["mark_parameterized"] = _NoteTheList
    for name in names:
        vars(module)[name] = list(SOLVERS.items()) if LISTS.get(name) else []
    exec(compile(tree, str(path), "exec"), vars(module))
    return module, names


def _method(test: Callable[..., None], arguments: tuple[Any, ...]) -> Any:
    """Return a test of one solver: ``arguments`` are those of Pyomo's decorator."""

    def method(self: unittest.TestCase) -> None:
        test(self, *arguments)

    reason = CANNOT_PASS.get((test.__name__, arguments[0]))
    if reason is not None:
        method = pytest.mark.xfail(reason=reason, strict=True)(method)
    return method


def _repeat(case: type[unittest.TestCase]) -> list[tuple[str, str]]:
    """Replace the tests of a class by one for each solver; which these are."""
    repeated = []
    for name, test in list(vars(case).items()):
        if not hasattr(test, "arguments"):
            continue
        delattr(case, name)
        for arguments in test.arguments:
            # A list that is written into a decorator has Pyomo's solvers still.
            if arguments[0] in SOLVERS:
                setattr(case, f"{name}_{arguments[0]}", _method(test, arguments))
                repeated.append((name, arguments[0]))
    return repeated


_module, _names = _execute()
_repeated: list[tuple[str, str]] = []
for _case in list(vars(_module).values()):
    if isinstance(_case, type) and issubclass(_case, unittest.TestCase):
        _repeated += _repeat(_case)
        # pytest collects what is in this module by this name.
        globals()[_case.__name__] = _case
del _case


@pytest.fixture(autouse=True, scope="module")
def _names_of_the_legacy_interface() -> Iterator[None]:
    """Let ``pyo.SolverFactory`` know our solvers by the names of Pyomo's tests too.

    The old interface to a new solver is called ``<solver>_v2`` there, because there
    are old solvers of the same names.
    """
    for name in SOLVERS:
        wrapper = type(pyo.SolverFactory(name))
        pyo.SolverFactory.register(f"{name}_v2")(wrapper)
    yield
    for name in SOLVERS:
        pyo.SolverFactory.unregister(f"{name}_v2")


def test_every_list_of_pyomo_is_known():
    assert _names == set(LISTS)


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_gets_the_tests(solver):
    """Pyomo 6.10 has 46; hardly any, or none, would be a mistake in this file."""
    assert Counter(name for _, name in _repeated)[solver] >= 45


def test_what_cannot_pass_exists():
    assert set(CANNOT_PASS) <= set(_repeated)
