"""The file formats: their suffixes, and what each can say."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pyomo.core.base import Constraint, Objective, SortComponents, Var
from pyomo.repn.util import categorize_valid_components

from pyomo_relu.cones import (
    ConeData,
    VectorConeData,
    cone_data_objects,
    is_cone_guard,
)
from pyomo_relu.cones.membership import replace_first
from pyomo_relu.errors import InputError, UnsupportedConeError
from pyomo_relu.files import path_text
from pyomo_relu.solvers.acceptance import SEMIDEFINITE, Acceptance
from pyomo_relu.solvers.conic_form import ConicForm
from pyomo_relu.solvers.content import ModelContent
from pyomo_relu.solvers.errors import UnsupportedModelError
from pyomo_relu.solvers.standard_form import KNOWN_CTYPES
from pyomo_relu.tiers import source_cone, tier_table
from pyomo_relu.writers.cbf import write_cbf
from pyomo_relu.writers.dat_s import write_dat_s
from pyomo_relu.writers.exported import Exported
from pyomo_relu.writers.lp import write_lp
from pyomo_relu.writers.mps import write_mps
from pyomo_relu.writers.nl import write_nl
from pyomo_relu.writers.npz import write_npz

__all__ = ["FORMATS", "FileFormat", "find_format"]

#: Matrix cones that no format has: a tier replaces them.
_UNRELAXED = frozenset({"completely positive", "copositive"})


@dataclass(frozen=True, kw_only=True)
class FileFormat(Acceptance):
    """A file format.

    Attributes
    ----------
    name : str
        Its name, as in ``export(..., format=name)``.
    title : str
        What people call it.
    suffixes : tuple of str
        How its files end; the first one is the usual one.
    write : callable
        Makes the file of a model and its content.
    beside : tuple of str
        Suffixes of further files, which go beside it.
    """

    name: str
    title: str
    suffixes: tuple[str, ...]
    write: Callable[[Any, ModelContent], Exported]
    beside: tuple[str, ...] = ()

    def check(self, model: Any, content: ModelContent) -> None:
        """Refuse a model that the format cannot express.

        Parameters
        ----------
        model : Block
            The model.
        content : ModelContent
            What it contains.

        Raises
        ------
        UnsupportedConeError
            It has a cone that no format, or not this one, has.
        UnsupportedModelError
            It has something else that the format has not. Both name the component
            and what would do.
        """
        refusal = self.refusal(content)
        if not refusal:
            return
        for cone in cone_data_objects(model):
            if cone.kind in _UNRELAXED or not cone.is_conic:
                raise UnsupportedConeError(
                    f"the {cone.kind} cone '{cone.name}' cannot be written to a file: "
                    f"{replace_first(cone)}"
                )
        able = [
            f"{other.suffixes[0]} ({other.title})"
            for other in FORMATS.values()
            if not other.refusal(content)
        ]
        advice = f"Formats that can: {', '.join(able)}" if able else "No format can"
        tiers = _advise_tiers(model, self)
        if not able and content.other:
            tiers += ". Transform it first (gdp.bigm for disjuncts), or deactivate it"
        raise UnsupportedModelError(
            f"{self.title} cannot express {_offender(model, self, content)}: {refusal}."
            f" {advice}{tiers}. The model is a {content}"
        )


def _advise_tiers(model: Any, form: FileFormat) -> str:
    """Say which tiers would bring the cones to what the format has."""
    cone = next(cone_data_objects(model), None)
    if cone is None or form.cones >= SEMIDEFINITE:
        return ""
    classes = {"LP"} if form.rows == "linear" else {"LP", "SOCP"}
    classes |= {"NLP"} if form.rows == "nonlinear" else set()
    parts = []
    for kind in dict.fromkeys((cone.kind, source_cone(cone).kind)):
        names = [
            repr(row.tier.removeprefix("relu."))
            for row in tier_table()
            if row.cone == kind and row.solver_class in classes
        ]
        parts.append(f"{', '.join(names)} on {kind} cones")
    return (
        f"; or bring the model to what this one has, by relax(model, tier), tier "
        f"{'; or '.join(parts)}"
    )


def _offender(model: Any, accepts: Acceptance, content: ModelContent) -> str:
    """Name the first component that is not accepted."""
    if content.objectives > 1:
        names = [o.name for o in model.component_data_objects(Objective, active=True)]
        return f"the objectives {', '.join(map(repr, names))}"
    refused = [kind for kind in content.other if kind not in accepts.other]
    if refused:
        _, unknown = categorize_valid_components(
            model,
            active=True,
            sort=SortComponents.deterministic,
            valid=KNOWN_CTYPES,
        )
        for ctype, components in unknown.items():
            if ctype.__name__ == refused[0]:
                return f"the {refused[0]} {components[0].name!r}"
    for cone in cone_data_objects(model, kinds=(ConeData, VectorConeData)):
        if cone.kind in content.cones and not accepts.takes_cone(cone.kind):
            return f"the {cone.kind} cone {cone.name!r}"
    if content.integer_variables and not accepts.integer:
        for variable in model.component_data_objects(Var, active=True):
            if not variable.is_continuous() and not variable.fixed:
                return f"the integer variable {variable.name!r}"
    if accepts.conic:
        # The obstacle names it.
        return "the model"
    limit = accepts.integer if content.integer_variables else accepts.rows
    for row in model.component_data_objects(Constraint, active=True):
        if not is_cone_guard(row) and _exceeds(row.body, limit):
            return f"the constraint {row.name!r}"
    objective = next(model.component_data_objects(Objective, active=True), None)
    return "the model" if objective is None else f"the objective {objective.name!r}"


def _exceeds(body: Any, limit: str) -> bool:
    degree = getattr(body, "polynomial_degree", lambda: 0)()
    highest = {"linear": 1, "quadratic": 2}.get(limit)
    return highest is not None and (degree is None or degree > highest)


def _form_of(content: ModelContent) -> ConicForm:
    if content.form is None:
        raise UnsupportedModelError(content.obstacle)
    return content.form


FORMATS: dict[str, FileFormat] = {
    each.name: each
    for each in (
        FileFormat(
            name="nl",
            title="AMPL's NL format",
            suffixes=(".nl",),
            beside=(".row", ".col"),
            rows="nonlinear",
            objective="nonlinear",
            integer="nonlinear",
            other=frozenset({"SOSConstraint"}),
            write=lambda model, _: write_nl(model),
        ),
        FileFormat(
            name="mps",
            title="the MPS format",
            suffixes=(".mps", ".mps.gz"),
            rows="quadratic",
            objective="quadratic",
            integer="quadratic",
            write=lambda model, _: write_mps(model),
        ),
        FileFormat(
            name="lp",
            title="the LP format",
            suffixes=(".lp",),
            rows="quadratic",
            objective="quadratic",
            integer="quadratic",
            other=frozenset({"SOSConstraint"}),
            write=lambda model, _: write_lp(model),
        ),
        FileFormat(
            name="dat-s",
            title="the SDPA sparse format",
            suffixes=(".dat-s",),
            conic=True,
            cones=SEMIDEFINITE,
            rows="quadratic",
            objective="quadratic",
            write=lambda _, content: write_dat_s(_form_of(content)),
        ),
        FileFormat(
            name="cbf",
            title="the Conic Benchmark Format",
            suffixes=(".cbf", ".cbf.gz"),
            conic=True,
            cones=SEMIDEFINITE | {"exponential"},
            rows="quadratic",
            objective="quadratic",
            write=lambda _, content: write_cbf(_form_of(content)),
        ),
        FileFormat(
            name="npz",
            title="the conic standard form in numpy's format",
            suffixes=(".npz",),
            conic=True,
            cones=SEMIDEFINITE | {"exponential"},
            rows="quadratic",
            objective="quadratic",
            write=lambda _, content: write_npz(_form_of(content)),
        ),
    )
}


def find_format(
    path: str | os.PathLike[str], name: str | None = None
) -> tuple[FileFormat, str]:
    """Return the format of a file to be written, and the stem of its name.

    Parameters
    ----------
    path : path
        The file.
    name : str, optional
        Name of the format, where the suffix does not decide.

    Returns
    -------
    tuple of FileFormat and str
        The stem is the path without the format's suffix.

    Raises
    ------
    InputError
        The format or the suffix is unknown.
    """
    text = path_text(path)
    if name is not None:
        key = str(name).lower().removeprefix(".")
        if key not in FORMATS:
            raise InputError(
                f"format must be one of {', '.join(map(repr, FORMATS))}; got {name!r}."
            )
        chosen = FORMATS[key]
    for form in FORMATS.values():
        # The longest first: .mps.gz ends in .gz.
        for suffix in sorted(form.suffixes, key=len, reverse=True):
            if text.lower().endswith(suffix):
                stem = text[: -len(suffix)]
                return (form if name is None else chosen), stem
    if name is None:
        known = ", ".join(s for form in FORMATS.values() for s in form.suffixes)
        raise InputError(
            f"the suffix of {text!r} is none of {known}; rename the file, or name the "
            "format: export(model, path, format='mps')."
        )
    return chosen, os.path.splitext(text)[0]
