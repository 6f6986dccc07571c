"""The potentials that all contestants of the chains get, in either Python."""

from __future__ import annotations

import numpy as np


def arrays(rows: int, steps: int, states: int) -> tuple[np.ndarray, np.ndarray]:
    """unary (rows, T, S) and pairwise (S, S), single precision; the rows of exp(pairwise) sum to one."""
    generator = np.random.default_rng(0)
    unary = generator.standard_normal((rows, steps, states), dtype=np.float32)
    pairwise = generator.standard_normal((states, states), dtype=np.float32)
    return unary, (pairwise - np.log(np.exp(pairwise).sum(1, keepdims=True))).astype(np.float32)
