"""Solutions that other programs wrote to files: what the readers have in common.

A reader takes the text of one format apart and knows nothing of a model: names or
positions in, numbers out. What it gives is whole and finite, or it raises; whether the
file belongs to a model is for the caller to find out.

======  =================  ===================================================
format  a column is known  nothing is cut off: what shows it
        by
======  =================  ===================================================
ampl    position           counts in the head, ``objno`` after the values,
                           counts of each suffix
highs   name and position  counts, the basis at the end; of the style that
                           omits zeros the count of columns alone
glpk    position           counts, ``e o f`` at the end
scip    name               nothing: compare the objective
cbc     name and position  nothing: compare the objective
csv     name               nothing: ask for every column
======  =================  ===================================================

All of them must end with a newline, so that a file that was cut within its last line
is refused.
"""

from __future__ import annotations

import math
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NoReturn, TypeAlias

import numpy as np

from pyomo_relu.errors import InputError
from pyomo_relu.files import path_text

__all__ = [
    "FORMATS",
    "Lines",
    "SolutionFile",
    "Source",
    "Values",
    "is_number",
    "read_bytes",
]

#: Formats that the readers know, and what writes them.
FORMATS = {
    "ampl": "AMPL solution, as text (.sol of Ipopt, SCIP and all that read .nl)",
    "highs": "HiGHS solution, raw style (highs --solution_file)",
    "scip": "SCIP solution (write solution)",
    "cbc": "CBC solution (cbc ... solve solution FILE)",
    "glpk": "GLPK solution, raw (glpsol --write)",
    "csv": "name,value on each line; or name and value with a space between",
}

#: Bytes of the largest file that is read.
LARGEST = 10**9

_NUMBER_CHARACTERS = re.compile(r"[0-9+\-.eE\n]*")
_WHOLE = re.compile(r"0|[1-9][0-9]{0,9}")
_MARK = "\0"
# A tab is the only control character, besides line ends, that belongs into a text.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True, eq=False)
class Values:
    """Numbers of columns or of rows.

    Attributes
    ----------
    numbers : (k,) ndarray
        All finite.
    names : tuple of str or None
        Name of each, no two alike; None where the file has no names.
    positions : (k,) ndarray of int or None
        Position of each from 0, no two alike; None where the file has none.

    Examples
    --------
    >>> values = Values(np.array([2.0, 3.0]), ("x", "y"), np.array([1, 4]))
    >>> values.by_name
    {'x': 2.0, 'y': 3.0}
    >>> values.dense(5)
    array([0., 2., 0., 0., 3.])
    """

    numbers: np.ndarray
    names: tuple[str, ...] | None = None
    positions: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.numbers)

    @cached_property
    def by_name(self) -> dict[str, float]:
        """Numbers by name.

        Raises
        ------
        InputError
            If the file has no names.
        """
        if self.names is None:
            raise InputError(
                "the solution file has positions and no names; use positions or dense()"
            )
        return dict(zip(self.names, self.numbers.tolist(), strict=True))

    def dense(self, size: int) -> np.ndarray:
        """Numbers by position, zero where the file has none.

        Parameters
        ----------
        size : int
            How many columns or rows there are.

        Returns
        -------
        (size,) ndarray

        Raises
        ------
        InputError
            If the file has no positions, or one beyond `size`.
        """
        if self.positions is None:
            raise InputError(
                "the solution file has names and no positions; use by_name"
            )
        if len(self.positions) and self.positions.max() >= size:
            raise InputError(
                f"the solution file has a value at position {self.positions.max()}, "
                f"counted from 0; {size} are allowed: it belongs to another model"
            )
        dense = np.zeros(size)
        dense[self.positions] = self.numbers
        return dense


@dataclass(frozen=True, eq=False)
class SolutionFile:
    """What a solution file says.

    Signs, senses and units are those of the program that wrote it.

    Attributes
    ----------
    format : str
        A key of `FORMATS`.
    status : str
        The program's own words; empty where the file has none.
    is_optimal : bool
        Whether the file says that its point is optimal: not after a limit, and not
        where the format has no status.
    objective : float or None
        As printed; None where it is not.
    columns : Values or None
        Values of the variables; None where there is no point or the file itself calls
        it infeasible, unbounded or failed.
    rows : Values or None
        Activities of the rows.
    row_duals, reduced_costs : Values or None
    zeros_omitted : bool
        Whether a column that is not there is zero; otherwise the file has all of them.
    n_columns, n_rows : int or None
        As the file states them.
    """

    format: str
    status: str
    is_optimal: bool = False
    objective: float | None = None
    columns: Values | None = None
    rows: Values | None = None
    row_duals: Values | None = None
    reduced_costs: Values | None = None
    zeros_omitted: bool = False
    n_columns: int | None = None
    n_rows: int | None = None

    @property
    def has_point(self) -> bool:
        """Whether there is a point to load."""
        return self.columns is not None


class Lines:
    """The lines of a solution file, taken from top to bottom.

    Parameters
    ----------
    source : path, bytes or Lines
        A file, its content, or lines, which are taken from their top again.
    name : str, optional
        What error messages call it.

    Raises
    ------
    InputError
        If it cannot be read, is empty, is no UTF-8 text, or does not end with a
        newline.
    """

    def __init__(self, source: Source, name: str | None = None) -> None:
        self.at = 0
        self.name: str
        self.lines: list[str]
        if isinstance(source, Lines):
            self.name, self.lines = name or source.name, source.lines
        elif isinstance(source, bytes):
            self.name = name or "<bytes>"
            self.lines = self._split(source)
        else:
            self.name = name or path_text(source)
            self.lines = self._split(read_bytes(source))

    def _split(self, data: bytes) -> list[str]:
        if data[4:10] == b"binary":
            raise InputError(
                f"{self.name!r} is a binary AMPL solution file; the text form is "
                "allowed. Let the solver write that (without its option -b or "
                "'binary')."
            )
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(
                f"{self.name!r} is no solution file: byte {error.start} is no UTF-8 "
                "text. Give the text file that the solver wrote."
            ) from error
        text = text.replace("\r\n", "\n")
        control = _CONTROL.search(text)
        if control:
            line = text.count("\n", 0, control.start()) + 1
            raise InputError(
                f"{self.name!r}, line {line}: the control character "
                f"{control.group()!r} is not allowed in a solution file. It is damaged "
                "or no text file."
            )
        if not text.strip():
            raise InputError(
                f"{self.name!r} is empty. Give the file that the solver wrote."
            )
        lines = text.split("\n")
        if lines.pop():
            raise InputError(
                f"{self.name!r}, line {len(lines) + 1}: the file ends without a "
                "newline, as one does that was cut off. If it is whole, end its last "
                "line."
            )
        return lines

    def fail(self, allowed: str, at: int | None = None) -> NoReturn:
        """Raise an InputError about a line, by default the one to be taken next."""
        at = self.at if at is None else at
        if at >= len(self.lines):
            raise InputError(
                f"{self.name!r} ends at line {len(self.lines)}, where there must be "
                f"more: {allowed}. The file was cut off or altered."
            )
        found = self.lines[at]
        found = found if len(found) <= 60 else found[:57] + "..."
        raise InputError(f"{self.name!r}, line {at + 1}: found {found!r}; {allowed}.")

    def take(self, pattern: re.Pattern[str], allowed: str) -> re.Match[str]:
        """Take the next line, which must match `pattern` as a whole."""
        match = (
            pattern.fullmatch(self.lines[self.at].rstrip(" \t"))
            if self.at < len(self.lines)
            else None
        )
        if match is None:
            self.fail(allowed)
        self.at += 1
        return match

    def take_count(self, what: str, most: int | None = None) -> int:
        """Take a line that is a whole number, at most the number of lines."""
        text = self.take(_WHOLE, f"allowed is {what}, a whole number").group()
        count = int(text)
        if count > (len(self.lines) if most is None else most):
            self.at -= 1
            self.fail(f"allowed is {what}: the file has not so many lines")
        return count

    def take_fields(self, count: int, width: int, what: str) -> list[list[str]]:
        """Take `count` lines of `width` fields; return `width` lists of `count`."""
        if count > len(self.lines) - self.at:
            self.fail(f"{count} lines of {what}", len(self.lines))
        first, self.at = self.at, self.at + count
        return self.fields(self.lines[first : self.at], first, width, what)

    def fields(
        self, texts: Sequence[str], at: int, width: int, what: str
    ) -> list[list[str]]:
        """Split texts, those of the lines from `at`, into `width` fields each."""
        if not texts:
            return [[] for _ in range(width)]
        # All at once, with a mark between lines that cannot be in one: a list for each
        # line takes three times as long.
        words = f" {_MARK} ".join(texts).split()
        marks = words[width :: width + 1]
        whole = len(words) == (width + 1) * len(texts) - 1
        if not whole or marks.count(_MARK) != len(marks):
            for number, text in enumerate(texts):
                if len(text.split()) != width:
                    self.fail(f"allowed is {what}", at + number)
        return [words[field :: width + 1] for field in range(width)]

    def numbers(self, words: Sequence[str], at: int, what: str) -> np.ndarray:
        """Return finite numbers, one a line from line `at`, counted from 0.

        Digits, a point and an exponent only: no ``nan``, ``inf``, ``1_000``, ``0x1F``.
        """
        if _NUMBER_CHARACTERS.fullmatch("\n".join(words)):
            try:
                numbers = np.array([float(word) for word in words])
            except ValueError:
                pass
            else:
                if np.isfinite(numbers).all():
                    # No negative zeros.
                    return numbers + 0.0
        for number, word in enumerate(words):
            if not is_number(word):
                self.fail(f"{word[:60]!r} is not {what}, a finite number", at + number)
        raise AssertionError

    def number(self, word: str, what: str) -> float:
        """Return one finite number of the line taken last."""
        return float(self.numbers([word], self.at - 1, what)[0])

    def names(self, words: Sequence[str], at: int) -> tuple[str, ...]:
        """Return names, one a line from line `at`, no two of them alike."""
        if len(set(words)) < len(words):
            seen: set[str] = set()
            for number, word in enumerate(words):
                if word in seen:
                    self.fail(f"each name is allowed once: {word[:60]!r}", at + number)
                seen.add(word)
        return tuple(words)

    def skip_blank(self) -> None:
        """Go to the next line that is not blank."""
        while self.at < len(self.lines) and not self.lines[self.at].strip():
            self.at += 1

    def skip_comments(self) -> None:
        """Go to the next line that is neither blank nor starts with ``#``."""
        self.skip_blank()
        while self.at < len(self.lines) and self.lines[self.at].startswith("#"):
            self.at += 1
            self.skip_blank()

    def end(self) -> None:
        """Only blank lines may follow."""
        self.skip_blank()
        if self.at < len(self.lines):
            self.fail("nothing is allowed here: the solution ended before")


def is_number(word: str) -> bool:
    """Whether a word is a finite number, as `Lines.numbers` takes them."""
    try:
        return bool(_NUMBER_CHARACTERS.fullmatch(word)) and math.isfinite(float(word))
    except ValueError:
        return False


#: What a reader takes: a path, the content of a file, or lines.
Source: TypeAlias = "str | os.PathLike[str] | bytes | Lines"


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Read a file at once.

    Parameters
    ----------
    path : path
        A regular file of at most `LARGEST` bytes.

    Returns
    -------
    bytes

    Raises
    ------
    InputError
        If it is not there, is no regular file, is too large, or cannot be read.
    InputTypeError
        If `path` is not a path.
    """
    name = path_text(path)
    try:
        # Before it is opened: a pipe would wait for its writer.
        mode = os.stat(name).st_mode
        if stat.S_ISDIR(mode):
            raise InputError(f"cannot read {name!r}: it is a folder, not a file.")
        if not stat.S_ISREG(mode):
            raise InputError(f"cannot read {name!r}: it is not a regular file.")
        with open(name, "rb") as stream:
            data = stream.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read {name!r}: {reason}.") from error
    if len(data) > LARGEST:
        raise InputError(
            f"cannot read {name!r}: it has more than {LARGEST:,} bytes, which no "
            "solution file of a model that was built here has."
        )
    return data
