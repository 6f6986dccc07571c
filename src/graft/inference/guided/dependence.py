"""Which draws a log-factor depends on: what a score-function estimator may leave out of its signal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from graft.graph.nodes import Node
from graft.graph.recurrence import Loop, schedule
from graft.graph.terms import Axis, Term
from graft.inference.program import Program


def reach(program: Program, known: frozenset[str]) -> dict[str, frozenset[str]]:
    """The drawn variables that each value depends on, its own draw included.

    Args:
        program: model and guide.
        known: names of evidence.
    """
    parents: dict[str, set[str]] = {}
    drawn = set()
    for node in program.producers(known):
        parents.setdefault(node.head.name, set()).update(term.name for term in node.reads)
        if node.kind == "conditional":
            drawn.add(node.head.name)
    found = {name: {name} & drawn for name in parents}
    for _ in parents:  # a chain of names is no longer than there are names; recurrences settle on the way
        before = {name: len(found[name]) for name in found}
        for name, reads in parents.items():
            for other in reads:
                found[name] |= found.get(other, set())
        if before == {name: len(found[name]) for name in found}:
            break
    return {name: frozenset(names) for name, names in found.items()}


def depends(node: Node, reached: Mapping[str, frozenset[str]], head: bool = True) -> frozenset[str]:
    """The draws that a log-factor depends on; without its head, those that its parameters depend on."""
    terms = node.terms if head else node.reads
    return frozenset().union(*(reached.get(term.name, frozenset()) for term in terms))


def apart(term: Term, name: str, reached: Mapping[str, frozenset[str]], loops: Sequence[Loop]) -> bool:
    """Whether what a term reads is settled before a variable is drawn.

    It is if it does not depend on the variable at all, or is an earlier step of a recurrence that both belong to.
    """
    if name not in reached.get(term.name, frozenset()):
        return True
    return any(
        {name, term.name} <= loop.members
        and any(isinstance(i, Axis) and i.letter == loop.letter and i.offset * loop.direction < 0 for i in term.indices)
        for loop in loops
    )


def loops_of(program: Program, known: frozenset[str]) -> tuple[Loop, ...]:
    """All recurrences of a program, inner ones too."""
    found: list[Loop] = []
    queue = [step for step in schedule(program.producers(known), program.variables) if isinstance(step, Loop)]
    while queue:
        loop = queue.pop()
        found.append(loop)
        queue += [step for step in loop.body if isinstance(step, Loop)]
    return tuple(found)
