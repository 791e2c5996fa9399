"""Which solvers a model may go to, in which order, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pyomo_relu.solvers.capability import CAPABILITIES, is_available
from pyomo_relu.solvers.content import ModelContent

__all__ = ["Route", "find_route"]

#: HiGHS's active-set method for QPs takes three times as long as an interior point up
#: to about this many variables, ten times at 3,000 and forty times at 13,000
#: (benchmarks/solvers.py); up to here its exact zeros are worth it.
LARGE_QP = 1_000

#: A nonconvex model with at most this many variables that are not linear goes to a
#: global solver first, a larger one to a local solver.
SMALL_NONCONVEX = 12

_CONIC = ("clarabel", "csdp", "sdpa", "scs")
_LOCAL = ("ipopt", "cyipopt")

#: Preferences of each class of programs: the accurate and fast first. Those that
#: cannot take a model drop out.
_PREFERENCES: dict[str, tuple[str, ...]] = {
    "LP": ("highs", "clarabel", "glpk", "cbc", *_LOCAL, "scip", *_CONIC[1:]),
    "QP": ("highs", "clarabel", *_LOCAL, *_CONIC[1:], "scip"),
    "large QP": ("clarabel", "highs", *_LOCAL, "scs", "csdp", "sdpa", "scip"),
    "QCQP": (*_CONIC, *_LOCAL, "scip"),
    "SOCP": (*_CONIC, *_LOCAL, "scip"),
    "EXP": ("clarabel", "scs", *_LOCAL, "scip"),
    "SDP": _CONIC,
    "nonconvex": (*_LOCAL, "scip"),
    "small nonconvex": ("scip", *_LOCAL),
    "MILP": ("highs", "scip", "cbc", "glpk"),
    "integer": ("scip",),
}

_REASONS = {
    "LP": "a linear program: simplex gives a vertex",
    "QP": "a small convex quadratic program: an active set gives exact zeros",
    "large QP": "a convex quadratic program: interior points first at this size",
    "QCQP": "convex quadratic constraints: second-order cones",
    "SOCP": "second-order cones",
    "EXP": "exponential cones",
    "SDP": "semidefinite cones: interior points before first-order methods",
    "nonconvex": "not seen to be convex, and too large to search globally: a local "
    "optimum",
    "small nonconvex": "not seen to be convex, and small: a global search",
    "MILP": "a mixed-integer linear program",
    "integer": "integer variables in a nonlinear model: a global search",
}


@dataclass(frozen=True)
class Route:
    """Where a model may go.

    Attributes
    ----------
    reason : str
        Why in this order.
    solvers : tuple of str
        Solvers that can take the model and are here, best first.
    missing : tuple of str
        Those that could, but are not installed.
    refused : dict of str to str
        Those that cannot, and why.
    """

    reason: str
    solvers: tuple[str, ...]
    missing: tuple[str, ...]
    refused: dict[str, str]


def _preference(content: ModelContent) -> str:
    if content.integer_variables:
        name = "MILP" if content.problem_class == "MILP" else "integer"
    elif content.other:
        name = "integer"
    elif content.form is None:
        few = content.nonlinear_variables <= SMALL_NONCONVEX
        name = "small nonconvex" if few else "nonconvex"
    else:
        name = content.problem_class
        if name == "QP" and content.variables > LARGE_QP:
            name = "large QP"
    return name


def find_route(content: ModelContent, allowed: Sequence[str] | None = None) -> Route:
    """Order the solvers that can take a model.

    Parameters
    ----------
    content : ModelContent
        The model.
    allowed : sequence of str, optional
        Only these, keys of `CAPABILITIES`, in this order.

    Returns
    -------
    Route
        The same for the same model and the same installed solvers.

    Examples
    --------
    >>> import pyomo.environ as pyo
    >>> from pyomo_relu.solvers.content import model_content
    >>> m = pyo.ConcreteModel()
    >>> m.x = pyo.Var(bounds=(0, 1))
    >>> m.o = pyo.Objective(expr=m.x)
    >>> find_route(model_content(m)).solvers[0]
    'highs'
    """
    kind = _preference(content)
    if allowed is None:
        preferred = _PREFERENCES.get(kind, ())
        order = (*preferred, *(name for name in CAPABILITIES if name not in preferred))
        reason = _REASONS.get(kind, kind)
    else:
        order = tuple(allowed)
        reason = "the order that was asked for"
    solvers: list[str] = []
    missing: list[str] = []
    refused: dict[str, str] = {}
    for name in order:
        capability = CAPABILITIES[name]
        refusal = capability.refusal(content)
        limit = capability.dense_above
        if not refusal and allowed is None:
            if limit is not None and content.variables > limit:
                refusal = f"its work is dense: not for more than {limit:,} variables"
            elif name not in preferred:
                refusal = "it is not for this class of programs"
        if refusal:
            refused[name] = refusal
        elif is_available(name):
            solvers.append(name)
        else:
            missing.append(name)
    return Route(reason, tuple(solvers), tuple(missing), refused)
