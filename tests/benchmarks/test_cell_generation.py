"""The table of cell generation, on small instances, and what it says of results."""

import io
from functools import partial

import numpy as np
import pytest
from rich.console import Console

from benchmarks import parallel_pricing
from benchmarks.cell_generation import (
    Measurement,
    Row,
    Target,
    cells_text,
    normal_data,
    pricing,
    print_table,
    random_starts,
    rows,
    training,
    verdict,
    with_ones,
    without_cells,
)
from benchmarks.parallel_pricing import measure_pricing
from pyomo_relu import enumerate_cells

DATA = partial(normal_data, 8, 2, 2)


def test_rows_refer_to_rows():
    table = rows()
    for row in table.values():
        assert row.against is None or row.against in table
        assert all(name in table for name in row.rivals)


def test_with_ones_appends_a_column():
    X, Y = with_ones(DATA)
    assert np.array_equal(X, np.column_stack([DATA()[0], np.ones(8)]))
    assert np.array_equal(Y, DATA()[1])


def test_training_is_measured():
    measured = training(DATA, 0.1, 1e-6)(None)
    assert measured.converged
    assert measured.complete
    assert measured.gap <= 1e-6
    assert measured.decided == measured.cells == len(enumerate_cells(DATA()[0]))


def test_local_training_and_its_rivals_are_no_better_than_the_optimum():
    optimum = training(DATA, 0.1, 1e-6)(None).objective
    local = without_cells(DATA, 0.1, 5.0)(None)
    rival = random_starts(DATA, 0.1, 0.5)(None)
    for measured in (local, rival):
        assert measured.objective >= optimum * (1 - 1e-6)
    assert local.converged
    assert "of the objective, trivial" in local.note
    assert "best of 20" in rival.note


@pytest.mark.parametrize(("kind", "number"), [("none", 0), ("processes", 2)])
def test_pricing_is_measured(kind, number):
    measured = pricing(DATA, 0.1, kind, number)(None)
    assert measured.cells == measured.decided == len(enumerate_cells(DATA()[0]))
    assert ("bit for bit" in measured.note) == (number > 0)


def test_pricing_by_a_dask_cluster():
    pytest.importorskip("distributed")
    alone = measure_pricing(*DATA(), 0.1, "none", 0, calls=1)
    found = measure_pricing(*DATA(), 0.1, "dask", 1, calls=1)
    assert (found.cells, found.violated) == (alone.cells, alone.violated)
    assert found.bound == alone.bound


def test_another_result_of_workers_is_an_error(monkeypatch):
    price, seen = parallel_pricing.price, []

    def wrong(problem, cells, Z, executor):
        seen.append(executor)
        found, bound = price(problem, cells, Z, None)
        if len(seen) > 1:
            found.values[0] = np.nextafter(found.values[0], np.inf)
        return found, bound

    monkeypatch.setattr(parallel_pricing, "price", wrong)
    with pytest.raises(RuntimeError, match="other directions"):
        measure_pricing(*DATA(), 0.1, "none", 0, calls=1)


GOOD = Measurement(seconds=1.0, cpu=1.0, cells=10, objective=2.0, gap=1e-9, decided=10)


def changed(**new):
    return Measurement(**{**vars(GOOD), **new})


@pytest.mark.parametrize(
    ("row", "measured", "said"),
    [
        (Row(None, 10), GOOD, ""),
        (Row(None, 10, Target(2.0)), GOOD, "met"),
        (Row(None, 11), GOOD, "not 11 cells"),
        (Row(None, target=Target(2.0)), changed(cells=0, cones=9), "met"),
        (Row(None, 10), changed(complete=False), "not met: cells"),
        (Row(None, 10), changed(converged=False), "not met: gap"),
        (Row(None, 10, Target(0.5)), GOOD, "not met: time"),
        (Row(None, 10, Target(2, 1)), changed(memory=2.0), "not met: memory"),
        (Row(None, rivals=("equal", "worse", "killed", "absent")), GOOD, "met"),
        (Row(None, rivals=("worse", "better")), GOOD, "not met: objective, by 25.00%"),
        (Row(None, rivals=("worse",)), changed(converged=False), "not met: bound"),
        (Row(None, 10), changed(note="a note"), "a note"),
    ],
)
def test_verdicts(row, measured, said):
    others = {
        "equal": GOOD,
        "worse": changed(objective=2.5),
        "better": changed(objective=1.6),
        "killed": "its process was killed",
    }
    assert verdict(row, measured, others) == said


def test_the_table_shows_cones_ratios_and_failures():
    table = {
        "new": Row(None, against="old"),
        "old": Row(None, 10),
        "bad": Row(None, 10),
    }
    measured = {
        "new": changed(cells=0, cones=1234, decided=0),
        "old": changed(seconds=7.5),
        "bad": "its process was killed",
    }
    console = Console(width=200, file=io.StringIO())
    print_table(console, table, measured)
    printed = console.file.getvalue()
    for text in ("1,234 cones", "7.50", "its process was killed"):
        assert text in printed
    assert cells_text(changed(cells=None)) == ""
