"""One Gaussian part, solved: its evidence, its moments, draws of it, each computed when first asked for."""

from __future__ import annotations

from functools import cached_property
from math import log, pi

import torch
from torch import Tensor

from graft.graph.nodes import Variable
from graft.inference.frame import Frame
from graft.inference.gaussian_assemble import loading
from graft.inference.gaussian_system import Assembled
from graft.ops.kalman import Beliefs, Method, chosen, filtered, log_likelihoods, predicted
from graft.ops.kalman_joint import log_joint
from graft.ops.kalman_smooth import Backward, backward, drawn, smoothed
from graft.ops.kalman_system import Readings, apply, seen_only, symmetric


class Solved:
    """The posterior of one part.

    Args:
        found: the part, assembled.
    """

    def __init__(self, found: Assembled) -> None:
        self.found, self.system, self.layout = found, found.system, found.layout

    @cached_property
    def method(self) -> Method:
        return chosen(self.system)

    @cached_property
    def filtered(self) -> Beliefs:
        return filtered(self.system, self.method)

    @cached_property
    def predicted(self) -> Beliefs:
        return predicted(self.system, self.filtered)

    @cached_property
    def backward(self) -> Backward:
        return backward(self.system, self.filtered)

    @cached_property
    def smoothed(self) -> Beliefs:
        return smoothed(self.backward, self.method)

    @cached_property
    def log_partition(self) -> Tensor:
        """log p(evidence), or the log of the normaliser; float64, shape batch."""
        return self._summed(log_likelihoods(self.system, self.predicted).sum(-1))

    def entropy(self) -> Tensor:
        r"""Of all unknowns of the part given the evidence; float64, shape batch.

        A Gaussian over n numbers tells its entropy at its mode, $H = n/2 - \log p(z^*)$.
        """
        mode, still = self.smoothed.mean, self.layout.still
        first = [self.layout.block(name) for name in self.layout.names]
        later = [self.layout.block(name) for name in self.layout.names if name not in still]
        density = log_joint(self.system, mode, first, later)
        total = log_likelihoods(self.system, self.predicted).sum(-1) - density
        for name in self.found.part.names:
            elements = 1 if name in still else self.system.steps
            # what does not exist is standard normal in the chain, and taken off again
            blank = (elements - self._existing(name, elements)) * 0.5 * (1 + log(2 * pi))
            total = total + self.layout.dims[name] * (0.5 * elements - blank)
        return self._summed(total)

    def moments(self, variable: Variable, which: str) -> tuple[Tensor, Tensor]:
        """Means and covariances of one unknown, (batch, axes, d) and (batch, axes, d, d), compact."""
        beliefs: Beliefs = getattr(self, which)
        block = self.layout.block(variable.name)
        mean, covariance = beliefs.mean[..., block], beliefs.covariance[..., block, block]
        return self._of(variable, mean, 1), self._of(variable, covariance, 2)

    def prediction(self, variable: Variable) -> tuple[Tensor, Tensor]:
        """An observed variable before it is seen, (batch, axes, d) and (batch, axes, d, d), compact."""
        support, device = variable.support, self.system.mean.device
        size = support.event_shape[0] if support is not None and support.event_rank else 1
        mean = torch.zeros(1, self.system.steps, size, dtype=torch.float64, device=device)
        covariance = torch.eye(size, dtype=torch.float64, device=device).expand(1, self.system.steps, -1, -1)
        for one in self.found.seen:
            if one.node.head.name != variable.name:
                continue
            reads, root = loading(self.layout, one, self.system.steps), one.full_root
            here = apply(reads, self.predicted.mean) + one.offset
            spread = symmetric(reads @ self.predicted.covariance @ reads.mT) + root @ root.mT
            if one.stands is not None:
                here = torch.where(one.stands[..., None], here, mean)
                spread = torch.where(one.stands[..., None, None], spread, covariance)
            mean, covariance = here, spread
        return self._of(variable, mean, 1), self._of(variable, covariance, 2)

    def draws(self, count: int) -> dict[str, Tensor]:
        """Joint draws of all unknowns, (count, batch, axes, event) by name, compact."""
        size = (count, self.system.rows, self.system.steps, self.system.states)
        noise = torch.randn(size, dtype=torch.float64, device=self.system.mean.device)
        states = drawn(self.backward, noise, self.method, exact=True)
        found = {name: states[..., self.layout.block(name)] for name in self.found.part.names}
        found |= {name: self._filled(name, states) for name in self.found.holes}
        return {name: self._drawn(name, value) for name, value in found.items()}

    def _filled(self, name: str, states: Tensor) -> Tensor:
        """An observed variable with its missing cells drawn given the others and the state (count, rows, T, d)."""
        value, seen = self.found.holes[name]
        total = value.expand(len(states), *value.shape)
        for one in self.found.seen:
            if one.node.head.name != name:
                continue
            root = one.full_root
            mean = apply(loading(self.layout, one, self.system.steps), states) + one.offset
            drawn = mean + apply(root, torch.randn_like(mean.expand(total.shape)))
            # a joint draw moved to the known cells by the gain of these (Matheron's rule)
            known = seen_only(Readings(root, value, root @ root.mT, seen.sum(-1).double()), seen)
            gap = torch.where(seen, value - drawn, 0.0)
            pull = torch.linalg.solve(known.noise, gap.unsqueeze(-1)).squeeze(-1)
            drawn = drawn + apply(root @ root.mT, torch.where(seen, pull, 0.0))
            drawn = torch.where(seen, value, drawn)
            total = drawn if one.stands is None else torch.where(one.stands[..., None], drawn, total)
        return total

    def _drawn(self, name: str, value: Tensor) -> Tensor:
        """Draws of one variable (count, rows, T, d) as (count, batch, axes, event)."""
        frame, count = self.found.frame, len(value)
        variable = self.found.variables[name]
        wide = value.reshape(count, *self.found.lead, *value.shape[2:])
        return self._arranged(variable, wide, 1, frame.expanded((count,))).to(frame.dtype)

    def _of(self, variable: Variable, flat: Tensor, rank: int) -> Tensor:
        """(rows or 1, T, ...) as (batch, axes, ...)."""
        return self._arranged(variable, self.found.restored(flat), rank, self.found.frame)

    def _arranged(self, variable: Variable, value: Tensor, rank: int, frame: Frame) -> Tensor:
        """(batch, common, T, ...) with the axes in the variable's own order."""
        part = self.found.part
        place = frame.rank + len(part.common)
        if part.letter is None or part.letter not in variable.axes:
            have, value = part.common, value.select(place, 0)
        else:
            # an axis without elements has one step, in which nothing exists
            have, value = (*part.common, part.letter), value.narrow(place, 0, frame.sizes[part.letter])
        value = frame.spread(value, have, variable.axes)
        event = variable.support.event_rank if variable.support is not None else 1
        return value.squeeze(-1) if event == 0 and rank == 1 else value

    def _existing(self, name: str, elements: int) -> Tensor | float:
        """How many elements of an unknown exist in each row."""
        variable, frame, part = self.found.variables[name], self.found.frame, self.found.part
        have = part.common if elements == 1 and part.letter not in variable.axes else self.found.letters
        size = 1 if part.letter not in variable.axes else frame.sizes[part.letter or ""]
        exists = frame.exists(have)
        if exists is None:
            return float(size)
        wide = torch.ones(*frame.shape(have), dtype=torch.bool, device=frame.device) & exists
        return wide.reshape(self.system.rows, -1).double().sum(-1)

    def _summed(self, rows: Tensor) -> Tensor:
        """Per row, summed over the common axes."""
        wide = rows.reshape(self.found.lead)
        axes = tuple(range(self.found.frame.rank, wide.dim()))
        return wide.sum(axes) if axes else wide
