"""Every tier stands where it says, beside the certified optimum and the other tiers."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyomo_relu import (
    TrainingProblem,
    bound_direction,
    build_completely_positive,
    build_copositive,
    recover_network,
    relax,
    solve,
    train,
)
from tests.instances import REFERENCE, reference_data

TOLERANCE = 1e-6
BUILD = {"primal": build_completely_positive, "dual": build_copositive}


def relaxed(problem, *tiers, program="primal", **options):
    """Return model and value after a chain of tiers: names, or (name, options)."""
    model = BUILD[program](problem, **options)
    for tier in tiers:
        name, choice = (tier, {}) if isinstance(tier, str) else tier
        relax(model, name, **choice)
    if name == "cuts":
        return model, solve(model, "highs").incumbent_objective
    # Values are compared to 1e-6; not every small program lets Clarabel come to 1e-8,
    # and a point that it calls almost solved is judged by its value.
    results = solve(
        model,
        "clarabel",
        solver_options={"tol_gap_abs": 1e-7, "tol_gap_rel": 1e-7},
        raise_exception_on_nonoptimal_result=False,
    )
    return model, results.incumbent_objective


def value_of(problem, *tiers, **options):
    return relaxed(problem, *tiers, **options)[1]


def small_problem(seed, n, d, c):
    rng = np.random.default_rng(seed)
    # No two rows are nearly parallel: interior points need cells of some width.
    X = rng.integers(-2, 3, size=(n, d)).astype(float)
    X[0, 0] = 1.0
    # With the norm of Y near one, absolute and relative tolerances are the same.
    Y = rng.normal(size=(n, c))
    return TrainingProblem(X, Y / np.linalg.norm(Y), 0.05)


small = {
    "seed": st.integers(0, 10_000),
    "n": st.integers(3, 5),
    "d": st.integers(2, 3),
    "c": st.integers(1, 2),
}


def increases(*values):
    return all(a <= b + TOLERANCE for a, b in pairwise(values))


@settings(max_examples=6, deadline=None)
@given(**small)
def test_the_primal_tiers_are_ordered_about_the_optimum(seed, n, d, c):
    problem = small_problem(seed, n, d, c)
    certificate = train(problem.X, problem.Y, problem.beta, gap=1e-8).certificate
    optimum = certificate.objective
    assert certificate.gap < 1e-6
    psd = value_of(problem, "psd")
    minors = value_of(problem, "minors")
    cuts = value_of(problem, ("cuts", {"tolerance": 1e-5, "max_rounds": 20}))
    facet = value_of(problem, "dnn", description="facets")
    dnn = value_of(problem, "dnn")
    sos = value_of(problem, ("sos", {"level": 1}))
    partition = value_of(problem, "partition", "dnn")
    pairs, rays, dd = (value_of(problem, t) for t in ("ray_pairs", "rays", "dd"))
    assert increases(psd, dnn, sos, optimum, pairs, rays, dd)
    assert increases(minors, dnn)
    assert increases(cuts, dnn)
    assert increases(facet, dnn, partition, optimum)
    assert dnn == pytest.approx(partition, abs=TOLERANCE)
    assert partition == pytest.approx(optimum, abs=TOLERANCE)


@settings(max_examples=6, deadline=None)
@given(**small)
def test_both_sides_of_the_duality_agree(seed, n, d, c):
    problem = small_problem(seed, n, d, c)
    for tier in ("psd", "dnn", ("sos", {"level": 1}), "rays", "ray_pairs"):
        values = [value_of(problem, tier, program=side) for side in BUILD]
        assert values[0] == pytest.approx(values[1], abs=TOLERANCE), tier
    sdd, dnn = (value_of(problem, t, program="dual") for t in ("sdd", "dnn"))
    assert sdd == pytest.approx(value_of(problem, "minors"), abs=TOLERANCE)
    assert increases(value_of(problem, "dd", program="dual"), sdd, dnn)


@pytest.mark.parametrize("seed", REFERENCE)
def test_sides_on_the_reference_instances(seed):
    problem = TrainingProblem(*reference_data(seed), beta=0.2)
    optimum = REFERENCE[seed]
    for program, tiers in {
        "primal": ("psd", "minors", "dnn", "ray_pairs", "rays", "dd"),
        "dual": ("dd", "sdd", "psd", "dnn", "ray_pairs", "rays"),
    }.items():
        for tier in tiers:
            model, value = relaxed(problem, tier, program=program)
            side = bound_direction(model)
            if side != "upper":
                assert value <= optimum + 2e-6, (program, tier)
            if side != "lower":
                assert value >= optimum - 2e-6, (program, tier)
            assert side in ("lower", "upper", "exact"), (program, tier)


@pytest.mark.parametrize("c", [1, 2])
def test_one_output_and_low_rank_need_no_partition(c):
    """At rank four a plain dnn is exact for one output, for two after partition."""
    rng = np.random.default_rng(5)
    problem = TrainingProblem(rng.normal(size=(6, 4)), rng.normal(size=(6, c)), 0.1)
    model, plain = relaxed(problem, "dnn")
    _, split = relaxed(problem, "partition", "dnn")
    assert plain <= split + TOLERANCE
    if c == 1:
        assert plain == pytest.approx(split, abs=2e-6)
        assert bound_direction(model) == "exact"
    certificate = train(problem.X, problem.Y, problem.beta).certificate
    assert split == pytest.approx(certificate.objective, abs=5e-6)


@settings(max_examples=6, deadline=None)
@given(**small, tier=st.sampled_from(["dd", "rays", "ray_pairs"]))
def test_upper_tiers_are_networks(seed, n, d, c, tier):
    problem = small_problem(seed, n, d, c)
    model, value = relaxed(problem, tier)
    network = recover_network(model, improve=False)
    assert network.objective(problem) == pytest.approx(value, abs=TOLERANCE)
    merged = network.merge().objective(problem)
    assert merged <= network.objective(problem) * (1.0 + 1e-12)


@pytest.mark.parametrize("tier", ["rays", "ray_pairs"])
def test_upper_bounds_from_the_dual_are_networks_too(tier):
    problem = TrainingProblem(*reference_data(1), beta=0.2)
    model, value = relaxed(problem, tier, program="dual")
    network = recover_network(model, improve=False)
    assert network.objective(problem) == pytest.approx(value, abs=5e-6)


def test_tiers_compose():
    problem = small_problem(2, 5, 3, 2)
    optimum = train(problem.X, problem.Y, problem.beta).certificate.objective
    model, value = relaxed(problem, "partition", "dnn", "minors")
    assert bound_direction(model) == "lower"
    assert increases(value_of(problem, "minors"), value, optimum)
    model, value = relaxed(problem, "partition", "rays")
    assert bound_direction(model) == "upper"
    assert value == pytest.approx(value_of(problem, "rays"), abs=TOLERANCE)
    model, _ = relaxed(problem, "ray_pairs", "minors")
    assert bound_direction(model) == "neither"
