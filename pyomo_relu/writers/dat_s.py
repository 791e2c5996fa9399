r"""The SDPA sparse format, and solutions of CSDP and SDPA brought back.

With the variables of the model in their own units,

.. math:: \min c^T x + \sum_k t_k,\ \sum_i x_i F_i + \sum_k t_k G_k - F_0 \succeq 0.

The first block is diagonal and holds the linear rows. A second-order cone is an arrow
(of length three a matrix of order two, of length two two linear rows), a semidefinite
block is itself, and each piece of a quadratic objective is

.. math:: \begin{bmatrix} 2 t_k & (L_k^T x)^T \\ L_k^T x & I \end{bmatrix} \succeq 0
          \iff t_k \ge \tfrac12 |L_k^T x|^2.

Equations are solved for some of the variables, which the file then does not have: as
pairs of inequalities they would leave no point inside, and SDPA fails without one.
Where they alone decide that there is no optimum they are written as such pairs.

The format itself is in :mod:`~pyomo_relu.solvers.sdpa_format`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from pyomo_relu.errors import InputError
from pyomo_relu.solvers.cone_program import ConeProgram, Kind, Outcome
from pyomo_relu.solvers.conic_form import ConicForm
from pyomo_relu.solvers.elimination import Elimination, eliminate
from pyomo_relu.solvers.errors import UnsupportedModelError
from pyomo_relu.solvers.sdpa_format import (
    Embedding,
    SDPAProblem,
    SDPASolution,
    embed,
    encode,
)
from pyomo_relu.writers.conic_entries import (
    EPIGRAPH,
    column_entries,
    cones_of,
    row_entries,
    squares,
)
from pyomo_relu.writers.exported import ConeEntry, Entry, Exported

__all__ = ["check_solution", "embed_form", "read_back", "write_dat_s"]

#: A piece of the objective takes blocks with at most this many squares each: the work
#: for a block grows with the cube of its order, that for one more variable does not.
LARGEST_PIECE = 32

#: What a solver may leave of an equation that its matrices should satisfy, relative to
#: one plus the summands; where it prints fewer digits, so much more.
TOLERANCE = 1e-5

#: What SDPA prints unless it is told otherwise.
LEAST_DIGITS = 4

_COMMENT = """\
 pyomo_relu: minimise c'x such that x_1 F_1 + ... + x_m F_m - F_0 is semidefinite
 {of_model} variables of the model, {epigraphs} above its objective; {eliminated} \
others follow from equations
 the objective of the model is {value}
 SDPA prints four digits; four more lines "%+.17e format" in its parameters print all"""

#: The two inequalities of an equation, by the role of its row.
_SIDES = {
    "constraint": ("upper side", "lower side"),
    "both bounds": ("upper bound", "lower bound"),
}


@dataclass(frozen=True)
class Inequalities:
    """A conic form as linear matrix inequalities, and the way back.

    Attributes
    ----------
    embedding : Embedding
        With the SDPA problem.
    elimination : Elimination or None
        None where no equation was solved: the variables of the problem are all of the
        program.
    program : ConeProgram
        The form with its quadratic part as semidefinite blocks, which come last.
    """

    embedding: Embedding
    elimination: Elimination | None
    program: ConeProgram

    @property
    def problem(self) -> SDPAProblem:
        """What is in the file."""
        return self.embedding.problem

    @property
    def columns(self) -> np.ndarray:
        """The variable of the program that each variable of the problem is."""
        if self.elimination is None:
            return np.arange(len(self.program.c))
        return self.elimination.free

    @property
    def rows(self) -> np.ndarray:
        """The row of the program that each row of what was embedded is."""
        if self.elimination is None:
            return np.arange(len(self.program.b))
        return self.elimination.kept

    @property
    def constant(self) -> float:
        """What the equations say of the objective."""
        if self.elimination is None:
            return 0.0
        none = Outcome(
            Kind.POINT, np.zeros(len(self.columns)), np.zeros(len(self.rows))
        )
        return float(self.program.c @ self.elimination.restore(none).x)

    def restore(self, solution: SDPASolution) -> tuple[np.ndarray, np.ndarray]:
        """Bring a solution of the problem back to the program: ``x``, ``z``."""
        z = self.embedding.multipliers(solution.Y)
        if self.elimination is None:
            return solution.x, z
        outcome = self.elimination.restore(Outcome(Kind.POINT, solution.x, z))
        return outcome.x, outcome.z


def embed_form(form: ConicForm) -> Inequalities:
    """Write a conic form as linear matrix inequalities, in its own units.

    Parameters
    ----------
    form : ConicForm
        Without exponential cones.

    Returns
    -------
    Inequalities

    Raises
    ------
    UnsupportedModelError
        If there are exponential cones, or nothing to write.
    """
    exponential = cones_of(form).exponential
    if exponential:
        raise UnsupportedModelError(
            f"the SDPA format has no exponential cones, but the model has "
            f"'{exponential[0].name}'; write .cbf or .npz"
        )
    if not form.variables or not len(form.b) + form.P.nnz:
        raise UnsupportedModelError(
            "the SDPA format takes at least one variable and one matrix; model "
            f"'{form.model.name}' has {len(form.variables)} free variables and "
            f"{len(form.b)} rows: there is nothing to solve elsewhere"
        )
    program = _without_squares(form)
    elimination = eliminate(program) if form.n_zero else None
    if elimination is None or elimination.decided is not None:
        # Whoever solves it is to see for himself why there is no optimum.
        return Inequalities(embed(program), None, program)
    return Inequalities(embed(elimination.reduced), elimination, program)


def _without_squares(form: ConicForm) -> ConeProgram:
    """Write the quadratic part of the objective as semidefinite blocks."""
    root, counts = squares(form.P)
    pieces = [
        len(part)
        for count in counts.tolist()
        for part in np.array_split(np.arange(count), -(-count // LARGEST_PIECE))
    ]
    squared = np.array(pieces, dtype=np.int64)
    count, n = len(squared), len(form.c)
    orders = squared + 1
    sizes = orders * (orders + 1) // 2
    first = np.cumsum(sizes) - sizes
    # The triangle of [[2 t, v'], [v, I]] column by column: v_j at j (j + 1) / 2, the
    # one of its column j after it.
    j = np.concatenate([np.zeros(0, dtype=np.int64), *(np.arange(k) for k in pieces)])
    place = np.repeat(first, squared) + (j + 1) * (j + 2) // 2
    sides = np.zeros(int(sizes.sum()))
    sides[place + j + 1] = 1.0
    body = sp.coo_array(root)
    epigraphs = sp.csr_array(
        (
            np.concatenate([-body.data, np.full(count, -2.0)]),
            (
                np.concatenate([place[body.row], first]),
                np.concatenate([body.col, n + np.arange(count)]),
            ),
        ),
        shape=(len(sides), n + count),
    )
    rows = sp.csr_array(form.A)
    rows.resize(rows.shape[0], n + count)
    return ConeProgram(
        c=np.concatenate([form.c, np.ones(count)]),
        A=sp.csr_array(sp.vstack([rows, epigraphs])),
        b=np.concatenate([form.b, sides]),
        n_zero=form.n_zero,
        n_nonnegative=form.n_nonnegative,
        soc_orders=form.soc_orders,
        psd_orders=np.concatenate([form.psd_orders, orders]).astype(np.int64),
    )


def write_dat_s(form: ConicForm) -> Exported:
    """Write a conic form as an SDPA sparse file.

    Parameters
    ----------
    form : ConicForm
        Without exponential cones.

    Returns
    -------
    Exported
        Its rows are those of the diagonal block. Its cones are all blocks, counted
        from 1, with the orders that they have in the file.

    Raises
    ------
    UnsupportedModelError
        If there are exponential cones, or nothing to write.

    Examples
    --------
    >>> import pyomo.environ as pyo
    >>> from pyomo_relu.solvers.standard_form import compile_conic
    >>> m = pyo.ConcreteModel()
    >>> m.x = pyo.Var(bounds=(1, None))
    >>> m.o = pyo.Objective(expr=m.x**2 + 3)
    >>> exported = write_dat_s(compile_conic(m))
    >>> for line in exported.data.decode().splitlines():
    ...     print(line if line[0] != "*" else line[:40])
    * pyomo_relu: minimise c'x such that x_1
    * 1 variables of the model, 1 above its
    * the objective of the model is c'x + 3
    * SDPA prints four digits; four more lin
    2
    2
    -1 2
    0 1
    0 1 1 1 1
    0 2 2 2 -1
    1 1 1 1 1
    1 2 1 2 1.4142135623730951
    2 2 1 1 2
    """
    inequalities = embed_form(form)
    n, columns = len(form.variables), inequalities.columns
    of_model = int((columns < n).sum())
    constant = form.c0 + inequalities.constant
    value = f"c'x {'-' if constant < 0.0 else '+'} {abs(constant):.17g}"
    comment = _COMMENT.format(
        of_model=of_model,
        eliminated=n - of_model,
        epigraphs=len(columns) - of_model,
        value=value if form.sense > 0 else f"-({value})",
    )
    rows, cones = _contents(form, inequalities)
    return Exported(
        data=encode(inequalities.problem, comment),
        columns=column_entries(form, columns),
        rows=rows,
        cones=cones,
        objective_sign=form.sense,
        objective_constant=constant,
    )


def _contents(
    form: ConicForm, inequalities: Inequalities
) -> tuple[list[Entry], list[ConeEntry]]:
    """Say what is in the diagonal block, and what the blocks are."""
    program = inequalities.program
    entries, components = row_entries(form), cones_of(form)
    kept = np.zeros(len(program.b), dtype=bool)
    kept[inequalities.rows] = True
    # The order of `embed`: rows and short cones, then what is negated once more.
    rows: list[Entry] = []
    negated: list[Entry] = []
    for row in np.flatnonzero(kept[: form.n_linear]).tolist():
        entry = entries[row]
        if row < form.n_zero:
            above, below = _SIDES[entry.role]
            rows.append(Entry("", entry.component, above))
            negated.append(Entry("", entry.component, below))
        else:
            rows.append(entry)
    blocks: list[tuple[Any, str]] = []
    start = form.n_linear
    for component, order in zip(
        components.second_order, form.soc_orders.tolist(), strict=True
    ):
        if not kept[start]:
            pass
        elif order > 2:
            blocks.append((component, "arrow" if order > 3 else "semidefinite"))
        else:
            rows.append(entries[start])
            negated += entries[start + 1 : start + order]
        start += order
    rows += negated
    matrices = components.semidefinite
    for k, order in enumerate(program.psd_orders.tolist()):
        component, kind = (
            (matrices[k], "semidefinite") if k < len(matrices) else (None, EPIGRAPH)
        )
        if kept[start]:
            blocks.append((component, kind))
        start += order * (order + 1) // 2
    cones = []
    if rows:
        cones.append(ConeEntry(None, "diagonal", len(rows), 1, (0, len(rows))))
    orders = inequalities.problem.blocks[len(cones) :].tolist()
    for (component, kind), order in zip(blocks, orders, strict=True):
        cones.append(ConeEntry(component, kind, order, len(cones) + 1))
    return rows, cones


def read_back(form: ConicForm, solution: SDPASolution) -> tuple[np.ndarray, np.ndarray]:
    """Bring a solution of the file of a form back to the form.

    Parameters
    ----------
    form : ConicForm
        What was written.
    solution : SDPASolution
        What CSDP or SDPA left.

    Returns
    -------
    x : (n,) ndarray
        Values of its variables.
    z : (rows,) ndarray
        Multipliers of its rows, in its convention.

    Raises
    ------
    InputError
        If the solution is not one of this form; see :func:`check_solution`.
    """
    inequalities = embed_form(form)
    check_solution(inequalities.problem, solution)
    x, z = inequalities.restore(solution)
    return x[: len(form.c)], z[: len(form.b)]


def check_solution(problem: SDPAProblem, solution: SDPASolution) -> None:
    r"""Refuse a solution of another problem, or a part of one.

    Its matrices satisfy :math:`S = \sum_i x_i F_i - F_0` and
    :math:`F_i \bullet Y = c_i`, up to the digits that were printed. Neither is a
    question of optimality: a solver satisfies both long before.

    Parameters
    ----------
    problem : SDPAProblem
    solution : SDPASolution

    Raises
    ------
    InputError
        If it does not fit.
    """
    m, size = len(problem.c), len(problem.F0)
    if solution.x.shape != (m,) or not solution.S.shape == solution.Y.shape == (size,):
        raise InputError(
            f"the solution has {len(solution.x)} variables and matrices of "
            f"{len(solution.S)} and {len(solution.Y)} entries; those of this model "
            f"have {m} and {size}"
        )
    numbers = np.concatenate([solution.x, solution.S, solution.Y])
    if not np.isfinite(numbers).all():
        raise InputError(
            "the solution has numbers that are not finite: the solver failed"
        )
    F, F0, weight = problem.F, problem.F0, problem.weight
    S, matrix = solution.S, F @ solution.x - F0
    summands = 1.0 + abs(F) @ np.abs(solution.x) + np.abs(F0)
    excess = np.abs(S - matrix) / summands
    worst = int(excess.argmax())
    if excess[worst] > max(_tolerance(solution.x), _tolerance(S)):
        block, row, column = (int(numbers[worst]) for numbers in problem.places)
        raise InputError(
            f"the solution is not one of this model: entry ({row}, {column}) of block "
            f"{block} is {S[worst]:.6g}, and its variables make {matrix[worst]:.6g} "
            f"of it. It is of another model, or incomplete, or the solver was far "
            f"from a feasible point"
        )
    costs = F.T @ (weight * solution.Y)
    summands = 1.0 + abs(F).T @ (weight * np.abs(solution.Y)) + np.abs(problem.c)
    excess = np.abs(costs - problem.c) / summands
    worst = int(excess.argmax())
    if excess[worst] > _tolerance(solution.Y):
        raise InputError(
            f"the solution is not one of this model: its multipliers price variable "
            f"{worst + 1} at {costs[worst]:.6g}, whose cost is {problem.c[worst]:.6g}. "
            f"It is of another model, or incomplete, or the solver was far from a "
            f"point of the dual problem"
        )


def _tolerance(numbers: np.ndarray) -> float:
    """Return the relative error of numbers: what was printed, or a solver's."""
    sizes = np.abs(numbers[numbers != 0.0])
    mantissa = sizes / 10.0 ** np.floor(np.log10(sizes))
    digits = LEAST_DIGITS
    while 10.0 ** (1 - digits) > TOLERANCE:
        scaled = mantissa * 10.0 ** (digits - 1)
        if (np.abs(scaled - np.round(scaled)) <= 1e-14 * scaled).all():
            return float(10.0 ** (1 - digits))
        digits += 1
    return TOLERANCE
