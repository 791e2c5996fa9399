r"""`relu.partition`: one cone a simplicial piece.

If the cones of the columns of :math:`R P_T` cover the cone of the columns of R, then

.. math:: M = \sum_T \begin{bmatrix} P_T & \\ & I \end{bmatrix} M_T
          \begin{bmatrix} P_T & \\ & I \end{bmatrix}^T, \quad
          M_T \in \mathrm{CP}(R_+^{k_T} \times R^c)

gives the same program: every :math:`u = R a, a \ge 0` is in a piece. A matrix is
copositive exactly when it is so on every piece:

.. math:: \begin{bmatrix} P_T & \\ & I \end{bmatrix}^T M
          \begin{bmatrix} P_T & \\ & I \end{bmatrix}
          \in \mathrm{COP}(R_+^{k_T} \times R^c)

(design, Tiers). Bisecting the pieces again makes the doubly nonnegative tier tighter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from pyomo.common.config import Bool, ConfigDict, ConfigValue, NonNegativeInt
from pyomo.environ import Block

from pyomo_relu.cones import (
    CompletelyPositiveCone,
    CompletelyPositiveConeData,
    Cone,
    ConeData,
    CopositiveCone,
    CopositiveConeData,
    DoublyNonnegativeCone,
    DoublyNonnegativeConeData,
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
from pyomo_relu.tiers.linking import write_congruent, write_linked
from pyomo_relu.tiers.on_demand import lacks_factors
from pyomo_relu.tiers.replacement import source_cone
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
    config.declare(
        "on_demand",
        ConfigValue(
            default=False,
            domain=Bool,
            description="whether to split only where the solution asks for it",
            doc="""
            Look at the values of a model that has been relaxed by relu.dnn and solved,
            and split only cones that are active, not exact anyway, and whose matrix is
            not yet found to be completely positive. A simplicial cone is bisected at
            least once. Solve again, and repeat, until the number of cones stays.""",
        ),
    )
    return config


@register_tier(
    "relu.partition",
    "Split completely positive and copositive cones into simplicial pieces.",
)
class PartitionTier(Tier):
    """Split completely positive and copositive cones into cones of simplicial pieces.

    The same program, on which the doubly nonnegative tier is at least as tight, and
    exact for rays of rank at most four. A cone without `rays` is its own single piece
    until it is bisected; a simplicial cone stays as it is.

    A doubly nonnegative cone is split where it stands for a completely positive one:
    partition and `relu.dnn` give the same in either order. Others stay as they are,
    since the pieces of their matrices do not sum up to them.

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
        CopositiveConeData: Bridge(
            "one copositive cone a simplicial piece", "same", "-", "always"
        ),
        DoublyNonnegativeConeData: Bridge(
            "one doubly nonnegative cone a simplicial piece, where it stands for a "
            "completely positive one",
            "same",
            "SDP",
        ),
    }
    CONFIG: ClassVar[ConfigDict] = _partition_config()

    @classmethod
    def applies_to(cls, cone: ConeData) -> bool:
        """Whether a cone is, or stands for, one that is the sum of its pieces'."""
        return not isinstance(cone, DoublyNonnegativeConeData) or isinstance(
            source_cone(cone), CompletelyPositiveConeData
        )

    def replace(self, component: Any, cones: list[ConeData], config: Any) -> Created:
        """Add the block of the pieces: cones, and what links them to the matrices."""
        if config.level is None:  # Pyomo lets that pass without asking the domain
            raise InputError("relu.partition: level must be 0 or more; got None.")
        wanted = [self.applies_to(cone) for cone in cones]
        if config.on_demand and any(wanted):
            wanted = lacks_factors(cones)
        covers = [
            _cover(cone, config) if w else None
            for cone, w in zip(cones, wanted, strict=True)
        ]
        parts = [
            (cone, cover)
            for cone, cover in zip(cones, covers, strict=True)
            if cover is not None
        ]
        if not parts:
            return Created(None, [None for _ in cones])
        block = add_beside(component, "partition", Block(concrete=True))
        links: tuple[Any, ...] = ()
        if isinstance(component, CopositiveCone):
            split = write_congruent(block, parts, CopositiveCone)
        else:
            is_relaxed = isinstance(component, DoublyNonnegativeCone)
            kind = DoublyNonnegativeCone if is_relaxed else CompletelyPositiveCone
            split = write_linked(block, parts, kind)
            links = (block.linking,)
        leaves = iter(split)
        return Created(
            block, [None if cover is None else next(leaves) for cover in covers], links
        )

    def _targeted(self, target: Any) -> list[ConeData]:
        cones = super()._targeted(target)
        for cone in cones:
            if isinstance(target, (Cone, ConeData)) and not self.applies_to(cone):
                raise InputError(
                    f"{cone.name!r} was written as a doubly nonnegative cone, and its "
                    "matrix need not be a sum of doubly nonnegative pieces. "
                    "relu.partition splits completely positive and copositive cones, "
                    "and doubly nonnegative ones that relu.dnn has put in place of "
                    "completely positive ones; leave the cone out of targets."
                )
        return cones


def _cover(cone: ConeData, config: Any) -> list[Array] | None:
    """Return the pieces of a cone, None where the cone itself is the only one."""
    cover = pieces(cone, config.level)
    if len(cover) > 1:
        return cover
    if config.on_demand:
        return pieces(cone, 1)
    # One piece that needs all rays is the cone itself.
    is_itself = cover[0].shape[0] == cover[0].shape[1]
    return None if is_itself else cover


def pieces(cone: ConeData, level: int = 0) -> list[Array]:
    """Return the matrices P_T of a simplicial cover of a cone.

    Parameters
    ----------
    cone : cone data
        A completely positive or copositive cone, with or without rays, or one in place
        of a completely positive one.
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
