r"""Where the solution of a relaxed model asks for a partition.

A completely positive cone that has been relaxed loses something at a solution only
where its second moment :math:`U = R A R^T` is not in :math:`\mathrm{CP}(K)`, that is,
has no factors :math:`U = \sum_k u_k u_k^T, u_k \in K` (design, From a solution to a
network).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pyomo.environ import value

from pyomo_relu.cones import ConeData, CopositiveConeData
from pyomo_relu.cones.factor import factor_in_cone
from pyomo_relu.errors import InputError, SolverError
from pyomo_relu.tiers.exactness import reason_of_exactness
from pyomo_relu.tiers.replacement import replacement_of, source_cone
from pyomo_relu.tiers.triangulation import facet_normals

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["lacks_factors"]

#: A second moment smaller than this part of the largest is what an interior point
#: leaves in an empty cell.
_EMPTY = 1e-5
#: Part of the largest second moment down to which eigenvalues count.
_ROUNDING = 1e-6
#: Part of its own second moment that the factors of a cone may leave out.
_LEFT_OUT = 1e-5


def lacks_factors(cones: list[ConeData]) -> list[bool]:
    """Return which cones are active, not exact anyway, and without factors so far.

    A cone is active when its second moment is not tiny against the largest among the
    members of the component that the model was written with.

    Parameters
    ----------
    cones : list of cone data
        Members of one component, completely positive or in place of such cones, of a
        model that has been solved.

    Returns
    -------
    list of bool
        False where factors are known to exist; True where none were found, which does
        not prove that there are none.

    Raises
    ------
    InputError
        The cones are copositive.
    SolverError
        A variable of the cones has no value.
    """
    for cone in cones:
        if isinstance(cone, CopositiveConeData):
            raise InputError(
                f"cone {cone.name!r} is copositive, and the values of its matrix do "
                "not tell where a partition helps: on_demand takes completely positive "
                "cones. Split it with level=..., or leave it out of targets."
            )
        if not _has_values(cone):
            raise SolverError(
                f"cone {cone.name!r} has variables without a value, and on_demand "
                "splits what a solution asks for. Relax the model with relu.dnn and "
                "solve it first."
            )
    component = source_cone(cones[0]).parent_component()
    sizes = [
        np.trace(_second_moment(member))
        for member in component.values()
        if (member.active or replacement_of(member) is not None) and _has_values(member)
    ]
    largest = float(max(sizes, default=0.0))
    return [
        reason_of_exactness(cone) is None and _without_factors(cone, largest)
        for cone in cones
    ]


def _without_factors(cone: ConeData, largest: float) -> bool:
    U = _second_moment(cone)
    size = float(np.trace(U))
    if size <= _EMPTY * largest:
        return False
    if cone.facets is not None:
        facets = cone.facets / np.linalg.norm(cone.facets, axis=1, keepdims=True)
    else:
        facets = np.eye(len(U)) if cone.rays is None else facet_normals(cone.rays)
    rounding = _ROUNDING * largest
    B, _ = factor_in_cone(U, facets, tolerance=rounding / size)
    missing = np.linalg.norm(B @ B.T - U)
    return bool(missing > _LEFT_OUT * size + len(U) * rounding)


def _second_moment(cone: ConeData) -> Array:
    """Return the value of ``R A R^T``, of A for a cone without rays."""
    m = cone.order - cone.free
    A = cone.numeric()[:m, :m]
    return A if cone.rays is None else cone.rays @ A @ cone.rays.T


def _has_values(cone: ConeData) -> bool:
    return all(value(e, exception=False) is not None for e in cone.upper_triangle)
