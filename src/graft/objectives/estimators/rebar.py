"""REBAR: the score function with a relaxed value of the bound as its control variate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from graft.distributions.density import Density
from graft.distributions.supports import Binary, Finite, Support
from graft.errors import GraftError
from graft.objectives.estimators.base import Estimator, Signal
from graft.objectives.estimators.coupled import Coupled, couple


@dataclass(frozen=True)
class Control:
    """What one variable adds to the gradient of the bound.

    Attributes:
        score: its gradient is that of the bound by the guide's logits, (extra, batch).
        fit: what the control variate's own parameters minimise, a scalar; None where they rest.
    """

    score: Tensor
    fit: Tensor | None


class REBAR(Estimator):
    r"""$\big(f(b) - c(\tilde z)\big) \nabla_\phi \log q_\phi(b) + \nabla_\phi c(z) - \nabla_\phi c(\tilde z)$.

    Here b is the hard draw of the relaxed noise z, $\tilde z$ is a draw of that noise given b, and
    $c(z) = \eta f(\sigma_\lambda(z)) + r(\sigma_\lambda(z))$. Unbiased for every temperature $\lambda$, scale $\eta$
    and network r, which are parameters of the objective: they minimise the variance of the gradient, in units of what
    it would be without c. The same noise makes z and $\tilde z$, so the bound is computed twice, at b and at
    $\sigma_\lambda(z)$.

    Serves binary units and discrete states that no other draw of the guide depends on, in an `ELBO`. What stands
    between it and the data must accept relaxed values: weights between 0 and 1, or over the states. It pays with many
    units: for one alone, the mean of its control variate given b is that of a constant baseline.

    Args:
        temperature: where $\lambda$ starts, positive.
        scale: where $\eta$ starts.
        net: r, from the relaxed value to one number, (..., values) to (..., 1); None for r = 0 (REBAR proper).
        of: name of evidence that r reads behind the relaxed value.

    Raises:
        GraftError: a temperature that is not positive, or `of` without a network; the variable is not discrete, or
            another draw depends on it; at a call, a network that returns another shape, `of` is no evidence, or
            a bound that cannot be differentiated twice, such as one under `torch.compile`.

    Source: Tucker et al. 2017, section 3 (REBAR); Grathwohl et al. 2018, section 3 (RELAX: r).

    Example:
        >>> REBAR(0.5).title, REBAR(net=nn.Linear(3, 1)).title
        ('REBAR', 'REBAR(net)')
    """

    relaxes: ClassVar[bool] = True
    scores: ClassVar[bool] = True
    evaluates: ClassVar[int] = 2

    def __init__(
        self, temperature: float = 0.5, scale: float = 1.0, net: nn.Module | None = None, of: str | None = None
    ) -> None:
        super().__init__()
        if not 0 < temperature < math.inf:
            raise GraftError(f"a temperature is positive, it is not {temperature!r}")
        if not math.isfinite(scale):
            raise GraftError(f"a scale is a number, not {scale!r}")
        if net is None and of is not None:
            raise GraftError(f"nothing reads {of}: it is for the network of the control variate")
        self.log_temperature = nn.Parameter(torch.tensor(math.log(temperature)))
        self.scale = nn.Parameter(torch.tensor(float(scale)))
        self.net, self.of = net, of

    @property
    def temperature(self) -> Tensor:
        r"""$\lambda$."""
        return self.log_temperature.exp()

    def check(self, name: str, support: Support | None, axes: tuple[str, ...]) -> None:
        if not isinstance(support, Binary | Finite):
            raise GraftError(f"{name} is not discrete: REBAR relaxes binary units and finite states")

    def draw(self, density: Density, lead: tuple[int, ...]) -> Tensor:
        return self.couple(density, lead).hard

    def couple(self, density: Density, lead: tuple[int, ...]) -> Coupled:
        """A hard draw and its relaxation."""
        return couple(density, lead, self.temperature)

    def control(self, pieces: Sequence[Coupled], signal: Signal, relaxed: Tensor) -> Control:
        """The gradient by the logits, and the variance of it that the control variate's parameters minimise.

        Args:
            pieces: what was drawn, by factor or step.
            signal: the cost at the hard draws.
            relaxed: the cost at the relaxed values, of which it is a function; (extra, batch).
        """
        learns = self.training and any(p.requires_grad for p in self.parameters())
        guess = self.scale * relaxed
        for piece in pieces if self.net is not None else ():
            guess = guess + self._free(piece, signal)
        softs = [piece.soft for piece in pieces]
        slopes = torch.autograd.grad(
            guess.sum(), softs, retain_graph=True, create_graph=learns, allow_unused=True, materialize_grads=True
        )
        weight = torch.ones_like(signal.cost) if signal.weight is None else signal.weight
        score, noise, bare = torch.zeros_like(relaxed), relaxed.new_zeros(()), relaxed.new_zeros(())
        for piece, slope in zip(pieces, slopes, strict=True):
            left, direction = _as(signal.cost - guess, piece.leaf), piece.score()
            gradient = left * direction + piece.difference(slope, learns)
            score = score + _over(gradient.detach() * piece.logits, signal.cost)
            noise = noise + (_as(weight, gradient) * gradient).square().sum()
            bare = bare + (_as(weight * signal.cost, gradient) * direction).square().sum()
        return Control(weight * score, self._fit(noise / bare.detach().clamp_min(1e-12)) if learns else None)

    def _free(self, piece: Coupled, signal: Signal) -> Tensor:
        """The network's part of the control variate, (extra, batch)."""
        assert self.net is not None
        value = piece.soft.unsqueeze(-1) if piece.rank == 0 else piece.soft.flatten(-piece.rank)
        if self.of is not None:
            value = torch.cat((value, _read(self.of, signal.evidence, value)), -1)
        out = self.net(value)
        if tuple(out.shape) != (*value.shape[:-1], 1):
            raise GraftError(f"REBAR's network made {tuple(out.shape)} of {tuple(value.shape)}, not one number a row")
        return _over(out, signal.cost)

    def _fit(self, noise: Tensor) -> Tensor:
        """A number whose gradient reaches the parameters of the control variate alone."""
        own = [p for p in self.parameters() if p.requires_grad]
        try:
            slopes = torch.autograd.grad(noise, own, retain_graph=True, allow_unused=True, materialize_grads=True)
        except RuntimeError as error:
            rule = "its bound must be differentiable twice, which it is not under torch.compile"
            raise GraftError(f"REBAR fits its control variate to a gradient: {rule} ({error})") from error
        return torch.stack([(p * slope.detach()).sum() for p, slope in zip(own, slopes, strict=True)]).sum()

    @property
    def title(self) -> str:
        return "REBAR" if self.net is None else "REBAR(net)"


def _as(cells: Tensor, like: Tensor) -> Tensor:
    """Cells (extra, batch) against (extra, batch, axes, event)."""
    return cells.reshape(cells.shape + (1,) * (like.dim() - cells.dim()))


def _over(value: Tensor, like: Tensor) -> Tensor:
    """The sum over axes and event."""
    return value.flatten(like.dim()).sum(-1) if value.dim() > like.dim() else value


def _read(name: str, evidence: Mapping[str, Tensor], like: Tensor) -> Tensor:
    """Evidence (batch, features) spread over the leading dimensions of a value.

    Raises:
        GraftError: it is not among the evidence, or has other dimensions.
    """
    if name not in evidence:
        raise GraftError(f"REBAR's network reads {name}, which is no evidence of this call")
    value = evidence[name].to(like.dtype)
    try:
        return value.expand((*like.shape[:-1], value.shape[-1]))
    except RuntimeError as error:
        raise GraftError(f"REBAR's network reads {name} {tuple(value.shape)} beside {tuple(like.shape)}") from error
