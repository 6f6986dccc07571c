r"""Errors of recognised label strings: substitutions, deletions, insertions.

With $N$ reference labels and $S$, $D$, $I$ errors of each kind over a corpus,
$$\text{recognised} = 100\,\frac{N - S - D}{N}, \qquad \text{accuracy} = 100\,\frac{N - S - D - I}{N},$$
so a recogniser that babbles may recognise much and still have a low (even negative) accuracy. After
Y. Bengio, R. De Mori, G. Flammia, R. Kompe, Global optimization of a neural network-hidden Markov model
hybrid, IEEE Trans. Neural Networks 3(2), 1992.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from graft.errors import GraftError

Pair = tuple[Hashable | None, Hashable | None]
Cost = tuple[int, int]  # errors, of them substitutions


@dataclass(frozen=True)
class EditCounts:
    """Counts over a corpus; two of them add up.

    Args:
        labels: labels in the references.
        substitutions: reference labels recognised as another label.
        deletions: reference labels without a counterpart.
        insertions: recognised labels without a counterpart.
        sequences: how many sequences were compared.
        exact: how many of them have no error.

    Example:
        >>> counts = score([[1, 2, 3], [4]], [[1, 3, 3, 3], [4]])
        >>> counts.substitutions, counts.deletions, counts.insertions
        (1, 0, 1)
        >>> counts.recognised, counts.accuracy, counts.exact_rate
        (75.0, 50.0, 50.0)
    """

    labels: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    sequences: int = 0
    exact: int = 0

    def __add__(self, other: EditCounts) -> EditCounts:
        return EditCounts(**{name: value + getattr(other, name) for name, value in vars(self).items()})

    @property
    def errors(self) -> int:
        """Substitutions, deletions and insertions together: the Levenshtein distance."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def recognised(self) -> float:
        """Reference labels found, in percent; insertions do not count."""
        return _percent(self.labels - self.substitutions - self.deletions, self.labels)

    @property
    def accuracy(self) -> float:
        """Reference labels found less insertions, in percent; negative if errors outnumber labels."""
        return _percent(self.labels - self.errors, self.labels)

    @property
    def exact_rate(self) -> float:
        """Sequences without an error, in percent."""
        return _percent(self.exact, self.sequences)


def score(references: Sequence[Sequence[Hashable]], hypotheses: Sequence[Sequence[Hashable]]) -> EditCounts:
    """Compare recognised strings with reference strings, pair by pair, and add up the counts.

    Args:
        references: one string of labels a sequence.
        hypotheses: what was recognised, as many strings; a string may be empty.

    Raises:
        GraftError: there are no strings, or not equally many.

    Example:
        >>> score(["kitten"], ["sitting"]).errors
        3
    """
    if not references or len(references) != len(hypotheses):
        counts = f"{len(references)} references and {len(hypotheses)} hypotheses"
        raise GraftError(f"expected equally many strings, at least one; got {counts}")
    pairs = zip(references, hypotheses, strict=True)
    return sum((count(align(*pair)) for pair in pairs), start=EditCounts())


def align(reference: Sequence[Hashable], hypothesis: Sequence[Hashable]) -> list[Pair]:
    """Pair the labels of two strings with the fewest errors, and among those with the fewest substitutions.

    The second rule makes the counts of each kind unique, and with them the figures. A deletion is
    (label, None), an insertion (None, label).

    Example:
        >>> align("ab", "bc")
        [('a', None), ('b', 'b'), (None, 'c')]
    """
    costs = _costs(reference, hypothesis)
    pairs: list[Pair] = []
    i, j = len(reference), len(hypothesis)
    while i or j:
        if i and j and costs[i][j] == _pair_cost(costs[i - 1][j - 1], reference[i - 1] != hypothesis[j - 1]):
            i, j = i - 1, j - 1
            pairs.append((reference[i], hypothesis[j]))
        elif i and costs[i][j] == _gap_cost(costs[i - 1][j]):
            i -= 1
            pairs.append((reference[i], None))
        else:
            j -= 1
            pairs.append((None, hypothesis[j]))
    return pairs[::-1]


def count(alignment: Sequence[Pair]) -> EditCounts:
    """The counts of one aligned sequence.

    Example:
        >>> count([("a", "a"), ("b", None)]).deletions
        1
    """
    deletions = sum(hypothesis is None for _, hypothesis in alignment)
    insertions = sum(reference is None for reference, _ in alignment)
    differing = sum(reference != hypothesis for reference, hypothesis in alignment)
    return EditCounts(
        labels=len(alignment) - insertions,
        substitutions=differing - deletions - insertions,
        deletions=deletions,
        insertions=insertions,
        sequences=1,
        exact=int(differing == 0),
    )


def _percent(part: int, whole: int) -> float:
    if whole == 0:
        raise GraftError("empty data: there are no reference labels to compare with")
    return 100 * part / whole


def _costs(reference: Sequence[Hashable], hypothesis: Sequence[Hashable]) -> list[list[Cost]]:
    """The least cost of aligning the first i labels of one string with the first j of the other."""
    costs: list[list[Cost]] = [[(j, 0) for j in range(len(hypothesis) + 1)]]
    for i, expected in enumerate(reference, start=1):
        row: list[Cost] = [(i, 0)]
        for j, found in enumerate(hypothesis, start=1):
            paired = _pair_cost(costs[i - 1][j - 1], expected != found)
            row.append(min(paired, _gap_cost(costs[i - 1][j]), _gap_cost(row[j - 1])))
        costs.append(row)
    return costs


def _pair_cost(before: Cost, differs: bool) -> Cost:
    return before[0] + differs, before[1] + differs


def _gap_cost(before: Cost) -> Cost:
    return before[0] + 1, before[1]
