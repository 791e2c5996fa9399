"""One door to the solutions that other programs found for an exported model."""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from pyomo.common.errors import PyomoException
from pyomo.contrib.solver.common.results import Results
from pyomo.contrib.solver.common.solution_loader import SolutionLoader
from pyomo.core.base import Suffix

from pyomo_relu.errors import (
    InputError,
    InputTypeError,
    PyomoReluError,
    UnsupportedConeError,
)
from pyomo_relu.files import path_text
from pyomo_relu.solution_files.detect import CONIC_FORMATS, detect, read_solution_file
from pyomo_relu.solution_files.solution_file import FORMATS as _NAMED_FORMATS
from pyomo_relu.solution_files.solution_file import Lines, SolutionFile, Values
from pyomo_relu.solvers.checks import SolutionCheck, check_solution
from pyomo_relu.solvers.content import VECTOR_KINDS, ModelContent, model_content
from pyomo_relu.solvers.errors import UnsupportedModelError
from pyomo_relu.solvers.point_loader import PointLoader
from pyomo_relu.solvers.sdpa_format import read_csdp_solution, read_sdpa_output
from pyomo_relu.solvers.solution import ConicSolutionLoader
from pyomo_relu.solvers.standard_form import check_model
from pyomo_relu.writers.dat_s import embed_form, read_back
from pyomo_relu.writers.exported import Entry, Exported
from pyomo_relu.writers.exporting import make_file
from pyomo_relu.writers.formats import FORMATS
from pyomo_relu.writers.labels import Labels
from pyomo_relu.writers.name_map import (
    NameMap,
    name_map_of,
    read_name_map,
)
from pyomo_relu.writers.rows import RowProgram, compile_rows

__all__ = ["ReadSolution", "read_solution"]

#: Printed numbers may differ from what they were printed of by this, relatively: some
#: programs print six digits.
_PRINTED = 1e-4
#: Multipliers are those of the model if the Lagrangian's gradient is below this,
#: relative to the largest of them.
_DUAL_TOLERANCE = 1e-4
#: Columns that a program adds to what it reads: SCIP, for curved objectives and for
#: their constants.
_ADDED = {
    "scip": frozenset({"quadobjvar", "qmatrixvar", "nlobjvar", "objconstant"}),
}
#: Why a point may violate the constraints.
_REASON = "It is of another model, or its solver stopped early."
_REASONS = {
    "sdpa": "SDPA prints four digits, unless its parameter file asks for more: the "
    "head of the exported file says how. Otherwise it is of another model."
}
#: What SDPA calls a point that proves something, and is none to load.
_NO_POINT = ("pINF", "dINF", "pdINF", "pUNBD", "dUNBD", "noINFO")
_SIDES = ("__lower", "__upper")


@dataclass(frozen=True)
class ReadSolution:
    """What :func:`read_solution` read, and what was measured on it.

    Attributes
    ----------
    format : str
        Format of the file.
    status : str
        The program's own words; empty where the file has none.
    is_optimal : bool
        Whether the file calls its point optimal: a claim, not a proof.
    objective : float or None
        Objective of the model at the point, evaluated here; None without one.
    violation : float
        Largest violation of a constraint, bound or cone, relative to 1 + its side.
    worst : str or None
        What is violated most; None where nothing is.
    has_duals : bool
        Whether the file has multipliers that fit the model.
    dual_note : str
        Why there are none.
    """

    format: str
    status: str
    is_optimal: bool
    objective: float | None
    violation: float
    worst: str | None
    has_duals: bool
    dual_note: str = ""

    def __str__(self) -> str:
        objective = "none" if self.objective is None else f"{self.objective:.10g}"
        duals = "with duals" if self.has_duals else f"no duals: {self.dual_note}"
        return (
            f"{self.format} solution ({self.status or 'no status'}): objective "
            f"{objective}, violation {self.violation:.1e}, {duals}"
        )


def read_solution(
    model: Any,
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    names: str | os.PathLike[str] | None = None,
    tolerance: float | None = None,
) -> ReadSolution:
    r"""Load the solution that another program found for an exported model.

    Files of AMPL solvers (``.sol``), HiGHS, SCIP, CBC, GLPK (``glpsol --write``), CSDP
    and SDPA are read, and CSV of ``name,value`` with the names of
    the exported file; what it is decides its content. Values go into the variables, and
    multipliers, where the file has them, into the model's Suffix ``dual``, as after a
    solve, so that :func:`pyomo_relu.recover_network` works.

    Nothing is loaded unless everything fits: the names or counts, the objective and the
    rows as the file prints them, and the model's constraints.

    Parameters
    ----------
    model : Block
        The model as it was exported.
    path : path
        The solution.
    format : str, optional
        ``"ampl"``, ``"highs"``, ``"scip"``, ``"cbc"``, ``"glpk"``, ``"csdp"``,
        ``"sdpa"`` or ``"csv"``. Default: found by content.
    names : path, optional
        The name map that was written beside the model: the model is then checked to
        have the columns, rows and cones of the exported one.
    tolerance : float, optional
        Largest violation of a constraint, bound or cone, relative to 1 + its side, of
        a point that is loaded: 1e-4, and 1e-2 where cones of vectors were rows of the
        file, which a solver satisfies squared.

    Returns
    -------
    ReadSolution
        What was measured; print it.

    Raises
    ------
    InputError
        The file cannot be read, is damaged or truncated, has no point, or does not
        match the model; the point violates the constraints. The model is as it was.
    UnsupportedModelError
        The model has no such files.
    InputTypeError
        Arguments of a wrong type.

    Examples
    --------
    >>> import os, tempfile
    >>> import pyomo.environ as pyo
    >>> model = pyo.ConcreteModel()
    >>> model.x = pyo.Var([1, 2], bounds=(0, 4))
    >>> model.objective = pyo.Objective(expr=model.x[1] - model.x[2])
    >>> folder = tempfile.TemporaryDirectory()
    >>> file = os.path.join(folder.name, "solution.csv")
    >>> with open(file, "w") as stream:
    ...     _ = stream.write("name,value\nx_1,0\nx_2,4\n")
    >>> print(read_solution(model, file))
    csv solution (no status): objective -4, violation 0.0e+00, no duals: the file has
    none
    >>> model.x[2].value
    4.0
    >>> folder.cleanup()
    """
    check_model(model)
    if tolerance is not None:
        if not isinstance(tolerance, Real) or isinstance(tolerance, bool):
            raise InputTypeError(f"tolerance must be a number; got {tolerance!r}.")
        if not tolerance > 0.0:
            raise InputError(f"tolerance must be positive; got {tolerance!r}.")
    lines = Lines(path_text(path))
    kind = _format_of(lines, format)
    if names is not None:
        _check_names(model, read_name_map(names))
    file = None if kind in CONIC_FORMATS else _read_file(lines, kind)
    try:
        content = model_content(model)
        if file is None:
            point = _read_conic(content, lines, kind)
        else:
            point = _read_named(model, content, file, lines)
        check, loader, note = _measure(model, content, point)
    except PyomoReluError:
        raise
    except PyomoException as error:
        raise InputError(
            f"{lines.name!r} cannot be a solution of the model: {error}"
        ) from error
    _check_objective(lines.name, check, point)
    if tolerance is None:
        squared = kind not in CONIC_FORMATS and content.has(*VECTOR_KINDS)
        tolerance = 1e-2 if squared else 1e-4
    if not check.relative_residual <= tolerance:
        raise InputError(
            f"the point in {lines.name!r} violates {check.worst!r} by "
            f"{check.relative_residual:.1e}, relative to its side; {tolerance:.1e} is "
            f"allowed (tolerance=...). {_REASONS.get(kind, _REASON)}"
        )
    _load(model, loader, with_duals=not note)
    return ReadSolution(
        format=kind,
        status=point.status,
        is_optimal=point.is_optimal,
        objective=check.objective,
        violation=check.relative_residual,
        worst=check.worst,
        has_duals=not note,
        dual_note=note,
    )


def _load(model: Any, loader: SolutionLoader, *, with_duals: bool) -> None:
    """Load the values, and multipliers into the suffixes that ask for them."""
    loader.load_vars()
    if with_duals:
        loader.load_import_suffixes()
    else:
        for suffix in model.component_objects(Suffix, active=True):
            if suffix.import_enabled():
                suffix.clear()


def _format_of(lines: Lines, given: str | None) -> str:
    if given is None:
        return detect(lines)
    known = [*_NAMED_FORMATS, *CONIC_FORMATS]
    if given not in known:
        raise InputError(
            f"format must be one of {', '.join(map(repr, known))}; got {given!r}."
        )
    return given


def _check_names(model: Any, names: NameMap) -> None:
    """Refuse a model that is not the one of a name map."""
    if names.format not in FORMATS:
        raise InputError(f"the name map is of an unknown format {names.format!r}.")
    made = name_map_of(
        make_file(model, FORMATS[names.format]), names.file, names.format, "", {}
    )
    # Not the digest: the last bits of coefficients are the processor's.
    for part in ("sense", "columns", "rows", "cones"):
        if getattr(made, part) != getattr(names, part):
            raise InputError(
                f"the model is not the one that was exported as {names.file!r}: it has "
                f"other {part}. Leave names out to read by names and counts alone."
            )


@dataclass(frozen=True)
class _Point:
    """A point of a file, as loaders of the model.

    Attributes
    ----------
    loaders : list of SolutionLoader
        With multipliers, those of either sign; the last one has none.
    objectives : tuple of float
        What the objective of the model may be by what the file prints, up to sign.
    """

    status: str
    is_optimal: bool
    loaders: list[SolutionLoader]
    printed: float | None
    signs: tuple[float, ...] = (1.0,)


def _measure(
    model: Any, content: ModelContent, point: _Point
) -> tuple[SolutionCheck, SolutionLoader, str]:
    """Check the point, with its multipliers if those of one sign fit."""
    *with_duals, bare = point.loaders
    note = "the file has none"
    if content.form is None and (content.integer_variables or content.other):
        with_duals, note = [], "the model is not continuous"
    for loader in with_duals:
        check = check_solution(model, _results(loader), form=content.form)
        size = 1.0 + max(
            (float(np.abs(dual).max()) for dual in _numbers(loader)), default=0.0
        )
        # A gradient may hide in a multiplier of a bound; complementarity tells.
        value = 1.0 + abs(check.objective or 0.0)
        if (
            check.dual_residual is not None
            and check.gap is not None
            and check.dual_residual <= _DUAL_TOLERANCE * size
            and abs(check.gap) <= _DUAL_TOLERANCE * value
        ):
            return check, loader, ""
        note = "those of the file are not multipliers of the model at its point"
    return check_solution(model, _results(bare), form=content.form), bare, note


def _results(loader: SolutionLoader) -> Results:
    results = Results()
    results.solution_loader = loader
    return results


def _numbers(loader: SolutionLoader) -> Iterator[np.ndarray]:
    for dual in loader.get_duals().values():
        number = np.asarray(dual, dtype=float)
        if np.isfinite(number).all():
            yield number


def _check_objective(name: str, check: SolutionCheck, point: _Point) -> None:
    """Refuse a point whose objective is not what the file says."""
    if point.printed is None or check.objective is None:
        return
    if not any(
        math.isclose(
            sign * check.objective, point.printed, rel_tol=_PRINTED, abs_tol=_PRINTED
        )
        for sign in point.signs
    ):
        raise InputError(
            f"{name!r} says that its objective is {point.printed:.9g}, and the model's "
            f"is {check.objective:.9g} at its point: it is the solution of another "
            "model, or was cut off."
        )


def _read_conic(content: ModelContent, lines: Lines, kind: str) -> _Point:
    """Read a solution of the SDPA file of a model."""
    if content.form is None:
        raise UnsupportedModelError(
            f"{lines.name!r} is a {CONIC_FORMATS[kind]}, and the model is no convex "
            f"conic program: {content.obstacle}"
        )
    form = content.form
    problem = embed_form(form).problem
    if kind == "csdp":
        status, solution = "", read_csdp_solution(lines.name, problem)
    else:
        output = read_sdpa_output(lines.name, problem)
        if output.solution is None or any(
            output.phase.startswith(word) for word in _NO_POINT
        ):
            raise InputError(
                f"{lines.name!r} has no point: SDPA's verdict is "
                f"{output.phase or 'missing'!r}. Let SDPA print xVec, xMat and yMat."
            )
        status, solution = output.phase, output.solution
    x, z = read_back(form, solution)
    loaders: list[SolutionLoader] = [
        ConicSolutionLoader(form, x, z, "read from a file"),
        ConicSolutionLoader(form, x, None, "the file has no multipliers that fit"),
    ]
    return _Point(status, status == "pdOPT", loaders, None)


def _read_file(lines: Lines, kind: str) -> SolutionFile:
    file = read_solution_file(lines, kind)
    if file.columns is None:
        raise InputError(
            f"{lines.name!r} has no point to load: its status is {file.status!r}."
        )
    return file


def _read_named(
    model: Any, content: ModelContent, file: SolutionFile, lines: Lines
) -> _Point:
    """Bring a solution by names or by positions of columns to the model."""
    kind = file.format
    assert file.columns is not None
    reference, program = _reference(model, content, kind, lines)
    try:
        values = _checked_values(reference, program, file, lines)
    except InputError:
        if kind != "glpk":
            raise
        # It may have read the LP file.
        reference = _numbered_by_glpk(model, content)
        values = _checked_values(reference, program, file, lines)
    variables = [
        entry.component for entry in reference.columns if entry.component is not None
    ]
    x = np.array([values[id(variable)] for variable in variables])
    duals = _row_duals(reference, file, lines)
    costs = _costs(reference, file, variables, lines)
    loaders: list[SolutionLoader] = []
    if duals is not None:
        rows, numbers = duals
        for sign in (1.0, -1.0):
            loaders.append(
                PointLoader(
                    model,
                    variables,
                    x,
                    rows,
                    sign * numbers,
                    sign * costs if costs is not None else None,
                    "read from a file",
                )
            )
    loaders.append(PointLoader(model, variables, x, message="the file has no duals"))
    # A maximisation may have been solved as the minimisation of its negative.
    signs = (1.0, -1.0) if reference.objective_sign < 0 else (1.0,)
    return _Point(file.status, file.is_optimal, loaders, file.objective, signs)


def _reference(
    model: Any, content: ModelContent, kind: str, lines: Lines
) -> tuple[Exported, RowProgram | None]:
    """Return the file that was solved, as far as its columns and rows go."""
    if kind == "ampl":
        return make_file(model, FORMATS["nl"], content), None
    for name in ("mps", "lp"):
        try:
            made = make_file(model, FORMATS[name], content)
            return made, compile_rows(model, f"{name} files")
        except (UnsupportedModelError, UnsupportedConeError):
            continue
    if content.form is not None and content.cones:
        # Written by hand: conic formats have no names of columns.
        labels = Labels(model)
        columns = [Entry(labels.of(v), v, "variable") for v in content.form.variables]
        return Exported(b"", columns, []), None
    if kind == "glpk":
        raise UnsupportedModelError(
            f"{lines.name!r} is a solution of GLPK, which takes linear models only"
        )
    return make_file(model, FORMATS["nl"], content), None


def _checked_values(
    reference: Exported, program: RowProgram | None, file: SolutionFile, lines: Lines
) -> dict[int, float]:
    """Return the values by the identity of the variable, if the rows agree."""
    assert file.columns is not None
    values = _by_component(file.columns, reference, file, lines)
    if program is not None and file.rows is not None:
        _check_rows(program, reference, values, file.rows, lines)
    return values


def _numbered_by_glpk(model: Any, content: ModelContent) -> Exported:
    """Return the LP file, its columns in the order in which GLPK meets them."""
    made = make_file(model, FORMATS["lp"], content)
    entries = {entry.name: entry for entry in made.columns}
    # The first line is a comment.
    text = made.data.decode("ascii").split("\n", 1)[1]
    words = re.findall(r"[A-Za-z_][A-Za-z0-9_]*", text)
    order = dict.fromkeys(word for word in words if word in entries)
    return dataclasses.replace(made, columns=[entries[name] for name in order])


def _by_component(
    values: Values, reference: Exported, file: SolutionFile, lines: Lines
) -> dict[int, float]:
    """Return the values of the file's columns by the identity of the variable."""
    columns = reference.columns
    if values.names is None:
        count = file.n_columns if file.n_columns is not None else len(values)
        rows = file.n_rows
        if count != len(columns) or (rows is not None and rows != len(reference.rows)):
            raise InputError(
                f"{lines.name!r} is the solution of another model: it has {count} "
                f"columns and {rows} rows, the model {len(columns)} and "
                f"{len(reference.rows)}."
            )
        numbers = values.dense(len(columns)).tolist()
    else:
        added = _ADDED.get(file.format, frozenset())
        named = _with_labels(values.by_name, columns, added)
        known = {entry.name for entry in columns}
        allowed = known | added
        unknown = [name for name in named if name not in allowed]
        if unknown:
            raise InputError(
                f"{lines.name!r} has a value for {unknown[0]!r}, and the model has no "
                f"such variable: it is the solution of another model. The name map "
                "beside the exported file has all names."
            )
        missing = [
            entry.name
            for entry in columns
            if entry.name not in named and entry.component is not None
        ]
        if missing and not file.zeros_omitted:
            raise InputError(
                f"{lines.name!r} has no value for {missing[0]!r} and "
                f"{len(missing) - 1} others: it is the solution of another model, or "
                "was cut off."
            )
        numbers = [named.get(entry.name, 0.0) for entry in columns]
    return {
        id(entry.component): number
        for entry, number in zip(columns, numbers, strict=True)
        if entry.component is not None
    }


def _with_labels(
    named: dict[str, float], columns: list[Entry], added: frozenset[str]
) -> dict[str, float]:
    """Return values by names of the file, where some are by those of the components."""
    known = {entry.name for entry in columns} | added
    if known.issuperset(named):
        return named
    labels = {
        entry.component.name: entry.name
        for entry in columns
        if entry.component is not None
    }
    found: dict[str, float] = {}
    for name, number in named.items():
        label = name if name in known else labels.get(name, name)
        if label in found:
            raise InputError(
                f"the solution has two values for {label!r}, under the name in the "
                "file and that of the component."
            )
        found[label] = number
    return found


def _check_rows(
    program: RowProgram,
    reference: Exported,
    values: Mapping[int, float],
    activities: Values,
    lines: Lines,
) -> None:
    """Refuse activities of rows that are not those of the point."""
    x = np.array([values[id(variable)] for variable in program.variables])
    body = program.A @ x
    size = 1.0 + abs(program.A) @ np.abs(x)
    for i, part in program.row_products.items():
        products = part.coefficient * x[part.first] * x[part.second]
        body[i] += products.sum()
        size[i] += np.abs(products).sum()
    at = {id(row): i for i, row in enumerate(program.constraints)}
    printed = _by_row(activities, reference, lines)
    for constraint, number in printed:
        i = at[id(constraint)]
        if not abs(body[i] - number) <= _PRINTED * size[i]:
            raise InputError(
                f"{lines.name!r} says that the row of {constraint.name!r} is "
                f"{number:.9g}, and at its point it is {body[i]:.9g}: it is the "
                "solution of another model, or of another order of columns."
            )


def _by_row(
    values: Values, reference: Exported, lines: Lines
) -> list[tuple[Any, float]]:
    """Return the constraint and the number of each row of the file."""
    rows = reference.rows
    if values.names is None:
        numbers = values.dense(len(rows)).tolist()
        return [
            (entry.component, number)
            for entry, number in zip(rows, numbers, strict=True)
            if entry.component is not None
        ]
    # A row with two sides is one row in MPS files and two in LP files.
    known = {entry.name: entry for entry in rows}
    for entry in rows:
        for side in _SIDES:
            known.setdefault(entry.name.removesuffix(side), entry)
            known.setdefault(entry.name + side, entry)
    found = []
    for name, number in values.by_name.items():
        if name not in known:
            if name.endswith("__row") or name.startswith("constant__"):
                continue
            raise InputError(
                f"{lines.name!r} has the row {name!r}, and the model has no such "
                "constraint: it is the solution of another model."
            )
        entry = known[name]
        if entry.component is not None:
            found.append((entry.component, number))
    return found


def _row_duals(
    reference: Exported, file: SolutionFile, lines: Lines
) -> tuple[list[Any], np.ndarray] | None:
    if file.row_duals is None:
        return None
    found = _by_row(file.row_duals, reference, lines)
    return [row for row, _ in found], np.array([number for _, number in found])


def _costs(
    reference: Exported, file: SolutionFile, variables: list[Any], lines: Lines
) -> np.ndarray | None:
    if file.reduced_costs is None:
        return None
    costs = _by_component(file.reduced_costs, reference, file, lines)
    return np.array([costs[id(variable)] for variable in variables])
