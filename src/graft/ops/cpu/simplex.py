"""Tables of probabilities between an M-step and the next E-step, row by row."""

from __future__ import annotations

import math
from typing import Any, no_type_check

import numpy as np

from graft.ops.cpu.compile import compiled


@compiled
@no_type_check
def normalised(logits: Any, states: int, out: Any) -> None:
    """Log-probabilities of rows of logits, flat (rows, states); NaN where a row has no finite one."""
    for row in range(0, logits.size, states):
        high, total = -np.inf, 0.0
        for s in range(row, row + states):
            high = max(high, logits[s])
        for s in range(row, row + states):
            total += math.exp(logits[s] - high)
        norm = math.log(total)
        for s in range(row, row + states):
            out[s] = logits[s] - high - norm


@compiled
@no_type_check
def best(counts: Any, logits: Any, states: int, out: Any) -> bool:
    """The kernel of `graft.factors.maximise_best.best_logits`, all flat (rows, states); returns whether one is NaN."""
    bad = False
    for row in range(0, logits.size, states):
        total = 0.0
        for s in range(row, row + states):
            if logits[s] > -np.inf and not counts[s] < 0.0:
                total += counts[s]
        for s in range(row, row + states):
            out[s] = logits[s]
            if total > 0.0:
                there = logits[s] > -np.inf and not counts[s] <= 0.0
                out[s] = math.log(counts[s] / total) if there else -np.inf
            bad = bad or out[s] != out[s]
    return bad
