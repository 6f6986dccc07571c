"""Names of variables in formulas, and the order that files without names count them in."""

from __future__ import annotations

import re
from collections.abc import Iterable

from graft.graph.parse import RESERVED
from graft.model import Model

_PLAIN = re.compile(r"[^\W\d]\w*")


def term(name: str) -> str:
    """A name as a formula has it: in backquotes if it is no identifier, or reserved.

    Example:
        >>> term("rain"), term("CO2 (low)"), term("shape")
        ('rain', '`CO2 (low)`', '`shape`')
    """
    return name if _PLAIN.fullmatch(name) and name not in RESERVED else f"`{name}`"


def formula(left: Iterable[str], right: Iterable[str] = ()) -> str:
    """The formula of a factor.

    Example:
        >>> formula(["wet"], ["rain", "x 1"]), formula(["a", "b"])
        ('wet | rain, `x 1`', 'a, b')
    """
    scope, inputs = ", ".join(map(term, left)), ", ".join(map(term, right))
    return f"{scope} | {inputs}" if inputs else scope


def order(model: Model) -> tuple[str, ...]:
    """The variables of a model in the order in which files count them.

    Variables that are named x0, x1, ... without a gap are counted by these numbers; those of a directed model as their
    conditionals are written, which is how a BIF file declares them; any others as they first appear in the formulas.

    Args:
        model: whose variables are counted.

    Example:
        >>> from graft.factors import Categorical, Table
        >>> order(Model({"x1, x0": Table(2, 2)})), order(Model({"b, a": Table(2, 2)}))
        (('x0', 'x1'), ('b', 'a'))
        >>> order(Model({"wet | rain": Categorical(2, given=2), "rain": Categorical(2)}))
        ('wet', 'rain')
    """
    names = tuple(model.graph.variables)
    if {f"x{place}" for place in range(len(names))} == set(names):
        return tuple(sorted(names, key=lambda name: int(name[1:])))
    if model.graph.directed:
        # an input has no conditional
        return tuple(dict.fromkeys((*(node.head.name for node in model.graph.nodes), *names)))
    return names
