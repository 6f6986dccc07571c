r"""Means of repeated runs with Student's interval.

Over $n$ runs with mean $\bar x$ and standard deviation $s$ (with $n-1$), the interval is
$\bar x \pm t_{n-1}\, s / \sqrt n$ with the quantile $t_{n-1}$ of Student's distribution. It holds if the runs
are independent and roughly normal, and speaks of the seeds only: the test data stay the same.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from scipy import stats

from graft.errors import GraftError


@dataclass(frozen=True)
class Summary:
    """What several runs say together.

    Args:
        mean: over the runs that gave a number; NaN if none did.
        deviation: standard deviation over the runs; None with fewer than two.
        half_width: half the width of the interval around the mean; None with fewer than two runs.
        runs: how many runs gave a number.
        absent: the seeds without one, each with the reason ("missing" or "NaN").
    """

    mean: float
    deviation: float | None
    half_width: float | None
    runs: int
    absent: Mapping[int, str]

    @property
    def interval(self) -> tuple[float, float] | None:
        """The interval's ends, or None where there is none."""
        return None if self.half_width is None else (self.mean - self.half_width, self.mean + self.half_width)

    def __str__(self) -> str:
        named = ", ".join(f"seed {seed} {reason}" for seed, reason in self.absent.items())
        return self._number() + (f" [{named}]" if named else "")

    def _number(self) -> str:
        if self.runs == 0:
            return "no runs"
        if self.half_width is None:
            why = "1 run" if self.runs == 1 else "infinite"
            return f"{self.mean:.4g} (no interval: {why})"
        return f"{self.mean:.4g} ± {self.half_width:.2g}"


def summarise(values: Mapping[int, float | None], *, confidence: float = 0.95) -> Summary:
    """Mean, standard deviation and Student's interval of the values of each seed.

    Args:
        values: a number for each seed; None where the run is missing. NaN counts as absent, and is named.
        confidence: the probability with which the interval covers the mean of all possible seeds.

    Raises:
        GraftError: the confidence is not between 0 and 1.

    Example:
        >>> print(summarise({0: 1.0, 1: 2.0, 2: 3.0}))
        2 ± 2.5
        >>> print(summarise({0: 1.0, 1: float("nan"), 2: None}))
        1 (no interval: 1 run) [seed 1 NaN, seed 2 missing]
    """
    if not 0 < confidence < 1:
        raise GraftError(f"confidence must lie between 0 and 1, but is {confidence}")
    present = [value for value in values.values() if value is not None and not math.isnan(value)]
    absent = {
        seed: "missing" if value is None else "NaN"
        for seed, value in values.items()
        if value is None or math.isnan(value)
    }
    runs = len(present)
    mean = sum(present) / runs if runs else math.nan
    if runs < 2 or not math.isfinite(mean):
        return Summary(mean, None, None, runs, absent)
    deviation = statistics.stdev(present)
    quantile = float(stats.t.ppf((1 + confidence) / 2, runs - 1))
    return Summary(mean, deviation, quantile * deviation / math.sqrt(runs), runs, absent)
