"""The networks inside factors, by name."""

from __future__ import annotations

from typing import Any

from graft.factors.base import Factor
from graft.graph.factor_graph import FactorGraph
from graft.graph.terms import Element
from graft.plots.sketch import factors_of, square


def captions_of(graph: FactorGraph, guide: FactorGraph | None) -> dict[str, str]:
    """By symbol, the modules of its factors, a line each; with a guide, p or q before them."""
    found: dict[str, list[str]] = {}
    for node, dashed in factors_of(graph, guide):
        key = square(node, dashed) if node.kind == "potential" else node.head.name
        who = ("q: " if dashed else "p: ") if guide else ""
        where = ",".join(str(i) for i in node.head.indices) if node.head.elements else ""
        element = f"[{where}] " if any(isinstance(i, Element) for i in node.head.indices) else ""
        found.setdefault(key, []).append(who + element + describe(node.module))
    return {key: "\n".join(rows) for key, rows in found.items()}


def describe(module: Any) -> str:
    """The class of a module, and of the network inside it.

    Example:
        >>> from torch import nn
        >>> from graft.factors import Gaussian
        >>> describe(Gaussian(nn.Linear(3, 4))), describe(nn.Linear(3, 4))
        ('Gaussian(Linear)', 'Linear')
    """
    name = getattr(module, "__name__", type(module).__name__)
    inner = next((found for x in ("net", "inner", "cell") if callable(found := getattr(module, x, None))), None)
    if isinstance(module, Factor) and inner is not None:
        return f"{name}({getattr(inner, '__name__', type(inner).__name__)})"
    return str(name)
