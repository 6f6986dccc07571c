"""The modules of a model's factors, which no other modules take the place of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NoReturn

from torch import nn

from graft.errors import GraftError


class FactorList(nn.ModuleList):
    """A list of modules that stays as it was made.

    A formula is checked together with its module (kind, states, shapes), so another module means another model: a list
    that could be changed would promise what inference does not do. Parameters, and modules inside a factor, are free.

    Args:
        modules: of the factors, in order.

    Raises:
        GraftError: at every attempt to add, replace or remove one.

    Example:
        >>> factors = FactorList([nn.Linear(2, 3)])
        >>> factors[0] = nn.Linear(2, 4)
        Traceback (most recent call last):
        graft.errors.GraftError: the factors of a model stay: its formulas were checked with them. Change a factor's ...
    """

    def __init__(self, modules: Iterable[nn.Module] = ()) -> None:
        super().__init__()
        self._modules.update({str(place): module for place, module in enumerate(modules)})

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, nn.Module) or name in self._modules:
            refuse_change()
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        if name in self._modules:
            refuse_change()
        super().__delattr__(name)

    def __delitem__(self, index: int | slice) -> None:
        refuse_change()

    def insert(self, index: int, module: nn.Module) -> None:
        refuse_change()

    def add_module(self, name: str, module: nn.Module | None) -> None:
        refuse_change()


def refuse_change() -> NoReturn:
    """Raises, and says what to do instead."""
    raise GraftError(
        "the factors of a model stay: its formulas were checked with them. Change a factor's own parameters or network "
        "(model.factors[0].net = ...), or make a new model: Model({formula: module, ...})"
    )
