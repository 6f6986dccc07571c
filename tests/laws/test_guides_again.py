"""What a run calls twice, cuts from the gradient, or keeps for the next call."""

import pickle

import pytest
import torch
from torch import nn

from graft.errors import GraftError
from graft.factors import Bernoulli, Function, Gaussian
from graft.model import Model
from graft.objectives import ELBO, ImportanceWeighted
from graft.objectives.estimators import InputDependent, RunningAverage, ScoreFunction, StickingTheLanding

X = torch.randn(6, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def pair(written):
    """The same guide as one network, and as a function of the evidence with a head."""
    torch.manual_seed(0)
    body, head = nn.Sequential(nn.Linear(3, 4), nn.Tanh()), nn.Linear(4, 4)
    model = Model({"z": Gaussian(dim=2), "x | z": Gaussian(nn.Linear(2, 6), dim=3)})
    if written == "one network":
        guide = Model({"z | x": Gaussian(nn.Sequential(body, head), dim=2)})
    else:
        guide = Model({"h = x": Function(body, dim=4), "z | h": Gaussian(head, dim=2)})
    for module in (model, body, head):
        module.double()
    return model, guide, [*body.parameters(), *head.parameters(), *model.parameters()]


MAKES = {
    "doubly": lambda p, q: ImportanceWeighted(p, q, samples=3, doubly=True),
    "sticking the landing": lambda p, q: ELBO(p, q, estimators={"z": StickingTheLanding()}),
    "sticking, several": lambda p, q: ELBO(p, q, samples=2, estimators={"z": StickingTheLanding()}),
}


@pytest.mark.parametrize("name", MAKES)
def test_a_function_of_the_evidence_is_a_layer(name):
    """From the same draws, the gradients are those of the guide that is written as one network."""
    found = []
    for written in ("one network", "a function and a head"):
        model, guide, parameters = pair(written)
        loss = MAKES[name](model, guide)
        torch.manual_seed(1)
        found.append(torch.autograd.grad(loss({"x": X}), parameters))
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two)


def noisy():
    model = Model({"a": Gaussian(dim=2), "b | a": Gaussian(nn.Linear(2, 4), dim=2), "x | b": Gaussian(nn.Linear(2, 6))})
    net = nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.5), nn.Linear(8, 4))
    return model, Model({"b | x": Gaussian(nn.Linear(3, 4), dim=2), "a | b": Gaussian(net, dim=2)})


def test_a_network_that_would_be_another_one_at_its_second_call_is_refused():
    model, guide = noisy()
    bound = ELBO(model, guide, estimators={name: StickingTheLanding() for name in ("a", "b")})
    with pytest.raises(GraftError, match=r"a \| b: its Dropout is in training mode"):
        bound({"x": X.float()})
    assert ELBO(model, guide)({"x": X.float()}).isfinite()  # where it is called once, it may have a mask
    guide.eval()
    assert bound({"x": X.float()}).isfinite()


def test_on_a_plate_likewise():
    net = nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.5), nn.Linear(8, 4))
    model = Model({"a[k]": Gaussian(dim=2), "b[k] | a[k]": Gaussian(nn.Linear(2, 4), dim=2),
                   "x[k] | b[k]": Gaussian(nn.Linear(2, 6), dim=3)})  # fmt: skip
    guide = Model({"b[k] | x[k]": Gaussian(nn.Linear(3, 4), dim=2), "a[k] | b[k]": Gaussian(net, dim=2)})
    bound = ELBO(model, guide, form="joint")
    with pytest.raises(GraftError, match="second time"):
        bound({"x": X.float()[:, None]})
    guide.eval()
    assert bound({"x": X.float()[:, None]}).isfinite()


def test_many_dimensions_before_the_batch():
    """Seven enumerated variables, and eight dimensions of the batch."""
    names = [f"a{k}" for k in range(7)]
    each = {name: Bernoulli(dim=1) for name in names}
    model = Model({**each, f"x | {', '.join(names)}": Bernoulli(nn.Linear(7, 2), dim=2)})
    guide = Model({f"{name} | x": Bernoulli(nn.Linear(2, 1), dim=1) for name in names})
    x = torch.ones(3, 2)
    assert ELBO(model, guide)({"x": x}).item() >= -model.log_prob(x=x).mean().item() - 1e-5
    simple, q, _ = pair("one network")
    assert ELBO(simple, q)({"x": X.reshape(2, 1, 1, 1, 1, 1, 1, 3, 3)}).isfinite()


BASELINES = {"running": RunningAverage, "network": lambda: InputDependent(nn.Linear(3, 1), "x", normalise=True)}


@pytest.mark.parametrize("name", BASELINES)
def test_a_batch_that_is_no_number_is_not_remembered(name):
    torch.manual_seed(0)
    net = nn.Linear(2, 6)
    model = Model({"h": Bernoulli(dim=2), "x | h": Gaussian(net, dim=3)})
    guide = Model({"h | x": Bernoulli(nn.Linear(3, 2), dim=2)})
    bound = ELBO(model, guide, estimators={"h": ScoreFunction(BASELINES[name]())})
    bound({"x": X.float()})
    with torch.no_grad():
        good = net.weight.clone()
        net.weight.fill_(torch.nan)
    with pytest.raises(GraftError, match="nan"):
        bound({"x": X.float()})
    with torch.no_grad():
        net.weight.copy_(good)
    assert bound({"x": X.float()}).isfinite()
    assert int(bound.estimator("h").baseline.steps) == 2
    with torch.no_grad():
        bound({"x": X.float()})  # nobody learns from it
    assert int(bound.estimator("h").baseline.steps) == 2


def test_an_objective_is_pickled_without_what_it_has_seen():
    model, guide, _ = pair("one network")
    bound = ELBO(model, guide)
    bound({"x": X})
    bound.intake._seen[1] = (lambda: None, 0)
    again = pickle.loads(pickle.dumps(bound))
    torch.manual_seed(0)
    one = bound({"x": X})
    torch.manual_seed(0)
    assert torch.equal(one, again({"x": X})) and again.estimator("z") is again.chosen[0]
