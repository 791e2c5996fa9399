"""Data for property tests: small integer matrices, degenerate more often than not."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st


@st.composite
def integer_data(draw, max_rows: int = 8, max_rank: int = 4, size: int = 2):
    """Integer matrices (n, d), not all zero."""
    d = draw(st.integers(1, max_rank))
    entry = st.integers(-size, size)
    row = st.lists(entry, min_size=d, max_size=d)
    rows = draw(
        st.lists(row, min_size=1, max_size=max_rows).filter(
            lambda rows: any(any(row) for row in rows)
        )
    )
    return np.array(rows)
