"""A variable with finitely many states, from a table or from a network."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch import distributions as td

from graft.distributions.density_families import CategoricalDensity
from graft.distributions.supports import Finite
from graft.errors import GraftError
from graft.factors.base import Call, Conditional, apply_network
from graft.factors.events import check_event, validation
from graft.factors.lookup import look_up, parent_sizes


class Categorical(Conditional):
    r"""One of S states, $p(y = s \mid x) = \mathrm{softmax}(\ell(x))_s$, with logits from a table or a
    network.

    `Categorical(8)` is learnable, `Categorical(8, given=(8, 3))` has learnable logits per joint state of its
    parents (8, 3, 8), `Categorical(probs=tensor)` starts from given probabilities with the child's axis last
    (an entry of zero stays exactly zero, and has zero gradient), `Categorical(logits=tensor)` from given
    logits, and `Categorical(net, 8)` takes its logits from a network's last axis.

    Args:
        source: the number of states, or a network.
        states: the number of states, after a network.
        given: the number of states of each parent of a table.
        probs: probabilities to start from, parents' axes first.
        logits: logits to start from, parents' axes first.
        onehot: give a network its categorical inputs one-hot.
        concat: give a network its inputs joined on the last axis.

    Raises:
        GraftError: if it is told not at all, or twice, how many states there are, or probabilities are
            negative or do not sum to one.
        ShapeError: at a call, if parents or a network's output do not fit.

    Example:
        >>> from graft.factors.base import Argument
        >>> wet = Categorical(probs=torch.tensor([[0.9, 0.1], [0.0, 1.0]]))
        >>> call = Call(1, (Argument("rain", Finite(2)),))
        >>> wet.distribution((torch.tensor([0, 1, 1]),), call).probs
        tensor([[0.9000, 0.1000],
                [0.0000, 1.0000],
                [0.0000, 1.0000]], grad_fn=...)
    """

    def __init__(
        self,
        source: nn.Module | int | None = None,
        states: int | None = None,
        *,
        given: int | tuple[int, ...] | None = None,
        probs: Tensor | None = None,
        logits: Tensor | None = None,
        onehot: bool = True,
        concat: bool = True,
    ) -> None:
        super().__init__()
        self.onehot, self.concat = onehot, concat
        self.net = source if isinstance(source, nn.Module) else None
        if isinstance(source, int):
            if states is not None:
                raise GraftError(f"parents are told by given={states}, not by a second number")
            states = source
        if self.net is not None:
            self._tell_network(states, given, probs, logits)
            return
        table = starting_logits(states, parent_sizes(given), probs, logits)
        if given is not None and table.shape[:-1] != parent_sizes(given):
            raise GraftError(f"given={given} does not fit a table of shape {tuple(table.shape)}")
        self.table = nn.Parameter(table)
        self.given = tuple(table.shape[:-1])
        self.indexes = bool(self.given)
        self.states = table.shape[-1]
        self.support = Finite(self.states)

    def _tell_network(self, states: int | None, *tables: int | tuple[int, ...] | Tensor | None) -> None:
        if any(table is not None for table in tables):
            raise GraftError("a network's logits leave no room for given=, probs= or logits=")
        if states is None:
            raise GraftError("say how many states there are: Categorical(net, 8)")
        self.states = states
        self.support = Finite(states)

    def log_probs(self, inputs: tuple[Tensor, ...], call: Call) -> Tensor:
        """Normalised log-probabilities: leading (+ axes if `call.as_given`), then states."""
        if self.net is None:
            return look_up(log_normalised(self.table), self.given or (), inputs, call)
        out = apply_network(self.net, inputs, call, onehot=self.onehot, concat=self.concat)
        check_event(out, (self.states,), call, f"Categorical(net, {self.states})")
        return log_normalised(out)

    def distribution(self, inputs: tuple[Tensor, ...], call: Call) -> td.Categorical:
        logits = self.log_probs(inputs, call)
        return td.Categorical(logits=logits, validate_args=validation(logits))

    def density(self, inputs: tuple[Tensor, ...], call: Call) -> CategoricalDensity:
        return CategoricalDensity(self.log_probs(inputs, call))

    def extra_repr(self) -> str:
        return f"states={self.states}" + (f", given={self.given}" if self.indexes else "")


def log_normalised(logits: Float[Tensor, "*rows states"]) -> Float[Tensor, "*rows states"]:
    r"""$\ell - \log \sum e^\ell$ on the last axis, where an entry of minus infinity passes no gradient on.

    The log-probability of an impossible state thus has zero gradient, instead of pushing up the others.
    """
    out = logits.log_softmax(-1)
    return out.masked_fill(logits == -torch.inf, -torch.inf)


def starting_logits(states: int | None, given: tuple[int, ...], probs: Tensor | None, logits: Tensor | None) -> Tensor:
    """The table of logits to start from: given, or small and random, which breaks the symmetry of states.

    Raises:
        GraftError: if not exactly one source is told, or the tensor is no table of probabilities.
    """
    if sum(told is not None for told in (states, probs, logits)) != 1:
        raise GraftError("a categorical table needs one of: a number of states, probs=, logits=")
    if states is not None:
        return 0.1 * torch.randn(*given, states)
    if probs is not None:
        return log_of_probabilities(probs)
    assert logits is not None
    logits = _floating(logits)
    if bool((logits.isnan() | (logits == torch.inf)).any()) or bool((logits == -torch.inf).all(-1).any()):
        raise GraftError("logits must be numbers or -inf, with one finite entry in each row")
    return logits.detach().clone()


def log_of_probabilities(probs: Tensor) -> Tensor:
    """The logarithm of rows of probabilities, renormalised; zeros become minus infinity.

    Raises:
        GraftError: if an entry is negative, or a row is further than 1e-4 from one.
    """
    probs = _floating(probs).detach()
    if bool((probs < 0).any()):
        raise GraftError("probabilities must not be negative")
    total = probs.sum(-1, keepdim=True)
    if not bool(((total - 1).abs() <= 1e-4).all()):
        worst = float(total.flatten()[(total - 1).abs().argmax()])
        raise GraftError(f"probabilities must sum to one on the last axis; a row sums to {worst:.6g}")
    return (probs / total).log()


def _floating(table: Tensor) -> Tensor:
    if table.dim() == 0:
        raise GraftError("a table needs an axis of states, not a scalar")
    return table if table.is_floating_point() else table.to(torch.get_default_dtype())
