"""One door to the file formats."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from typing import Any, BinaryIO

from pyomo.common.errors import PyomoException

from pyomo_relu.errors import InputError, InputTypeError, PyomoReluError
from pyomo_relu.files import check_writable, path_text, write_atomically
from pyomo_relu.solvers.content import ModelContent, model_content
from pyomo_relu.solvers.standard_form import check_model
from pyomo_relu.writers.exported import Exported
from pyomo_relu.writers.formats import FileFormat, find_format
from pyomo_relu.writers.name_map import NameMap, name_map_of

__all__ = ["export", "file_bytes", "make_file"]


def export(
    model: Any,
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    metadata: dict[str, Any] | None = None,
) -> NameMap:
    """Write a model to a file, and a name map beside it.

    No solver is needed. The suffix decides on the format:

    ========================  =====================================================
    ``.nl``                   everything but matrix cones, with ``.row`` and ``.col``
    ``.mps``, ``.mps.gz``     linear and quadratic rows and objective, integers
    ``.lp``                   the same and SOS constraints
    ``.dat-s``                linear rows, second-order and semidefinite cones
    ``.cbf``, ``.cbf.gz``     these and exponential cones
    ``.npz``                  the same as matrices, for solvers of your own
    ========================  =====================================================

    Names are those of the components, brought to what all these formats allow:
    ``x[1,2]`` is ``x_1_2``. The map, ``model.names.json`` for ``model.cbf``, has the
    component of every column, row and cone. :func:`read_solution` brings back what
    another program made of the file. The same model gives the same bytes.

    Parameters
    ----------
    model : Block
        A Pyomo model, its copositive cones relaxed (:func:`pyomo_relu.relax`). It is
        not changed.
    path : path
        Where to write. Files are complete or absent.
    format : {"nl", "mps", "lp", "dat-s", "cbf", "npz"}, optional
        The format, where the suffix is another.
    metadata : dict, optional
        Anything that JSON can say, to be kept in the name map.

    Returns
    -------
    NameMap
        What the names and numbers of the file mean.

    Raises
    ------
    UnsupportedConeError, UnsupportedModelError
        The format cannot express the model: the message names the component, and the
        formats and tiers that would do.
    InputError, InputTypeError
        The suffix or format is unknown, the model is not constructed or has
        coefficients that are not finite, a bound that excludes itself, no free
        variable; `metadata` is not for JSON.
    OutputError
        A file cannot be written.

    Examples
    --------
    >>> import os, tempfile
    >>> import pyomo.environ as pyo
    >>> from pyomo_relu import PSDCone
    >>> model = pyo.ConcreteModel()
    >>> model.x = pyo.Var()
    >>> model.cone = PSDCone([[1.0, model.x], [model.x, 2.0]])
    >>> model.objective = pyo.Objective(expr=model.x, sense=pyo.maximize)
    >>> folder = tempfile.TemporaryDirectory()
    >>> print(export(model, os.path.join(folder.name, "model.cbf")))
    model.cbf (cbf): maximize, 1 columns, 0 rows, 1 cones
    >>> sorted(os.listdir(folder.name))
    ['model.cbf', 'model.names.json']
    >>> folder.cleanup()
    """
    form, stem = find_format(path, format)
    kept = _check_metadata(metadata)
    target = path_text(path)
    beside = f"{stem}.names.json"
    files = [target, beside, *(stem + suffix for suffix in form.beside)]
    places = [check_writable(file) for file in files]
    if len(set(places)) < len(places):
        raise InputError(
            f"{target!r} is the same file as one that goes beside it, "
            f"{', '.join(map(repr, files[1:]))}; give another name."
        )
    exported = make_file(model, form)
    data = file_bytes(exported, target)
    names = name_map_of(
        exported,
        os.path.basename(target),
        form.name,
        hashlib.sha256(data).hexdigest(),
        kept,
    )
    # The model comes last: where it is, everything is.
    for suffix, content in exported.beside.items():
        _write(stem + suffix, content)
    _write(beside, names.to_json())
    _write(target, data)
    return names


def make_file(
    model: Any, form: FileFormat, content: ModelContent | None = None
) -> Exported:
    """Return the file of a model, without writing it.

    Parameters
    ----------
    model : Block
        The model.
    form : FileFormat
        The format.
    content : ModelContent, optional
        What the model contains, if that is known already.

    Raises
    ------
    UnsupportedConeError, UnsupportedModelError, InputError, InputTypeError
        As for :func:`export`.
    """
    check_model(model)
    try:
        if content is None:
            content = model_content(model)
        form.check(model, content)
        return form.write(model, content)
    except PyomoReluError:
        raise
    except PyomoException as error:
        raise InputError(f"the model cannot be written: {error}") from error


def file_bytes(exported: Exported, path: str) -> bytes:
    """Return the bytes of a file of this name: compressed where it ends in ``.gz``.

    Parameters
    ----------
    exported : Exported
        What a writer made.
    path : str
        Where it goes.
    """
    if path.lower().endswith(".gz"):
        # Without the time of day, so that the same model gives the same bytes.
        return gzip.compress(exported.data, mtime=0)
    return exported.data


def _write(path: str, data: bytes) -> None:
    def put(stream: BinaryIO) -> None:
        stream.write(data)

    write_atomically(path, put)


def _check_metadata(metadata: Any) -> dict[str, Any]:
    if metadata is None:
        return {}
    if not isinstance(metadata, dict):
        raise InputTypeError(f"metadata must be a dict; got {type(metadata).__name__}.")
    try:
        kept = json.loads(json.dumps(metadata, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(
            f"metadata must hold what JSON can say, text, numbers, lists and dicts: "
            f"{error}."
        ) from error
    return dict(kept)
