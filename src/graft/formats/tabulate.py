"""The factors of a model as tables over all joint states of their variables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributions import Categorical as Discrete
from torch.distributions import Distribution

from graft.distributions.supports import Support
from graft.errors import FormatError, GraftError
from graft.factors.base import Call, Potential
from graft.factors.categorical import Categorical
from graft.factors.tables import Table
from graft.formats.network import cells
from graft.graph.nodes import Node, Variable
from graft.graph.terms import Term
from graft.inference.calls import arguments, invoke
from graft.model import Model

Variables = dict[str, Variable]


@contextmanager
def settled(model: Model) -> Iterator[None]:
    """No gradients, and every module as in evaluation: dropout would write noise, batch norm would learn from it."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def scope(node: Node) -> tuple[Term, ...]:
    """The terms of a factor in the order of its table: parents before the child of a conditional."""
    return (*node.reads, node.head) if node.kind == "conditional" else node.terms


def log_table(node: Node, variables: Variables, name: str) -> Tensor:
    """The logarithms of a factor at all joint states, one axis per term of its scope.

    Args:
        node: a conditional or potential without axes, over discrete variables.
        variables: of the model.
        name: of the file, for messages.

    Returns:
        On the CPU, of the type that the factor computes in; a table's own entries where it is one. Rows of a
        conditional may lack a constant: they are logits.

    Raises:
        FormatError: the table would be too large.
        GraftError: the module fails, or an entry is NaN or plus infinity.
    """
    sizes = tuple(states(variables[term.name]) for term in scope(node))
    if rule := cells(sizes):
        raise FormatError(f"{node}: {rule}", name)
    found = _logs(node, variables, sizes)
    if bool((found.isnan() | (found == torch.inf)).any()):
        raise GraftError(f"{node}: the table holds NaN or plus infinity (training that diverged, a network's output?)")
    if node.kind == "conditional" and bool((found == -torch.inf).all(-1).any()):
        raise GraftError(f"{node}: a row of the table has no possible state")
    return found


def _logs(node: Node, variables: Variables, sizes: tuple[int, ...]) -> Tensor:
    """The table as the module has it or gives it."""
    module = node.module
    if isinstance(module, Categorical) and module.net is None:
        return module.table.reshape(sizes).cpu()
    if isinstance(module, Table):
        return module.values.reshape(sizes).cpu()
    if node.kind == "conditional":
        return _conditional(node, variables, sizes)
    if isinstance(module, Potential):
        return _opaque(node, module, variables, sizes)
    return _scores(node, variables, sizes)


def states(variable: Variable) -> int:
    """How many states a discrete variable has."""
    assert variable.support is not None and variable.support.states is not None
    return variable.support.states


def _every(support: Support, place: int, rank: int, node: Node) -> Tensor:
    """All values of a variable along one of several leading dimensions, where the module computes."""
    assert support.states is not None
    parameters = node.module.parameters() if isinstance(node.module, nn.Module) else iter(())
    device = next((parameter.device for parameter in parameters), None)
    index = torch.arange(support.states, device=device).reshape(*(1,) * place, -1, *(1,) * (rank - place - 1))
    return support.decode(index)


def _supports(terms: tuple[Term, ...], variables: Variables) -> list[Support]:
    return [support for term in terms if (support := variables[term.name].support) is not None]


def _conditional(node: Node, variables: Variables, sizes: tuple[int, ...]) -> Tensor:
    given = len(node.reads)
    inputs = tuple(_every(s, place, given, node) for place, s in enumerate(_supports(node.reads, variables)))
    out = invoke(node, inputs, Call(given, arguments(node.reads, variables)), {})
    if not isinstance(out, Distribution):
        raise GraftError(f"{node}: the module returned {type(out).__name__}, not a distribution")
    if isinstance(out, Discrete):
        return _fitted(out.logits, sizes, node)
    (own,) = _supports((node.head,), variables)
    rows = _every(own, 0, given + 1, node)
    return _fitted(out.log_prob(rows).movedim(0, -1), sizes, node)


def _opaque(node: Node, module: Potential, variables: Variables, sizes: tuple[int, ...]) -> Tensor:
    """A potential that is told values: all of them."""
    rank, count = len(sizes), len(node.formula.left)
    every = tuple(_every(s, place, rank, node) for place, s in enumerate(_supports(node.terms, variables)))
    out = module.log_potential(every[:count], every[count:], Call(rank, arguments(node.terms, variables)))
    return _fitted(out, sizes, node)


def _scores(node: Node, variables: Variables, sizes: tuple[int, ...]) -> Tensor:
    """A potential that gives its whole table: left terms last, while the scope has them first."""
    given, left = len(node.reads), len(node.formula.left)
    inputs = tuple(_every(s, place, given, node) for place, s in enumerate(_supports(node.reads, variables)))
    out = invoke(node, inputs, Call(given, arguments(node.reads, variables)), {})
    table = _fitted(out, (*sizes[left:], *sizes[:left]), node)
    return table.permute(*range(given, given + left), *range(given))


def _fitted(found: Tensor, sizes: tuple[int, ...], node: Node) -> Tensor:
    try:
        return found.expand(sizes).contiguous().cpu()
    except RuntimeError as error:
        raise GraftError(f"{node}: a table of shape {tuple(found.shape)}, where {sizes} is meant") from error
