"""Networks of tables as models."""

from __future__ import annotations

import torch
from torch import nn

from graft.factors.categorical import Categorical
from graft.factors.tables import Table as Potential
from graft.formats.names import formula
from graft.formats.network import Network, Table, log_rows
from graft.model import Model


def model_of(network: Network, dtype: torch.dtype) -> Model:
    """The model that a network is: its tables are the factors, in their order.

    Args:
        network: as read.
        dtype: of the tables' logarithms.

    Returns:
        A model whose conditionals are `Categorical`, whose potentials are `Table`, all learnable.
    """
    conditional = network.kind == "BAYES"
    pairs = []
    for table in network.tables:
        names = [network.variables[place].name for place in table.scope]
        text = formula(names[-1:], names[:-1]) if conditional else formula(names)
        pairs.append((text, _conditional(table, dtype) if conditional else _potential(table, dtype)))
    labels = {variable.name: variable.labels for variable in network.variables if variable.labels is not None}
    return Model(pairs, labels=labels)


def _conditional(table: Table, dtype: torch.dtype) -> nn.Module:
    shape = table.values.shape
    # logits, not probabilities: a tiny probability must not become a zero where the type is float32
    logits = log_rows(table.values.reshape(-1, shape[-1])).reshape(shape)
    return Categorical(logits=logits.to(dtype))


def _potential(table: Table, dtype: torch.dtype) -> nn.Module:
    return Potential(values=table.values.log().to(dtype))
