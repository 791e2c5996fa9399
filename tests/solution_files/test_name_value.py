"""Name and value, as people and programs write them."""

from __future__ import annotations

import csv
import io

import numpy as np
import pandas
import pytest

from pyomo_relu.errors import InputError
from pyomo_relu.solution_files.name_value import read_csv_solution


@pytest.mark.parametrize(
    "text",
    [
        "x_1,4\ny,-0.5\n",
        "name,value\nx_1,4\ny,-0.5\n",
        "Variable,Value\r\nx_1,4\r\ny,-0.5\r\n",
        '"name","value"\n"x_1","4"\n"y","-0.5"\n',
        "\ufeffname,value\nx_1,4\ny,-0.5\n",
        "\n\nname , value\n\nx_1 , 4.0\n\n\ny, -5e-1\n\n",
        '"x_1" , 4\ny,-.5\n'.replace(" ,", ","),
        "# from a solver\nname,value\nx_1,+4.\ny,-0.5\n",
        "x_1 4\ny -0.5\n",
        "x_1\t4\ny\t-0.5\n",
        "# Solution for model m\n# Objective value = 3.5\nx_1 4\ny -0.5\n",
    ],
)
def test_ways_to_write_it(text):
    solution = read_csv_solution(text.encode())
    assert solution.columns.by_name == {"x_1": 4.0, "y": -0.5}
    assert solution.objective == (3.5 if "Objective" in text else None)
    assert (solution.status, solution.is_optimal) == ("", False)
    assert not solution.zeros_omitted


def test_names_with_commas_quotes_and_spaces():
    names = ["x[1,2]", 'say "x"', "two words", "größe", "a;b"]
    values = np.random.default_rng(0).standard_normal(len(names)).tolist()
    by_csv = io.StringIO()
    csv.writer(by_csv).writerows(zip(names, values, strict=True))
    by_pandas = pandas.DataFrame({"name": names, "value": values}).to_csv(index=False)
    for text in (by_csv.getvalue(), by_pandas):
        solution = read_csv_solution(text.encode())
        assert solution.columns.by_name == dict(zip(names, values, strict=True))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x,1\ny,2\nx,3\n", "line 3: .*once"),
        ("x,1\n\n\nx,3\n", "line 4: .*once"),
        ("x,1\n,3\n", "line 2: .*once"),
        ("x,1\ny,nan\n", "line 2: .*'nan'.*finite"),
        ("x,1\n\ny,inf\n", "line 3: .*'inf'.*finite"),
        ("x,1\ny,1e999\n", "line 2: .*finite"),
        ("x,1\ny,1_0\n", "line 2: .*finite"),
        ("x,1\ny,0x10\n", "line 2: .*finite"),
        ("x,1\ny,\n", "line 2: .*finite"),
        ("x,1\ny,2,3\n", "line 2: .*'name,value'"),
        ("x,1\ny 2\n", "line 2: .*'name,value'"),
        ("x,1\n'y,2',3\n", "line 2: .*'name,value'"),
        ('x,1\n"y,2\nz",3\n', "line 2: .*'name,value'"),
        ('x,1\na"b,"c\nz,3\n', "line 2: .*'name,value'"),
        ('x,1\n"y"z,2\n', "line 2: .*'name,value'"),
        ("name,values\nx,1\n", "line 1: .*'values'"),
        ("name,value\n", "ends at line 1"),
        ("x,1\nname,value\n", "line 2: .*'value'.*finite"),
        ("x 1\ny,2\n", "line 2: .*'name value'"),
        ("x 1\n# y\nz 2 3\n", "line 3: .*'name value'"),
        ("x 1\ny 2", "line 2: the file ends without a newline"),
        ("# objective value = 1\n# objective value = 2\nx 1\n", "line 2: .*once"),
        ("# objective value = much\nx 1\n", "line 1: .*finite"),
    ],
)
def test_refused(text, message):
    with pytest.raises(InputError, match=message):
        read_csv_solution(text.encode())
