"""The name map: rows and columns of a file, and the components they stand for."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyomo_relu.errors import InputError
from pyomo_relu.files import path_text
from pyomo_relu.writers.exported import Exported

__all__ = ["NameMap", "read_name_map"]

_LAYOUT = 1
_WHAT = "pyomo_relu name map"


@dataclass(frozen=True)
class NameMap:
    """What the names and numbers of an exported file mean.

    Attributes
    ----------
    file : str
        Name of the file, without its folder.
    format : str
        Its format.
    sha256 : str
        Digest of its bytes.
    sense : {"minimize", "maximize"}
        What the file does with its objective.
    objective_sign, objective_constant : int and float
        The model's objective is ``objective_sign`` times the sum of that of the file
        and ``objective_constant``.
    columns, rows : tuple of (str, str, str)
        Name in the file (empty where the format has numbers only), name of the Pyomo
        component (empty for what the format needs besides) and role, in the order of
        the file.
    cones : tuple of dict
        ``component``, ``kind``, ``order``, ``block`` (its number in the file, as the
        format counts) and ``rows``, the first row and one after the last.
    metadata : dict
        What the user gave to be kept with the file.
    """

    file: str
    format: str
    sha256: str
    sense: str
    objective_sign: int
    objective_constant: float
    columns: tuple[tuple[str, str, str], ...] = field(repr=False)
    rows: tuple[tuple[str, str, str], ...] = field(repr=False)
    cones: tuple[dict[str, Any], ...] = field(repr=False, default=())
    metadata: dict[str, Any] = field(repr=False, default_factory=dict)

    def to_json(self) -> bytes:
        """Return the map as the text of a file, a line an entry."""
        head = {
            "what": _WHAT,
            "layout": _LAYOUT,
            "file": self.file,
            "format": self.format,
            "sha256": self.sha256,
            "sense": self.sense,
            "objective_sign": self.objective_sign,
            "objective_constant": self.objective_constant,
            "entry": ["name in the file", "component", "role"],
        }
        parts = [f'"{key}": {json.dumps(value)}' for key, value in head.items()]
        lists: dict[str, tuple[Any, ...]] = {
            "columns": self.columns,
            "rows": self.rows,
            "cones": self.cones,
        }
        for key, entries in lists.items():
            lines = ",\n  ".join(map(json.dumps, entries))
            parts.append(f'"{key}": [\n  {lines}\n]' if lines else f'"{key}": []')
        parts.append(f'"metadata": {json.dumps(self.metadata)}')
        return ("{\n" + ",\n".join(parts) + "\n}\n").encode()

    def __str__(self) -> str:
        cones = f", {len(self.cones)} cones" if self.cones else ""
        return (
            f"{self.file} ({self.format}): {self.sense}, {len(self.columns)} columns, "
            f"{len(self.rows)} rows{cones}"
        )


def name_map_of(
    exported: Exported, file: str, form: str, sha256: str, metadata: dict[str, Any]
) -> NameMap:
    """Return the name map of a file that a writer made.

    Parameters
    ----------
    exported : Exported
        What the writer made.
    file, form, sha256 : str
        Name of the file, its format and its digest.
    metadata : dict
        To be kept.
    """
    names: dict[int, str] = {}

    def name(component: Any) -> str:
        if component is None:
            return ""
        key = id(component)
        if key not in names:
            names[key] = component.name
        return names[key]

    return NameMap(
        file=file,
        format=form,
        sha256=sha256,
        sense=exported.sense,
        objective_sign=exported.objective_sign,
        objective_constant=exported.objective_constant,
        columns=tuple((e.name, name(e.component), e.role) for e in exported.columns),
        rows=tuple((e.name, name(e.component), e.role) for e in exported.rows),
        cones=tuple(
            {
                "component": name(cone.component),
                "kind": cone.kind,
                "order": cone.order,
                "block": cone.block,
                "rows": list(cone.rows),
            }
            for cone in exported.cones
        ),
        metadata=metadata,
    )


def read_name_map(path: str | os.PathLike[str]) -> NameMap:
    """Read a name map.

    Parameters
    ----------
    path : path
        A file ``*.names.json`` that :func:`pyomo_relu.export` wrote.

    Returns
    -------
    NameMap

    Raises
    ------
    InputError
        It cannot be read, or is none.
    """
    text = path_text(path)
    try:
        content = json.loads(Path(text).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot read {text!r} as a name map: {error}") from error
    if not isinstance(content, dict) or content.get("what") != _WHAT:
        raise InputError(
            f"{text!r} is no name map; export writes one beside each model file, "
            "'model.names.json' beside 'model.cbf'."
        )
    if content.get("layout") != _LAYOUT:
        raise InputError(
            f"{text!r} has the layout {content.get('layout')!r}, and this version "
            f"reads {_LAYOUT}; export the model again."
        )
    try:
        return NameMap(
            file=str(content["file"]),
            format=str(content["format"]),
            sha256=str(content["sha256"]),
            sense=str(content["sense"]),
            objective_sign=int(content["objective_sign"]),
            objective_constant=float(content["objective_constant"]),
            columns=_entries(content["columns"]),
            rows=_entries(content["rows"]),
            cones=tuple(dict(cone) for cone in content["cones"]),
            metadata=dict(content["metadata"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{text!r} is a damaged name map ({type(error).__name__}: {error}); export "
            "the model again."
        ) from error


def _entries(lists: Any) -> tuple[tuple[str, str, str], ...]:
    return tuple((str(name), str(of), str(role)) for name, of, role in lists)
