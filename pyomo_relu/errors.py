"""The errors of the package: each is also the builtin that fits.

Every message says what was given, what is allowed and how to mend it.
"""

from __future__ import annotations

__all__ = [
    "DegenerateDataError",
    "InputError",
    "InputTypeError",
    "MissingExtraError",
    "OutputError",
    "PyomoReluError",
    "SolverError",
    "TooManyCellsError",
    "UnprovableModelError",
    "UnsupportedConeError",
]


class PyomoReluError(Exception):
    """Base class of every error that this package raises on purpose."""


class InputError(PyomoReluError, ValueError):
    """An argument has a wrong value: NaN, a wrong shape, an unknown name."""


class InputTypeError(PyomoReluError, TypeError):
    """An argument has a wrong type."""


class TooManyCellsError(InputError):
    """The arrangement has more cells than the stated limit allows.

    Attributes
    ----------
    finding : str
        What was counted, without a full stop.
    advice : str
        What to do about it, in sentences.
    """

    def __init__(self, finding: str, advice: str) -> None:
        super().__init__(finding, advice)
        self.finding, self.advice = finding, advice

    def __str__(self) -> str:
        return f"{self.finding}. {self.advice}"


class DegenerateDataError(PyomoReluError, ArithmeticError):
    """The data are so close to degenerate that rounding hides their structure."""


class UnprovableModelError(InputError):
    """No bound on a model can be proved; the message names the component."""


class UnsupportedConeError(PyomoReluError, NotImplementedError):
    """A cone reached a writer or solver that cannot take it."""


class SolverError(PyomoReluError, RuntimeError):
    """A solver is missing, failed, or returned no usable point."""


class OutputError(PyomoReluError, OSError):
    """A file could not be written; nothing was left half-written."""


class MissingExtraError(PyomoReluError, ImportError):
    """An optional dependency is not installed; the message names the extra."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        self.package = package
        self.extra = extra
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed. "
            f"Install it with: pip install 'pyomo-relu[{extra}]'"
        )
