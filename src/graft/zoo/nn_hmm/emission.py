"""Where the mixtures start: fitted in closed form to the outputs that each state is first guessed to have."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils import parametrize

from graft.errors import DataError
from graft.factors.mixture import Mixture
from graft.factors.spread import Covariance, unspread

Parts = tuple[Tensor, Tensor, Tensor]  # weights (M,), locations (M, O), covariances (M, O, O)
ROUNDS = 10  # of k-means: a start, no more


class Floor(nn.Module):
    r"""Keeps scales above a floor: a raw log-scale $r$ becomes $\log(e^r + \text{floor})$.

    Without it the likelihood of a component on a single output would have no bound.

    Args:
        floor: what scales (of a full covariance, the diagonal of the Cholesky factor) cannot fall below.
        covariance: `"diag"` or `"full"`.
    """

    def __init__(self, floor: float, covariance: Covariance) -> None:
        super().__init__()
        self.floor, self.covariance = floor, covariance

    def forward(self, raw: Tensor) -> Tensor:
        if self.covariance == "diag":
            return (raw.exp() + self.floor).log()
        raised = (raw.diagonal(dim1=-2, dim2=-1).exp() + self.floor).log()
        return raw.tril(-1) + torch.diag_embed(raised)

    def right_inverse(self, raised: Tensor) -> Tensor:
        """What becomes these scales; those on the floor are put a little above it."""
        if self.covariance == "diag":
            return self._lowered(raised)
        return raised.tril(-1) + torch.diag_embed(self._lowered(raised.diagonal(dim1=-2, dim2=-1)))

    def _lowered(self, raised: Tensor) -> Tensor:
        return (raised.exp() - self.floor).clamp_min(0.1 * self.floor).log()


def started(
    outputs: Float[Tensor, "n O"],
    path: Int[Tensor, " n"],
    states: int,
    *,
    components: int,
    covariance: Covariance,
    floor: float,
    generator: torch.Generator,
) -> Mixture:
    """A mixture per state, its components the k-means clusters of the outputs in that state.

    Args:
        outputs: of the network, frame by frame.
        path: the state that each frame is guessed to be in.
        states: how many states there are.
        components: how many Gaussians a state has.
        covariance: of each Gaussian, `"diag"` or `"full"`.
        floor: below all scales, now and in training.
        generator: of the first centres.

    Raises:
        DataError: a state has fewer outputs than components.
    """
    parts = [_clusters(outputs[path == s], s, components, floor, generator) for s in range(states)]
    weights, loc, cov = (torch.stack(each) for each in zip(*parts, strict=True))
    mixture = Mixture(components, dim=outputs.shape[-1], given=states, covariance=covariance)
    parametrize.register_parametrization(mixture, "raw_scale", Floor(floor, covariance))
    with torch.no_grad():
        mixture.logits.copy_(weights.log())
        mixture.loc.copy_(loc)
        scale = torch.linalg.cholesky(cov) if covariance == "full" else cov.diagonal(dim1=-2, dim2=-1).sqrt()
        mixture.raw_scale = unspread(scale, covariance)  # type: ignore[assignment]  # through `Floor`
    return mixture


def _clusters(points: Tensor, state: int, count: int, floor: float, generator: torch.Generator) -> Parts:
    """Weights, means and covariances of k-means clusters; each covariance shrinks to that of the state."""
    if len(points) < 2 * count:
        raise DataError(f"state {state} has {len(points)} frames, too few for {count} components")
    centres = points[torch.randperm(len(points), generator=generator)[:count]]
    for _ in range(ROUNDS):
        member = _nearest(points, centres)
        centres = torch.stack([_mean(points[member == k], centres[k]) for k in range(count)])
    whole = _covariance(points, points.mean(0))
    sizes = torch.bincount(member, minlength=count)
    # a cluster counts as if it had O + 1 points more, spread like the state as a whole
    extra = points.shape[-1] + 1
    scatter = [n * _covariance(points[member == k], centres[k]) for k, n in enumerate(sizes.tolist())]
    cov = torch.stack([(s + extra * whole) / (n + extra) for s, n in zip(scatter, sizes.tolist(), strict=True)])
    return (sizes + 1) / (sizes + 1).sum(), centres, cov + floor**2 * torch.eye(points.shape[-1])


def _nearest(points: Tensor, centres: Tensor) -> Tensor:
    return torch.cdist(points, centres).argmin(-1)


def _mean(points: Tensor, otherwise: Tensor) -> Tensor:
    return points.mean(0) if len(points) else otherwise


def _covariance(points: Tensor, centre: Tensor) -> Tensor:
    away = points - centre
    return away.T @ away / max(1, len(points))
