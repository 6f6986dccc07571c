"""Zeros and ones: a scalar or an array of units, from a table or from a network."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch import distributions as td

from graft.distributions.density_families import BernoulliDensity
from graft.distributions.supports import Binary
from graft.errors import GraftError, ShapeError
from graft.factors.base import Call, Conditional, apply_network
from graft.factors.events import check_event, told_event
from graft.factors.hard_bernoulli import HardBernoulli
from graft.factors.lookup import look_up, parent_sizes


class Bernoulli(Conditional):
    r"""Independent units that are 0.0 or 1.0, $p(v_i = 1 \mid x) = \sigma(\ell_i(x))$.

    Scalar: `Bernoulli()` is learnable, `Bernoulli(given=(2, 2))` has one logit per joint state of its
    parents, `Bernoulli(probs=tensor)` starts from given probabilities, the tensor's axes being the parents',
    and `Bernoulli(net, scalar=True)` reads a network whose last axis has size 1.
    Arrays: `Bernoulli(dim=200)` and `Bernoulli(dim=200, given=8)` are learnable; `Bernoulli(net)` takes as
    many units as its network's last axis, `Bernoulli(net, dim=784)` and `Bernoulli(net, shape=(1, 28, 28))`
    check them.

    Args:
        net: a network that returns logits.
        dim: the number of units; absent, a table is scalar.
        shape: the event shape, in place of `dim`.
        given: the number of states of each parent of a table.
        probs: probabilities to start from, parents' axes first; zeros and ones stay exact.
        scalar: a network's last axis has size 1 and is dropped.
        onehot: give a network its categorical inputs one-hot.
        concat: give a network its inputs joined on the last axis.

    Raises:
        GraftError: if options contradict each other, or probabilities leave [0, 1].
        ShapeError: at a call, if parents or a network's output do not fit.

    Example:
        >>> from graft.factors.base import Argument
        >>> wet = Bernoulli(probs=torch.tensor([[0.0, 0.9], [0.8, 0.99]]))
        >>> call = Call(1, (Argument("rain", Binary()), Argument("sprinkler", Binary())))
        >>> wet.distribution((torch.tensor([0.0, 1.0]), torch.tensor([0.0, 1.0])), call).probs
        tensor([0.0000, 0.9900], grad_fn=...)
    """

    def __init__(
        self,
        net: nn.Module | None = None,
        *,
        dim: int | None = None,
        shape: tuple[int, ...] | None = None,
        given: int | tuple[int, ...] | None = None,
        probs: Tensor | float | None = None,
        scalar: bool = False,
        onehot: bool = True,
        concat: bool = True,
    ) -> None:
        super().__init__()
        self.net, self.scalar, self.onehot, self.concat = net, scalar, onehot, concat
        event = told_event(dim, shape)
        if scalar and event:
            raise GraftError(f"scalar=True leaves no room for an event of shape {event}")
        if net is None:
            self._start_table(event, given, probs)
        elif given is not None or probs is not None:
            raise GraftError("a network's logits leave no room for given= or probs=")
        self.event = () if scalar or (net is None and event is None) else event
        self.support = None if self.event is None else Binary(*self.event)

    def _start_table(
        self,
        event: tuple[int, ...] | None,
        given: int | tuple[int, ...] | None,
        probs: Tensor | float | None,
    ) -> None:
        rank = len(event or ())
        if probs is None:
            table = 0.1 * torch.randn(parent_sizes(given) + (event or ()))
        else:
            table = logits_of_probabilities(torch.as_tensor(probs))
            sizes = tuple(table.shape[: table.dim() - rank]) if given is None else parent_sizes(given)
            if tuple(table.shape) != sizes + (event or ()):
                raise GraftError(f"probs of shape {tuple(table.shape)} do not fit {sizes} then {event or ()}")
        self.table = nn.Parameter(table)
        self.given = tuple(table.shape[: table.dim() - rank])
        self.indexes = bool(self.given)

    def logits(self, inputs: tuple[Tensor, ...], call: Call) -> Tensor:
        """Logits of the units: leading (+ axes if `call.as_given`), then event."""
        if self.net is None:
            return look_up(self.table, self.given or (), inputs, call)
        out = apply_network(self.net, inputs, call, onehot=self.onehot, concat=self.concat)
        if self.scalar:
            return self._squeezed(out, call)
        check_event(out, self.event, call, "Bernoulli(net)")
        return out

    def _squeezed(self, out: Tensor, call: Call) -> Tensor:
        if out.dim() == 0 or out.shape[-1] != 1:
            raise ShapeError(
                f"Bernoulli(net, scalar=True) needs a last axis of size 1; its network returned {tuple(out.shape)}"
            )
        check_event(out, (1,), call, "Bernoulli(net, scalar=True)")
        return out.squeeze(-1)

    def distribution(self, inputs: tuple[Tensor, ...], call: Call) -> td.Distribution:
        logits = self.logits(inputs, call)
        # a network's logits are finite: torch's own form is faster there
        family = td.Bernoulli if self.net is not None else HardBernoulli
        rank = 1 if self.event is None else len(self.event)
        units = family(logits=logits)
        return td.Independent(units, rank) if rank else units

    def density(self, inputs: tuple[Tensor, ...], call: Call) -> BernoulliDensity:
        rank = 1 if self.event is None else len(self.event)
        return BernoulliDensity(self.logits(inputs, call), rank, hard=self.net is None)

    def extra_repr(self) -> str:
        given = f", given={self.given}" if self.indexes else ""
        return f"event={self.event}{given}"


def logits_of_probabilities(probs: Tensor) -> Tensor:
    r"""$\log p - \log(1 - p)$; zeros and ones become infinite.

    Raises:
        GraftError: if an entry leaves [0, 1].
    """
    probs = probs.detach() if probs.is_floating_point() else probs.to(torch.get_default_dtype())
    if not bool(((probs >= 0) & (probs <= 1)).all()):
        raise GraftError("probabilities must lie between 0 and 1")
    return probs.log() - torch.log1p(-probs)
