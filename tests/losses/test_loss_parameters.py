"""Names, parameters, units and targets of the losses."""

import numpy as np
import pytest

from pyomo_relu.errors import InputError, InputTypeError
from pyomo_relu.losses import Huber, Quantile, get_loss
from tests.losses.cases import LOSSES, every_loss, instance

NAMES = ["squared", "absolute", "huber", "quantile", "logistic", "hinge"]


@pytest.mark.parametrize("name", NAMES)
def test_names(name):
    assert get_loss(name).name == name


def test_objects_are_taken_as_they_are():
    for loss in LOSSES:
        assert get_loss(loss) is loss
    assert get_loss("huber") == Huber(1.0)
    assert get_loss("quantile") == Quantile(0.5)


@pytest.mark.parametrize("bad", ["sqared", "", None, 3, Huber, ["huber"]])
def test_other_names_are_refused(bad):
    with pytest.raises(InputError, match=r"'absolute', 'hinge', 'huber'"):
        get_loss(bad)


@pytest.mark.parametrize("width", [0.0, -1.0, np.nan, np.inf, -np.inf])
def test_widths_that_are_refused(width):
    with pytest.raises(InputError, match="positive and finite"):
        Huber(width)


@pytest.mark.parametrize("tau", [0.0, 1.0, -0.1, 1.1, np.nan, np.inf])
def test_levels_that_are_refused(tau):
    with pytest.raises(InputError, match="between 0 and 1"):
        Quantile(tau)


@pytest.mark.parametrize("bad", ["1", None, True, [1.0, 2.0], 1j])
@pytest.mark.parametrize("kind", [Huber, Quantile])
def test_parameters_that_are_no_numbers(kind, bad):
    with pytest.raises(InputTypeError, match="must be a number"):
        kind(bad)


def test_parameters_become_floats():
    assert repr(Huber(np.float32(0.5))) == "Huber(width=0.5)"
    assert repr(Huber(2)) == "Huber(width=2.0)"
    assert hash(Quantile(0.25)) == hash(Quantile(np.float64(0.25)))


@every_loss
def test_scaled_targets_have_scaled_losses(loss):
    F, Y, w = instance(loss, 0)
    s = loss.target_scale(Y)
    scaled = loss.in_units(s)
    before = loss.value(F, Y, w)
    after = scaled.value(F / s, Y / s, w) * loss.objective_scale(s)
    assert after == pytest.approx(before, rel=1e-12)
    # f = s f', X = 7 X', so that the penalty |u| |v| is s / 7 of what it was.
    beta, penalty = 0.3, 5.0
    scaled_penalty = penalty * 7.0 / s
    scaled_beta = beta / loss.beta_scale(7.0, s)
    assert loss.objective_scale(s) * scaled_beta * scaled_penalty == pytest.approx(
        beta * penalty, rel=1e-12
    )
    if loss.is_classification:
        assert s == 1.0
    else:
        assert s == pytest.approx(np.linalg.norm(Y))
        assert loss.target_scale(0.0 * Y) == 1.0


@pytest.mark.parametrize("name", ["logistic", "hinge"])
@pytest.mark.parametrize(
    "Y",
    [
        [[1.0], [1.0]],
        [[1.0, 1.0], [0.0, 1.0]],
        [[0.5, 0.5], [0.0, 1.0]],
        [[0.0, 1.0], [0.0, 0.0]],
        [[2.0, -1.0], [0.0, 1.0]],
    ],
)
def test_targets_that_are_no_classes(name, Y):
    with pytest.raises(InputError, match=r"numpy\.eye") as caught:
        get_loss(name).check_targets(np.array(Y))
    assert f"the {name} loss needs one-hot targets" in str(caught.value)


@every_loss
def test_targets_that_are_fine(loss):
    loss.check_targets(instance(loss, 0)[1])
