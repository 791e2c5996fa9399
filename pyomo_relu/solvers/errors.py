"""Errors of the solver interfaces that are Pyomo's as well."""

from __future__ import annotations

from pyomo.contrib.solver.common.util import IncompatibleModelError

from pyomo_relu.errors import InputError

__all__ = ["UnsupportedModelError"]


class UnsupportedModelError(InputError, IncompatibleModelError):
    """The model is no convex conic program: the message names the component."""
