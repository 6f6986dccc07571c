"""What goes into the E-step of many chains with one table of transitions, and what comes out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Squares:
    r"""Vectors whose features are $x - c$ and $(x - c)^2$, which are made where they are needed.

    Attributes:
        x: (B, T, D), of any type.
        centre: (D,), the c.
    """

    x: np.ndarray
    centre: np.ndarray

    def whole(self) -> np.ndarray:
        """(B, T, 2 D), in double precision."""
        about = self.x - self.centre
        return np.concatenate([about, about * about], -1)


@dataclass(frozen=True, eq=False)
class Parameters:
    r"""Of a chain whose component k of a state has the log-density $c_k + \eta_k^\top \phi(x)$.

    Attributes:
        start: (S,), log-probabilities of first states.
        move: (S, S), of transitions, from row to column.
        natural: (K, F), the $\eta$; of symbols (S, V), their log-probabilities. K is a multiple of S.
        constants: (K,), the c.
    """

    start: np.ndarray
    move: np.ndarray
    natural: np.ndarray
    constants: np.ndarray


@dataclass(frozen=True, eq=False)
class Sums:
    """What an M-step needs.

    Attributes:
        log_z: of every row, 0 of those without elements.
        starts: (S,), expected first states.
        counts: (S, S), expected transitions.
        mass: (K,), expected components of states.
        moments: (K, F), expected features of these; of symbols (S, V), how often they are expected.
    """

    log_z: np.ndarray
    starts: np.ndarray
    counts: np.ndarray
    mass: np.ndarray
    moments: np.ndarray
