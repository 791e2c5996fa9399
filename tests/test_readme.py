"""The README's Python blocks run, in order, as one reader would type them."""

import re
from pathlib import Path

import numpy as np
import pytest

README = Path(__file__).parents[1] / "README.md"


def test_the_readmes_python_runs(tmp_path, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert len(blocks) == 4
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    names = {
        "X": rng.normal(size=(8, 2)),
        "Y": rng.normal(size=(8, 2)),
        "first": rng.normal(size=(2, 3)),
        "second": rng.normal(size=(3, 2)),
    }
    for block in blocks:
        exec(block, names)
    assert (tmp_path / "network.json").exists()
    # The last block is the cone without a network: x = sqrt(2).
    assert names["model"].x.value == pytest.approx(2**0.5, abs=1e-6)
