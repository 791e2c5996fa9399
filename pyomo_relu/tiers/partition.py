r"""`relu.partition`: one completely positive cone a simplicial piece.

If the cones of the columns of :math:`R P_T` cover the cone of the columns of R, then

.. math:: M = \sum_T \begin{bmatrix} P_T & \\ & I \end{bmatrix} M_T
          \begin{bmatrix} P_T & \\ & I \end{bmatrix}^T, \quad
          M_T \in \mathrm{CP}(R_+^{k_T} \times R^c)

gives the same program: every :math:`u = R a, a \ge 0` is in a piece (design, Tiers).
Bisecting the pieces again makes the doubly nonnegative tier tighter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from pyomo.common.config import ConfigDict, ConfigValue, NonNegativeInt
from pyomo.environ import Block

from pyomo_relu.cones import (
    CompletelyPositiveCone,
    CompletelyPositiveConeData,
    ConeData,
)
from pyomo_relu.errors import InputError
from pyomo_relu.tiers.base import (
    Bridge,
    Created,
    Tier,
    add_beside,
    register_tier,
    tier_config,
)
from pyomo_relu.tiers.linking import write_linked
from pyomo_relu.tiers.triangulation import bisect, triangulate

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["PartitionTier", "pieces"]


def _partition_config() -> ConfigDict:
    config = tier_config("relu.partition")
    config.declare(
        "level",
        ConfigValue(
            default=0,
            domain=NonNegativeInt,
            description="how often every simplicial piece is bisected",
            doc="""
            At 0 the pieces are a triangulation of the rays. Each level cuts every
            piece in two along its longest edge.""",
        ),
    )
    return config


@register_tier(
    "relu.partition", "Split completely positive cones into simplicial pieces."
)
class PartitionTier(Tier):
    """Split each completely positive cone into cones of simplicial pieces.

    The same program, on which the doubly nonnegative tier is at least as tight, and
    exact for rays of rank at most four. A cone without `rays` is its own single piece
    until it is bisected; a simplicial cone stays as it is.

    Examples
    --------
    >>> import numpy as np
    >>> from pyomo.environ import ConcreteModel, Var
    >>> from pyomo_relu.cones import CompletelyPositiveCone
    >>> from pyomo_relu.tiers import leaf_cones, relax
    >>> m = ConcreteModel()
    >>> m.A = Var([(i, j) for i in range(4) for j in range(i, 4)])
    >>> square = np.array([[1, 1, -1, -1], [1, -1, -1, 1], [1, 1, 1, 1]])
    >>> m.K = CompletelyPositiveCone(matrix=m.A, rays=square)
    >>> relax(m, "partition")
    >>> [(leaf.name, leaf.order) for leaf in leaf_cones(m.K)]
    [('K_partition.cone[0]', 3), ('K_partition.cone[1]', 3)]
    """

    bridges: ClassVar[Mapping[type[ConeData], Bridge]] = {
        CompletelyPositiveConeData: Bridge(
            "one completely positive cone a simplicial piece", "same", "-", "always"
        ),
    }
    CONFIG: ClassVar[ConfigDict] = _partition_config()

    def replace(self, component: Any, cones: list[ConeData], config: Any) -> Created:
        """Add the block of the pieces: matrices, cones and linking rows."""
        covers = [pieces(cone, config.level) for cone in cones]
        # One piece that needs all rays is the cone itself.
        split = [
            len(cover) > 1 or cover[0].shape[0] > cover[0].shape[1] for cover in covers
        ]
        if not any(split):
            return Created(None, [None for _ in cones])
        some = [
            (c, cover) for c, cover, s in zip(cones, covers, split, strict=True) if s
        ]
        block = add_beside(component, "partition", Block(concrete=True))
        leaves = iter(write_linked(block, some, CompletelyPositiveCone))
        return Created(
            block, [next(leaves) if s else None for s in split], (block.linking,)
        )


def pieces(cone: ConeData, level: int = 0) -> list[Array]:
    """Return the matrices P_T of a simplicial cover of a cone.

    Parameters
    ----------
    cone : cone data
        A completely positive cone, with or without rays.
    level : int
        How often to bisect.

    Returns
    -------
    list of (m, k_T) nonnegative float arrays
        The columns of ``R @ P_T`` are unit vectors, where R is the cone's rays or the
        identity.

    Raises
    ------
    InputError
        The cone is given by facets, or its rays do not span a pointed cone.
    """
    m = cone.order - cone.free
    if cone.facets is not None:
        raise InputError(
            f"cone {cone.name!r} is given by facets; a partition needs its rays. Give "
            "the cone rays=..., or leave it out of targets."
        )
    rays = np.eye(m) if cone.rays is None else cone.rays
    selected = np.eye(m) / np.linalg.norm(rays, axis=0)
    try:
        cover = [selected[:, piece] for piece in triangulate(rays)]
    except InputError as error:
        raise InputError(f"cone {cone.name!r}: {error}") from error
    for _ in range(level if cover[0].shape[1] > 1 else 0):
        cover = [P @ half for P in cover for half in bisect(rays @ P)]
    return cover
