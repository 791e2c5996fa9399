"""The point that a solver returned, with its multipliers, as Pyomo loads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pyomo.common.collections import ComponentMap
from pyomo.contrib.solver.common.solution_loader import SolutionLoader
from pyomo.contrib.solver.common.util import NoDualsError, NoSolutionError
from pyomo.core.base import Constraint

from pyomo_relu.errors import InputError

__all__ = ["PointLoader"]


class PointLoader(SolutionLoader):
    """One point, with multipliers where the solver has them.

    Parameters
    ----------
    model : Block
        The model.
    variables : list of VarData
    x : (n,) ndarray or None
        Their values; None when there is no point.
    constraints : list of ConstraintData
    duals : (len(constraints),) ndarray or None
        Derivatives of the optimum by the right-hand sides; those of a constraint that
        is listed twice, once for each of its sides, are added. None when there are
        none.
    reduced_costs : (n,) ndarray or None
        Derivatives of the optimum by the active bounds.
    message : str
        What the solver said, for whoever asks for what is not there.
    """

    def __init__(
        self,
        model: Any,
        variables: Sequence[Any] = (),
        x: np.ndarray | None = None,
        constraints: Sequence[Any] = (),
        duals: np.ndarray | None = None,
        reduced_costs: np.ndarray | None = None,
        message: str = "the solver returned no point",
    ) -> None:
        self._pyomo_model = model
        self._variables = variables
        self._x = x
        self._constraints = constraints
        self._duals = duals
        self._reduced_costs = reduced_costs
        self._message = message

    def get_number_of_solutions(self) -> int:
        """1 when there is a point, otherwise 0."""
        return 0 if self._x is None else 1

    def get_vars(
        self, vars_to_load: Sequence[Any] | None = None
    ) -> Mapping[Any, float]:
        """Values of the variables.

        Parameters
        ----------
        vars_to_load : sequence of VarData, optional
            Default: every variable that the solver saw.

        Returns
        -------
        ComponentMap of VarData to float

        Raises
        ------
        NoSolutionError
            If there is no point.
        """
        if self._x is None:
            raise NoSolutionError(self._message)
        values = ComponentMap(zip(self._variables, self._x.tolist(), strict=True))
        return _select(values, vars_to_load, "variable")

    def get_duals(self, cons_to_load: Sequence[Any] | None = None) -> dict[Any, float]:
        """Return the derivative of the optimum by each right-hand side.

        Parameters
        ----------
        cons_to_load : sequence of ConstraintData, optional
            Default: every active constraint with a side; zero for one without free
            variables.

        Returns
        -------
        dict of ConstraintData to float

        Raises
        ------
        NoDualsError
            If there are none: the model has integer variables, or was not solved.
        """
        if self._duals is None:
            raise NoDualsError(f"there are no duals: {self._message}")
        duals = {
            row: 0.0
            for row in self._pyomo_model.component_data_objects(Constraint, active=True)
            if row.has_lb() or row.has_ub()
        }
        for row, dual in zip(self._constraints, self._duals.tolist(), strict=True):
            duals[row] = duals.get(row, 0.0) + dual
        return _select(duals, cons_to_load, "constraint")

    def get_reduced_costs(
        self, vars_to_load: Sequence[Any] | None = None
    ) -> Mapping[Any, float]:
        """Return the derivative of the optimum by the active bound of each variable.

        Parameters
        ----------
        vars_to_load : sequence of VarData, optional
            Default: every variable that the solver saw.

        Returns
        -------
        ComponentMap of VarData to float

        Raises
        ------
        NoDualsError
            As for :meth:`get_duals`.
        """
        if self._reduced_costs is None:
            raise NoDualsError(f"there are no reduced costs: {self._message}")
        costs = ComponentMap(
            zip(self._variables, self._reduced_costs.tolist(), strict=True)
        )
        return _select(costs, vars_to_load, "variable")

    def load_import_suffixes(self) -> None:
        """Fill the import suffixes ``dual`` and ``rc``; empty where there are none."""
        suffixes = self._collect_and_clear_import_suffixes()
        if "dual" in suffixes and self._duals is not None:
            suffixes["dual"].update(self.get_duals())
        if "rc" in suffixes and self._reduced_costs is not None:
            suffixes["rc"].update(self.get_reduced_costs())


def _select(values: Any, wanted: Sequence[Any] | None, kind: str) -> Any:
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
