"""The posterior of a `System` as a Markov chain that runs backward in time: smoothing, sampling, entropy."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from graft.ops.kalman import Beliefs, Method, predicted
from graft.ops.kalman_scan import affine_product, scan
from graft.ops.kalman_system import System, apply, symmetric


class Backward(NamedTuple):
    r"""$z_t \mid z_{t+1} \sim \mathcal{N}(G_t z_{t+1} + c_t, L_t)$, given all evidence; the last state has G = 0.

    Attributes:
        gain: G (b or 1, T, D, D).
        offset: c (b, T, D).
        spread: L (b or 1, T, D, D).
    """

    gain: Float[Tensor, "#b t d d"]
    offset: Float[Tensor, "b t d"]
    spread: Float[Tensor, "#b t d d"]


def backward(system: System, found: Beliefs) -> Backward:
    """The backward chain, from the filtered states (Rauch, Tung and Striebel 1965); singular covariances allowed."""
    step, noise = system.transition, system.noise
    mean, covariance = found.mean[:, :-1], found.covariance[:, :-1]
    ahead = predicted(system, found)
    cross = covariance @ step.mT
    gain = _solved(ahead.covariance[:, 1:], cross.mT).mT
    eye = torch.eye(system.states, dtype=mean.dtype, device=mean.device)
    keep = eye - gain @ step
    spread = symmetric(keep @ covariance @ keep.mT + gain @ noise @ gain.mT)
    offset = mean - apply(gain, ahead.mean[:, 1:])
    last = found.covariance[:, -1:]
    return Backward(
        torch.cat([gain, torch.zeros_like(last)], 1),
        torch.cat([offset, found.mean[:, -1:]], 1),
        torch.cat([spread, last], 1),
    )


def _solved(matrix: Float[Tensor, "*n d d"], right: Float[Tensor, "*n d e"]) -> Float[Tensor, "*n d e"]:
    """The solution for covariances; by the pseudo-inverse if some are singular."""
    scale = matrix.detach().diagonal(dim1=-2, dim2=-1).clamp_min(0).sqrt()
    scale = torch.where(scale > 0, scale, 1.0)
    even = matrix / scale[..., :, None] / scale[..., None, :]
    right = right / scale[..., :, None]
    factor, failed = torch.linalg.cholesky_ex(even)
    pivots = factor.detach().diagonal(dim1=-2, dim2=-1).square()
    if bool(failed.any()) or bool((pivots < 1e-11).any()):
        found = torch.linalg.pinv(even, rtol=1e-12, hermitian=True) @ right
    else:
        found = torch.cholesky_solve(right, factor)
    return found / scale[..., :, None]


def smoothed(chain: Backward, method: Method) -> Beliefs:
    """The states given all evidence."""
    if method == "parallel":
        rows, steps = len(chain.offset), chain.gain.shape[1]
        wide = max(len(chain.gain), len(chain.spread))
        elements = (
            chain.gain.expand(wide, steps, -1, -1).flip(1),
            chain.offset.expand(rows, steps, -1).flip(1),
            chain.spread.expand(wide, steps, -1, -1).flip(1),
        )
        _, mean, covariance = scan(affine_product, elements)
        return Beliefs(mean.flip(1), covariance.flip(1))
    return Beliefs(_recursed(chain.gain, chain.offset, False), _recursed(chain.gain, chain.spread, True))


def _recursed(gain: Tensor, added: Tensor, square: bool) -> Tensor:
    """x_t = G_t x_{t+1} + added_t (or G x G' + added), backward, from the last."""
    gains, parts = gain.unbind(1), added.unbind(1)
    found = [parts[-1]]
    for t in range(len(parts) - 2, -1, -1):
        later = found[-1]
        moved = gains[t] @ later @ gains[t].mT if square else apply(gains[t], later)
        found.append(symmetric(moved + parts[t]) if square else moved + parts[t])
    return torch.stack(found[::-1], 1)


def drawn(chain: Backward, noise: Float[Tensor, "n b t d"], method: Method, exact: bool) -> Float[Tensor, "n b t d"]:
    """Joint draws of all states from standard normal noise.

    Args:
        chain: the posterior.
        noise: standard normal.
        method: loop or scan.
        exact: singular covariances are allowed; no gradient then.
    """
    count, rows = noise.shape[:2]
    root = square_root(chain.spread) if exact else torch.linalg.cholesky(chain.spread)
    added = (chain.offset + apply(root, noise)).flatten(0, 1)
    if method == "sequential":
        gain = chain.gain if len(chain.gain) == 1 else chain.gain.expand(count, -1, -1, -1, -1).flatten(0, 1)
        return _recursed(gain, added, False).unflatten(0, (count, rows))
    gain = chain.gain.expand(rows, -1, -1, -1) if len(chain.gain) > 1 else chain.gain
    if len(gain) > 1:
        gain = gain.expand(count, -1, -1, -1, -1).flatten(0, 1)

    def product(late: tuple[Tensor, ...], early: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return early[0] @ late[0], apply(early[0], late[1]) + early[1]

    return scan(product, (gain.flip(1), added.flip(1)))[1].flip(1).unflatten(0, (count, rows))


def square_root(covariance: Float[Tensor, "*n d d"]) -> Float[Tensor, "*n d d"]:
    """A matrix S with S S' = covariance, which may be singular."""
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if not bool(failed.any()):
        return factor
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clamp_min(0).sqrt()[..., None, :]
