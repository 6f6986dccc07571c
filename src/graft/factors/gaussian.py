"""Real vectors and arrays: standard normal, learnable, one per state, or from a network."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from graft.distributions.density import Density
from graft.distributions.density_families import NormalDensity, StandardNormal
from graft.distributions.full_normal import FullNormalDensity
from graft.distributions.supports import Real
from graft.errors import GraftError, ShapeError
from graft.factors.base import Call, Conditional, apply_network
from graft.factors.events import check_event, told_event
from graft.factors.lookup import look_up, parent_sizes
from graft.factors.spread import Covariance, normal, spread, spread_shape, unspread

#: Of a table: one variance per dimension, a matrix per state, one variance per state, one matrix for all states.
Shape = Literal["diag", "full", "spherical", "tied"]


class Gaussian(Conditional):
    r"""A normal distribution $\mathcal{N}(\mu, \operatorname{diag} \sigma^2)$ or
    $\mathcal{N}(\mu, L L^\top)$.

    `Gaussian(dim=32)` is standard normal and learns nothing; `Gaussian(dim=12, learn=True)` learns its
    location and scale, `Gaussian(dim=12, given=8)` one pair per state of its parents. `Gaussian(net)` reads
    location and log-scale from the two halves of its network's last axis (of the first event axis, the
    channels of an image, if `shape=` has several), `Gaussian(net, scale=0.1)` takes the whole output for the
    location. `Gaussian(net, dim=3, covariance="full")` reads the location and, row by row, the lower triangle of $L$,
    its diagonal as logarithms: $d + d(d+1)/2$ numbers.

    Args:
        net: a network that returns location and log-scale.
        dim: the length of the vector; with a network it is checked.
        shape: the event shape, in place of `dim`.
        given: the number of states of each parent.
        learn: learn location and scale without parents.
        covariance: with a network `"diag"` or `"full"`; where location and scale are learnt also `"spherical"` (one
            variance per state for all dimensions) or `"tied"` (one full covariance for all states).
        loc: locations to start from, broadcast to parents' axes, then event.
        scale: a network's fixed scale, or scales to start from (Cholesky factors, if `covariance` is `"full"` or
            `"tied"`).
        onehot: give a network its categorical inputs one-hot.
        concat: give a network its inputs joined on the last axis.

    Raises:
        GraftError: if options contradict each other, or a scale is not positive.
        ShapeError: at a call, if parents or a network's output do not fit.

    Example:
        >>> from graft.distributions.supports import Finite
        >>> from graft.factors.base import Argument
        >>> emission = Gaussian(dim=2, given=3, loc=torch.eye(3, 2))
        >>> call = Call(1, (Argument("s", Finite(3)),))
        >>> emission.distribution((torch.tensor([1, 2]),), call).mean
        tensor([[0., 1.],
                [0., 0.]], grad_fn=...)
    """

    loc: Tensor
    raw_scale: Tensor
    scale: Tensor | None

    def __init__(
        self,
        net: nn.Module | None = None,
        *,
        dim: int | None = None,
        shape: tuple[int, ...] | None = None,
        given: int | tuple[int, ...] | None = None,
        learn: bool = False,
        covariance: Shape = "diag",
        loc: Tensor | None = None,
        scale: Tensor | float | None = None,
        onehot: bool = True,
        concat: bool = True,
    ) -> None:
        super().__init__()
        self.net, self.onehot, self.concat, self.covariance = net, onehot, concat, covariance
        self.event = told_event(dim, shape)
        self.support = None if self.event is None else Real(*self.event)
        if net is not None:
            self._check_network(given is not None or learn or loc is not None, scale is not None)
            if scale is None and self.event == ():
                raise GraftError("a scalar has no axis to halve: use dim=1, or scale=...")
            self.register_buffer("scale", _positive(scale))
            return
        self.given = parent_sizes(given)
        self.indexes = bool(self.given)
        if given is not None or learn:
            self._start_table(self.given, loc, scale)
        elif loc is None and scale is None and covariance == "diag":
            self._fix_standard()
        else:
            raise GraftError("Gaussian(dim=...) is standard normal; learn=True or given= make it learnable")

    def _check_network(self, told: bool, scaled: bool) -> None:
        """Whether the options go with a network."""
        if told or self.covariance not in ("diag", "full"):
            raise GraftError('a network leaves no room for given=, learn=, loc= or a covariance but "diag" and "full"')
        if self.covariance == "full" and (scaled or self.event is None or len(self.event) != 1):
            raise GraftError('a network with covariance="full" needs dim=, and no scale=')

    def _told(self) -> tuple[int, ...]:
        if self.event is None:
            raise GraftError("a Gaussian without a network needs dim= or shape=")
        return self.event

    def _fix_standard(self) -> None:
        # buffers follow the model to its device; not saved, for there is nothing to save
        for name in ("loc", "raw_scale"):
            self.register_buffer(name, torch.zeros(self._told()), persistent=False)

    def _start_table(self, given: tuple[int, ...], loc: Tensor | None, scale: Tensor | float | None) -> None:
        event = self._told()
        if self.covariance not in get_args(Shape):
            raise GraftError(f"covariance is one of {', '.join(get_args(Shape))}, not {self.covariance!r}")
        own = {"tied": (), "spherical": given}.get(self.covariance, given)
        wide = own + ((1,) * len(event) if self.covariance == "spherical" else spread_shape(event, self._kind))
        start = 0.1 * torch.randn(given + event) if loc is None else _fitted(loc, given + event)
        raw = torch.zeros(wide)
        if scale is not None:
            raw = unspread(_fitted(torch.as_tensor(scale), wide), self._kind)
        self.loc, self.raw_scale = nn.Parameter(start), nn.Parameter(raw)

    @property
    def _kind(self) -> Covariance:
        """What `spread` makes of the raw scales."""
        return "full" if self.covariance in ("full", "tied") else "diag"

    def scales(self, *, double: bool = False) -> Tensor:
        """The scales of a table, or its Cholesky factors: parents' axes, then those of a scale."""
        scale = spread(self.raw_scale.double() if double else self.raw_scale, self._kind)
        event = tuple(self.loc.shape[len(self.given or ()) :])
        return scale.expand((self.given or ()) + (event * 2 if self._kind == "full" else event))

    def moments(self, inputs: tuple[Tensor, ...], call: Call) -> tuple[Tensor, Tensor]:
        """Location and scale, or Cholesky factor: leading (+ axes if `call.as_given`), then event."""
        if self.net is not None:
            return self._from_network(inputs, call)
        given = self.given or ()
        return look_up(self.loc, given, inputs, call), look_up(self.scales(), given, inputs, call)

    def _from_network(self, inputs: tuple[Tensor, ...], call: Call) -> tuple[Tensor, Tensor]:
        if self._kind == "full":
            return self._with_factor(inputs, call)
        loc, scale, log_scale = self._halves(inputs, call)
        return loc, log_scale.exp() if scale is None else scale  # type: ignore[union-attr]

    def _with_factor(self, inputs: tuple[Tensor, ...], call: Call) -> tuple[Tensor, Tensor]:
        """Location and Cholesky factor."""
        assert self.net is not None
        (dim,) = self._told()
        out = apply_network(self.net, inputs, call, onehot=self.onehot, concat=self.concat)
        wanted = (dim + dim * (dim + 1) // 2,)
        check_event(out, wanted, call, 'Gaussian(net, covariance="full"), location and lower triangle,')
        loc, entries = out.split((dim, wanted[0] - dim), -1)
        # row i of the triangle begins at entry i (i + 1) / 2; what is read above the diagonal, `spread` drops
        column = torch.arange(dim, device=out.device)
        row = column[:, None]
        places = row * (row + 1) // 2 + column.minimum(row)
        return loc, spread(entries.index_select(-1, places.flatten()).unflatten(-1, (dim, dim)), "full")

    def _halves(self, inputs: tuple[Tensor, ...], call: Call) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Location, and scale or its logarithm."""
        assert self.net is not None
        out = apply_network(self.net, inputs, call, onehot=self.onehot, concat=self.concat)
        if self.scale is not None:
            check_event(out, self.event, call, "Gaussian(net, scale=...)")
            return out, self.scale.to(out).expand_as(out), None
        check_event(out, _doubled(self.event), call, "Gaussian(net), location and log-scale,")
        axis = -1 if self.event is None else -len(self.event)
        if out.shape[axis] % 2:
            raise ShapeError(
                f"location and log-scale are two halves, but the network returned {tuple(out.shape)}, of odd "
                "size; with scale=... all of it is the location"
            )
        loc, log_scale = out.chunk(2, axis)
        return loc, None, log_scale

    def distribution(self, inputs: tuple[Tensor, ...], call: Call) -> Distribution:
        loc, scale = self.moments(inputs, call)
        return normal(loc, scale, 1 if self.event is None else len(self.event), self._kind)

    def density(self, inputs: tuple[Tensor, ...], call: Call) -> Density:
        rank = 1 if self.event is None else len(self.event)
        if self._kind == "full":
            return FullNormalDensity(*self.moments(inputs, call))
        if self.net is not None:
            loc, scale, log_scale = self._halves(inputs, call)
            return NormalDensity(loc, log_scale, rank, scale)
        if not isinstance(self.loc, nn.Parameter) and not inputs:
            return StandardNormal(self.loc)
        loc, scale = self.moments(inputs, call)
        return NormalDensity(loc, None, rank, scale)

    def extra_repr(self) -> str:
        return f"event={self.event}" + (f", given={self.given}" if self.indexes else "")


def _doubled(event: tuple[int, ...] | None) -> tuple[int, ...] | None:
    return event and (2 * event[0], *event[1:])


def _fitted(start: Tensor, shape: tuple[int, ...]) -> Tensor:
    try:
        return start.detach().to(torch.get_default_dtype()).expand(shape).clone()
    except RuntimeError as error:
        raise GraftError(f"a start of shape {tuple(start.shape)} does not broadcast to {shape}") from error


def _positive(scale: Tensor | float | None) -> Tensor | None:
    if scale is None:
        return None
    scale = torch.as_tensor(scale, dtype=torch.get_default_dtype())
    if not bool((scale > 0).all()):
        raise GraftError("scales must be positive")
    return scale
