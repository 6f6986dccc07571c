"""Possible assignments to start from, where tables hold hard zeros."""

from __future__ import annotations

import torch
from jaxtyping import Bool
from torch import Tensor

from graft.errors import GraftError
from graft.inference.approximate.local import Local, States, penalty, score
from graft.inference.approximate.network import Network

#: Sweeps of search before it is given up.
SWEEPS = 200
#: Each sweep makes what is impossible so much less likely.
STEEPER = 1.1


def drawn(weights: Tensor) -> Tensor:
    """States drawn by log-weights along the first dimension (Gumbel 1954); 0 where all are `-inf`."""
    noise = -torch.empty_like(weights).exponential_().log()
    return (weights + noise).argmax(0)


def starts(network: Network, chains: int) -> tuple[States, Bool[Tensor, "chains batch"]]:
    """Assignments drawn at random, moved by Gibbs sweeps that forbid hard zeros more and more.

    Args:
        network: what is to be assigned.
        chains: how many assignments per row.

    Returns:
        Per layer (chains, batch, elements), and which of the assignments are possible.
    """
    states = [drawn(layer.weights.detach().unsqueeze(1).expand(-1, chains, -1, -1)) for layer in network.layers]
    good = score(network, states) > -torch.inf
    if not network.zeros or bool(good.all()):
        return states, good
    local, full = Local(network), penalty(network)
    for step in range(SWEEPS):
        floor = max(full, -(STEEPER ** (step + 1)))
        new = local.floored(floor).sweep(states, drawn)
        states = [torch.where(good.unsqueeze(-1), old, one) for old, one in zip(states, new, strict=True)]
        good = score(network, states) > -torch.inf
        if bool(good.all()):
            break
    return states, good


def refused(good: Tensor, dead: Tensor, who: str) -> None:
    """Complain of rows without a possible start.

    Raises:
        GraftError: naming them.
    """
    bad = ~good.all(0) & ~dead
    if bool(bad.any()):
        rows = ", ".join(str(i) for i in bad.nonzero().flatten().tolist()[:8])
        raise GraftError(
            f"{who} found no possible assignment to start from in rows {rows} (counted over the whole batch): the "
            "evidence may be impossible, or the hard zeros too many for a random search; exact inference can tell"
        )
