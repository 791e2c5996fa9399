"""SCIP by PySCIPOpt: Pyomo's interface, but for constraints with two sides."""

from __future__ import annotations

from typing import Any

from pyomo.contrib.solver.solvers.scip.scip_direct import ScipDirect

__all__ = ["SCIP"]


class SCIP(ScipDirect):
    """Pyomo's ``scip_direct``, with both sides of a range where they belong.

    PySCIPOpt moves the constant of a body to one side of ``low <= body <= up`` only, so
    that ``-1 <= x - 2 <= 3`` becomes ``-1 <= x <= 5``. Here it is two constraints.

    Examples
    --------
    >>> import pyomo.environ as pyo
    >>> m = pyo.ConcreteModel()
    >>> m.x = pyo.Var(domain=pyo.Integers, bounds=(-10, 10))
    >>> m.c = pyo.Constraint(expr=pyo.inequality(-1, m.x - 2, 3))
    >>> m.o = pyo.Objective(expr=m.x)
    >>> SCIP().solve(m).incumbent_objective
    1.0
    """

    def _add_constraint(self, con: Any) -> None:
        low, body, up = con.to_bounded_expression(True)
        if low is None or up is None or con.equality:
            super()._add_constraint(con)
            return
        for side in (body >= low, body <= up):
            added = self._solver_model.addCons(self._expr_visitor.walk_expression(side))
        self._pyomo_con_to_solver_con_map[con] = added
