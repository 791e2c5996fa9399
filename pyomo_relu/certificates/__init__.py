"""Proven bounds: the dual norm rho over all cells, and certificates from it."""

from pyomo_relu.certificates.certificate import Certificate, certify
from pyomo_relu.certificates.constrained import (
    ConstrainedCertificate,
    certify_model,
)
from pyomo_relu.certificates.covering import covering_cells
from pyomo_relu.certificates.rho import RhoBound, bound_rho
from pyomo_relu.certificates.zero_network import BetaMax, beta_max

__all__ = [
    "BetaMax",
    "Certificate",
    "ConstrainedCertificate",
    "RhoBound",
    "beta_max",
    "bound_rho",
    "certify",
    "certify_model",
    "covering_cells",
]
