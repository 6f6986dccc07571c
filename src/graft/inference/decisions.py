"""Decisions of least expected loss, and what they are expected to cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution

from graft.errors import GraftError, IntractableError, ShapeError
from graft.graph.nodes import Variable
from graft.inference.answers import Marginals, unknown_to
from graft.inference.clean import clean
from graft.inference.draws import decoded, outward
from graft.inference.frame import Frame
from graft.inference.losses import ElementLoss, ZeroOne, element_loss
from graft.inference.query import Query, impossible
from graft.inference.settle import Situation
from graft.inference.sweep import argmax, assign

Values = dict[str, Tensor]


class Decision(dict[str, Tensor]):
    """An assignment by name, with what it is expected to cost.

    Attributes:
        risk: the expected loss; shape batch.
        kind: of the risk: "exact", or "lower bound" where the sum was over a list that lacks some assignments.

    Example:
        >>> found = Decision({"y": torch.tensor([1, 0])}, torch.tensor(0.25))
        >>> found["y"].tolist(), found.kind
        ([1, 0], 'exact')
    """

    def __init__(self, values: Values, risk: Tensor, kind: str = "exact") -> None:
        super().__init__(values)
        self.risk, self.kind = risk, kind


def probabilities(marginal: Distribution) -> Tensor:
    """A marginal as (batch, axes, states), or (batch, axes, event, 2) of a vector of units."""
    if isinstance(marginal, Categorical):
        return marginal.probs
    on = marginal.mean
    return torch.stack([1 - on, on], -1)


def existing(variable: Variable, frame: Frame, rank: int) -> Tensor | None:
    """Which elements exist, where the user has them; broadcasts against `rank` dimensions. None if all do."""
    mask = frame.exists(variable.axes)
    if mask is None:
        return None
    mask = frame.restore(mask.expand(frame.shape(variable.axes)), variable.axes)
    return mask.reshape(*mask.shape, *(1,) * (rank - mask.dim()))


def to_decide(situation: Situation, marginals: Marginals, loss: Any, names: Any) -> tuple[str, ...]:
    """The variables that a decision is about: those named, else those a dict of losses names, else all unknowns.

    Raises:
        GraftError: none is left, or one is no discrete unknown.
    """
    if isinstance(names, str):
        raise GraftError(f"names is a list of names, not the string {names!r}")
    default = loss if isinstance(loss, Mapping) else marginals
    if not isinstance(names, Iterable | None):
        raise GraftError(f"names is a list of names, not {names!r}")
    wanted = tuple(default if names is None else names)
    for name in wanted:
        if not isinstance(name, str):
            raise GraftError(f"names is a list of names, and {name!r} is none")
        unknown_to(situation, name)
    if not wanted:
        raise GraftError("there is nothing to decide: no discrete unknown")
    return wanted


def least(marginals: Marginals, situation: Situation, losses: Any, names: tuple[str, ...]) -> Decision:
    """For every element the state of least expected cost."""
    if callable(losses) and not isinstance(losses, ElementLoss):
        raise GraftError("a function is no loss over elements: say among=k, how many assignments to choose from")
    frame, values, found = situation.frame, {}, {}
    for name in names:
        variable = situation.graph.variables[name]
        probs = probabilities(marginals[name]).detach()
        states = element_loss(losses, name).decision(probs, name)
        exists = existing(variable, frame, states.dim())
        found[name] = states if exists is None else states.masked_fill(~exists, 0)
        support = variable.support
        assert support is not None
        values[name] = found[name].to(torch.get_default_dtype()) if support.event_rank else support.decode(found[name])
    return Decision(values, element_risks(marginals, situation, losses, found).detach())


def element_risks(marginals: Marginals, situation: Situation, losses: Any, states: Values) -> Tensor:
    """The expected costs of several variables."""
    return torch.stack([element_risk(marginals, situation, losses, name, of) for name, of in states.items()]).sum(0)


def element_risk(marginals: Marginals, situation: Situation, losses: Any, name: str, states: Tensor) -> Tensor:
    """The expected cost of states (..., batch, axes, event) of one variable, shape (..., batch)."""
    frame, variable = situation.frame, situation.graph.variables[name]
    probs = probabilities(marginals[name])
    costs = probs @ element_loss(losses, name).matrix(probs.shape[-1], probs, name)
    inner = probs.dim() - 1
    exists = existing(variable, frame, inner)
    lead = states.shape[: states.dim() - inner]
    found = costs.expand(*lead, *costs.shape).gather(-1, states.unsqueeze(-1)).squeeze(-1)
    found = found if exists is None else torch.where(exists, found, torch.zeros_like(found))
    return found.flatten(len(lead) + frame.rank).sum(-1) if inner > frame.rank else found


def checked(situation: Situation, decision: Any) -> dict[str, Tensor]:
    """The states of a decision, per unit of a vector; 0 where nothing exists.

    Raises:
        GraftError: not of unknowns, of the wrong shape, out of range, or without a state somewhere.
    """
    if not isinstance(decision, Mapping) or not decision:
        raise GraftError("a decision is a dict of values by name, and names at least one variable")
    found = {}
    for name, value in decision.items():
        unknown_to(situation, name)
        variable, frame = situation.graph.variables[name], situation.frame
        assert variable.support is not None
        shape = (*frame.shape(variable.axes), *variable.support.event_shape)
        if not isinstance(value, Tensor) or tuple(value.shape) != shape:
            what = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ShapeError(f"the decision of {name} has shape {shape} (batch, axes, event), not {what}")
        exists = existing(variable, frame, value.dim())
        value = value if exists is None else torch.where(exists, value, torch.zeros_like(value))
        if clean(variable, value, frame).value is None:
            raise GraftError(f"the decision of {name} holds -1, which is no state: decide every element")
        found[name] = value.long()
    return found


def most_probable(query: Query, names: tuple[str, ...]) -> Decision:
    """The mode of some unknowns, if nothing else has to be summed out.

    Raises:
        IntractableError: the mode of some unknowns with others summed out is not what an exact sweep gives.
        ImpossibleEvidence: naming the rows of probability zero.
    """
    problem = query.problem
    others = [name for name in problem.unknowns if name not in names]
    if others:
        raise IntractableError(
            f"the most probable {', '.join(names)} with {', '.join(others)} summed out (a marginal MAP) has no exact "
            "engine: decide all of them, or choose a loss that adds up over elements"
        )
    with torch.no_grad():
        query.possible("decision")
        best = query.best()
        states = assign(problem, query.plan, best, argmax, draws=1, mode=True)
        values = outward(
            {n: v[0] for n, v in decoded(problem, states).items()}, problem.situation.graph.variables, problem.frame
        )
        return Decision(values, -torch.expm1((best.value - query.log_partition).clamp_max(0)))


def best_of(
    marginals: Marginals, situation: Situation, loss: Any, values: Values, log_probs: Tensor, more: bool
) -> Decision:
    """The assignment of least risk among the k most probable ones.

    Args:
        marginals: of the posterior.
        situation: of the call.
        loss: over elements, or a function of two dicts of values.
        values: the candidates, (k, batch, axes, event).
        log_probs: theirs, (k, batch), best first; `-inf` where there is none.
        more: whether some row has possible assignments that are not listed.

    Raises:
        GraftError: the loss is that of the mode, or a function whose costs are negative or not finite.
        ImpossibleEvidence: naming the rows of probability zero.
    """
    if isinstance(loss, ZeroOne):
        raise GraftError("the most probable assignment is the first of every list: leave out among=")
    impossible(log_probs[0], "decision")
    there, kind = log_probs > -torch.inf, "exact"
    many = int(there.sum(0).max()) if there.numel() else len(there)
    if isinstance(loss, ElementLoss | Mapping):
        risk = element_risks(marginals, situation, loss, {n: v[:many].long() for n, v in values.items()}).detach()
    else:
        kind = "lower bound" if more else "exact"
        risk = listed_risk(loss, {n: v[:many] for n, v in values.items()}, log_probs[:many])
    risk = torch.where(there[:many], risk, torch.inf)
    best, chosen = risk.argmin(0, keepdim=True), {}
    for name, value in values.items():
        index = best.reshape(*best.shape, *(1,) * (value.dim() - best.dim()))
        chosen[name] = torch.take_along_dim(value, index, 0)[0]
    return Decision(chosen, risk.gather(0, best)[0], kind)


def listed_risk(loss: Callable[[Values, Values], Tensor], values: Values, log_probs: Tensor) -> Tensor:
    r"""$\sum_i p(y_i) L(y_i, y_j)$ for every candidate $j$, over the candidates themselves; (k, batch).

    Raises:
        ShapeError: the loss does not return one number for every pair.
        GraftError: it is negative, so that the sum over a list would bound nothing, or not finite.
    """
    probs, there, found = log_probs.exp(), log_probs > -torch.inf, []
    for j in range(len(log_probs)):
        # copies, so that a loss that works in place changes nothing but them
        truth = {name: value.clone() for name, value in values.items()}
        decision = {name: value[j].expand_as(value).clone() for name, value in values.items()}
        costs = loss(truth, decision)
        if not isinstance(costs, Tensor) or costs.shape != probs.shape:
            what = tuple(costs.shape) if isinstance(costs, Tensor) else type(costs).__name__
            raise ShapeError(f"the loss takes two dicts of values and returns shape {tuple(probs.shape)}, not {what}")
        _refuse_costs(costs, there & there[j])
        # what is not there has probability 0, and may cost anything
        found.append(torch.where(probs > 0, probs * costs.to(probs), 0.0).sum(0))
    return torch.stack(found)


def _refuse_costs(costs: Tensor, possible: Tensor) -> None:
    if costs.is_complex():
        raise GraftError("the loss returns real numbers, not complex ones")
    wrong = possible & ~(torch.isfinite(costs) & (costs >= 0))
    if bool(wrong.any()):
        place = tuple(wrong.nonzero()[0].tolist())
        raise GraftError(
            f"the loss of a decision is finite and at least 0; for assignment {place[0]} of the list as the truth"
            f"{f' in row {place[1:]}' if place[1:] else ''} it is {costs[place].item()}"
        )
