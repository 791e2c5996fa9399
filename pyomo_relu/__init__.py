"""Certified global training of two-layer ReLU networks inside Pyomo."""

__version__ = "0.1.0"
