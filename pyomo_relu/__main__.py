"""Entry of the command line: ``pyomo-relu`` and ``python -m pyomo_relu``."""

from __future__ import annotations

import sys

from pyomo_relu.errors import PyomoReluError


def main() -> None:
    """Run the command line.

    Errors of the package are one line and exit status 2, Ctrl-C is exit status 1.
    """
    try:
        from pyomo_relu.cli import cli

        cli(prog_name="pyomo-relu")
    except PyomoReluError as error:
        print(f"pyomo-relu: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        # During the imports; later click says the same, with the same status.
        print("Aborted!", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
