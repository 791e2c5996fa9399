"""What the examples that draw share: the option ``--plot`` and one style.

Matplotlib is asked for only when there is something to draw.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyomo_relu.errors import MissingExtraError
from pyomo_relu.files import check_writable, write_atomically

#: Colours that people with colour blindness can tell apart (Okabe and Ito).
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#8A8A8A"

_STYLE = {
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "font.size": 10,
    "legend.frameon": False,
    "savefig.dpi": 150,
}


def plot_option(description: str | None, arguments: Sequence[str] | None) -> str | None:
    """Return the file that ``--plot FILE`` names, or None.

    Parameters
    ----------
    description : str
        The example's docstring, of which the first line is shown by ``--help``.
    arguments : sequence of str, optional
        The command line; that of the process by default.

    Raises
    ------
    MissingExtraError
        Something is to be drawn, and matplotlib is not installed.
    OutputError
        The file could not be written: said before anything is solved.
    """
    parser = argparse.ArgumentParser(description=(description or "").split("\n")[0])
    parser.add_argument("--plot", metavar="FILE", help="draw the result as a PNG")
    path = parser.parse_args(arguments).plot
    if path is None:
        return None
    import_pyplot()
    check_writable(path)
    return str(path)


def import_pyplot() -> Any:
    """Return ``matplotlib.pyplot``, which draws into files and in this style.

    Raises
    ------
    MissingExtraError
        Matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib import pyplot
    except ImportError as error:
        raise MissingExtraError(
            error.name or "matplotlib", "plot", "the option --plot"
        ) from error
    matplotlib.use("agg")
    pyplot.rcParams.update(_STYLE)
    return pyplot


def diverging_colours() -> Any:
    """Return a map from orange over white to blue."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("diverging", [ORANGE, "white", BLUE])


def save(figure: Any, path: str) -> None:
    """Write a figure as a PNG, whole or not at all, and say where it is."""
    write_atomically(path, lambda stream: figure.savefig(stream, format="png"))
    import_pyplot().close(figure)
    print(f"drawn: {Path(path).name}")
