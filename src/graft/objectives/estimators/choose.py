"""Which estimator serves which variable: what the user named, and a choice for the rest that is never biased."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from graft.distributions.supports import Support
from graft.errors import GraftError
from graft.inference.program import Program
from graft.objectives.estimators.base import Estimator
from graft.objectives.estimators.baselines import LeaveOneOut, RunningAverage
from graft.objectives.estimators.enumeration import Enumerate
from graft.objectives.estimators.pathwise import Reparameterised
from graft.objectives.estimators.score import VIMCO, ScoreFunction

#: States that are gone through rather than drawn, if nobody says otherwise.
FEW = 32


def chosen(
    program: Program, drawn: Sequence[str], named: Mapping[str, Estimator], samples: int, several: bool
) -> dict[str, Estimator]:
    """An estimator for every variable that the guide draws.

    Args:
        program: model and guide.
        drawn: names that the guide draws.
        named: the user's.
        samples: draws for each row.
        several: for a bound of several samples.

    Raises:
        GraftError: an estimator for a name that the guide does not draw, one that does not serve its variable or the
            objective, or one object for two variables.
    """
    for name, estimator in named.items():
        if name not in drawn:
            raise GraftError(f"estimators names {name!r}; the guide draws {', '.join(drawn) or 'nothing'}")
        if not isinstance(estimator, Estimator):
            raise GraftError(f"the estimator of {name} must be one of graft.objectives.estimators, not {estimator!r}")
    if len({id(one) for one in named.values()}) < len(named):
        raise GraftError("one estimator stands for two variables: each has a state of its own, make two")
    found = {}
    for name in drawn:
        variable = program.model.variables.get(name) or program.guide.variables[name]
        one = named.get(name) or _choice(variable.support, variable.axes, samples, several)
        one.check(name, variable.support, variable.axes)
        _fits(name, one, samples, several)
        found[name] = one
    return found


def _choice(support: Support | None, axes: tuple[str, ...], samples: int, several: bool) -> Estimator:
    if support is None or support.states is None:
        return Reparameterised()
    if several:
        return VIMCO() if samples > 1 else ScoreFunction(RunningAverage())
    if not axes and support.states <= FEW:
        return Enumerate()
    return ScoreFunction(LeaveOneOut() if samples > 1 else RunningAverage())


def _fits(name: str, one: Estimator, samples: int, several: bool) -> None:
    """Whether an estimator fits a kind of bound.

    Raises:
        GraftError: naming the variable and what would serve.
    """
    kind = type(one).__name__
    if one.several and (not several or samples < 2):
        raise GraftError(f"{kind} of {name} compares the samples of an importance-weighted bound with two or more")
    leave = isinstance(one, ScoreFunction) and isinstance(one.baseline, LeaveOneOut)
    if leave and samples < 2:
        raise GraftError(f"LeaveOneOut of {name} compares samples: ask for samples=2 or more")
    if not several:
        return
    if isinstance(one, Enumerate):
        raise GraftError(f"{name} need not be enumerated here: leave it out of the guide, so that it is summed exactly")
    if one.evaluates > 1:
        raise GraftError(f"{kind} of {name} is for a bound of single draws, an ELBO: use VIMCO")
    if leave:
        raise GraftError(f"LeaveOneOut of {name} would be biased here, where all samples share one bound: use VIMCO")
    if one.lands:
        raise GraftError(f"{kind} of {name} is biased in a bound of several samples: use DReG (doubly=True)")
