"""Entry of the command line: ``pyomo-relu`` and ``python -m pyomo_relu``."""

from __future__ import annotations

import sys

from pyomo_relu.errors import PyomoReluError


def main() -> None:
    """Run the command line; errors of the package are one line, exit status 2."""
    try:
        from pyomo_relu.cli import cli

        cli(prog_name="pyomo-relu")
    except PyomoReluError as error:
        print(f"pyomo-relu: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
