"""Two dual programs over one form, and their exact value by brute force.

The least of ``z'Cz`` over ``z = (u, v)`` with ``z'Ez = 1``, u in a cone K, v free, is

    min <C, M> with <E, M> = 1, M completely positive on K x R^c
    = max t with C - t E copositive on K x R^c        (E positive definite).
"""

from __future__ import annotations

import itertools

import numpy as np
from pyomo.environ import ConcreteModel, Constraint, Objective, Var, maximize, value
from scipy.linalg import eigh

from pyomo_relu.cones import CompletelyPositiveCone, CopositiveCone
from pyomo_relu.solvers import solve
from pyomo_relu.tiers import relax

HORN = np.ones((5, 5))
for _i in range(5):
    HORN[_i, (_i + 1) % 5] = HORN[(_i + 1) % 5, _i] = -1.0


def pairs(k):
    return [(i, j) for i in range(k) for j in range(i, k)]


def inner(C, matrix):
    return sum((1 if i == j else 2) * C[i, j] * matrix[i, j] for i, j in pairs(len(C)))


def in_rays(rays, free):
    """Return diag(R, I)."""
    r, m = rays.shape
    T = np.zeros((r + free, m + free))
    T[:r, :m] = rays
    T[r:, m:] = np.eye(free)
    return T


def primal(C, E=None, *, free=0, **options):
    """Return the completely positive program, in coordinates of `rays` if given."""
    E = np.eye(len(C)) if E is None else E
    if options.get("rays") is not None:
        T = in_rays(options["rays"], free)
        C, E = T.T @ C @ T, T.T @ E @ T
    model = ConcreteModel()
    model.M = Var(pairs(len(C)))
    model.K = CompletelyPositiveCone(model.M, free=free, **options)
    model.o = Objective(expr=inner(C, model.K.matrix))
    model.unit = Constraint(expr=inner(E, model.K.matrix) == 1)
    return model


def dual(C, E=None, *, free=0, **options):
    """Return the copositive program, in coordinates of `rays` if given."""
    E = np.eye(len(C)) if E is None else E
    if options.get("rays") is not None:
        T = in_rays(options["rays"], free)
        C, E = T.T @ C @ T, T.T @ E @ T
    model = ConcreteModel()
    model.t = Var()
    upper = {(i, j): C[i, j] - E[i, j] * model.t for i, j in pairs(len(C))}
    model.K = CopositiveCone(upper, free=free, **options)
    model.o = Objective(expr=model.t, sense=maximize)
    return model


def optimum(model, *chain):
    """Solve after a chain of tiers: names, or (name, options).

    A point that the solver calls almost solved will do: its value is compared.
    """
    for tier in chain:
        name, options = (tier, {}) if isinstance(tier, str) else tier
        relax(model, name, **options)
    solve(model, raise_exception_on_nonoptimal_result=False)
    return value(model.o)


def least(C, R, free, E=None):
    """Return the exact value by brute force.

    By Caratheodory u is a positive combination of independent rays, so z is a critical
    point of the form on their span times the free part: a generalised eigenvector.
    """
    r, m = R.shape
    E = np.eye(r + free) if E is None else E
    best = np.inf
    for size in range(r + 1):
        for subset in map(list, itertools.combinations(range(m), size)):
            if size + free == 0:
                continue
            T = in_rays(R[:, subset], free)
            try:
                values, vectors = eigh(T.T @ C @ T, T.T @ E @ T)
            except np.linalg.LinAlgError:
                continue  # dependent rays: another subset has the same point
            for eigenvalue, a in zip(values, vectors[:size].T, strict=True):
                if (a > -1e-9).all() or (a < 1e-9).all():
                    best = min(best, float(eigenvalue))
    return best


def cell_rays(rng, r, m):
    """Return unit rays (r, m) of a pointed cone."""
    R = rng.normal(size=(r, m))
    R[-1] = np.abs(R[-1]) + 0.3
    return R / np.linalg.norm(R, axis=0)


def random_form(rng, k):
    C = rng.normal(size=(k, k))
    return C + C.T


def give_values(variables, rng):
    """Give every member of some variables a random value."""
    for variable in variables:
        for member in variable.values():
            member.set_value(rng.normal(), skip_validation=True)
