r"""The SDPA sparse format: semidefinite programs as text, and solutions read back.

M. Yamashita, K. Fujisawa, M. Fukuda, K. Nakata and M. Nakata, "Algorithm 925: Parallel
solver for semidefinite programming problem having sparse Schur complement matrix", ACM
Trans. Math. Softw. 39, 2012; B. Borchers, "SDPLIB 1.2, a library of semidefinite
programming test problems", Optim. Methods Softw. 11, 1999.

.. math::

    (P)\; \min c^T x,\ S = \sum_i x_i F_i - F_0 \succeq 0 \qquad\qquad
    (D)\; \max F_0 \bullet Y,\ F_i \bullet Y = c_i,\ Y \succeq 0
"""

# Conventions.
#
# The file: free text lines that start with * or ", the number of variables m, the
# number of blocks, their orders (negative for a diagonal block), c, and one line
# "matrix block row column value" for each entry of an upper triangle; matrix 0 is F_0,
# all numbers count from 1, and an off-diagonal entry stands for both of its places.
#
# In here a block matrix is one vector: block after block, the upper triangle column by
# column with the entries as they are (the order of ConicForm), of a diagonal block its
# diagonal. Off-diagonal places count twice in an inner product.
#
# A conic program "A x + s = b, s in K" is F_i = -T A_i, F_0 = -T b, where T maps a
# slack to the matrices that are semidefinite where it is in K, and z = W^-1 T' V Y (W
# and V the weights of both inner products) is its multiplier. T writes
#   an equality s = 0            as diagonal entries s and -s,
#   a nonnegative row            as a diagonal entry,
#   |s_1| <= s_0                 as diagonal entries s_0 + s_1 and s_0 - s_1,
#   |(s_1, s_2)| <= s_0          as [[s_0 + s_1, s_2], [s_2, s_0 - s_1]],
#   a longer second-order cone   as an arrow: s_0 on the diagonal, the rest above it in
#                                the last column,
#   a semidefinite block         as it is.
#
# Who calls what how: S and Y here are xMat and yMat of SDPA, Z (matrix 1) and X (matrix
# 2) of CSDP, for which (D) is the primal problem: its "primal infeasible" is a
# direction x of unbounded descent of (P), its "dual infeasible" a proof Y that (P) has
# no point.

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cached_property
from typing import BinaryIO

import numpy as np
import scipy.sparse as sp

from pyomo_relu.errors import InputError
from pyomo_relu.files import write_atomically
from pyomo_relu.solvers.cone_program import ConeProgram
from pyomo_relu.solvers.conic_form import triangle

__all__ = [
    "Embedding",
    "SDPAOutput",
    "SDPAProblem",
    "SDPASolution",
    "embed",
    "encode",
    "read_csdp_solution",
    "read_sdpa_output",
    "write",
]


@dataclass(frozen=True)
class SDPAProblem:
    """A semidefinite program in the SDPA sparse format.

    Attributes
    ----------
    c : (m,) ndarray
        Costs.
    F : (size, m) csc_array
        The matrices F_1, ..., F_m, one a column.
    F0 : (size,) ndarray
        The matrix F_0.
    blocks : (count,) ndarray of int
        Orders of the blocks, negative for diagonal ones.
    """

    c: np.ndarray
    F: sp.csc_array
    F0: np.ndarray
    blocks: np.ndarray

    @cached_property
    def starts(self) -> np.ndarray:
        """Where each block starts, and the size of all of them."""
        orders = self.blocks
        sizes = np.where(orders < 0, -orders, orders * (orders + 1) // 2)
        return np.concatenate([[0], np.cumsum(sizes)])

    @cached_property
    def places(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Block, row and column of every entry, counted from 1."""
        rows, columns = [], []
        for order in self.blocks.tolist():
            i, j = (np.arange(-order),) * 2 if order < 0 else triangle(order)
            rows.append(i)
            columns.append(j)
        none = np.zeros(0, dtype=np.int64)
        block = np.repeat(np.arange(len(self.blocks)), np.diff(self.starts))
        return (
            block + 1,
            np.concatenate([none, *rows]) + 1,
            np.concatenate([none, *columns]) + 1,
        )

    @cached_property
    def weight(self) -> np.ndarray:
        """Weight of every entry in an inner product: 2 off the diagonal."""
        _, row, column = self.places
        return np.where(row == column, 1.0, 2.0)


@dataclass(frozen=True)
class SDPASolution:
    """A point of both problems, or what a solver left of one.

    Attributes
    ----------
    x : (m,) ndarray
        Variables of (P).
    S, Y : (size,) ndarray
        Matrix of (P), and of (D).
    """

    x: np.ndarray
    S: np.ndarray
    Y: np.ndarray

    def errors(self, problem: SDPAProblem) -> tuple[float, float, float]:
        """Relative errors: of (D), of (P), and the gap ``S . Y``.

        They are those of the stopping test of CSDP, measured on the matrices as they
        were printed, whose semidefiniteness it takes for granted.
        """
        weight = problem.weight
        costs = problem.F.T @ (weight * self.Y)
        matrix = problem.F @ self.x - problem.F0
        values = problem.c @ self.x, problem.F0 @ (weight * self.Y)
        return (
            _norm(costs - problem.c) / (1.0 + _norm(problem.c)),
            _norm(matrix - self.S, weight) / (1.0 + _norm(problem.F0, weight)),
            abs(float(self.S @ (weight * self.Y))) / (1.0 + np.abs(values).sum()),
        )


def _norm(vector: np.ndarray, weight: np.ndarray | float = 1.0) -> float:
    return float(np.sqrt((weight * vector**2).sum()))


@dataclass(frozen=True)
class SDPAOutput:
    """What SDPA prints.

    Attributes
    ----------
    phase : str
        Its verdict, for instance ``pdOPT``; empty where it printed none.
    iterations : int
    solution : SDPASolution or None
        None where it printed no matrices.
    """

    phase: str
    iterations: int
    solution: SDPASolution | None


@dataclass(frozen=True)
class Embedding:
    """A conic program as an SDPA problem.

    Attributes
    ----------
    problem : SDPAProblem
        With the variables of the program.
    T : (size, rows) csr_array
        From a slack to its matrices.
    weight : (rows,) ndarray
        Weights of the rows in an inner product.
    """

    problem: SDPAProblem
    T: sp.csr_array
    weight: np.ndarray

    def multipliers(self, Y: np.ndarray) -> np.ndarray:
        """Multipliers z (rows,) of the program from the matrix Y (size,)."""
        return (self.T.T @ (self.problem.weight * Y)) / self.weight


def embed(program: ConeProgram) -> Embedding:
    """Write a conic program with linear matrix inequalities.

    Parameters
    ----------
    program : ConeProgram
        With equalities, each becomes two inequalities, and has no point inside.

    Returns
    -------
    Embedding

    Examples
    --------
    >>> none = np.zeros(0, dtype=np.int64)
    >>> A = sp.csr_array(-np.eye(3))
    >>> program = ConeProgram(np.ones(3), A, np.zeros(3), 0, 0, np.array([3]), none)
    >>> problem = embed(program).problem
    >>> problem.blocks.tolist(), problem.F.toarray().tolist()
    ([2], [[1.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, -1.0, 0.0]])
    """
    p, linear = program.n_zero, program.n_linear
    orders = program.soc_orders
    starts = linear + np.cumsum(orders) - orders
    pairs = starts[orders == 2]
    # What the diagonal block holds: rows of s, and with which sign.
    plus = np.concatenate([np.arange(linear), starts[orders <= 2]])
    minus_places = len(plus) + np.arange(p + len(pairs))
    minus = np.concatenate([np.arange(p), pairs + 1])
    pair_places = np.flatnonzero(np.isin(plus, pairs))
    places = [np.arange(len(plus)), pair_places, minus_places]
    rows = [plus, pairs + 1, minus]
    signs = [np.ones(len(plus) + len(pairs)), -np.ones(len(minus))]
    places.append(minus_places[p:])
    rows.append(pairs)
    signs.append(np.ones(len(pairs)))
    diagonal = len(plus) + len(minus)

    longer = orders > 2
    block_orders = np.concatenate(
        [np.where(orders[longer] == 3, 2, orders[longer]), program.psd_orders]
    ).astype(np.int64)
    sizes = block_orders * (block_orders + 1) // 2
    first = diagonal + np.cumsum(sizes) - sizes
    for order in np.unique(orders[longer]).tolist():
        here = orders[longer] == order
        pattern, coordinate, sign = _arrow(order)
        at = first[: len(here)][here][:, None]
        places.append((at + pattern).ravel())
        rows.append((starts[longer][here][:, None] + coordinate).ravel())
        signs.append(np.tile(sign, int(here.sum())))
    in_blocks = np.arange(linear + int(orders.sum()), len(program.b))
    size = diagonal + int(sizes.sum())
    places.append(np.arange(size - len(in_blocks), size))
    rows.append(in_blocks)
    signs.append(np.ones(len(in_blocks)))
    T = sp.csr_array(
        (np.concatenate(signs), (np.concatenate(places), np.concatenate(rows))),
        shape=(size, len(program.b)),
    )
    F = sp.csc_array(-(T @ program.A))
    F.eliminate_zeros()
    F.sort_indices()
    head = np.full(1 if diagonal else 0, -diagonal, dtype=np.int64)
    problem = SDPAProblem(
        c=program.c,
        F=F,
        F0=-(T @ program.b),
        blocks=np.concatenate([head, block_orders]),
    )
    return Embedding(problem, T, program.weight)


def _arrow(order: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places in a triangle, the coordinates of s that they get, and their signs."""
    if order == 3:
        signs = np.array([1.0, 1.0, 1.0, 1.0, -1.0])
        return np.array([0, 2, 0, 1, 2]), np.array([0, 0, 1, 2, 1]), signs
    k = np.arange(order)
    places = np.concatenate([k * (k + 3) // 2, order * (order - 1) // 2 + k[:-1]])
    return places, np.concatenate([0 * k, k[1:]]), np.ones(len(places))


def encode(problem: SDPAProblem, comment: str = "") -> bytes:
    """Return a problem as an SDPA sparse file.

    Parameters
    ----------
    problem : SDPAProblem
        With finite entries.
    comment : str
        Free text for the head of the file.

    Returns
    -------
    bytes
    """
    F = sp.csc_array(problem.F)
    first = np.flatnonzero(problem.F0)
    place = np.concatenate([first, F.indices])
    matrix = np.repeat(np.arange(len(problem.c) + 1), [len(first), *np.diff(F.indptr)])
    table = np.empty((len(place), 5), dtype=object)
    table[:, 0] = matrix
    for column, numbers in enumerate(problem.places, start=1):
        table[:, column] = numbers[place]
    table[:, 4] = np.concatenate([problem.F0[first], F.data])
    lines = [
        *("*" + line for line in comment.splitlines()),
        str(len(problem.c)),
        str(len(problem.blocks)),
        " ".join(map(str, problem.blocks.tolist())),
        " ".join(f"{cost:.17g}" for cost in problem.c.tolist()),
    ]
    # One formatting for all entries: an order of magnitude faster than one for each.
    lines.append(("%d %d %d %d %.17g\n" * len(place)) % tuple(table.ravel().tolist()))
    return "\n".join(lines).encode()


def write(
    problem: SDPAProblem, path: str | os.PathLike[str], comment: str = ""
) -> None:
    """Write a problem as an SDPA sparse file.

    Parameters
    ----------
    problem : SDPAProblem
        With finite entries.
    path : path
        Where; by convention it ends in ``.dat-s``.
    comment : str
        Free text for the head of the file.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    data = encode(problem, comment)

    def put(stream: BinaryIO) -> None:
        stream.write(data)

    write_atomically(path, put)


def read_csdp_solution(
    path: str | os.PathLike[str], problem: SDPAProblem
) -> SDPASolution:
    """Read a solution that CSDP wrote.

    Its first line has x; then come the entries of S, as matrix 1, and of Y, as 2, each
    on its line. The last one is the last diagonal entry of Y, which is positive: that
    shows that the file is whole.

    Parameters
    ----------
    path : path
        The file.
    problem : SDPAProblem
        The problem that was solved: its blocks are used.

    Returns
    -------
    SDPASolution

    Raises
    ------
    InputError
        If the file is no solution of the problem, was cut off, has a place twice, or
        a number that is not finite.
    """
    with open(path, encoding="utf-8", errors="replace") as stream:
        head, text = stream.readline(), stream.read()
    try:
        x = _finite(head)
        table = _finite(text).reshape(-1, 5)
        if not text.endswith("\n") or text.count("\n") != len(table):
            raise ValueError("an entry on each line, and whole lines, are allowed")
        if (table[:, :4] != np.clip(np.rint(table[:, :4]), 0, 2**31)).any():
            raise ValueError("the place of an entry must be whole numbers")
    except ValueError as error:
        raise InputError(f"{os.fspath(path)!r} is no CSDP solution: {error}") from error
    matrix, block, row, column = table[:, :4].astype(np.int64).T
    if len(x) != len(problem.c) or not _fits(problem, matrix, block, row, column):
        raise InputError(
            f"{os.fspath(path)!r} is a solution of another problem: this one has "
            f"{len(problem.c)} variables and {len(problem.blocks)} blocks"
        )
    is_diagonal = problem.blocks[block - 1] < 0
    place = problem.starts[block - 1] + np.where(
        is_diagonal, row - 1, column * (column - 1) // 2 + row - 1
    )
    size = int(problem.starts[-1])
    at = matrix * size + place
    if len(np.unique(at)) < len(at):
        raise InputError(f"{os.fspath(path)!r} is damaged: it has a place twice")
    if len(at) == 0 or at[-1] != 3 * size - 1:
        raise InputError(
            f"{os.fspath(path)!r} was cut off or altered: its last line must be the "
            "last diagonal entry of matrix 2"
        )
    S, Y = np.zeros((2, size))
    S[place[matrix == 1]] = table[matrix == 1, 4]
    Y[place[matrix == 2]] = table[matrix == 2, 4]
    return SDPASolution(x, S, Y)


def _finite(text: str) -> np.ndarray:
    """Return the numbers of a text: no nan, inf or 1_000, which Python takes."""
    if not re.fullmatch(r"[0-9+\-.eE\s]*", text, re.ASCII):
        raise ValueError("something in it is not a finite number")
    numbers = np.array(text.split(), dtype=float)
    if not np.isfinite(numbers).all():
        raise ValueError("a number in it is too large")
    return numbers


def _fits(
    problem: SDPAProblem,
    matrix: np.ndarray,
    block: np.ndarray,
    row: np.ndarray,
    column: np.ndarray,
) -> bool:
    """Whether entries are places of upper triangles of the problem's blocks."""
    if not np.isin(matrix, (1, 2)).all():
        return False
    if ((block < 1) | (block > len(problem.blocks))).any():
        return False
    order = problem.blocks[block - 1]
    inside = (row >= 1) & (row <= column) & (column <= np.abs(order))
    return bool((inside & ((order > 0) | (row == column))).all())


def read_sdpa_output(path: str | os.PathLike[str], problem: SDPAProblem) -> SDPAOutput:
    """Read the output file of SDPA.

    It prints four digits unless the formats of its parameter file ask for more.

    Parameters
    ----------
    path : path
        The file.
    problem : SDPAProblem
        The problem that was solved: its blocks are used.

    Returns
    -------
    SDPAOutput

    Raises
    ------
    InputError
        If the file holds vectors that do not fit the problem, numbers that are not
        finite, or the same twice.
    """
    with open(path, encoding="utf-8", errors="replace") as stream:
        text = stream.read()
    phases = re.findall(r"^phase\.value[ \t]*=[ \t]*(\w+)", text, re.MULTILINE)
    iterations = re.search(
        r"^[ \t]*Iteration[ \t]*=[ \t]*([0-9]{1,9})\b", text, re.MULTILINE
    )
    pieces = re.split(
        r"^[ \t]*(?:(xVec|xMat|yMat) =[ \t]*$|(main loop) time =)", text, flags=re.M
    )
    # One piece in three is text: before it, both groups of the title above it.
    names = [pieces[k] or pieces[k + 1] for k in range(1, len(pieces), 3)]
    if len(set(names)) < len(names) or len(phases) > 1:
        raise InputError(f"{os.fspath(path)!r} is damaged: it has a part twice")
    parts = {}
    # Without its end the last part may have been cut off.
    if names == ["xVec", "xMat", "yMat", "main loop"]:
        for name, part in zip(names[:3], pieces[3::3], strict=False):
            try:
                parts[name] = _finite(re.sub(r"[{},]", " ", part))
            except ValueError as error:
                raise InputError(
                    f"{os.fspath(path)!r} is no output of SDPA: {error}"
                ) from error
    solution = None
    if parts:
        orders = problem.blocks
        printed = int(np.where(orders < 0, -orders, orders**2).sum())
        sizes = [len(parts[name]) for name in ("xVec", "xMat", "yMat")]
        if sizes != [len(problem.c), printed, printed]:
            raise InputError(
                f"{os.fspath(path)!r} is the output for another problem: it has "
                f"{sizes[0]} variables and matrices of {sizes[1]} and {sizes[2]} "
                f"entries, where this one has {len(problem.c)} and {printed}"
            )
        place = _printed_places(problem)
        solution = SDPASolution(
            parts["xVec"], parts["xMat"][place], parts["yMat"][place]
        )
    return SDPAOutput(
        phases[0] if phases else "",
        int(iterations.group(1)) if iterations else 0,
        solution,
    )


def _printed_places(problem: SDPAProblem) -> np.ndarray:
    """Where the entries are in whole matrices, printed row by row."""
    orders = problem.blocks
    sizes = np.where(orders < 0, -orders, orders**2)
    block, row, column = problem.places
    start = (np.cumsum(sizes) - sizes)[block - 1]
    order = orders[block - 1]
    return start + row - 1 + np.where(order < 0, 0, (column - 1) * order)
