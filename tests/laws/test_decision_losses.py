"""Max-margin, softmax-margin, losses on marginals and partial labels: values and gradients against enumeration."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from tests.reference.bulk import cases, close
from tests.reference.case import Case, Row
from tests.reference.decided import Truth, agreeing, losses_for, margins, truth_for, unannotated, weighed
from torch import Tensor, nn
from torch.autograd import grad

import graft
from graft.errors import GraftError, ImpossibleEvidence, IntractableError
from graft.factors import Bernoulli, Categorical, Gaussian, Scores, Table
from graft.inference.evidence import Missing, Partial, Soft
from graft.objectives import Likelihood, MarginalLoss, MaxMargin, SoftmaxMargin
from graft.objectives.losses import Brier, Cost, Focal, Hamming, LogLoss

CASES = 2


def told(one: Case, truth: Truth) -> dict[str, Any]:
    """A batch: the case's evidence with a truth in the place of what was known of it."""
    return {**one.values, **truth.values, **one.options}


def parameters(one: Case) -> list[Tensor]:
    return [p for p in one.model.parameters() if p.requires_grad]


def gradients(value: Tensor, at: list[Tensor]) -> list[Tensor]:
    if not value.requires_grad:
        return [torch.zeros_like(x) for x in at]
    return list(grad(value, at, allow_unused=True, materialize_grads=True, retain_graph=True))


def same(one: Case, found: Tensor, wanted: Tensor, tolerance: float = 1e-9) -> None:
    """The losses of all rows, and their gradients."""
    close(found, wanted, one, tolerance)
    at = parameters(one)
    for a, b in zip(gradients(found.sum(), at), gradients(wanted.sum(), at), strict=True):
        close(a, b, one, tolerance)


def annotated(family: str, full: bool = False):
    """Cases with a possible truth for everything that is unknown."""
    for seed, one in enumerate(cases(family, 3 * CASES)):
        truth = truth_for(one, one.unknown, seed, full) if one.unknown else None
        if truth is not None:
            yield seed, one, truth


def some(pairs, count: int = CASES):
    return (pair for pair, _ in zip(pairs, range(count), strict=False))


def best(log: Tensor) -> Tensor:
    """The greatest entry, with the gradient of one maximiser."""
    flat = log.reshape(-1)
    return flat[flat.argmax()]


def total(log: Tensor) -> Tensor:
    return log[log > -math.inf].logsumexp(0)


def enumerated(one: Case, truth: Truth, losses: dict, over: Callable[[Tensor], Tensor]) -> Tensor:
    def row(at: Row) -> Tensor:
        joint = unannotated(one, list(truth.values), at)
        return over(weighed(joint, margins(one, truth, at, losses))) - over(weighed(joint, agreeing(one, truth, at)))

    return one.by_row(row)


def of_rows(objective, batch: dict[str, Any]) -> Tensor:
    """The loss of each row."""
    return -torch.stack(torch.broadcast_tensors(*objective.terms(batch).values())).sum(0)


def test_margins_are_those_of_enumeration(family):
    for seed, one, truth in some(annotated(family)):
        losses = losses_for(one, seed, margin=True)
        hinge, smooth = (
            of_rows(kind(one.model, *truth.values, cost=losses), told(one, truth))
            for kind in (MaxMargin, SoftmaxMargin)
        )
        assert bool((hinge >= 0).all()), one
        same(one, hinge, enumerated(one, truth, losses, best))
        same(one, smooth, enumerated(one, truth, losses, total))


def test_partial_labels_train_the_likelihood(family):
    """log p(what is annotated | inputs), the rest summed out."""
    for _, one, truth in some(annotated(family)):

        def row(at: Row, one=one, truth=truth) -> Tensor:
            log = weighed(unannotated(one, list(truth.values), at), agreeing(one, truth, at))
            return one.unweighed(at).log_partition - total(log)

        same(one, of_rows(Likelihood(one.model), told(one, truth)), one.by_row(row))


#: Losses on marginals, and the same by hand from the table of an element and its state.
ON_MARGINALS = {
    "hamming": (Hamming(), lambda p, y: 1 - p[y]),
    "log": (LogLoss(), lambda p, y: -p[y].log()),
    "brier": (Brier(), lambda p, y: (1 - p[y]) ** 2 + (p**2).sum() - p[y] ** 2),
    "focal": (Focal(2.0), lambda p, y: -((1 - p[y]) ** 2) * p[y].log()),
    "per row": (lambda p, y, where: counted(p, y, where), lambda p, y: p[y]),
}


def counted(probs: Tensor, truth: Tensor, where: Tensor) -> Tensor:
    """How many known elements are expected to be right, summed here rather than by the objective."""
    found = torch.where(where, probs.gather(-1, truth.unsqueeze(-1)).squeeze(-1), 0.0)
    return found.reshape(*found.shape[: counted.rank], -1).sum(-1)


def test_losses_on_marginals_are_those_of_enumeration(family):
    for seed, one, truth in some(annotated(family, full=True), 1):
        name = one.unknown[seed % len(one.unknown)]
        if not all(unannotated(one, [name], row).possible for row in one.rows):
            continue
        value, hidden = partly(one, truth, name, seed)
        batch = {**one.values, name: value, **one.options}
        found = {row: list(true_tables(one, name, truth, hidden, row)) for row in one.rows}
        count = 2 if one.bits.get(name) else one.states[name]
        costs = torch.rand(count, count, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        counted.rank = len(one.space.batch)
        losses = [*ON_MARGINALS.values(), (Cost(costs), lambda p, y: p @ costs[y])]
        # half of them for each family
        for loss, by_hand in losses[len(family) % 2 :: 2]:
            zero = torch.zeros((), dtype=torch.float64)
            wanted = one.by_row(lambda row: sum((by_hand(p, y) for p, y in found[row]), zero))
            if bool(wanted.isfinite().all()):
                same(one, of_rows(MarginalLoss(one.model, name, loss), batch), wanted, 1e-7)


def partly(one: Case, truth: Truth, name: str, seed: int) -> tuple[Any, Tensor]:
    """A truth some of whose elements, or units, are not told, and which."""
    value = truth.values[name]
    hidden = torch.rand(value.shape, generator=torch.Generator().manual_seed(seed)) < 0.4
    if one.bits.get(name):
        return Missing(value, hidden), hidden
    if one.states[name] == 1:  # a single state is known, told or not
        return value, torch.zeros_like(hidden)
    return torch.where(hidden, -torch.ones_like(value), value), hidden


def true_tables(one: Case, name: str, truth: Truth, hidden: Tensor, row: Row) -> Iterator[tuple[Tensor, int]]:
    """The marginal and the state of every element of a row that is told, or of its units."""
    joint, units = unannotated(one, [name], row), one.bits.get(name)
    for key in one.elements(row, name):
        place = (*row, *one.space.where(row, key))
        state, table = int(truth.allowed[name][place].int().argmax()), joint.table([key])
        if not units:
            if not hidden[place]:
                yield table, state
            continue
        for unit in (hidden[place] == 0).nonzero().flatten().tolist():
            others = [i for i in range(units) if i != unit]
            cube = table.reshape([2] * units)
            yield (cube.sum(others) if others else cube), (state >> (units - 1 - unit)) & 1


# beyond the families


class Counting(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.calls = net, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.net(x)


def tagger(dtype: torch.dtype = torch.float64, states: int = 3) -> tuple[graft.Model, Counting]:
    torch.manual_seed(0)
    net = Counting(nn.Sequential(nn.Linear(2, states), nn.Dropout(0.3))).to(dtype)
    model = graft.Model({"y[t-1], y[t]": Table(states, states), "y[t] | x[t]": Scores(net)}).to(dtype)
    return model, net


def batch_for(dtype: torch.dtype = torch.float64, low: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    y = torch.randint(low, 3, (4, 5), generator=generator)
    return {"x": torch.randn(4, 5, 2, generator=generator, dtype=dtype), "y": y, "lengths": torch.tensor([5, 3, 1, 0])}


OBJECTIVES = {
    "max": lambda model: MaxMargin(model, "y"),
    "softmax": lambda model: SoftmaxMargin(model, "y"),
    "log": lambda model: MarginalLoss(model, "y", LogLoss()),
    "hamming": lambda model: MarginalLoss(model, "y", Hamming()),
}


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_the_loss_is_the_mean_over_rows(kind):
    objective, batch = OBJECTIVES[kind](tagger()[0].eval()), batch_for()
    loss, rows = objective(batch), of_rows(objective, batch)
    assert rows.shape == (4,) and rows[3] == 0
    close(loss, rows.mean(), kind)
    close(-sum(loss.terms.values()), rows.mean(), kind)


@pytest.mark.parametrize("low", [0, -1], ids=["full", "partial"])
@pytest.mark.parametrize("kind", OBJECTIVES)
def test_each_network_is_evaluated_once(kind, low):
    model, net = tagger()
    OBJECTIVES[kind](model)(batch_for(low=low)).backward()
    assert net.calls == 1
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_training_lowers_the_loss(kind):
    model, _ = tagger(torch.float32)
    objective = OBJECTIVES[kind](model.eval())
    batch = batch_for(torch.float32)
    batch["y"] = (batch["x"][..., 0] > 0).long() + (batch["x"][..., 1] > 0).long()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.3)
    first = objective(batch).item()
    for _ in range(5):
        optimiser.zero_grad()
        loss = objective(batch)
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.8 * first
    assert objective.draw() is not None


def test_the_hinge_is_zero_where_the_margin_holds():
    table = torch.tensor([0.0, 1.0, -1.0], dtype=torch.float64)
    batch = {"y": torch.tensor([[1, 1], [1, 0]])}
    model = graft.Model({"y[t]": Table(values=3 * table)}, sizes={"t": 2})
    found = MaxMargin(model, "y").terms(batch)
    assert found["margin"].tolist() == [0, -3] and found["cost"].tolist() == [0, -1]


def test_second_derivatives_of_a_marginal_loss():
    """Finite differences of the first ones; float64."""
    batch = batch_for()
    net = nn.Linear(2, 3).double()
    model = graft.Model({"y[t-1], y[t]": Table(3, 3), "y[t] | x[t]": Scores(net)}).double()
    table = model.factors[0].values
    objective = MarginalLoss(model, "y", LogLoss())

    def first(create: bool) -> Tensor:
        return grad(objective(batch), table, create_graph=create)[0]

    step = torch.randn(3, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    (second,) = grad((first(True) * step).sum(), table)
    with torch.no_grad():
        table += 1e-5 * step
    above = first(False)
    with torch.no_grad():
        table -= 2e-5 * step
    close(second, (above - first(False)) / 2e-5, "along a random step", 1e-7)


def directed() -> graft.Model:
    return graft.Model({"s": Categorical(3), "w | s": Categorical(2, given=3), "x | s": Gaussian(dim=2, given=3)})


def test_unknowns_that_nothing_depends_on_are_no_part_of_a_margin():
    model, y = directed().double(), torch.tensor([0, 2])
    x = torch.randn(2, 2, dtype=torch.float64)
    found = MaxMargin(model, "s").terms({"s": y, "x": x})
    scores = torch.stack([model.log_prob(s=torch.full((2,), s), x=x) for s in range(3)], -1)
    wanted = (scores + 1 - torch.eye(3)[y]).amax(-1) - scores[torch.arange(2), y]
    close(-(found["margin"] + found["cost"]), wanted, "w is summed out")


BAD = {
    "no name": (lambda: MaxMargin(directed()), GraftError, "name at least one"),
    "unknown name": (lambda: MaxMargin(directed(), "z"), GraftError, "'z' is none of s, w, x"),
    "continuous": (
        lambda: MaxMargin(directed(), "x")({"x": torch.zeros(1, 2)}),
        IntractableError,
        "x is continuous",
    ),
    "no truth": (lambda: MaxMargin(directed(), "s")({"x": torch.zeros(1, 2)}), GraftError, "truth of s"),
    "weighed truth": (
        lambda: MaxMargin(directed(), "s")({"s": Soft(torch.tensor([[0.0, -1.0, 0.0]]))}),
        GraftError,
        "is weighed",
    ),
    "negative costs": (
        lambda: MaxMargin(directed(), "s", cost=Cost(-torch.ones(3, 3)))({"s": torch.tensor([0])}),
        GraftError,
        "cost of s is no margin",
    ),
    "costs of the truth": (
        lambda: MaxMargin(directed(), "s", cost=Cost(torch.ones(3, 3)))({"s": torch.tensor([0])}),
        GraftError,
        "cost of s is no margin",
    ),
    "a cost for no name": (lambda: MaxMargin(directed(), "s", cost={"w": Hamming()}), GraftError, "no loss is told"),
    "impossible truth": (
        lambda: MaxMargin(graft.Model({"a": Table(values=torch.tensor([0.0, -math.inf]))}), "a")(
            {"a": torch.tensor([0, 1, 1])}
        ),
        ImpossibleEvidence,
        r"truth of a is impossible under the model in rows \(1,\), \(2,\)",
    ),
    "impossible sets": (
        lambda: SoftmaxMargin(graft.Model({"a": Table(values=torch.tensor([0.0, 0.0, -math.inf]))}), "a")(
            {"a": Partial(torch.tensor([[True, False, True], [False, False, True]]))}
        ),
        ImpossibleEvidence,
        r"in rows \(1,\)",
    ),
    "a wide vector": (
        lambda: MaxMargin(graft.Model({"h": Bernoulli(dim=20)}), "h")({"h": torch.zeros(1, 20)}),
        IntractableError,
        "2\\^20 states",
    ),
    "a set on marginals": (
        lambda: MarginalLoss(directed(), "s", Brier())({"s": Partial(torch.tensor([[True, True, False]]))}),
        GraftError,
        "is a set of states",
    ),
    "an infinite loss": (
        lambda: MarginalLoss(graft.Model({"a": Table(values=torch.tensor([0.0, -math.inf]))}), "a", LogLoss())(
            {"a": torch.tensor([0, 1])}
        ),
        GraftError,
        r"not finite in rows \(1,\)",
    ),
    "a loss of another shape": (
        lambda: MarginalLoss(directed(), "s", lambda p, y, where: p)({"s": torch.tensor([0])}),
        GraftError,
        r"returns \(1,\) or \(1,\), not \(1, 3\)",
    ),
    "gamma": (lambda: Focal(-1.0), GraftError, "gamma is at least 0"),
}


@pytest.mark.parametrize("case", BAD, ids=str)
def test_errors(case):
    make, kind, message = BAD[case]
    with pytest.raises(kind, match=message):
        make()
