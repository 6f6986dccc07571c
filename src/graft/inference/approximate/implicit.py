"""Gradients at a fixed point, without the way that led there."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from graft.errors import GraftError
from graft.inference.approximate.iterate import Iterated, Process, State


def attached(process: Process, found: Iterated, iterations: int, tolerance: float) -> State:
    r"""The fixed point $m^* = f(m^*, \theta)$ as a function of $\theta$, its memory that of one step.

    A gradient $g$ by $m^*$ becomes $u = g + J^\top u$ with $J = \partial f / \partial m$ at the fixed point, found by
    iteration, and then $u^\top \partial f / \partial \theta$.

    Source: Almeida 1987; Pineda 1987 (recurrent back-propagation); Domke 2013, section 5 (message passing).

    Args:
        process: whose step is $f$.
        found: its fixed point.
        iterations: at most so many on the way back.
        tolerance: of the way back, relative to the gradient.
    """
    if not found.state:
        return found.state
    with torch.enable_grad():
        start = tuple(part.detach().requires_grad_() for part in found.state)
        after = process.step(start)
        ahead = process.step(tuple(part.detach() for part in found.state))
    if not any(part.requires_grad for part in ahead):
        return tuple(part.detach() for part in ahead)
    shapes = [part.shape for part in ahead]
    flat = torch.cat([part.reshape(-1) for part in ahead])
    back = _Back(start, after, found, iterations, tolerance)
    flat.register_hook(back)
    return tuple(part.reshape(shape) for part, shape in zip(back.parts(flat), shapes, strict=True))


class _Back:
    def __init__(
        self, start: Sequence[Tensor], after: Sequence[Tensor], found: Iterated, iterations: int, tolerance: float
    ) -> None:
        self.start, self.after, self.found = tuple(start), tuple(after), found
        self.iterations, self.tolerance = iterations, tolerance

    def parts(self, flat: Tensor) -> Sequence[Tensor]:
        return flat.split([part.numel() for part in self.start])

    def __call__(self, grad: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            raise GraftError("the implicit gradient has no second derivative: use gradient='unrolled'")
        self._check(grad)
        scale = grad.abs().max().clamp_min(torch.finfo(grad.dtype).tiny)
        found = grad
        for _ in range(self.iterations):
            seeds = [p.reshape(s.shape) for p, s in zip(self.parts(found), self.start, strict=True)]
            back = torch.autograd.grad(self.after, self.start, seeds, retain_graph=True, allow_unused=True)
            moved = [torch.zeros_like(s) if b is None else b for b, s in zip(back, self.start, strict=True)]
            new = grad + torch.cat([b.reshape(-1) for b in moved])
            change = (new - found).abs().max()
            found = new
            if bool(change <= self.tolerance * scale):
                return found
        raise GraftError(
            f"the implicit gradient did not converge in {self.iterations} iterations (its change is "
            f"{float(change / scale):.2g}, the tolerance {self.tolerance:.2g}): allow more iterations or damping, or "
            "use gradient='unrolled'"
        )

    def _check(self, grad: Tensor) -> None:
        """Rows that did not converge have no fixed point to differentiate at."""
        bad = ~self.found.converged
        if not bool(bad.any()):
            return
        for part, start in zip(self.parts(grad), self.start, strict=True):
            if bool(part.reshape(start.shape).movedim(-2, 0)[bad].any()):
                rows = ", ".join(str(i) for i in bad.nonzero().flatten().tolist()[:8])
                raise GraftError(
                    f"no implicit gradient: rows {rows} (counted over the whole batch) have not converged after "
                    f"{self.found.steps} steps; allow more iterations, more damping, or use gradient='unrolled'"
                )
