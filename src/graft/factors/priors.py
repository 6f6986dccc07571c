"""Fixed prior distributions of real variables: known parameters, nothing to learn."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch import distributions as td

from graft.distributions.supports import Real
from graft.factors.base import Call, Conditional
from graft.factors.events import refuse_inputs


class Fixed(Conditional):
    """A torch family with fixed parameters, all of whose dimensions are one event.

    Args:
        family: a class of `torch.distributions`.
        parameters: by their name in the family.

    Example:
        >>> Fixed(td.Gamma, concentration=torch.ones(3), rate=2.0).distribution((), Call(1)).event_shape
        torch.Size([3])
    """

    given = ()

    def __init__(self, family: type[td.Distribution], **parameters: Tensor | float) -> None:
        super().__init__()
        self.family = family
        # buffers follow the model to its device
        for name, value in parameters.items():
            self.register_buffer(name, torch.as_tensor(value, dtype=torch.get_default_dtype()))
        event = self.distribution((), Call(0)).event_shape
        self.support = Real(*event)

    def distribution(self, inputs: tuple[Tensor, ...], call: Call) -> td.Distribution:
        refuse_inputs(inputs, call, type(self).__name__)
        parameters: dict[str, Any] = dict(self.named_buffers())
        base = self.family(**parameters)
        return td.Independent(base, len(base.batch_shape))


class Dirichlet(Fixed):
    r"""Weights on a simplex, $p(\pi) \propto \prod_k \pi_k^{\alpha_k - 1}$.

    Args:
        concentration: $\alpha$, of shape (K,).

    Example:
        >>> Dirichlet(torch.ones(5)).distribution((), Call(0)).mean
        tensor([0.2000, 0.2000, 0.2000, 0.2000, 0.2000])
    """

    def __init__(self, concentration: Tensor) -> None:
        super().__init__(td.Dirichlet, concentration=concentration)


class Beta(Fixed):
    r"""Numbers between zero and one, $p(v) \propto v^{a - 1} (1 - v)^{b - 1}$: scalar, or as many as a and b.

    Args:
        a: the exponent of v, plus one.
        b: the exponent of 1 - v, plus one.

    Example:
        >>> Beta(1.0, 3.0).distribution((), Call(0)).mean
        tensor(0.2500)
    """

    def __init__(self, a: Tensor | float, b: Tensor | float) -> None:
        super().__init__(td.Beta, concentration1=a, concentration0=b)


class Normal(Fixed):
    r"""Real numbers with known location and scale: scalar, or as many as these.

    Args:
        loc: $\mu$.
        scale: $\sigma$.

    Example:
        >>> Normal(0.0, torch.ones(3)).distribution((), Call(0)).event_shape
        torch.Size([3])
    """

    def __init__(self, loc: Tensor | float, scale: Tensor | float) -> None:
        super().__init__(td.Normal, loc=loc, scale=scale)
