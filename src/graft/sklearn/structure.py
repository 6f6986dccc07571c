"""The model behind `CRF`, and which sequences of labels it allows."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from graft.data.tag_schemes import Allowed, allowed
from graft.errors import GraftError, ShapeError
from graft.factors.scores import Scores
from graft.factors.tables import Table
from graft.model import Model
from graft.sklearn.array_reader import ArrayReader
from graft.sklearn.attribute_reader import AttributeReader


@dataclass(frozen=True, eq=False)
class Parts:
    """A chain of labels and its weights by what they are of.

    Attributes:
        model: the whole.
        tables: "transitions" (S, S) and, where the model has them, "first", "last", "intercept" (S,).
        scores: (attributes, S) or (S, dimensions).
    """

    model: Model
    tables: dict[str, nn.Parameter]
    scores: nn.Parameter


def rules(constraints: Any, classes: Sequence[Hashable]) -> Allowed:
    """What a sequence may begin with, end with and step between.

    Args:
        constraints: None, a scheme of tags, or a matrix of truth values, rows and columns in the order of the classes.
        classes: the labels.

    Raises:
        ShapeError: the matrix is not (classes, classes).
        GraftError: it is neither, or a label is no tag of the scheme.

    Example:
        >>> rules([[True, False], [True, True]], ["N", "V"]).pairs
        tensor([[ True, False],
                [ True,  True]])
    """
    free = torch.ones(len(classes), dtype=torch.bool)
    if constraints is None:
        return Allowed(free, free, free.expand(len(classes), -1))
    if isinstance(constraints, str):
        return allowed([_tag(label) for label in classes], constraints)
    try:
        matrix = np.asarray(constraints)
    except (ValueError, TypeError, RuntimeError) as error:
        raise GraftError(f"constraints are 'BIO', 'BIOES' or a matrix of truth values: {error}") from error
    if matrix.dtype != np.bool_:
        raise GraftError(f"constraints are 'BIO', 'BIOES' or a matrix of truth values, not of {matrix.dtype}")
    if matrix.shape != (len(classes), len(classes)):
        raise ShapeError(f"constraints {matrix.shape} do not fit the {len(classes)} classes {list(classes)}")
    return Allowed(free, free, torch.from_numpy(matrix.copy()))


def build(
    reader: AttributeReader | ArrayReader,
    classes: Sequence[Hashable],
    rule: Allowed,
    *,
    ends: bool,
    dtype: torch.dtype,
) -> Parts:
    """The model with all weights zero, and what is forbidden at minus infinity.

    Args:
        reader: of the inputs.
        classes: the labels.
        rule: what they may do.
        ends: weights for the first and the last label too.
        dtype: of all weights.
    """
    wanted = {"transitions": ("y[t-1], y[t]", rule.pairs)}
    if ends or not bool(rule.first.all()):
        wanted["first"] = ("y[0]", rule.first)
    if ends or not bool(rule.last.all()):
        wanted["last"] = ("y[-1]", rule.last)
    if reader.intercept:
        wanted["intercept"] = ("y[t]", torch.ones_like(rule.first))
    tables = {name: Table(values=_zeros(possible, dtype)) for name, (_, possible) in wanted.items()}
    net = reader.network(len(classes), dtype)
    factors: dict[str, nn.Module] = {formula: tables[name] for name, (formula, _) in wanted.items()}
    factors[reader.formula] = Scores(net, states=len(classes), onehot=False, concat=False)
    named = all(isinstance(label, str) for label in classes)
    model = Model(factors, labels={"y": [str(label) for label in classes]} if named else None)
    (weight,) = net.parameters()
    return Parts(model, {name: table.values for name, table in tables.items()}, weight)


def _zeros(possible: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros(possible.shape, dtype=dtype).masked_fill(~possible, -torch.inf)


def _tag(label: Hashable) -> str:
    if not isinstance(label, str):
        raise GraftError(f"constraints by a scheme need labels that are strings; {label!r} is none")
    return label
