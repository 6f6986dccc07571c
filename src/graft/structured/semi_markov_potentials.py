"""The potentials of a batch of semi-Markov chains, checked, flattened, compacted: what `SemiMarkov` computes with."""

from __future__ import annotations

from math import prod

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torch.nn.functional import pad

from graft.errors import GraftError, ShapeError
from graft.ops.chain import rescale
from graft.ops.semi_markov import Messages, Segments, forward
from graft.ops.semi_markov_gradient import expected
from graft.structured.checks import refuse_impossible, refuse_unusable, usable
from graft.structured.existence import Existence

#: What each argument may look like, without its batch dimensions; 1 stands for all steps.
_RULE = (
    "segments is (K, S) or (..., T, K, S) or (..., 1, K, S), and so is last; unary and starts are (..., T, S);"
    " transitions is (S, S) or (..., T-1, S, S) or (..., 1, S, S); T comes from unary or starts, else from segments"
)


class SemiMarkovPotentials:
    """Potentials with one flat batch dimension, in double precision, existing elements at the front of each row.

    Arguments and errors are those of `SemiMarkov`. They are annotated loosely so that the checks, which name the rule,
    see every mistake.

    Attributes:
        batch_shape: the batch dimensions.
        length: T.
        longest: K.
        states: S.
        dtype: of all answers that are no integers.
    """

    def __init__(
        self,
        segments: Shaped[Tensor, " ..."],
        transitions: Shaped[Tensor, " ..."],
        unary: Shaped[Tensor, " ..."] | None = None,
        starts: Shaped[Tensor, " ..."] | None = None,
        last: Shaped[Tensor, " ..."] | None = None,
        lengths: Shaped[Tensor, " ..."] | None = None,
        mask: Shaped[Tensor, " ..."] | None = None,
    ) -> None:
        given = {"segments": segments, "transitions": transitions, "unary": unary, "starts": starts, "last": last}
        shapes = {name: x for name, x in given.items() if x is not None}
        self.dtype = _common_type(shapes)
        self.length, self.batch_shape = _fitting(shapes)
        self.longest, self.states = segments.shape[-2:]
        self._rows = prod(self.batch_shape)
        self._existence = Existence(self.batch_shape, self.length, lengths, mask, segments.device)
        # what all labels have in common never meets the sums: long sequences keep their digits
        centred, common = _centred(self._elements(unary, "unary", segments), self._existence.alive)
        self._common: Float[Tensor, " b"] = common
        self._potentials = Segments(
            centred,
            self._elements(starts, "starts", segments),
            self._table(segments, "segments"),
            None if last is None else self._table(last, "last"),
            self._pairwise(transitions),
            self._existence.lengths,
        )

    def _elements(self, x: Tensor | None, name: str, like: Tensor) -> Float[Tensor, "b t s"]:
        if x is None:
            return like.new_zeros(self._rows, self._existence.slots, self.states, dtype=torch.float64)
        x = x.double().expand(*self.batch_shape, -1, -1).reshape(self._rows, self.length, self.states)
        x = pad(x, (0, 0, 0, self._existence.slots - self.length))
        if not usable(x):
            x = torch.where(self._existence.mask[:, :, None], x, 0.0)
            refuse_unusable(x, name)
        return self._existence.compact(x)

    def _table(self, x: Tensor, name: str) -> Float[Tensor, "#b #t k s"]:
        """Scores of segments: one table for all rows, or for all starts, stays one."""
        x = self._flat(x.double(), self.length)
        if x.shape[1] == 0:
            x = pad(x, (0, 0, 0, 0, 0, 1))
        if x.shape[1] > 1 and self._existence.order is not None:
            order = self._existence.order[:, :, None, None].expand(-1, -1, *x.shape[2:])
            x = x.expand(self._rows, -1, -1, -1).gather(1, order)
        if x.shape[1] > 1 and not usable(x):
            # segments that would end beyond their row may hold anything
            steps = torch.arange(x.shape[1], device=x.device)[:, None] + torch.arange(x.shape[2], device=x.device)
            used = steps < self._existence.lengths[:, None, None]
            used = used if x.shape[0] == self._rows else used.any(0, keepdim=True)
            x = torch.where(used[..., None], x, 0.0)
        refuse_unusable(x, name)
        return x

    def _pairwise(self, x: Tensor) -> Float[Tensor, "#b #pairs s s"]:
        x = self._flat(x.double(), max(self.length - 1, 0))
        if x.shape[1] == 0:
            return x.new_zeros(1, 1, self.states, self.states)
        if x.shape[1] > 1 and not usable(x):
            entered = self._existence.entered
            used = entered if x.shape[0] == self._rows else entered.any(0, keepdim=True)
            x = torch.where(used[:, :, None, None], x, 0.0)
        refuse_unusable(x, "transitions")
        return x if x.shape[1] == 1 else self._existence.compact_steps(x)

    def _flat(self, x: Tensor, steps: int) -> Tensor:
        """(b or 1, steps or 1, ...), of a table for all rows or for each."""
        x = x if x.dim() > 2 else x[None]
        own = 1 if prod(x.shape[:-3]) == 1 else self._rows
        if own != 1:
            x = x.expand(*self.batch_shape, -1, -1, -1)
        return x.reshape(own, x.shape[-3] if steps else min(x.shape[-3], 1), *x.shape[-2:])

    def _by_row(self, x: Shaped[Tensor, " b *inner"]) -> Shaped[Tensor, " ..."]:
        return x.reshape(*self.batch_shape, *x.shape[1:])

    def _restored(self, x: Float[Tensor, " b slots *inner"]) -> Shaped[Tensor, " ..."]:
        """What stands at compacted elements, in the caller's order and shape."""
        found = self._existence.restore(x.flatten(2)).to(self.dtype)
        return found.reshape(*self.batch_shape, self.length, *x.shape[2:])

    def _restored_states(self, states: Int[Tensor, "*n b slots"]) -> Int[Tensor, "*n_batch t"]:
        found = self._existence.restore_states(states)
        return found.reshape(*states.shape[:-2], *self.batch_shape, self.length)

    def _messages(self) -> Messages:
        """Messages of rows that are all possible."""
        found = forward(self._potentials)
        refuse_impossible(found.log_z, self.batch_shape)
        return found

    def _expected(self, **shapes: tuple[int, ...]) -> dict[str, Tensor]:
        """Derivatives of the log-partitions of rows that are all possible, by potentials expanded to shapes."""
        found, score = expected(self._potentials, shapes)
        refuse_impossible(score, self.batch_shape)
        return found


def _centred(
    x: Float[Tensor, "b t s"], alive: Bool[Tensor, "b t"]
) -> tuple[Float[Tensor, "b t s"], Float[Tensor, " b"]]:
    """Each element's scores with maximum 0, and the sum of what was taken: constants to autograd."""
    lines, top = rescale(x.flatten(0, 1))
    return lines.reshape(x.shape), top.reshape(alive.shape).masked_fill(~alive, 0.0).sum(1)


def _common_type(given: dict[str, Tensor]) -> torch.dtype:
    found = torch.float32
    for name, x in given.items():
        if not x.is_floating_point():
            raise GraftError(f"{name} must be real floating-point, not {x.dtype}")
        found = torch.promote_types(found, x.dtype)
    return found


def _fitting(given: dict[str, Tensor]) -> tuple[int, tuple[int, ...]]:
    """T and the batch shape of potentials that fit together."""
    shapes = {name: tuple(x.shape) for name, x in given.items()}
    misfit = ShapeError(" and ".join(f"{name} {shape}" for name, shape in shapes.items()) + f" do not fit: {_RULE}")
    if any(len(shape) < 2 for shape in shapes.values()):
        raise misfit
    limit, states = shapes["segments"][-2:]
    elements = next((shapes[name] for name in ("unary", "starts") if name in shapes), shapes["segments"][:-1])
    if len(elements) < 2 or limit == 0 or states == 0:
        raise misfit
    length, leads = elements[-2], []
    for name, shape in shapes.items():
        if name in ("unary", "starts"):
            core, fits = 2, shape[-2:] == (length, states)
        else:
            lines, steps = (states, max(length - 1, 0)) if name == "transitions" else (limit, length)
            core = min(len(shape), 3)
            fits = shape[-2:] == (lines, states) and (core == 2 or shape[-3] in (1, steps))
        if not fits:
            raise misfit
        leads.append(shape[:-core])
    try:
        return length, tuple(torch.broadcast_shapes(*leads))
    except RuntimeError as error:
        raise misfit from error
