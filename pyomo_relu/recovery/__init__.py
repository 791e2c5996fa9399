"""From solutions of the programs to networks."""

from pyomo_relu.recovery.factor import factor_in_cone
from pyomo_relu.recovery.improve import improve_network
from pyomo_relu.recovery.recover import recover_network

__all__ = ["factor_in_cone", "improve_network", "recover_network"]
