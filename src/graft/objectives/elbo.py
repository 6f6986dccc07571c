"""The evidence lower bound."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from graft.errors import GraftError
from graft.graph.nodes import Node
from graft.objectives.base import total
from graft.objectives.estimators.base import Estimator, Signal
from graft.objectives.estimators.rebar import REBAR
from graft.objectives.express import Express, express
from graft.objectives.guided import GuidedObjective, Reached, Run, zero_valued
from graft.objectives.intake import KINDS
from graft.objectives.schedules import Constant, Schedule, as_schedule
from graft.objectives.term import Term

FORMS = ("auto", "kl", "entropy", "joint")
#: Methods that a bound consists of.
_OWN = ("parts", "run", "ran", "traced", "estimator", "_terms", "_closed", "_log_q")


class ELBO(GuidedObjective):
    r"""$E_{q(z \mid x)}[\log p(x, z) - \log q(z \mid x)] \le \log p(x)$.

    Discrete unknowns that the guide leaves out are summed exactly for each draw (a Rao-Blackwellised bound). Each
    variable has an estimator of its gradient, shown by `explain()`: reparameterised draws for real variables, all
    states for discrete ones with few, else a score function.

    Three forms of one bound, equal in mean: `"joint"` as above; `"entropy"`, $E[\log p(x, z)] + H(q)$;
    `"kl"`, $E[\log p(x \mid z)] - \mathrm{KL}(q \| p(z))$. With `"auto"` each variable has the last of them that is
    known in closed form.

    Args:
        model: p.
        guide: q; reads evidence, its own variables and the model's computed ones.
        samples: draws of the guide for each row.
        estimators: by variable, from `graft.objectives.estimators`.
        form: of the bound.
        beta: weight of what pulls the guide to the prior, a number or a schedule; 1 for the bound itself.

    Raises:
        FormulaError: if the guide does not fit the model.
        GraftError: an estimator does not serve its variable, or `form` is unknown; at a call, what a call of the model
            raises, a variable that needs a guide and has none, or a closed form that is asked for and not known.

    Source: Kingma & Welling 2014, eqs. 2, 3 and 7; Rezende, Mohamed & Wierstra 2014; beta, Higgins et al. 2017.

    Example:
        >>> import torch
        >>> from graft.factors import Gaussian
        >>> from graft.model import Model
        >>> from torch import nn
        >>> p = Model({"z": Gaussian(dim=2), "x | z": Gaussian(nn.Linear(2, 6), dim=3)})
        >>> q = Model({"z | x": Gaussian(nn.Linear(3, 4), dim=2)})
        >>> loss = ELBO(p, q)({"x": torch.zeros(5, 3)})
        >>> loss.shape, sorted(loss.terms)
        (torch.Size([]), ['-KL(z)', 'p(x | z)'])
    """

    def __init__(
        self,
        model: Any,
        guide: Any,
        *,
        samples: int = 1,
        estimators: Mapping[str, Estimator] | None = None,
        form: str = "auto",
        beta: float | Schedule = 1.0,
    ) -> None:
        if form not in FORMS:
            raise GraftError(f"form is one of {', '.join(FORMS)}, not {form!r}")
        super().__init__(model, guide, samples, estimators)
        self.form = form
        self.beta = as_schedule(beta, "beta")
        #: by the kind of a batch and the form of the bound; None where a short way turned out to be none
        self._express: dict[Any, Express | None] = {}
        for name in self.names:
            estimator = self.estimator(name)
            if (estimator.lands or estimator.scales) and form in ("kl", "entropy"):
                raise GraftError(f"{estimator.title} of {name} is about log q drawn: form='joint'")

    def terms(self, batch: Any) -> dict[str, Tensor]:
        taken = self.intake.take(batch)
        key = None if taken.kind is None else (taken.kind, self.form)
        known = self._express.get(key)
        if known is not None and self._plain() and not torch.compiler.is_compiling():
            found = known.parts(taken.values)
            if found is not None:
                return found
            self._express[key] = None
        return self.parts(self.ran(taken))

    def parts(self, run: Run) -> dict[str, Tensor]:
        """The bound of a run of the guide, by factor, with the gradients that its estimators give."""
        beta = self.beta.now(self.training)
        found = self._terms(run, beta)
        self._learn(run, found)
        soft = self._terms(run.relaxed(), beta) if run.relaxing else []
        weight = run.weight()
        parts: dict[str, Tensor] = {}
        for term in found:
            part = run.reduced(term.value, weight)
            parts[term.label] = parts[term.label] + part if term.label in parts else part
        for name in self.names:
            if self.estimator(name).scores and name not in run.known:
                self._score(run, name, found, soft, weight, parts)
        batch = run.trace.batch
        return {name: part if part.shape == batch else part.expand(batch) for name, part in parts.items()}

    def _learn(self, run: Run, terms: list[Term]) -> None:
        """Keep the short way of batches of this kind, if they have one."""
        key = (run.kind, self.form)
        if run.kind is None or key in self._express or not self._plain():
            return
        short = express(run.trace, terms, self.estimator)
        if short is not None:
            if len(self._express) >= KINDS:
                self._express.clear()
            self._express[key] = short

    def _plain(self) -> bool:
        """Whether the bound is that of one draw, weighted by nothing, and no subclass has made another of it."""
        whole = type(self.beta) is Constant and self.beta.value == 1.0 and self.samples == 1
        return whole and (type(self) is ELBO or all(getattr(type(self), name) is getattr(ELBO, name) for name in _OWN))

    def _terms(self, run: Run, beta: float) -> list[Term]:
        trace, reached = run.trace, self.reached(run.known)
        found: list[Term] = []
        closed: list[Node] = []
        for node in trace.guide:
            term = self._closed(run, node, reached, closed)
            name = node.head.name
            if term is None:
                value = -self._log_q(run, node)
                term = Term(f"-q({node})", value, reached.of(node) | {name}, "log_q", (node,))
            found.append(term.scaled(beta))
        if trace.unknown or not self.program.model.directed:
            if beta != 1.0:
                raise GraftError(f"beta weighs single factors, but {', '.join(trace.unknown)} are summed out of them")
            for name in self.names:
                if self.estimator(name).relaxes and name in trace.draws:
                    rule = "its relaxed draws lie between the states at which they can be: use another estimator"
                    raise GraftError(
                        f"{', '.join(trace.unknown) or 'states'} cannot be summed out given {name}: {rule}"
                    )
            found.append(Term("log p", trace.log_joint(), frozenset(trace.draws)))
            return found
        for node in trace.model:
            if node not in closed:
                term = Term(f"p({node})", trace.log_p(node), reached.of(node), "log_p", (node,))
                found.append(term.scaled(beta) if node.head.name in trace.draws else term)
        return found

    def _closed(self, run: Run, node: Node, reached: Reached, closed: list[Node]) -> Term | None:
        """Minus the divergence to the prior, or the entropy, where the form asks for it and it is known."""
        name, trace = node.head.name, run.trace
        if self.form == "joint" or self.estimator(name).lands or self.estimator(name).scales:
            return None
        if self.form == "entropy":
            entropy = trace.entropy(node)
            if entropy is None:
                raise GraftError(f"{node}: the entropy has no closed form; use form='auto' or 'joint'")
            return Term(f"H({node})", entropy, reached.of(node, head=False), "entropy", (node,))
        twin = None if trace.unknown else _twin(run, node, reached)
        found = None if twin is None else trace.kl(node, twin)
        if found is None or twin is None:
            if self.form == "kl":
                raise GraftError(f"{node}: no divergence to the prior of {name} in closed form; use form='auto'")
            return None
        closed.append(twin)
        on = reached.of(node, head=False) | reached.of(twin, head=False)
        return Term(f"-KL({node.head})", -found, on, "kl", (node, twin))

    def _log_q(self, run: Run, node: Node) -> Tensor:
        """The log-density of a draw, without the parts of its gradient whose mean is zero if the estimator says so."""
        estimator, log_q = self.estimator(node.head.name), run.trace.log_q(node)
        if estimator.scores:  # but a relaxed draw has a gradient of its own
            return log_q if run.soft else log_q.detach()
        return log_q - zero_valued(run.trace.direct(node)) if estimator.lands else log_q

    def _score(
        self,
        run: Run,
        name: str,
        terms: list[Term],
        soft: list[Term],
        weight: Tensor | None,
        parts: dict[str, Tensor],
    ) -> None:
        """Add what a score-function estimator gives, of value zero."""
        mine = [term.value for term in terms if name in term.depends]
        if not mine:  # all that there is of it has a closed form
            return
        cost = run.spread(total(mine)).detach()
        fixed = None if weight is None else weight.detach()
        signal = Signal(cost, fixed, run.samples, run.evidence, len(run.trace.batch))
        if self.estimator(name).evaluates > 1:
            self._control(run, name, signal, soft, parts)
            return
        log_q = run.spread(total([run.trace.log_q(node) for node in run.nodes(name)]))
        found = self.estimator(name).parts(log_q, signal)
        parts[f"score({name})"] = zero_valued(_summed(run, found.controlled))
        if found.baseline is not None:
            parts[f"baseline({name})"] = -zero_valued(run.reduced(found.baseline, fixed))

    def _control(self, run: Run, name: str, signal: Signal, soft: list[Term], parts: dict[str, Tensor]) -> None:
        """Add what an estimator gives that looks at relaxed values too, of value zero; nothing without gradients."""
        estimator = self.estimator(name)
        if name not in run.relaxing or not isinstance(estimator, REBAR):
            return
        relaxed = run.spread(total([term.value for term in soft if name in term.depends]))
        found = estimator.control(run.coupled[name], signal, relaxed)
        parts[f"score({name})"] = zero_valued(_summed(run, found.score))
        if found.fit is not None:
            parts[f"control({name})"] = -zero_valued(found.fit)


def _summed(run: Run, part: Tensor) -> Tensor:
    """Over enumerated states (whose weights are in it) and the mean over samples."""
    part = run.spread(part)
    if run.enumerated:
        part = part.sum(tuple(range(len(run.enumerated))))
    return part if run.samples is None else part.mean(0)


def _twin(run: Run, node: Node, reached: Reached) -> Node | None:
    """The conditional of the model that stands where a factor of the guide stands, if it is settled before the draw."""
    if node not in reached.twins:
        twin = _same_place(run, node)
        reached.twins[node] = twin if twin is not None and reached.settled(twin) else None
    return reached.twins[node]


def _same_place(run: Run, node: Node) -> Node | None:
    variable = run.objective.program.model.variables.get(node.head.name)
    if variable is None or variable.potentials:
        return None
    same = [other for other in run.trace.model if other.head.name == node.head.name]
    ours = run.nodes(node.head.name)
    if len(same) != len(ours):
        return None
    return next((other for other in same if other.head.indices == node.head.indices), None)
