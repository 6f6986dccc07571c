"""Hidden Markov models and mixtures, recognised by their structure: an E-step of compiled kernels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
import torch

from graft.factors.maximise import Cases, Maximiser, Statistics
from graft.factors.maximise_compiled import log_probabilities
from graft.factors.maximise_features import Features, features
from graft.factors.maximise_tables import CategoricalMaximiser
from graft.graph.nodes import Node
from graft.graph.terms import Axis, Element, Term
from graft.inference.expected import Expectation
from graft.inference.problem import Unknown
from graft.ops.baum_welch import BaumWelch
from graft.ops.chain_kernels import compiler
from graft.ops.cpu.chain_sums import Parameters

#: The closed form of a factor, by its node.
By = Callable[[Node], Maximiser]


@dataclass(frozen=True)
class Roles:
    """The factors of a chain, or of a mixture, which has no moves.

    Attributes:
        start: of first states, or of components.
        move: of transitions.
        emission: of what is observed.
    """

    start: Node
    move: Node | None
    emission: Node


class ChainStep:
    r"""The E-step of a batch of a chain `s[0]`, `s[t] | s[t-1]`, `y[t] | s[t]`, or of a mixture `c`, `y | c`.

    All is in double precision.

    Args:
        roles: the factors.
        by: their closed forms.
        emission: the features of what is observed, (rows times steps, ...).
        lengths: of the rows.
    """

    def __init__(self, roles: Roles, by: By, emission: Features, lengths: np.ndarray) -> None:
        self.roles, self.by, self.emission = roles, by, emission
        self.chain = BaumWelch(emission.rows(len(lengths)), lengths)
        for node in (roles.start, roles.move, roles.emission):
            if node is not None:
                by(node).compiled = True

    def parameters(self) -> Parameters | None:
        """The present ones; None if the emissions would lose digits."""
        found = self.emission.natural()
        if found is None:
            return None
        start = self._table(self.roles.start)
        if self.roles.move is None:
            # nothing moves in one step
            move = np.zeros((len(start), len(start)))
        else:
            move = self._table(self.roles.move)
        if np.isnan(start.sum() + move.sum()):  # which the kernels would take for a zero
            return None
        return Parameters(start, move, np.ascontiguousarray(found[0]), found[1])

    def _table(self, node: Node) -> np.ndarray:
        return log_probabilities(self.by(node).held.read("table"))

    def expect(self) -> tuple[float, dict[Node, Statistics]] | None:
        """The log-likelihood of all rows in nats and the statistics by factor; None if only the general way does."""
        now = self.parameters()
        found = None if now is None else self.chain.expect(now)
        if found is None:
            return None
        own = self.emission.statistics(found.mass, found.moments)
        if own is None:
            return None
        statistics: dict[Node, Statistics] = {self.roles.start: {"counts": torch.from_numpy(found.starts)}}
        if self.roles.move is not None:
            statistics[self.roles.move] = {"counts": torch.from_numpy(found.counts)}
        return float(found.log_z.sum()), {**statistics, self.roles.emission: own}


def recognised(expectation: Expectation, cases: Mapping[Node, Cases], by: By) -> ChainStep | None:
    """The fast E-step of a batch, if it is one of a chain or a mixture that has one.

    Args:
        expectation: the general one.
        cases: of the factors with a closed form.
        by: their closed forms.
    """
    problem = expectation.problem
    if len(problem.unknowns) != 1 or not compiler() or problem.frame.device.type != "cpu":
        return None
    (unknown,) = problem.unknowns.values()
    # what tables without a factor say of existence, the lengths say too
    nodes = [sketch.node for sketch in problem.sketches if sketch.node is not None]
    told = unknown.name in expectation.situation.given
    if unknown.apart or told or any(node not in cases for node in nodes):
        return None
    roles = _roles(nodes, unknown)
    if roles is None or not _tables(roles, by, unknown.states):
        return None
    lengths = _lengths(expectation, unknown, roles.move is not None)
    emission = features(by(roles.emission), cases[roles.emission]) if prod(lengths.shape) else None
    return None if emission is None else ChainStep(roles, by, emission, lengths)


def _roles(nodes: list[Node], unknown: Unknown) -> Roles | None:
    """Who is who, if these are all."""
    term, letter = unknown.term, unknown.axes[-1] if unknown.axes else ""
    begin = Term(unknown.name, (*term.indices[:-1], Element(0)))
    before = Term(unknown.name, (*term.indices[:-1], Axis(letter, -1)))
    found: dict[str, Node] = {}
    for node in nodes:
        if node.head in (term, begin) and node.reads == ():
            found["start" if node.head == begin else "prior"] = node
        elif node.head == term and node.reads == (before,):
            found["move"] = node
        elif node.head.name != unknown.name and node.reads == (term,) and node.letters == unknown.axes:
            found["emission"] = node
    if len(found) != len(nodes):
        return None
    if found.keys() == {"start", "move", "emission"}:
        return Roles(found["start"], found["move"], found["emission"])
    # a chain of one element has nothing that moves
    first = found.get("prior", found.get("start"))
    return Roles(first, None, found["emission"]) if first and len(found) == 2 and "emission" in found else None


def _tables(roles: Roles, by: By, states: int) -> bool:
    """Whether start and moves are tables of the states alone."""
    for node, shape in ((roles.start, (states,)), (roles.move, (states, states))):
        own = None if node is None else by(node)
        if node is not None and not (isinstance(own, CategoricalMaximiser) and own.factor.table.shape == shape):
            return False
    return True


def _lengths(expectation: Expectation, unknown: Unknown, moves: bool) -> np.ndarray:
    """How many elements each row has: one or none in a mixture."""
    frame = expectation.problem.frame
    shape = frame.shape(unknown.axes)
    there = frame.exists(unknown.axes)
    whole = torch.ones(shape, dtype=torch.bool) if there is None else there.expand(shape)
    found: np.ndarray = (whole.sum(-1) if moves else whole.long()).reshape(-1).numpy()
    return found
