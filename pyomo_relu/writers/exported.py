"""What a writer makes: the bytes of a file, and what its names mean."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["ConeEntry", "Entry", "Exported"]


@dataclass(frozen=True)
class Entry:
    """A column or a row of a file.

    Attributes
    ----------
    name : str
        Its name in the file; empty where the format has numbers only.
    component : Any
        The Pyomo component data: a variable, a constraint, an objective or a cone;
        None for what a writer added.
    role : str
        What it is of the component: ``variable``, ``constraint``, ``upper side``,
        ``lower side``, ``upper bound``, ``lower bound``, ``cone``, ``entry (i, j)``,
        or, without a component, what it is for: ``epigraph of the objective``.
    """

    name: str
    component: Any
    role: str


@dataclass(frozen=True)
class ConeEntry:
    """A cone of a file.

    Attributes
    ----------
    component : Any
        The cone or the quadratic constraint; None for what a writer added.
    kind : str
        Name of the cone in the file's format.
    order : int
        Order of the matrix, or length of the vector.
    block : int
        Its number in the file, as the format counts.
    rows : tuple of int
        First row and one after the last in the list of rows, where it has rows.
    """

    component: Any
    kind: str
    order: int
    block: int
    rows: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Exported:
    """A file, before it is written.

    Attributes
    ----------
    data : bytes
        The file.
    columns, rows : list of Entry
        In the order of the file.
    cones : list of ConeEntry
    sense : {"minimize", "maximize"}
        What the file does with its objective.
    objective_sign : int
        -1 where the file's objective is minus that of the model.
    objective_constant : float
        What is to be added to the objective of the file, then multiplied by the sign,
        to have that of the model.
    beside : dict of str to bytes
        Files that go beside it, by suffix: ``.row``, ``.col``.
    """

    data: bytes
    columns: list[Entry]
    rows: list[Entry]
    cones: list[ConeEntry] = field(default_factory=list)
    sense: str = "minimize"
    objective_sign: int = 1
    objective_constant: float = 0.0
    beside: dict[str, bytes] = field(default_factory=dict)
