"""A discrete draw and its relaxation from one noise, seen both ways round: the state from the relaxed value, and the
relaxed value from the state."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import one_hot, softplus

from graft.distributions.density import Density
from graft.distributions.density_families import BernoulliDensity, CategoricalDensity
from graft.errors import GraftError

#: Logits are cut here: a state of probability 0 stays one (exp(-1e4) is 0), and nothing is infinite.
FAR = 1e4


@dataclass(frozen=True, eq=False)
class Coupled:
    r"""A hard draw $b$ and the real noise $z$ under it.

    `free` is $z = g(u, \ell)$; `held` is $\tilde z = \tilde g(v, b, \ell)$, a draw of $z$ given $b$. The noise $v$ is
    the one that makes $\tilde z = z$: the two are one number with two derivatives.

    Attributes:
        logits: $\ell$, as the guide computed them.
        leaf: the same numbers, of which `free` and `held` are functions.
        hard: $b$ as numbers: bits, or one-hot.
        free: $z$.
        held: $\tilde z$.
        soft: $\sigma_\lambda(z)$, the relaxed value.
        temperature: $\lambda$.
        units: bits rather than one of several states.
        rank: dimensions of one relaxed value.
    """

    logits: Tensor
    leaf: Tensor
    hard: Tensor
    free: Tensor
    held: Tensor
    soft: Tensor
    temperature: Tensor
    units: bool
    rank: int

    def score(self) -> Tensor:
        r"""$\nabla_\ell \log q(b)$, like the logits."""
        return self.hard - (self.leaf.sigmoid() if self.units else self.leaf.softmax(-1))

    def difference(self, slope: Tensor, create_graph: bool) -> Tensor:
        r"""$\nabla_\ell c(\sigma_\lambda(z)) - \nabla_\ell c(\sigma_\lambda(\tilde z))$, like the logits.

        Args:
            slope: the derivative of $c$ by the relaxed value.
            create_graph: keep the derivative by the temperature.
        """
        held = squashed(self.held, self.temperature, self.units)
        (found,) = torch.autograd.grad(
            (self.soft, held), self.leaf, (slope, -slope), retain_graph=True, create_graph=create_graph
        )
        return found


def couple(density: Density, lead: tuple[int, ...], temperature: Tensor) -> Coupled:
    """A draw of units or of one of several states, (lead, event) or (lead, states).

    Args:
        density: what is drawn from.
        lead: the shape of independent draws.
        temperature: of the relaxed value.

    Raises:
        GraftError: any other family.

    Source: Tucker et al. 2017, section 3 and appendix; the states, Maddison, Mnih & Teh 2017.

    Example:
        >>> pair = couple(BernoulliDensity(torch.zeros(3), 1), (5,), torch.tensor(0.5))
        >>> pair.hard.shape, bool(((pair.soft > 0.5) == pair.hard.bool()).all())
        (torch.Size([5, 3]), True)
    """
    if isinstance(density, BernoulliDensity):
        units, logits = True, density.logits.expand((*lead, *density.event))
    elif isinstance(density, CategoricalDensity):
        units, logits = False, density.logits.expand((*lead, density.states))
    else:
        raise GraftError(f"{density.family} is neither Bernoulli nor categorical: it cannot be relaxed")
    logits = logits.clamp(-FAR, FAR)
    leaf = logits.detach().requires_grad_()
    hard, free, held = _units(leaf) if units else _states(leaf)
    rank = density.event_rank if units else 1
    return Coupled(logits, leaf, hard, free, held, squashed(free, temperature, units), temperature, units, rank)


def squashed(value: Tensor, temperature: Tensor, units: bool) -> Tensor:
    r"""$\sigma_\lambda$."""
    return (value / temperature).sigmoid() if units else (value / temperature).softmax(-1)


def _units(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    r"""$z = \ell + \mathrm{logit}\, u$, $b = [z > 0]$; $\tilde z = s\, \mathrm{softplus}(\mathrm{logit}\, v +
    \mathrm{softplus}(s \ell))$ with $s = 2 b - 1$."""
    uniform = torch.rand_like(logits).clamp_(torch.finfo(logits.dtype).tiny, 1 - torch.finfo(logits.dtype).eps)
    free = logits + uniform.logit()
    with torch.no_grad():
        hard = (free > 0).to(logits.dtype)
        side = 2 * hard - 1
        far = free.abs()
        # the inverse of softplus, less what the logits add
        noise = far + (-torch.expm1(-far)).log() - softplus(side * logits)
    return hard, free, side * softplus(noise + softplus(side * logits))


def _states(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    r"""$z_i = \log \pi_i - \log e_i$, $b = \arg\max z$, with exponential $e$; given b, $\tilde z_b = -\log e'_b$ and
    $\tilde z_i = -\log(e'_i / \pi_i + e'_b)$."""
    log_probs = logits.log_softmax(-1)
    noise = torch.empty_like(logits).exponential_().clamp_min_(torch.finfo(logits.dtype).tiny)
    free = log_probs - noise.log()
    with torch.no_grad():
        top, index = free.max(-1, keepdim=True)
        hard = one_hot(index.squeeze(-1), logits.shape[-1]).to(logits.dtype)
        # log(e_i / pi_i - e_b / pi_b) + log pi_i; a draw of no distance counts as one too small to see
        excess = log_probs - free + _log1mexp(free - top)
    others = -torch.logaddexp(excess - log_probs, -top)
    return hard, free, torch.where(hard.bool(), top, others)


def _log1mexp(value: Tensor) -> Tensor:
    """log(1 - exp(value)) for values up to 0, no less than -FAR."""
    return torch.log1p(-value.exp()).clamp_min(-FAR)
