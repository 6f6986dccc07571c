"""What a batch tells of the variables an objective decides: states, sets of states, or nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from graft.errors import GraftError, ImpossibleEvidence, IntractableError
from graft.graph.nodes import Variable
from graft.inference.clean import Given
from graft.inference.losses import ElementLoss
from graft.inference.settle import Situation
from graft.model import Model
from graft.objectives.base import split

#: States of a vector of units that a margin lists.
LISTED = 4096


def random_names(model: Any, names: Iterable[Any], who: str) -> tuple[str, ...]:
    """Names that an objective decides.

    Raises:
        GraftError: there are none, one is told twice or is no random variable, or the model is none.
    """
    is_model(model, who)
    found = tuple(names)
    if not found:
        raise GraftError(f"{who} is told which variables to decide: name at least one")
    for name in found:
        if not isinstance(name, str):
            raise GraftError(f"{who} takes names of variables, one after the other, not {name!r}")
        if found.count(name) > 1:
            raise GraftError(f"{who} is told {name!r} twice")
        variable = model.graph.variables.get(name)
        if variable is None or not variable.is_random:
            raise GraftError(f"{who} decides random variables; {name!r} is none of {', '.join(model.graph.random)}")
    return found


def is_model(model: Any, who: str) -> None:
    """Refuse anything else.

    Raises:
        GraftError: it is no `Model`.
    """
    if not isinstance(model, Model):
        raise GraftError(f"{who} takes a Model first, not {type(model).__name__}")


def told(batch: Any, who: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A batch as (values, options of the call).

    Raises:
        GraftError: it is no dict.
    """
    if not isinstance(batch, Mapping):
        raise GraftError(f"{who} takes a batch: a dict of values by name, not {type(batch).__name__}")
    return split(batch)


def truth_of(situation: Situation, name: str, who: str) -> Given:
    """What the batch tells of a variable.

    Raises:
        GraftError: nothing, or weights (`Soft`) where states are wanted.
        IntractableError: the variable is continuous.
    """
    if name not in situation.given:
        raise GraftError(f"{who} needs the truth of {name}, which the batch does not hold")
    if not situation.graph.variables[name].is_discrete:
        raise IntractableError(f"{who} decides states; {name} is continuous")
    given = situation.given[name]
    if given.log_mask is not None and bool(((given.log_mask != 0) & (given.log_mask != -torch.inf)).any()):
        raise GraftError(f"the truth of {name} is weighed (Soft): {who} takes states, -1 for unknown ones, or Partial")
    return given


def allowed_states(variable: Variable, given: Given) -> Tensor:
    """(batch, axes, states): which joint states agree with the truth."""
    support = variable.support
    assert support is not None
    if given.log_mask is not None:
        return given.log_mask == 0
    assert given.value is not None
    states = torch.arange(int(support.states or 0), device=given.value.device)
    if given.cells is None:
        return support.encode(given.value).unsqueeze(-1) == states
    lead = given.value.dim() - support.event_rank
    values = support.decode(states).reshape(len(states), *(1,) * lead, *support.event_shape)
    return ((values == given.value) | given.cells).flatten(1 + lead).all(-1).movedim(0, -1)


def margin_costs(situation: Situation, name: str, loss: ElementLoss) -> Tensor:
    r"""$\min_{a \in A} c(a, k)$ of every state k, where A are the states that agree with the truth.

    Returns:
        (batch, axes, states), compact.

    Raises:
        GraftError: a cost is negative, or the truth itself costs something.
    """
    variable, given = situation.graph.variables[name], situation.given[name]
    like = torch.zeros((), dtype=situation.frame.dtype, device=situation.frame.device)
    matrix = joint_matrix(variable, loss, like)
    if given.value is not None and given.cells is None and variable.support is not None:
        return matrix[variable.support.encode(given.value)]
    allowed = allowed_states(variable, given)
    found = torch.full(allowed.shape, torch.inf, dtype=like.dtype, device=like.device)
    for state, costs in enumerate(matrix):
        found = torch.where(allowed[..., state : state + 1], torch.minimum(found, costs), found)
    return torch.where(found == torch.inf, 0.0, found)


def joint_matrix(variable: Variable, loss: ElementLoss, like: Tensor) -> Tensor:
    """(states, states): costs from truth to decision; those of a vector of units add up over its units.

    Raises:
        GraftError: they are no margin.
        IntractableError: the vector is too long to list its states.
    """
    support = variable.support
    assert support is not None and support.states is not None
    if not support.event_rank:
        return _margin(loss.matrix(support.states, like, variable.name), variable.name)
    if support.states > LISTED:
        raise IntractableError(
            f"{variable.name} is a vector of 2^{support.states.bit_length() - 1} states: its margin lists them all, "
            f"which stops at {LISTED}"
        )
    unit = _margin(loss.matrix(2, like, variable.name), variable.name)
    bits = support.decode(torch.arange(support.states, device=like.device)).flatten(1).long()
    return torch.stack([unit[one][:, one] for one in bits.unbind(1)]).sum(0)


def _margin(matrix: Tensor, name: str) -> Tensor:
    if bool((matrix < 0).any()) or bool(matrix.diagonal().any()):
        raise GraftError(f"the cost of {name} is no margin: costs are at least 0, and 0 for the truth")
    return matrix


def possible_truth(score: Tensor, names: tuple[str, ...]) -> None:
    """Refuse rows whose truth the model excludes.

    Raises:
        ImpossibleEvidence: naming them.
    """
    bad = score.detach() == -torch.inf
    if not bool(bad.any()):
        return
    rows = [tuple(int(i) for i in row) for row in bad.nonzero()]
    shown = f" in rows {', '.join(map(str, rows[:8]))}{', ...' if len(rows) > 8 else ''}" if bad.dim() else ""
    raise ImpossibleEvidence(f"the truth of {', '.join(names)} is impossible under the model{shown}", rows)
