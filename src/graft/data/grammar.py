r"""The grammar of the digit strings: a sparse Markov chain over labels, which a language model can learn.

After digit $a$ comes $a$ again (0.15), $a+1$ (0.45), $a+3$ (0.25) or $a+7$ (0.15), modulo ten. The first
digit is uniform. A label thus has $1.84$ bits given the one before, against $\log_2 10 = 3.32$ without a
grammar, and a repeated label ("3 3") is real, not a matter of duration.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from graft.errors import DataError


@dataclass(frozen=True)
class Grammar:
    """A Markov chain over labels.

    Args:
        initial: (S,), probabilities of the first label.
        transition: (S, S), probabilities of the next label, one row for each label before it.

    Raises:
        DataError: a row is not a probability distribution.

    Example:
        >>> DIGITS.transition[9].nonzero().flatten().tolist()
        [0, 2, 6, 9]
        >>> DIGITS.draw(5, np.random.default_rng(0))
        [6, 6, 3, 0, 3]
    """

    initial: Float[Tensor, " S"]
    transition: Float[Tensor, "S S"]

    def __post_init__(self) -> None:
        rows = torch.cat([self.initial.unsqueeze(0), self.transition])
        if not bool((rows >= 0).all() and torch.allclose(rows.sum(-1), torch.ones_like(rows[:, 0]))):
            raise DataError("every row of a grammar must be a probability distribution")

    def draw(self, length: int, rng: np.random.Generator) -> list[int]:
        """A string of `length` labels."""
        rows = self.transition.numpy()
        string = [int(rng.choice(len(rows), p=self.initial.numpy()))]
        while len(string) < length:
            string.append(int(rng.choice(len(rows), p=rows[string[-1]])))
        return string


def _digits() -> Grammar:
    transition = torch.zeros(10, 10, dtype=torch.float64)
    for step, probability in {0: 0.15, 1: 0.45, 3: 0.25, 7: 0.15}.items():
        transition += probability * torch.eye(10, dtype=torch.float64).roll(step, dims=1)
    return Grammar(initial=torch.full((10,), 0.1, dtype=torch.float64), transition=transition)


DIGITS = _digits()
NAMES = tuple("0123456789")


def check_range(name: str, bounds: tuple[int, int]) -> None:
    """Refuse a range (fewest, most) that is empty or starts below 1.

    Raises:
        DataError: it is so.

    Example:
        >>> check_range("digits", (3, 7))
    """
    low, high = bounds
    if not 1 <= low <= high:
        raise DataError(f"{name} must be a range (fewest, most) with 1 <= fewest <= most, but is {bounds}")
