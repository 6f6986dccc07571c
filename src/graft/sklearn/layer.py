"""`CRFLayer`: the calls of pytorch-crf's `CRF`, on exact chains that take any mask."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from graft.errors import GraftError, ShapeError
from graft.inference.how_many import positive
from graft.structured.linear_chain import LinearChain

REDUCTIONS = ("none", "sum", "mean", "token_mean")


class CRFLayer(nn.Module):
    r"""A linear-chain CRF over emissions of a network, with the constructor, parameters and calls of pytorch-crf 0.7.2.

    $$ \log p(y) = s_{y_1} + \sum_t e_t(y_t) + \sum_{t > 1} w_{y_{t-1}, y_t} + f_{y_T} - \log Z. $$

    Any elements may be masked off: the first, those inside, all of a row. The neighbours of a hole become adjacent,
    start and end scores go to the first and the last element that is on. What is off may hold anything (tags of -100,
    emissions of NaN); its gradient is zero. A row with nothing on has log-likelihood 0 and decodes to []. Half
    precisions are computed in float32. All tensors have the batch second, or first with `batch_first`.

    Args:
        num_tags: S, how many tags.
        batch_first: (batch, time) in place of (time, batch).

    Attributes:
        start_transitions: (S,), scores of the first tag.
        end_transitions: (S,), scores of the last tag.
        transitions: (S, S), scores of a tag (column) after another (row); `-inf` forbids.

    Raises:
        GraftError: there is no tag.

    Source: Lafferty, McCallum and Pereira, *Conditional random fields* (2001), section 3; the interface, pytorch-crf.

    Example:
        >>> crf = CRFLayer(5, batch_first=True)
        >>> emissions, tags = torch.randn(2, 3, 5), torch.tensor([[0, 2, 4], [-100, 1, 3]])
        >>> loss = -crf(emissions, tags, mask=tags != -100)  # the second row is padded on the left
        >>> [len(path) for path in crf.decode(emissions, mask=tags != -100)]
        [3, 2]
    """

    def __init__(self, num_tags: Any, batch_first: bool = False) -> None:
        super().__init__()
        num_tags = positive(num_tags, "num_tags")
        self.num_tags, self.batch_first = num_tags, batch_first
        self.start_transitions = nn.Parameter(torch.empty(num_tags))
        self.end_transitions = nn.Parameter(torch.empty(num_tags))
        self.transitions = nn.Parameter(torch.empty(num_tags, num_tags))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all parameters uniformly from -0.1 to 0.1."""
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -0.1, 0.1)

    def extra_repr(self) -> str:
        return f"num_tags={self.num_tags}" + (", batch_first=True" if self.batch_first else "")

    def forward(
        self,
        emissions: Any,
        tags: Any,
        mask: Any = None,
        reduction: str = "sum",
    ) -> Float[Tensor, "..."]:
        """The log-likelihood of tags (not the loss: negate it).

        Args:
            emissions: (time, batch, S).
            tags: (time, batch); anything where the mask is off.
            mask: (time, batch), bool or 0 and 1: which elements exist.
            reduction: "none" gives (batch,), "sum" and "mean" are over the batch, "token_mean" is the sum over the
                number of elements that are on.

        Raises:
            ShapeError: the shapes do not fit.
            GraftError: a tag that is on is outside 0..S-1, or there is nothing to take a mean of.
        """
        if reduction not in REDUCTIONS:
            raise GraftError(f"reduction must be one of {', '.join(REDUCTIONS)}, not {reduction!r}")
        chain, on = self._chain(emissions, mask)
        if not isinstance(tags, Tensor) or tags.is_floating_point() or tags.is_complex():
            raise GraftError(f"tags must be a tensor of whole numbers, not {_kind(tags)}")
        tags = self._rows_first(tags)
        if tags.shape != on.shape:
            raise ShapeError(f"tags {tuple(tags.shape)} do not fit emissions: (batch, time) is {tuple(on.shape)}")
        self._refuse_outside(tags, on)
        each = chain.log_prob(tags)
        if reduction == "none":
            return each
        count = {"sum": 1, "mean": len(each), "token_mean": int(on.sum())}[reduction]
        if count == 0:
            raise GraftError(f"reduction {reduction!r} has nothing to take the mean of")
        return each.sum() / count

    def decode(self, emissions: Any, mask: Any = None) -> list[list[int]]:
        """The most probable tags of the elements that are on, one list a row.

        Raises:
            ImpossibleEvidence: no tags are possible in some rows; it names them.
        """
        chain, on = self._chain(emissions, mask)
        rows = zip(chain.mode().tolist(), on.tolist(), strict=True)
        return [[tag for tag, there in zip(tags, exists, strict=True) if there] for tags, exists in rows]

    def marginals(self, emissions: Any, mask: Any = None) -> Float[Tensor, "one two tags"]:
        """The probability of each tag at each element, in the shape of the emissions; 0 where the mask is off.

        Raises:
            ImpossibleEvidence: no tags are possible in some rows; it names them.
        """
        return self._rows_first(self._chain(emissions, mask)[0].marginals)

    def top_k(
        self, emissions: Any, k: Any, mask: Any = None
    ) -> tuple[Int[Tensor, "k one two"], Float[Tensor, "k batch"]]:
        """The k most probable sequences of tags, best first, and their log-probabilities.

        Tags are 0 where the mask is off. Where fewer than k sequences are possible, the missing ones have `-inf`.
        """
        chain, _ = self._chain(emissions, mask)
        tags, scores = chain.top_k(positive(k))
        possible = scores > -torch.inf
        normaliser = chain.log_partition.expand_as(scores).where(possible, 0.0)
        return tags if self.batch_first else tags.transpose(1, 2), scores - normaliser

    def log_partition(self, emissions: Any, mask: Any = None) -> Float[Tensor, " batch"]:
        r"""$\log Z$ of each row: the log-sum of the exponential scores of all sequences of tags."""
        return self._chain(emissions, mask)[0].log_partition

    def chain(self, emissions: Any, mask: Any = None) -> LinearChain:
        """The distribution itself, batch first: to be sampled from, asked for its entropy or pair marginals."""
        return self._chain(emissions, mask)[0]

    def _chain(self, emissions: Any, mask: Any) -> tuple[LinearChain, Tensor]:
        if not isinstance(emissions, Tensor) or not emissions.is_floating_point():
            raise GraftError(f"emissions must be a tensor of real numbers, not {_kind(emissions)}")
        if emissions.dim() != 3 or emissions.shape[2] != self.num_tags:
            raise ShapeError(
                f"emissions {tuple(emissions.shape)} do not fit: they are"
                f" ({'batch, time' if self.batch_first else 'time, batch'}, {self.num_tags} tags)"
            )
        unary = self._rows_first(emissions)
        on = self._exists(mask, unary)
        count = on.cumsum(1)
        first, last = on & (count == 1), on & (count == count[:, -1:])
        for where, scores in ((first, self.start_transitions), (last, self.end_transitions)):
            unary = torch.where(where[:, :, None], unary + scores, unary)
        return LinearChain(unary, self.transitions, mask=on), on

    def _exists(self, mask: Any, unary: Tensor) -> Tensor:
        """(batch, time), bool."""
        if mask is None:
            return torch.ones(unary.shape[:2], dtype=torch.bool, device=unary.device)
        if not isinstance(mask, Tensor):
            raise GraftError(f"mask must be a tensor of truth values, not {_kind(mask)}")
        if mask.dtype != torch.bool and not bool(((mask == 0) | (mask == 1)).all()):
            raise GraftError("a mask holds truth values, or 0 and 1")
        mask = self._rows_first(mask)
        if mask.shape != unary.shape[:2]:
            raise ShapeError(f"mask {tuple(mask.shape)} does not fit: (batch, time) is {tuple(unary.shape[:2])}")
        return mask.bool()

    def _refuse_outside(self, tags: Tensor, on: Tensor) -> None:
        wrong = on & ((tags < 0) | (tags >= self.num_tags))
        if bool(wrong.any()):
            row, step = wrong.nonzero()[0].tolist()
            raise GraftError(
                f"tags must be in 0..{self.num_tags - 1} where the mask is on; row {row} has {int(tags[row, step])} at"
                f" {step}: to leave it out, pass mask=(tags >= 0)"
            )

    def _rows_first(self, x: Tensor) -> Tensor:
        return x if self.batch_first or x.dim() < 2 else x.transpose(0, 1)


def _kind(value: Any) -> str:
    return f"one of {value.dtype}" if isinstance(value, Tensor) else type(value).__name__
