"""The point of a conic solver, seen from the Pyomo model.

With ``L = 1/2 x'Px + c'x + <z, A x - b>`` the derivative of the optimum by ``b`` is
``-z``. Pyomo's dual of a constraint is the derivative by the right-hand side as the
user wrote it: ``-z`` for an equality or ``body <= upper``, ``+z`` for
``lower <= body``, and the opposite when the model maximises.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from pyomo.common.collections import ComponentMap
from pyomo.common.errors import PyomoException
from pyomo.contrib.solver.common.solution_loader import SolutionLoader
from pyomo.contrib.solver.common.util import (
    NoDualsError,
    NoReducedCostsError,
    NoSolutionError,
)
from pyomo.core.staleflag import StaleFlagManager

from pyomo_relu.cones import SecondOrderConeData
from pyomo_relu.cones.second_order import upright
from pyomo_relu.errors import InputError
from pyomo_relu.solvers.conic_form import (
    ConeRows,
    ConicForm,
    QuadraticCone,
    triangle,
)

__all__ = ["ConicSolutionLoader"]

#: A vector of this length, relative to its constants, is the apex of its cone.
_APEX = 1e-7


class ConicSolutionLoader(SolutionLoader):
    """Primal values, duals and reduced costs of a solved conic form.

    Parameters
    ----------
    form : ConicForm
        What was solved.
    x : (n,) ndarray or None
        Primal point; None when there is none.
    z : (rows,) ndarray or None
        Multipliers of the rows, blocks unscaled; None when there are none.
    message : str
        What to say when something is asked for that is not there.
    """

    def __init__(
        self,
        form: ConicForm,
        x: np.ndarray | None = None,
        z: np.ndarray | None = None,
        message: str = "the solver returned no point",
    ) -> None:
        self._pyomo_model = form.model
        self._form = form
        self._x = x
        self._z = z
        self._message = message

    def get_number_of_solutions(self) -> int:
        """1 when there is a primal point, otherwise 0."""
        return 0 if self._x is None else 1

    def _primal(self) -> np.ndarray:
        if self._x is None:
            raise NoSolutionError(_not_there(NoSolutionError, self._message))
        return self._x

    def _multipliers(self, error: type[PyomoException] = NoDualsError) -> np.ndarray:
        if self._z is None:
            raise error(_not_there(error, self._message))
        # Row number -1 (no such row) reads this zero.
        return np.append(self._z, 0.0)

    def load_vars(self, vars_to_load: Sequence[Any] | None = None) -> None:
        """Write the point into the variables.

        Parameters
        ----------
        vars_to_load : sequence of VarData, optional
            Default: every variable of the compiled model.

        Raises
        ------
        NoSolutionError
            If there is no point.
        """
        if vars_to_load is None:
            variables: Iterable[Any] = self._form.variables
            values = self._primal().tolist()
        else:
            variables = vars_to_load
            values = list(self.get_vars(vars_to_load).values())
        for var, number in zip(variables, values, strict=True):
            var.set_value(number, skip_validation=True)
        StaleFlagManager.mark_all_as_stale(delayed=True)

    def get_vars(
        self, vars_to_load: Sequence[Any] | None = None
    ) -> Mapping[Any, float]:
        """Values of the variables.

        Parameters
        ----------
        vars_to_load : sequence of VarData, optional
            Default: every variable of the compiled model.

        Returns
        -------
        ComponentMap of VarData to float
        """
        values = ComponentMap(
            zip(self._form.variables, self._primal().tolist(), strict=True)
        )
        return _select(values, vars_to_load, "variable")

    def get_duals(
        self, cons_to_load: Sequence[Any] | None = None
    ) -> dict[Any, float | np.ndarray]:
        """Return the derivative of the optimal objective by each right-hand side.

        Of a constraint it is a number. Of a matrix cone it is the symmetric matrix
        ``T`` (k, k) with ``d objective = <T, dS>`` when ``M`` in K becomes ``M - S``
        in K: for a minimisation a member of the dual cone (positive semidefinite for
        a PSD cone; of the form ``Z + N``, ``Z`` semidefinite and ``N >= 0``, for a DNN
        cone), and minus that for a maximisation. :meth:`get_cone_multipliers` gives
        the two parts apart. Of a second-order cone it is, likewise, the vector ``t``
        (k,) with ``d objective = <t, ds>`` when its vector ``v`` becomes ``v - s``: a
        member of the same cone, or minus one, and of an exponential cone a member of
        the dual cone, or minus one. Rows of these cones have no duals of their own. A
        quadratic constraint has the derivative by its right-hand side; nan at the apex
        of its cone, where there is none.

        Parameters
        ----------
        cons_to_load : sequence of ConstraintData or cone data, optional
            Default: all of them.

        Returns
        -------
        dict of component data to float or ndarray

        Raises
        ------
        NoDualsError
            If the solver returned no multipliers.
        """
        form, z = self._form, self._multipliers()
        rows = form.sense * (z[form.lower_rows] - z[form.upper_rows])
        duals: dict[Any, float | np.ndarray] = dict(
            zip(form.constraints, rows.tolist(), strict=True)
        )
        for block in form.cones:
            semidefinite, entrywise = _parts(block, z)
            duals[block.cone] = form.sense * (semidefinite + _lift(block, entrywise))
        for part in form.vector_cones:
            t = z[part.rows]
            rotated = isinstance(part.cone, SecondOrderConeData) and part.cone.rotated
            duals[part.cone] = form.sense * (upright(t) if rotated else t)
        for row in form.quadratics:
            multiplier = self._quadratic_multiplier(row, z)
            duals[row.constraint] = (
                form.sense * multiplier * (-1.0 if row.is_upper else 1.0)
            )
        return _select(duals, cons_to_load, "constraint or cone")

    def _quadratic_multiplier(self, row: QuadraticCone, z: np.ndarray) -> float:
        """Return the multiplier of ``|s[1:]|^2 - s[0]^2 <= 0``, nan at the apex.

        Complementarity makes that of the cone ``a (s[0], -s[1:])`` with ``a >= 0``,
        and ``-<z, ds>`` half of a times the derivative of the row.
        """
        x, form = self._primal(), self._form
        t = z[row.rows]
        s = form.b[row.rows] - form.A[row.rows] @ x
        size = float(np.linalg.norm(s))
        if size > _APEX * (1.0 + float(np.abs(form.b[row.rows]).max())):
            return 0.5 * float(t[0] * s[0] - t[1:] @ s[1:]) / size**2
        return float("nan") if np.linalg.norm(t) > _APEX else 0.0

    def get_cone_multipliers(self, cone: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return the two parts of the multiplier of a doubly nonnegative cone.

        Parameters
        ----------
        cone : cone data
            An active PSD or DNN cone of the model.

        Returns
        -------
        semidefinite : (k, k) ndarray
            ``Z``, positive semidefinite whatever the sense of the objective.
        entrywise : (m, m) ndarray
            ``N >= 0`` with zero diagonal, on the leading block; (f, f), on the
            entries of ``F A F'``, for a cone with facets; zero for a PSD cone. The
            dual of the cone is ``sense * (Z + [[N, 0], [0, 0]])``, with ``F'NF`` in
            place of ``N`` where there are facets.

        Raises
        ------
        NoDualsError
            If the solver returned no multipliers.
        InputError
            If the cone is not part of the solved model.
        """
        z = self._multipliers()
        for block in self._form.cones:
            if block.cone is cone:
                return _parts(block, z)
        raise InputError(
            f"'{cone.name}' is no matrix cone of the model that was solved"
        )

    def get_reduced_costs(
        self, vars_to_load: Sequence[Any] | None = None
    ) -> Mapping[Any, float]:
        """Return the derivative of the optimum by the active bound of each variable.

        Parameters
        ----------
        vars_to_load : sequence of VarData, optional
            Default: every variable of the compiled model.

        Returns
        -------
        ComponentMap of VarData to float
            Zero for a variable without bounds.
        """
        form, z = self._form, self._multipliers(NoReducedCostsError)
        costs = form.sense * (z[form.lower_bound_rows] - z[form.upper_bound_rows])
        values = ComponentMap(zip(form.variables, costs.tolist(), strict=True))
        return _select(values, vars_to_load, "variable")


def _not_there(error: type[PyomoException], message: str) -> str:
    """Pyomo's own sentence, which its users look for, and why it is so."""
    return f"{error.default_message} The solve ended so: {message}"


def _parts(block: ConeRows, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Semidefinite and entrywise multiplier of one cone, in its own coordinates."""
    rows, columns = triangle(block.order)
    semidefinite = np.empty((block.order, block.order))
    semidefinite[rows, columns] = semidefinite[columns, rows] = z[block.rows]
    size = block.order - block.cone.free if block.facets is None else len(block.facets)
    entrywise = np.zeros((size, size))
    if len(block.pairs):
        i, j = block.pairs.T
        # <N, A> counts an entry above the diagonal twice, its row once.
        entrywise[i, j] = entrywise[j, i] = z[block.entry_rows] / 2.0
    return semidefinite, entrywise


def _lift(block: ConeRows, entrywise: np.ndarray) -> np.ndarray:
    """Return the entrywise multiplier as a matrix of the order of the cone."""
    if block.facets is not None:
        lifted = block.facets.T @ entrywise @ block.facets
        entrywise = 0.5 * (lifted + lifted.T)
    padding = block.order - len(entrywise)
    return np.pad(entrywise, (0, padding))


def _select(values: Any, wanted: Sequence[Any] | None, kind: str) -> Any:
    """Return the wanted part of a map; everything when nothing is named."""
    if wanted is None:
        return values
    chosen = type(values)()
    for component in wanted:
        if component not in values:
            raise InputError(
                f"{kind} '{component.name}' is not part of the model that was solved: "
                f"it is fixed, inactive or appears in nothing active"
            )
        chosen[component] = values[component]
    return chosen
