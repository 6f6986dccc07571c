"""A guide made of the model's own conditionals."""

import pytest
import torch
from torch import nn

from graft.errors import GraftError
from graft.factors import Bernoulli, Categorical, Gaussian
from graft.model import Model
from graft.objectives import ELBO, ImportanceWeighted, from_model
from graft.objectives.estimators import ScoreFunction


def net():
    torch.manual_seed(0)
    return Model(
        {
            "a | u": Bernoulli(nn.Linear(3, 2), dim=2),
            "b | a": Bernoulli(nn.Linear(2, 2), dim=2),
            "x | b": Bernoulli(nn.Linear(2, 3), dim=3),
        }
    )


BATCH = {"u": torch.randn(5, 3, generator=torch.Generator().manual_seed(1)), "x": torch.ones(5, 3)}


def test_its_bounds_rise_to_the_exact_value():
    model = net()
    exact = -model.log_prob(**BATCH).mean().item()
    guide = from_model(model, "a", "b")
    each = {name: ScoreFunction() for name in ("a", "b")}  # VIMCO compares every pair of draws
    losses = [ImportanceWeighted(model, guide, samples=k, estimators=each)(BATCH).item() for k in (2, 20_000)]
    assert abs(losses[1] - exact) < 0.02 < losses[0] - exact + 0.5


def test_with_every_state_gone_through_the_bound_and_its_gradient_are_a_hand_written_sum():
    """E_{p(a, b | u)} log p(x | b) over all sixteen states; the divergences are 0."""
    model = net()
    loss = ELBO(model, from_model(model, "a", "b"))(BATCH)
    states = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 4)
    a, b = (part[:, None].expand(16, 5, 2) for part in states.split(2, -1))
    x, u = (BATCH[name].expand(16, 5, 3) for name in ("x", "u"))
    first, second, third = (node.module for node in model.graph.nodes)
    weight = (bce(first.net(u), a) + bce(second.net(a), b)).exp()
    by_hand = -(weight * bce(third.net(b), x)).sum(0).mean()
    torch.testing.assert_close(loss, by_hand)
    for one, two in zip(*(torch.autograd.grad(v, list(model.parameters())) for v in (loss, by_hand)), strict=True):
        torch.testing.assert_close(one, two)


def bce(logits, value):
    return torch.distributions.Bernoulli(logits=logits).log_prob(value).sum(-1)


def test_beside_a_guide_of_other_variables():
    model = net()
    guide = from_model(model, "b", guide=Model({"a | x": Bernoulli(nn.Linear(3, 2), dim=2)}))
    assert [str(node) for node in guide.graph.nodes] == ["a | x", "b | a"]
    terms = ELBO(model, guide, estimators={"a": ScoreFunction(), "b": ScoreFunction()})(BATCH).terms
    assert not terms["-KL(b)"].any()


def test_on_a_plate_with_sizes_and_supports():
    model = Model(
        {"c[k]": Categorical(3), "x | c": Gaussian(nn.Sequential(nn.Flatten(), nn.Linear(12, 4)), dim=2)},
        sizes={"k": 4},
    )
    loss = ELBO(model, from_model(model, "c"), estimators={"c": ScoreFunction()})({"x": torch.zeros(6, 2)})
    assert loss.isfinite()


WRONG = {
    "none": ((), None, "each name of a variable once"),
    "twice": (("a", "a"), None, "each name of a variable once"),
    "unknown": (("z",), None, "z has no conditional"),
    "input": (("u",), None, "u has no conditional"),
    "there": (("a",), Model({"a | x": Bernoulli(nn.Linear(3, 2), dim=2)}), "has a factor for a already"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_names(name):
    names, guide, message = WRONG[name]
    with pytest.raises(GraftError, match=message):
        from_model(net(), *names, guide=guide)
