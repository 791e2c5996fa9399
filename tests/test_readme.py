"""The README's Python blocks run, in order, as one reader would type them."""

import re
from pathlib import Path

import numpy as np
import pytest

README = Path(__file__).parents[1] / "README.md"


def test_the_readmes_python_runs(tmp_path, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert len(blocks) == 5
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    names = {
        "X": rng.normal(size=(8, 2)),
        "Y": rng.normal(size=(8, 2)),
        "first": rng.normal(size=(2, 3)),
        "second": rng.normal(size=(3, 2)),
    }
    # What another program made of the last block's file.
    (tmp_path / "solution.txt").write_text("name,value\nx,1.41421356\n")
    for block in blocks:
        exec(block, names)
    assert (tmp_path / "network.json").exists()
    assert (tmp_path / "model.names.json").exists()
    # The last blocks are the cone without a network, and its file: x = sqrt(2).
    assert names["model"].x.value == pytest.approx(1.41421356, abs=1e-12)
