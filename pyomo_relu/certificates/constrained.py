r"""Lower bounds for programs with constraints of the user's own on the predictions.

For a point :math:`\tilde Z` (points, c) with :math:`\rho(\tilde Z) \le \beta` the
penalty of every network is at least :math:`\langle \tilde Z, f\rangle`. With rows
:math:`b - A f - B y \in K` in the predictions f and variables y of the user's, and any
multiplier :math:`z \in K^*`,

.. math::

    p^* \ge \inf_{f, y}\ \mathrm{loss}(f) + \langle \tilde Z, f\rangle
        + \langle z, A f + B y - b\rangle
    = -\mathrm{loss}^*(-Z) - \langle z, b\rangle + \inf_y \langle B^T z, y\rangle,
    \qquad Z = \tilde Z + A^T z,

where Z must vanish at anchor points (design, Certificates). So any Z of the samples and
any z give a bound: :math:`\tilde Z = (Z, 0) - A^T z`, and all three are scaled together
until :math:`\rho(\tilde Z) \le \beta`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from pyomo.contrib.solver.common.results import Results
from pyomo.contrib.solver.common.util import NoDualsError, NoSolutionError
from scipy.optimize import minimize_scalar

from pyomo_relu.arrangement import Cells
from pyomo_relu.certificates.arguments import power_of_two
from pyomo_relu.certificates.certificate import Certificate
from pyomo_relu.certificates.proofs import CellProof, ProvenRho, prove_rho
from pyomo_relu.errors import InputError, InputTypeError, UnprovableModelError
from pyomo_relu.network import ReLUNetwork
from pyomo_relu.problem import TrainingProblem
from pyomo_relu.programs.additions import changed_objective
from pyomo_relu.programs.network_program import network_program
from pyomo_relu.programs.user_rows import UserRows, read_user_rows
from pyomo_relu.solvers import Clarabel, ConicForm

Array = np.ndarray[Any, np.dtype[np.float64]]
Indices = np.ndarray[Any, np.dtype[np.intp]]

__all__ = ["ConstrainedCertificate", "certify_model"]

_TIGHT = {"tol_gap_abs": 1e-11, "tol_gap_rel": 1e-11, "tol_feas": 1e-11}
#: Half the width of the box, in units of one plus the largest prediction, scaled.
_BOX = 10.0


@dataclass(frozen=True, eq=False)
class ConstrainedCertificate(Certificate):
    """A network's objective and a proven bound on that of every network that obeys.

    Attributes
    ----------
    constraints : int
        Number of the user's constraints and cones.
    constraint_violation : float
        How far the network's predictions violate the worst of them: by the row, norm
        or eigenvalue, predictions in units of the size of the targets.
    multipliers : (rows,) array
        The z that proves the bound.
    """

    constraints: int = 0
    constraint_violation: float = 0.0
    multipliers: Array = field(default_factory=lambda: np.zeros(0), repr=False)

    def __str__(self) -> str:
        lines = super().__str__().split("\n")
        lines.insert(
            3,
            f"constraints     {self.constraints} of the user's, violated by at most "
            f"{self.constraint_violation:.1e}",
        )
        return "\n".join(lines)


def certify_model(
    model: Any, network: ReLUNetwork, results: Results
) -> ConstrainedCertificate:
    """Prove a lower bound for a program with constraints on its predictions.

    Parameters
    ----------
    model : Block
        What :func:`~pyomo_relu.build_completely_positive` returned, with linear, convex
        quadratic or conic constraints of the user's on ``model.prediction``, relaxed
        and solved.
    network : ReLUNetwork
        The network, for example from :func:`~pyomo_relu.recover_network`.
    results : Results
        Of the solve, with its multipliers.

    Returns
    -------
    ConstrainedCertificate
        ``lower_bound`` holds for every network that satisfies the constraints.

    Raises
    ------
    UnprovableModelError
        The bound cannot be proved: integer variables, a changed objective or penalty,
        rows on moments, an unbounded variable of the user's in the rows, a linear term
        that is not penalised. The message names the component.
    InputError, InputTypeError
        Arguments that do not fit, results without multipliers.

    Examples
    --------
    >>> import pyomo.environ as pyo
    >>> from pyomo_relu import (
    ...     TrainingProblem, build_completely_positive, recover_network, relax, solve
    ... )
    >>> problem = TrainingProblem([[1.0], [2.0]], [[1.0], [2.0]], beta=0.1)
    >>> model = build_completely_positive(problem)
    >>> model.cap = pyo.Constraint(expr=model.prediction[1, 0] <= 1.0)
    >>> relax(model, "dnn")
    >>> results = solve(model)
    >>> network = recover_network(model, improve=False)
    >>> certificate = certify_model(model, network, results)
    >>> print(f"{certificate.objective:.5f} {certificate.lower_bound:.5f}")
    0.67500 0.67500
    """
    program = network_program(model)
    if not isinstance(network, ReLUNetwork) or not isinstance(results, Results):
        raise InputTypeError(
            "a model is certified with a ReLUNetwork and the Results of its solve, "
            f"certify(model, network, results); got {type(network).__name__} and "
            f"{type(results).__name__}."
        )
    problem = program.problem
    network.check_fits(problem)
    scaled = problem.scaled
    if model.component("prediction_row") is None:
        raise UnprovableModelError(
            f"{model.name!r} is no completely positive program; constraints of your "
            "own go into build_completely_positive."
        )
    if scaled.skip == 0.0:
        raise UnprovableModelError(
            "the linear term is not penalised, and no multiplier of the constraints "
            "makes it exactly orthogonal; give the problem skip=... as a number."
        )
    changed = changed_objective(model)
    if changed:
        raise UnprovableModelError(
            f"a bound on training says nothing of {model.name!r}: {changed}."
        )
    rows = read_user_rows(model)
    shape = (scaled.n_points, problem.n_outputs)
    try:
        duals = results.solution_loader.get_duals()
        numbers = [duals[row] for row in model.prediction_row.values()]
    except (NoDualsError, NoSolutionError, KeyError) as error:
        raise InputError(
            "the results have no multipliers of this model's predictions; solve the "
            "model as it is now, by a solver that returns duals."
        ) from error
    point = np.array(numbers, dtype=float).reshape(shape) / scaled.objective_scale
    network = network.balance()
    F = network.predict_points(problem) / scaled.y_scale
    n = problem.n_samples
    gradient = scaled.loss.canonical_dual(F[:n], scaled.Y, scaled.weight)
    proofs = []
    for z in _multipliers(rows, point, F, scaled.objective_scale):
        candidates = [(point + rows.pull(z).reshape(shape))[:n]]
        if gradient is not None:
            candidates.append(gradient)
        proofs += [_prove(problem, program.cells, rows, Z, z) for Z in candidates]
    best = max(proofs, key=lambda p: p.bound if np.isfinite(p.bound) else -np.inf)
    z = best.z
    rho = best.rho
    units = scaled.objective_scale / scaled.y_scale
    return ConstrainedCertificate(
        objective=network.objective(problem),
        lower_bound=float(best.bound * scaled.objective_scale),
        complete=rho.complete,
        dual=problem.loss.repair(best.s * best.Z * units, problem.Y, problem.weight),
        rho=float(rho.value * scaled.x_scale * units),
        violation=max(float(rho.value / scaled.beta) - 1.0, 0.0),
        trivial_bound=best.trivial * scaled.objective_scale,
        cells=rho.cells,
        decided=rho.decided,
        cones=rho.cones,
        reason=rho.reason,
        constraints=rows.number,
        constraint_violation=rows.violation(F),
        multipliers=best.s * z * scaled.objective_scale,
    )


def _multipliers(
    rows: UserRows, point: Array, F: Array, scale: float
) -> Iterator[Array]:
    """Yield multipliers z of the user's rows that go with a point of the predictions.

    They are those of the small convex program in the predictions that is the infimum
    above. By the last digits of the point, or along free predictions of anchor points,
    that may be unbounded; in a box about the network's predictions it is not, and the
    multipliers of the box are as small as these digits. Zero comes last.
    """
    nothing = np.zeros(len(rows.form.b))
    if len(nothing):
        c = rows.inner.c.copy()
        c[rows.points] += scale * point.ravel()
        inner = dataclasses.replace(rows.inner, c=c)
        for form, places in (_boxed(inner, rows, F), (inner, rows.inner_rows)):
            solver = Clarabel()
            answer = solver.minimise(
                form,
                solver.config(value={"solver_options": _TIGHT}, preserve_implicit=True),
            )
            if answer.has_point and np.isfinite(answer.z).all():
                z = _into_dual_cone(rows.form, answer.z[places] / scale)
                if np.isfinite(z).all():
                    yield z
    yield nothing


def _boxed(inner: ConicForm, rows: UserRows, F: Array) -> tuple[ConicForm, Indices]:
    """Return the inner program with predictions in a box, and where its rows are."""
    centre = F.ravel()
    radius = _BOX * (1.0 + float(np.abs(centre).max(initial=0.0)))
    count = len(centre)
    sides = sp.csr_array(
        (np.ones(count), (np.arange(count), rows.points)),
        shape=(count, inner.A.shape[1]),
    )
    A = sp.csr_array(inner.A)
    p = inner.n_zero
    form = dataclasses.replace(
        inner,
        A=sp.csc_array(sp.vstack([A[:p], sides, -sides, A[p:]])),
        b=np.concatenate([inner.b[:p], radius + centre, radius - centre, inner.b[p:]]),
        n_nonnegative=inner.n_nonnegative + 2 * count,
    )
    places = rows.inner_rows
    return form, np.where(places < p, places, places + 2 * count)


def _into_dual_cone(form: ConicForm, z: Array) -> Array:
    """Return a point of the dual cone next to z."""
    z = z.copy()
    linear = slice(form.n_zero, form.n_linear)
    z[linear] = np.maximum(z[linear], 0.0)
    place = form.n_linear
    up = 1.0 + 8.0 * np.finfo(float).eps
    for order in form.soc_orders.tolist():
        tail = float(np.linalg.norm(z[place + 1 : place + order])) * up * (1.0 + 1e-15)
        z[place] = max(float(z[place]), tail)
        place += order
    for order in form.psd_orders.tolist():
        size = order * (order + 1) // 2
        columns, rows = np.tril_indices(order)
        matrix = np.zeros((order, order))
        matrix[rows, columns] = matrix[columns, rows] = z[place : place + size]
        values = np.linalg.eigvalsh(matrix)
        rounding = 4.0 * order * np.finfo(float).eps * float(np.abs(values).max())
        shift = max(0.0, rounding - float(values[0]))
        z[place : place + size][rows == columns] += shift
        place += size
    for start in range(place, len(z), 3):
        u, v, w = z[start : start + 3].tolist()
        # -u exp(v / u - 1) <= w.
        u = min(u, -1e-12 * (1.0 + abs(v)))
        with np.errstate(over="ignore"):
            least = -u * np.exp(v / u - 1.0) * up
        if least > w and v < 0.0:
            # There u must not be next to zero.
            u = min(u, v)
            least = -u * np.exp(v / u - 1.0) * up
        z[start], z[start + 2] = u, max(w, float(least))
    return z


class _Proof(NamedTuple):
    bound: float
    trivial: float
    s: float
    Z: Array
    z: Array
    rho: ProvenRho


def _prove(
    problem: TrainingProblem, cells: Cells, rows: UserRows, Z: Array, z: Array
) -> _Proof:
    """Prove the bound of a dual point of the samples and multipliers of the rows."""
    scaled = problem.scaled
    Z = scaled.loss.repair(Z, scaled.Y, scaled.weight)
    pulled = rows.pull(z).reshape(scaled.n_points, -1)
    point = scaled.with_anchors(Z) - pulled
    # The point is meant exactly; what rounding makes of it is added to rho.
    eps = np.finfo(float).eps
    spread = np.abs(rows.form.weight * z)
    size = float(np.linalg.norm(abs(rows.of_points).T @ spread)) + float(
        np.linalg.norm(Z)
    )
    error = 2.0 * eps * (len(z) + 2) * size
    unit = power_of_two(float(np.abs(point).max(initial=0.0)))
    rho = prove_rho(problem, scaled.spread(point / unit), CellProof(cells))
    rho = rho._replace(
        value=rho.value * unit + error * rho.steepness,
        trivial=rho.trivial * unit + error * rho.steepness,
    )
    b = rows.form.b
    cost = float(b @ (rows.form.weight * z))
    cost += 2.0 * eps * (len(b) + 2) * float(np.abs(b) @ spread)
    cost += _open_end(rows, z)
    if scaled.skip:
        square = float(np.sum((scaled.means.T @ point) ** 2))
        square *= 1.0 + 8.0 * eps * point.size
    else:
        square = 0.0

    def value(s: float) -> float:
        repaired = scaled.loss.repair(s * Z, scaled.Y, scaled.weight)
        total = scaled.loss.dual_value(repaired, scaled.Y, scaled.weight) - s * cost
        return total - (0.5 * s * s * square / scaled.skip if scaled.skip else 0.0)

    def best(limit: float) -> tuple[float, float]:
        # A multiple above one may leave the domain; the point is meant to be optimal.
        longest = min(limit, 1.0)
        found = minimize_scalar(
            lambda t: -value(t * longest),
            bounds=(0.0, 1.0),
            method="bounded",
            options={"xatol": 1e-12},
        )
        s = longest * max((0.0, float(found.x), 1.0), key=lambda t: value(t * longest))
        size = s * float(np.linalg.norm(Z))
        scale = size * (size + float(np.linalg.norm(scaled.Y))) + abs(s * cost)
        if scaled.loss.is_classification:
            scale += float(len(Z)) * np.log(1.0 + Z.shape[1])
        return value(s) - eps * Z.size * scale, s

    limits = [scaled.beta / r if r > 0.0 else np.inf for r in (rho.value, rho.trivial)]
    bound, s = best(limits[0])
    return _Proof(bound, best(limits[1])[0], s, Z, z, rho)


def _open_end(rows: UserRows, z: Array) -> float:
    """Return ``-inf <B^T z, y>`` over the bounds of the user's variables."""
    if not len(rows.others):
        return 0.0
    spread = np.abs(rows.form.weight * z)
    slope = np.asarray(rows.of_others.T @ (rows.form.weight * z))
    eps = np.finfo(float).eps
    slack = 2.0 * eps * (len(z) + 2) * np.asarray(abs(rows.of_others).T @ spread)
    total = 0.0
    for name, low, high, up, down in zip(
        rows.names, rows.lower, rows.upper, slope + slack, slope - slack, strict=True
    ):
        worst = []
        for end in (low, high):
            worst += [up * end, down * end] if np.isfinite(end) else []
        if (not np.isfinite(low) and up > 0.0) or (
            not np.isfinite(high) and down < 0.0
        ):
            raise UnprovableModelError(
                f"the variable {name!r} of the constraints is not bounded, so that the "
                "last bits of a multiplier may count without end; give it a lower and "
                "an upper bound."
            )
        total -= min(worst, default=0.0)
    return total
