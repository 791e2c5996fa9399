"""One legal name for a component, in whatever file.

Readers differ in what they take for a name. These are taken by all of those that were
tried (HiGHS, GLPK, CBC and SCIP, in MPS and in LP format): letters, digits and
underscores; no digit first, and no ``e`` that might start an exponent; no word of
either format; at most :data:`LONGEST` characters; unique even where case is ignored.
Two underscores never stand side by side, so that a writer can append ``__lower`` or
call something of its own ``constant__one`` without meeting anybody.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any

from pyomo.common.gc_manager import PauseGC
from pyomo.core.base import (
    Constraint,
    Objective,
    SortComponents,
    SOSConstraint,
    Var,
)
from pyomo.core.expr.visitor import identify_variables

from pyomo_relu.cones.base import DESCEND
from pyomo_relu.errors import InputError
from pyomo_relu.solvers.reading import make_plain
from pyomo_relu.solvers.standard_form import check_model

__all__ = ["LONGEST", "Labels", "clean", "model_title"]

#: CBC takes rows of an LP file with up to 100 characters; seven are left for a suffix.
LONGEST = 90

#: What a long name keeps of its end, where the index is.
_TAIL = 36

#: Words that some reader of LP or MPS files takes for something else, and names that
#: writers of this package use.
RESERVED = frozenset(
    [
        "bin",
        "binaries",
        "binary",
        "bnd",
        "bound",
        "bounds",
        "cost",
        "cuts",
        "end",
        "endata",
        "free",
        "gen",
        "gencons",
        "general",
        "generals",
        "in",
        "indicators",
        "inf",
        "infinity",
        "int",
        "integer",
        "integers",
        "intend",
        "intorg",
        "lazy",
        "marker",
        "max",
        "maximise",
        "maximize",
        "maximum",
        "min",
        "minimise",
        "minimize",
        "minimum",
        "name",
        "nan",
        "negobj",
        "none",
        "nlobjvar",
        "objconstant",
        "qmatrixvar",
        "quadobjvar",
        "obj",
        "objname",
        "objsense",
        "prod",
        "pwl",
        "qcmatrix",
        "qmatrix",
        "quadobj",
        "ranges",
        "refrow",
        "rhs",
        "rng",
        "rows",
        "columns",
        "s1",
        "s2",
        "scenarios",
        "sec",
        "semi",
        "semicontinuous",
        "semis",
        "semiint",
        "sos",
        "sos1",
        "sos2",
        "st",
        "subject",
        "such",
        "that",
        "to",
        "user",
        "where",
    ]
)

_ORDER = SortComponents.ORDERED_INDICES
_KINDS = (Var, Constraint, Objective, SOSConstraint)


def clean(text: str) -> str:
    """Return a text with everything but letters and digits as single underscores.

    A minus before a number becomes ``m``, letters of other alphabets the last word of
    their Unicode name. Line breaks stay.

    Parameters
    ----------
    text : str
        Names, one a line.

    Examples
    --------
    >>> clean("flow[1,-2]"), clean("b[3].x"), clean("β_0"), clean("café au lait")
    ('flow_1_m2_', 'b_3_x', 'beta_0', 'cafe_au_lait')
    """
    if not text.isascii():
        text = "".join(map(_spelt, unicodedata.normalize("NFKD", text)))
    text = re.sub(r"(?<![A-Za-z0-9])-(?=[0-9])", "_m", text)
    return re.sub(r"[^A-Za-z0-9\n]+", "_", text)


def model_title(model: Any) -> str:
    """Return the name of the model as one legal word."""
    name = clean(str(model.model().name).replace("\n", " ")).strip("_")
    return name[:LONGEST] or "model"


def _spelt(character: str) -> str:
    if character.isascii():
        return character
    if unicodedata.combining(character):
        return ""
    return unicodedata.name(character, "_").split()[-1].lower()


class Labels:
    """Names of the variables, constraints and objectives of a model.

    They are computed from the model alone, in the order of declaration: variables
    first, then constraints, objectives and SOS constraints, active or not, sub-blocks
    and disjuncts included. Variables that live elsewhere but are in the model's active
    constraints come last.

    Parameters
    ----------
    model : Block
        A constructed Pyomo model or block; names are those in the whole model.

    Raises
    ------
    InputError, InputTypeError
        `model` is no constructed block.

    Examples
    --------
    >>> import pyomo.environ as pyo
    >>> m = pyo.ConcreteModel()
    >>> m.x = pyo.Var([(1, 2), (1, -2)])
    >>> m.x_1_2 = pyo.Var()
    >>> m.free = pyo.Var()
    >>> m.e9 = pyo.Constraint(expr=m.free >= 0)
    >>> labels = Labels(m)
    >>> [labels.of(m.x[1, 2]), labels.of(m.x[1, -2]), labels.of(m.x_1_2)]
    ['x_1_2', 'x_1_m2', 'x_1_2_2']
    >>> labels.of(m.free), labels.of(m.e9)
    ('free_2', '_e9')
    >>> labels.component("x_1_m2") is m.x[1, -2]
    True
    """

    def __init__(self, model: Any) -> None:
        check_model(model)
        self.model = model
        self._names: dict[int, str] = {}
        self._components: dict[str, Any] = {}
        self._taken: set[str] = set(RESERVED)
        self._next: dict[str, int] = {}
        self._knows_outside = False
        with PauseGC():
            for components in _found(model):
                for stem, members in components:
                    self._add(stem, members)

    def of(self, component: Any) -> str:
        """Return the name of a component.

        Parameters
        ----------
        component : VarData, ConstraintData, ObjectiveData or SOSConstraintData
            One of the model's.

        Raises
        ------
        InputError
            It is none of the model's.
        """
        name = self._names.get(id(component))
        if name is None and not self._knows_outside:
            self._knows_outside = True
            self._add_outside()
            name = self._names.get(id(component))
        if name is None:
            raise InputError(
                f"component {component.name!r} is neither a variable, a constraint nor "
                f"an objective of model {self.model.name!r}, nor a variable in one of "
                f"its active constraints; take labels of the model that it is in"
            )
        return name

    def component(self, name: str) -> Any:
        """Return the component of a name, whatever its case; None where there is none.

        Parameters
        ----------
        name : str
            As :meth:`of` returned it.
        """
        key = name.lower()
        if key not in self._components and not self._knows_outside:
            self._knows_outside = True
            self._add_outside()
        return self._components.get(key)

    def variable(self, name: str) -> Any:
        """Return the variable of a name; None where it is none of a variable."""
        return self._of_kind(name, Var)

    def row(self, name: str) -> Any:
        """Return the constraint or objective of a name; None where it is of neither."""
        return self._of_kind(name, Constraint, Objective, SOSConstraint)

    def _of_kind(self, name: str, *kinds: Any) -> Any:
        component = self.component(name)
        return component if getattr(component, "ctype", None) in kinds else None

    def _add(self, stem: str, members: dict[Any, Any]) -> None:
        """Give the members of a component the next names."""
        taken, names, components = self._taken, self._names, self._components
        for name, component in zip(_candidates(stem, members), members.values()):  # noqa: B905
            key = name.lower()
            if key in taken:
                name = self._numbered(name)
                key = name.lower()
            taken.add(key)
            names[id(component)] = name
            components[key] = component

    def _numbered(self, name: str) -> str:
        """Return the first of ``name_2``, ``name_3``, ... that nobody has."""
        key = name.lower()
        number = self._next.get(key, 2)
        while True:
            suffix = f"_{number}"
            other = f"{name[: LONGEST - len(suffix)].rstrip('_')}{suffix}"
            number += 1
            if other.lower() not in self._taken:
                self._next[key] = number
                return other

    def _add_outside(self) -> None:
        """Name the variables of active constraints that live elsewhere."""
        for expression in _expressions(self.model):
            for var in identify_variables(expression, include_fixed=True):
                if id(var) not in self._names:
                    self._add(var.name, {None: var})


def _found(model: Any) -> list[list[tuple[str, dict[Any, Any]]]]:
    """Full name and members by index of the components, kind by kind."""
    root = model.model()
    found: dict[Any, list[tuple[str, dict[Any, Any]]]] = {kind: [] for kind in _KINDS}
    for block in model.block_data_objects(
        active=None, sort=_ORDER, descend_into=DESCEND
    ):
        prefix = None
        for component in block.component_objects(
            _KINDS, active=None, descend_into=False
        ):
            # What a reference refers to is named where it is declared.
            if component.is_reference():
                continue
            if prefix is None:
                prefix = "" if block is root else f"{block.name}."
            members = (
                dict(component.items(_ORDER))
                if component.is_indexed()
                else dict(component.items())
            )
            found[component.ctype].append((f"{prefix}{component.local_name}", members))
    return list(found.values())


def _candidates(stem: str, members: dict[Any, Any]) -> Iterable[str]:
    """Return legal names, not all of them new."""
    base = clean(stem.replace("\n", " "))
    if re.match(r"[0-9]|[eE](?![A-Za-z])|$", base):
        base = f"_{base}"
    if list(members) == [None]:
        return [_shortened(base.rstrip("_") or "_")]
    texts = [
        "_".join(map(str, index)) if index.__class__ is tuple else str(index)
        for index in members
    ]
    if any("\n" in text for text in texts):
        texts = [text.replace("\n", " ") for text in texts]
    base = base.rstrip("_")
    # One pass over all of them; what was cleaned before is not changed by it.
    names = clean("\n".join([f"{base}_{text}" for text in texts])).split("\n")
    return [_shortened(name.rstrip("_") or "_") for name in names]


def _shortened(name: str) -> str:
    if len(name) <= LONGEST:
        return name
    head = name[: LONGEST - _TAIL - 1].rstrip("_")
    return f"{head}_{name[-_TAIL:].lstrip('_')}"


def _expressions(model: Any) -> Iterator[Any]:
    """Yield what active components say about variables, in order of declaration."""
    for constraint in model.component_data_objects(
        Constraint, active=True, sort=_ORDER, descend_into=DESCEND
    ):
        make_plain(constraint)
        yield constraint.body
    for objective in model.component_data_objects(
        Objective, active=True, sort=_ORDER, descend_into=DESCEND
    ):
        yield objective.expr
    for sos in model.component_data_objects(
        SOSConstraint, active=True, sort=_ORDER, descend_into=DESCEND
    ):
        yield from sos.variables
