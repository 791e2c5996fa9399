"""Proven bounds: the dual norm rho over all cells, and certificates from it."""

from pyomo_relu.certificates.certificate import Certificate, certify
from pyomo_relu.certificates.constrained import (
    ConstrainedCertificate,
    certify_model,
)
from pyomo_relu.certificates.covering import covering_cells
from pyomo_relu.certificates.rho import RhoBound, bound_rho

__all__ = [
    "Certificate",
    "ConstrainedCertificate",
    "RhoBound",
    "bound_rho",
    "certify",
    "certify_model",
    "covering_cells",
]
