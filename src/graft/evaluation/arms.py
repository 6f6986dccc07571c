"""Comparisons of methods ("arms") over the same seeds: tables of figures and of paired differences."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from graft.errors import GraftError
from graft.evaluation.intervals import Summary, summarise
from graft.evaluation.kinds import Kind


class Comparison:
    """Figures of several arms, each run with several seeds.

    Arms and seeds are told beforehand, so that a run that never came back is named, not passed over. A figure
    has one kind (exact, a bound on one side, or an estimate) throughout: a column cannot mix kinds.

    Args:
        arms: names of the methods, in the order of the table.
        seeds: the seeds that every arm is run with.
        confidence: of the intervals over seeds.

    Raises:
        GraftError: there are no arms or seeds, or one of them is there twice.

    Example:
        >>> runs = Comparison(["net", "joint"], seeds=[0, 1, 2])
        >>> for seed, (net, joint) in enumerate([(71.0, 80.0), (73.0, 82.0), (72.0, 84.0)]):
        ...     runs.add("net", seed, "accuracy", net)
        ...     runs.add("joint", seed, "accuracy", joint)
        >>> print(runs.summary("joint", "accuracy"))
        82 ± 5
        >>> print(runs.difference("joint", "net", "accuracy"))
        10 ± 4.3
    """

    def __init__(self, arms: Sequence[str], *, seeds: Sequence[int], confidence: float = 0.95) -> None:
        for name, given in {"arms": arms, "seeds": seeds}.items():
            if not given or len(set(given)) != len(given):
                raise GraftError(f"{name} must be distinct, at least one, but are {list(given)}")
        self.arms, self.seeds, self.confidence = tuple(arms), tuple(seeds), confidence
        self.kinds: dict[str, Kind] = {}
        self._values: dict[tuple[str, int, str], float] = {}

    @property
    def figures(self) -> tuple[str, ...]:
        """The names of the figures, in the order in which they first came."""
        return tuple(self.kinds)

    def add(self, arm: str, seed: int, figure: str, value: float, *, kind: Kind = Kind.EXACT) -> None:
        """Note one figure of one run; NaN is noted as such.

        Raises:
            GraftError: the arm or the seed is unknown, the figure was there already, or it has another kind.
        """
        self._check(arm, seed)
        known = self.kinds.get(figure, kind)
        if known is not kind:
            raise GraftError(f"the column {figure!r} is {known.value}; it cannot also hold: {kind.value}")
        if (arm, seed, figure) in self._values:
            raise GraftError(f"{figure!r} of arm {arm!r} with seed {seed} was given twice")
        self.kinds[figure] = kind
        self._values[arm, seed, figure] = float(value)

    def value(self, arm: str, seed: int, figure: str) -> float | None:
        """One figure of one run, None if it is missing."""
        self._check(arm, seed, figure)
        return self._values.get((arm, seed, figure))

    def summary(self, arm: str, figure: str) -> Summary:
        """Mean, deviation and interval of a figure over the seeds of an arm."""
        values = {seed: self.value(arm, seed, figure) for seed in self.seeds}
        return summarise(values, confidence=self.confidence)

    def difference(self, arm: str, other: str, figure: str) -> Summary:
        """By how much `arm` exceeds `other`, seed by seed: what the seed does to both arms drops out.

        A seed that either arm lacks is left out and named.
        """
        paired = {seed: self._difference(arm, other, seed, figure) for seed in self.seeds}
        return summarise(paired, confidence=self.confidence)

    def table(self, title: str | None = None, *, against: str | None = None) -> Table:
        """One row an arm, one column a figure with its kind, for printing with rich.

        Args:
            title: stands above the table.
            against: an arm; the rows are then what each other arm has more than this one, paired by seed.
        """
        head, *rows = self._cells(against)
        # as plain text: a name such as "[b]" is not markup
        table = Table(title=title, caption=self._caption())
        for k, name in enumerate(head):
            table.add_column(Text(name), justify="right" if k else "left")
        for row in rows:
            table.add_row(*map(Text, row))
        return table

    def markdown(self, *, against: str | None = None) -> str:
        """The same table for a text file."""
        head, *rows = self._cells(against)
        rule = ["---", *("---:" for _ in self.figures)]
        lines = [" | ".join(cell.replace("|", "\\|") for cell in row) for row in [head, rule, *rows]]
        return "\n".join([*(f"| {line} |" for line in lines), "", self._caption(), ""])

    def write_csv(self, path: str | Path) -> Path:
        """Write every figure of every run, a line each; the value is empty where the run is missing."""
        with Path(path).open("w", newline="", encoding="utf-8") as file:
            lines = csv.writer(file, lineterminator="\n")
            lines.writerow(["arm", "seed", "figure", "kind", "value"])
            lines.writerows(self._lines())
        return Path(path)

    def _check(self, arm: str, seed: int, figure: str | None = None) -> None:
        if arm not in self.arms:
            raise GraftError(f"unknown arm {arm!r}; expected one of {', '.join(self.arms)}")
        if seed not in self.seeds:
            raise GraftError(f"unknown seed {seed}; expected one of {', '.join(map(str, self.seeds))}")
        if figure is not None and figure not in self.kinds:
            raise GraftError(f"unknown figure {figure!r}; there are: {', '.join(self.figures) or 'none yet'}")

    def _difference(self, arm: str, other: str, seed: int, figure: str) -> float | None:
        one, two = self.value(arm, seed, figure), self.value(other, seed, figure)
        return None if one is None or two is None else one - two

    def _cells(self, against: str | None) -> list[list[str]]:
        if against is None:
            head = [f"{figure} ({kind.value})" for figure, kind in self.kinds.items()]
            rows = [[arm, *(str(self.summary(arm, f)) for f in self.figures)] for arm in self.arms]
            return [["arm", *head], *rows]
        # two lower bounds differ by something that is no bound, so the head says what was subtracted
        head = [f"{figure} (difference: {kind.value})" for figure, kind in self.kinds.items()]
        others = [arm for arm in self.arms if arm != against]
        rows = [
            [f"{arm} - {against}", *(str(self.difference(arm, against, f)) for f in self.figures)] for arm in others
        ]
        return [["arms", *head], *rows]

    def _lines(self) -> Iterator[list[str]]:
        for arm in self.arms:
            for seed in self.seeds:
                for figure, kind in self.kinds.items():
                    value = self.value(arm, seed, figure)
                    yield [arm, str(seed), figure, kind.value, "" if value is None else repr(value)]

    def _caption(self) -> str:
        seeds = f"{len(self.seeds)} seeds" if len(self.seeds) > 1 else "1 seed"
        return f"mean ± half the {self.confidence:.0%} interval over {seeds}"
