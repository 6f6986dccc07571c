"""Tables over single discrete variables: the log-table is the factor's own, indexed by what is known."""

from __future__ import annotations

from torch import Tensor

from graft.distributions.supports import Finite
from graft.factors.base import Call
from graft.factors.categorical import Categorical, log_normalised
from graft.factors.tables import Table
from graft.graph.nodes import Node
from graft.graph.terms import Term
from graft.inference.store import Store

_CALL = Call(0)


def plain_table(node: Node, store: Store) -> tuple[Tensor, tuple[Term, ...]] | None:
    """The log-table (unknown terms, batch) of a table over variables without axes; None if the factor is none.

    A network of hundreds of tables spends its time here, so nothing is enumerated and looked up.
    """
    module = node.module
    if type(module) is Categorical and module.net is None and node.kind == "conditional":
        terms = (*node.reads, node.head)
        table = module.table
    elif type(module) is Table and not node.reads:
        terms, table = node.formula.left, module.values
    else:
        return None
    known = [_known(term, size, store) for term, size in zip(terms, table.shape, strict=False)]
    if len(terms) != table.dim() or not all(found for found, _ in known) or len({t.name for t in terms}) < len(terms):
        return None
    log = log_normalised(table) if isinstance(module, Categorical) else module.table((), _CALL)
    unknown = [place for place, (_, value) in enumerate(known) if value is None]
    fixed = [(place, value) for place, (_, value) in enumerate(known) if value is not None]
    log = log.permute((*unknown, *(place for place, _ in fixed)))
    if fixed:
        log = log[(slice(None),) * len(unknown) + tuple(value for _, value in fixed)]
    else:
        log = log.reshape(*log.shape, *(1,) * store.frame.rank)
    return log, tuple(terms[place] for place in unknown)


def _known(term: Term, size: int, store: Store) -> tuple[bool, Tensor | None]:
    """Whether a term is a single variable of so many states, and its value if it is known."""
    variable = store.variables[term.name]
    if variable.axes or not isinstance(variable.support, Finite) or variable.support.states != size:
        return False, None
    if variable.support.event_rank:
        return False, None
    if term.name in store.latent:
        return True, None
    value = store.values.get(term.name)
    if value is None or value.slots or value.tensor.is_floating_point() or value.tensor.dim() != store.frame.rank:
        return False, None
    # inputs are not checked on entry, random variables are
    return variable.is_random, value.tensor.long()
