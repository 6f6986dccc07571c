"""Which modules of a model EM moves in closed form, and by which priors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from graft.errors import GraftError
from graft.factors.maximise import Maximiser
from graft.factors.maximise_kinds import maximiser
from graft.factors.maximise_prior import Prior
from graft.model import Model


def maximisers(model: Model, priors: dict[str, Prior]) -> dict[Any, Maximiser]:
    """The closed forms by their module, which several formulas may share; a deep copy finds its own by it.

    Raises:
        GraftError: a prior is of no formula, of a factor without closed form, or does not fit its factor.
    """
    asked = {_bare(text): prior for text, prior in priors.items()}
    found: dict[Any, Maximiser] = {}
    for node in model.graph.nodes:
        prior = asked.pop(_bare(node.formula.text), None)
        one = maximiser(node.module, prior) if prior is not None or node.module not in found else None
        if prior is not None and one is None:
            raise GraftError(f"{node}: {type(node.module).__name__} has no M-step in closed form, so it takes no prior")
        if one is not None:
            one.log_prior()  # refuses numbers that do not fit the factor
            found[node.module] = one
    if asked:
        formulas = ", ".join(node.formula.text for node in model.graph.nodes)
        raise GraftError(f"priors name {min(asked)!r}; the model has {formulas}")
    _refuse_shared(found.values())
    return found


def _refuse_shared(found: Iterable[Maximiser]) -> None:
    owners: dict[int, Maximiser] = {}
    for one in found:
        for parameter in one.factor.parameters():
            if owners.setdefault(id(parameter), one) is not one:
                raise GraftError("two factors share a parameter: EM moves each by its own counts, share the module")


def _bare(text: Any) -> str:
    """A formula without its spaces."""
    if not isinstance(text, str):
        raise GraftError(f"priors are by formula, not by {type(text).__name__}")
    return "".join(text.split())
