"""The squared loss against numerical truth."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize, minimize_scalar

from pyomo_relu.losses import SquaredLoss, get_loss


def test_names_and_objects():
    loss = SquaredLoss()
    assert get_loss("squared") == get_loss(loss) == loss


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), largest=st.floats(0.01, 5.0))
def test_dual_bound_is_the_best_multiple(seed, largest):
    """max over |s| <= largest of inf_F loss(F, Y) + s <Z, F>, by two searches."""
    rng = np.random.default_rng(seed)
    Y, Z = rng.normal(size=(3, 2)), rng.normal(size=(3, 2))
    loss = SquaredLoss()

    def infimum(s):
        def lagrangian(flat):
            F = flat.reshape(3, 2)
            return loss.value(F, Y) + s * float(np.sum(Z * F))

        # inf_F loss(F) + <sZ, F> is -loss*(-sZ).
        return minimize(lagrangian, np.zeros(6)).fun

    search = minimize_scalar(
        lambda s: -infimum(s), bounds=(-largest, largest), method="bounded"
    )
    bound, s = loss.dual_bound(Z, Y, largest)
    assert abs(s) <= largest
    assert abs(bound + search.fun) <= 1e-4 * (1.0 + abs(bound))


def test_zero_dual_point_proves_zero():
    assert SquaredLoss().dual_bound(np.zeros((2, 1)), np.ones((2, 1)), np.inf) == (0, 0)
