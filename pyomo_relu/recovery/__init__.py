"""From solutions of the programs to networks."""

from pyomo_relu.recovery.improve import improve_network, improvements
from pyomo_relu.recovery.recover import recover_network

__all__ = ["improve_network", "improvements", "recover_network"]
