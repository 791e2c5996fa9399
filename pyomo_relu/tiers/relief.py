r"""What may be taken away from a matrix because it is copositive anyway.

.. math:: M - \begin{bmatrix} N & \\ & 0 \end{bmatrix}
          - \begin{bmatrix} R & \\ & I \end{bmatrix}^T S
            \begin{bmatrix} R & \\ & I \end{bmatrix},
          \quad N \ge 0, \ S \in S_+^{r + c}

for copositive cones with rays R: S is a matrix in the ambient space of the rays. With
facets F it is :math:`F^T N F`, and there is no S.

A tier that keeps a part of the semidefinite cone which depends on coordinates keeps it
in both, those of the rays and those of the ambient space. In coordinates of rays alone
not even the Gram matrix :math:`R^T R` need be in that part, let alone in its interior:
for network programs of rank four that leaves next to nothing feasible.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from pyomo.environ import NonNegativeReals, Var

from pyomo_relu.cones import ConeData, CopositiveConeData, PSDCone
from pyomo_relu.cones.entries import ConeContent
from pyomo_relu.tiers.affine import AffineEntries, congruence, triangle_places
from pyomo_relu.tiers.entrywise import Triangles
from pyomo_relu.tiers.linking import member_index, split_triangles

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["relieve", "replace_ambient"]


def relieve(
    block: Any, cones: list[ConeData], triangles: Triangles
) -> tuple[AffineEntries, Any]:
    """Take away from matrices what is copositive anyway.

    N without facets is not written down: it can take the positive part off any entry
    beside the diagonal.

    Parameters
    ----------
    block : Block
        Gets the variables ``nonnegative`` (N, with facets) and ``ambient`` (S), and
        ``ambient_cone``, semidefinite cones of S, where there are any.
    cones : list of cone data
        Of one component; those that are not copositive keep their matrices.
    triangles : Triangles
        Of these cones.

    Returns
    -------
    entries : AffineEntries
        What is left, but for N without facets.
    relieved : (t,) bool array
        From which of the entries N can take.
    """
    entries = triangles.entries
    relieved = np.zeros(len(triangles), dtype=bool)
    if not isinstance(cones[0], CopositiveConeData):
        return entries, relieved
    facets, rays = [cone.facets for cone in cones], [cone.rays for cone in cones]
    if any(F is not None for F in facets):
        weights, index = _lifted(cones, facets, leading=True)
        block.nonnegative = Var(index, domain=NonNegativeReals)
        entries = entries.plus(-weights, list(block.nonnegative.values()))
    if any(R is not None for R in rays):
        weights, index = _lifted(cones, rays, leading=False)
        block.ambient = Var(index)
        variables = list(block.ambient.values())
        entries = entries.plus(-weights, variables)
        block.ambient_cone = _semidefinite(cones, variables)
    lengths = [len(cone.upper_triangle) for cone in cones]
    relieved = np.repeat([F is None for F in facets], lengths)
    return entries, relieved & triangles.leading & (triangles.row < triangles.column)


def _lifted(
    cones: list[ConeData], vectors: list[Array | None], *, leading: bool
) -> tuple[sp.csr_array, list[Any]]:
    """Return ``S -> diag(V, I)' S diag(V, I)`` of all cones, and an index of each S_ij.

    With `leading`, S is zero in the free coordinates.
    """
    weights, index = [], []
    for cone, V in zip(cones, vectors, strict=True):
        if V is None:
            weights.append(np.empty((len(cone.upper_triangle), 0)))
            continue
        i, j = triangle_places(len(V) + cone.free)
        places = np.flatnonzero(j < len(V)) if leading else np.arange(len(j))
        weights.append(congruence(V, cone.free)[:, places])
        pairs = zip(i[places].tolist(), j[places].tolist(), strict=True)
        index += [(*member_index(cone), *pair) for pair in pairs]
    return sp.block_diag(weights, format="csr"), index


def _semidefinite(cones: list[ConeData], variables: list[Any]) -> Any:
    """Return the semidefinite cones of S, whose triangles stand in one list."""
    orders = {
        cone.index(): len(cone.rays) + cone.free
        for cone in cones
        if cone.rays is not None
    }
    triangles = split_triangles(variables, orders.values())
    contents = {
        key: ConeContent(triangle, order)
        for (key, order), triangle in zip(orders.items(), triangles, strict=True)
    }
    is_scalar = None in contents
    return PSDCone.from_contents(contents, *([] if is_scalar else [list(contents)]))


def replace_ambient(tier: Any, block: Any, config: Any) -> tuple[Any, ...]:
    """Replace the cones of S by the same tier, and return the links of that.

    Parameters
    ----------
    tier : Tier
        That takes semidefinite cones.
    block : Block
        What :func:`relieve` has filled.
    config : ConfigDict
        The options.
    """
    component = block.component("ambient_cone")
    if component is None:
        return ()
    created = tier.replace(component, list(component.values()), config)
    component.deactivate()
    return created.links
