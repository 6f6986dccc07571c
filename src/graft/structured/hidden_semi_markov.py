"""Hidden semi-Markov models: states that last, with observations: `HiddenSemiMarkov`."""

from __future__ import annotations

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn.functional import pad

from graft.errors import GraftError, ShapeError
from graft.ops.logspace import NEG_INF, logsumexp
from graft.structured.semi_markov import SemiMarkov

#: How far the sum of a row of probabilities may be from one.
_SLACK = 1e-4


class HiddenSemiMarkov(SemiMarkov):
    r"""The posterior over states and their durations in a hidden semi-Markov model, given observations.

    A first state $j_1 \sim \pi$ lasts $d_1 \sim D_{j_1}$ elements, each of which emits an observation; then a state
    $j_2 \sim A_{j_1}$, and so on. The queries are those of `SemiMarkov`, and `log_partition` is the
    log-likelihood $\log p(x_1 \dots x_T)$.

    By default a state ends with the last element of its row, so the likelihood is that of the observations
    *and* of a state ending there. With `censored=True` the last state goes on unseen: its duration is only known to be
    at least so long, and the likelihood is that of the observations alone.

    Args:
        initial: log-probabilities (S) or (..., S) of the first state.
        transitions: log-probabilities (S, S) or (..., S, S) of the next state (column) given the one before (row). A
            diagonal of `-inf` makes durations mean what they say.
        durations: log-probabilities (K, S) or (..., K, S) of the duration less one, given the state (column).
        emissions: log-likelihoods (..., T, S) of each observation in each state, finite or `-inf`. A missing
            observation has 0 everywhere.
        lengths: how many elements exist at the front of each row, integers (...).
        mask: which elements exist, bool (..., T).
        censored: whether the last state may go on beyond its row.

    Raises:
        ShapeError: the shapes do not fit.
        GraftError: probabilities do not sum to one within 1e-4, and what `SemiMarkov` refuses.

    Source: Yu, *Hidden semi-Markov models* (2010), sections 2.2.1 and 3.2; censoring, Guedon (2003), section 2.

    Example:
        >>> even = torch.tensor([[NEG_INF, 0.0], [0.0, NEG_INF]])  # two states in turn
        >>> durations = torch.tensor([[0.5, 0.0], [0.5, 1.0]]).log()  # one or two elements; always two
        >>> start, silent = torch.tensor([1.0, 0.0]).log(), torch.zeros(3, 2)
        >>> HiddenSemiMarkov(start, even, durations, silent).log_partition.exp()  # a state ends there
        tensor(0.5000)
        >>> HiddenSemiMarkov(start, even, durations, silent, censored=True).log_partition.exp()
        tensor(1.)
    """

    def __init__(
        self,
        initial: Shaped[Tensor, " ..."],
        transitions: Shaped[Tensor, " ..."],
        durations: Shaped[Tensor, " ..."],
        emissions: Shaped[Tensor, " ..."],
        lengths: Shaped[Tensor, " ..."] | None = None,
        mask: Shaped[Tensor, " ..."] | None = None,
        censored: bool = False,
    ) -> None:
        _refuse_misfit(initial, transitions, durations, emissions)
        for name, x, dim in (("initial", initial, -1), ("transitions", transitions, -1), ("durations", durations, -2)):
            _refuse_unnormalised(name, x, dim)
        super().__init__(
            segments=_shared(durations),
            transitions=_shared(transitions),
            unary=emissions,
            starts=_at_first(initial, emissions.shape[-2], lengths, mask),
            last=_shared(survival(durations)) if censored else None,
            lengths=lengths,
            mask=mask,
        )


def survival(durations: Float[Tensor, "*batch k s"]) -> Float[Tensor, "*batch k s"]:
    r"""The log-probability of a duration of at least $d$, $\log \sum_{e \ge d} D(e)$, by sums of twice the reach each.

    Args:
        durations: log-probabilities (..., K, S) of the duration less one.

    Example:
        >>> survival(torch.tensor([[0.5], [0.25], [0.25]]).log()).exp()[:, 0]
        tensor([1.0000, 0.5000, 0.2500])
    """
    found, reach = durations, 1
    while reach < durations.shape[-2]:
        later = pad(found[..., reach:, :], (0, 0, 0, reach), value=NEG_INF)
        found = logsumexp(torch.stack([found, later]), 0)
        reach *= 2
    return found


def _shared(table: Tensor) -> Tensor:
    """One table for all elements of each row."""
    return table if table.dim() == 2 else table[..., None, :, :]


def _at_first(initial: Tensor, length: int, lengths: Tensor | None, mask: Tensor | None) -> Tensor:
    """Scores of starting at each element that hold at the first one that exists only, (..., T, S)."""
    first = torch.arange(length, device=initial.device) == 0
    if mask is not None and mask.dtype == torch.bool and mask.dim() and mask.shape[-1] == length:
        first = mask.to(initial.device) & (mask.to(initial.device).cumsum(-1) == 1)
    return torch.where(first[..., None], initial[..., None, :], 0.0)


def _refuse_misfit(initial: Tensor, transitions: Tensor, durations: Tensor, emissions: Tensor) -> None:
    shapes = [tuple(x.shape) for x in (initial, transitions, durations, emissions)]
    if initial.dim() < 1 or min(x.dim() for x in (transitions, durations, emissions)) < 2:
        raise ShapeError(_misfit(shapes))
    states = emissions.shape[-1]
    if any(x.shape[-1] != states for x in (initial, transitions, durations)) or transitions.shape[-2] != states:
        raise ShapeError(_misfit(shapes))


def _misfit(shapes: list[tuple[int, ...]]) -> str:
    return (
        f"initial {shapes[0]}, transitions {shapes[1]}, durations {shapes[2]} and emissions {shapes[3]} do not fit:"
        " initial is (..., S), transitions (..., S, S), durations (..., K, S) and emissions (..., T, S)"
    )


def _refuse_unnormalised(name: str, x: Tensor, dim: int) -> None:
    if not x.is_floating_point():
        raise GraftError(f"{name} must be log-probabilities, not {x.dtype}")
    total = x.detach().double().logsumexp(dim).exp()
    if x.numel() and not bool(((total - 1).abs() <= _SLACK).all()):
        far = (total - 1).abs().nan_to_num(torch.inf)
        raise GraftError(
            f"{name} are log-probabilities, but a row sums to {total.flatten()[far.argmax()].item():g}, not 1"
        )
