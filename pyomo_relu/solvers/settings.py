"""Settings that a user gives a solver by its own names, in ``solver_options``."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from pyomo_relu.errors import InputError

__all__ = ["chosen_iteration_limit", "refuse_pyomo_options", "refuse_unknown_settings"]


def refuse_pyomo_options(
    settings: Collection[str], pyomo_options: Mapping[str, str]
) -> None:
    """Refuse settings that an option of the solve sets: two ways would conflict.

    Parameters
    ----------
    settings : collection of str
        Names in ``solver_options``.
    pyomo_options : dict of str to str
        Names of the solver's settings, and of the option that sets each of them.

    Raises
    ------
    InputError
        If one of them is among the settings.

    Examples
    --------
    >>> refuse_pyomo_options(["verbose"], {"verbose": "tee"})
    Traceback (most recent call last):
    pyomo_relu.errors.InputError: set tee=... of the solve instead of 'verbose' in \
solver_options
    """
    for name in settings:
        if name in pyomo_options:
            raise InputError(
                f"set {pyomo_options[name]}=... of the solve instead of {name!r} in "
                f"solver_options"
            )


def refuse_unknown_settings(
    settings: Collection[str],
    known: Collection[str],
    pyomo_options: Mapping[str, str],
    title: str,
) -> None:
    """Refuse settings that a solver does not have, or that an option sets.

    Parameters
    ----------
    settings : collection of str
        Names in ``solver_options``.
    known : collection of str
        All names that the solver knows.
    pyomo_options : dict of str to str
        As in :func:`refuse_pyomo_options`.
    title : str
        What people call the solver.

    Raises
    ------
    InputError
        If there is such a setting.

    Examples
    --------
    >>> refuse_unknown_settings(["tol"], ["eps", "verbose"], {"verbose": "tee"}, "X")
    Traceback (most recent call last):
    pyomo_relu.errors.InputError: X has no setting 'tol'; solver_options may have: eps
    """
    for name in settings:
        refuse_pyomo_options([name], pyomo_options)
        if name not in known:
            raise InputError(
                f"{title} has no setting {name!r}; solver_options may have: "
                f"{', '.join(other for other in known if other not in pyomo_options)}"
            )


def chosen_iteration_limit(
    config: Any, settings: Collection[str], name: str
) -> int | None:
    """Return ``iteration_limit`` of a solve, which a setting must not contradict.

    Parameters
    ----------
    config : ConfigDict
        Options of the solve.
    settings : collection of str
        Names in ``solver_options``.
    name : str
        Name of the solver's setting for the same.

    Returns
    -------
    int or None
        None where the solve asks for none.

    Raises
    ------
    InputError
        If both are given.
    """
    if config.iteration_limit is not None and name in settings:
        raise InputError(
            f"both iteration_limit=... of the solve and {name!r} in "
            f"solver_options are given; give one of them"
        )
    return config.iteration_limit
