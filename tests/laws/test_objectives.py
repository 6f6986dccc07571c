"""Objectives: equal to hand-written losses, bounds that bound, and errors that name what is wrong."""

import pytest
import torch
from torch import nn
from torch.distributions import Bernoulli as TorchBernoulli
from torch.distributions import Normal, kl_divergence

from graft.distributions.supports import Real
from graft.errors import FormulaError, GraftError
from graft.factors import Bernoulli, Categorical, Function, Gaussian, LinearGaussian, Recurrent, Table
from graft.model import Model
from graft.objectives import ELBO, Likelihood
from graft.objectives.estimators import Reparameterised


def vae():
    model = Model({"z": Gaussian(dim=3), "x | z": Bernoulli(nn.Linear(3, 7))})
    return model, Model({"z | x": Gaussian(nn.Linear(7, 6))})


def vrnn():
    model = Model(
        {
            "z[t] | h[t-1]": Gaussian(nn.Linear(4, 4), dim=2),
            "x[t] | z[t], h[t-1]": Gaussian(nn.Linear(6, 6), dim=3),
            "h[t] = x[t], z[t], h[t-1]": Recurrent(nn.GRUCell(5, 4)),
        }
    )
    return model, Model({"z[t] | x[t], h[t-1]": Gaussian(nn.Linear(7, 4), dim=2)})


def semi_supervised():
    model = Model({"y": Categorical(4), "z": Gaussian(dim=2), "x | y, z": Bernoulli(nn.Linear(6, 5), dim=5)})
    return model, Model({"z | x": Gaussian(nn.Linear(5, 4), dim=2)})


def split(output):
    loc, scale = output.chunk(2, -1)
    return Normal(loc, scale.exp())


def vae_by_hand(model, guide, x):
    q = split(guide.factors[0].get_submodule("net")(x))
    z = q.rsample()
    log_p = Normal(0, 1).log_prob(z).sum(-1)
    log_x = TorchBernoulli(logits=model.factors[1].get_submodule("net")(z)).log_prob(x).sum(-1)
    return -(log_p + log_x - q.log_prob(z).sum(-1)).mean()


def vrnn_by_hand(model, guide, x, lengths):
    prior, decoder, cell = (model.factors[0].net, model.factors[1].net, model.factors[2].cell)
    h = torch.zeros(len(x), 4)
    total = torch.zeros(len(x))
    for t in range(x.shape[1]):
        q = split(guide.factors[0].net(torch.cat([x[:, t], h], -1)))
        z = q.rsample()
        p = split(prior(h))
        emission = split(decoder(torch.cat([z, h], -1)))
        step = p.log_prob(z).sum(-1) + emission.log_prob(x[:, t]).sum(-1) - q.log_prob(z).sum(-1)
        total = total + torch.where(t < lengths, step, torch.zeros(()))
        h = cell(torch.cat([x[:, t], z], -1), h)
    return -total.mean()


def test_vae_bound_equals_the_hand_written_one():
    torch.manual_seed(0)
    (model, guide), x = vae(), torch.bernoulli(torch.rand(6, 7))
    torch.manual_seed(1)
    loss = ELBO(model, guide, form="joint")({"x": x})
    torch.manual_seed(1)
    torch.testing.assert_close(loss, vae_by_hand(model, guide, x))


def test_vrnn_bound_equals_the_hand_written_loop():
    torch.manual_seed(0)
    (model, guide), x, lengths = vrnn(), torch.randn(3, 5, 3), torch.tensor([5, 2, 0])
    torch.manual_seed(1)
    loss = ELBO(model, guide, form="joint")({"x": x, "lengths": lengths})
    torch.manual_seed(1)
    torch.testing.assert_close(loss, vrnn_by_hand(model, guide, x, lengths))


def test_terms_add_up_to_the_loss():
    torch.manual_seed(0)
    loss = ELBO(*vae())({"x": torch.zeros(2, 7)})
    torch.testing.assert_close(-sum(loss.terms.values()), loss.detach())


@pytest.mark.parametrize("make", [vae, vrnn, semi_supervised], ids=lambda f: f.__name__)
def test_every_parameter_gets_a_finite_gradient(make):
    torch.manual_seed(0)
    model, guide = make()
    shape = {"vae": (4, 7), "vrnn": (4, 3, 3), "semi_supervised": (4, 5)}[make.__name__]
    ELBO(model, guide)({"x": torch.bernoulli(torch.rand(shape))}).backward()
    for name, parameter in [*model.named_parameters(), *guide.named_parameters()]:
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_what_the_guide_leaves_out_is_summed_exactly():
    torch.manual_seed(0)
    model, guide = semi_supervised()
    x = torch.bernoulli(torch.rand(3, 5))
    torch.manual_seed(1)
    loss = ELBO(model, guide)({"x": x})
    torch.manual_seed(1)
    q = split(guide.factors[0].net(x))
    z = q.rsample()
    parts = [model.log_prob(x=x, z=z, y=torch.full((3,), y)) for y in range(4)]
    expected = -(torch.logsumexp(torch.stack(parts), 0) - q.log_prob(z).sum(-1)).mean()
    torch.testing.assert_close(loss, expected)


def test_the_bound_is_tight_at_the_exact_posterior():
    """For a linear-Gaussian model the guide can be exact; the bound is then log p(x) for every draw."""
    model = Model({"z": Gaussian(dim=1), "x | z": LinearGaussian(1, 1)})
    with torch.no_grad():
        model.factors[1].linear.weight.fill_(1.0)
        model.factors[1].linear.bias.zero_()
    sd = model.factors[1].noise().detach().squeeze()
    gain, scale = 1 / (1 + sd**2), (sd**2 / (1 + sd**2)).sqrt()
    net = nn.Linear(1, 2)
    with torch.no_grad():
        net.weight.copy_(torch.stack([gain, torch.zeros(())])[:, None])
        net.bias.copy_(torch.stack([torch.zeros(()), scale.log()]))
    x = torch.randn(5, 1)
    loss = ELBO(model, Model({"z | x": Gaussian(net, dim=1)}), form="joint")({"x": x})
    exact = Normal(0.0, (1 + sd**2).sqrt()).log_prob(x).mean()
    torch.testing.assert_close(-loss, exact)


def test_the_mean_bound_lies_below_by_the_divergence():
    """E[bound] = log p(x) - KL; with 20000 draws the mean misses by over 5 standard errors in 1 of 10^6 runs."""
    torch.manual_seed(0)
    model, guide = (
        Model({"z": Gaussian(dim=1), "x | z": Gaussian(nn.Linear(1, 1), scale=1.0)}),
        Model({"z | x": Gaussian(nn.Linear(1, 2), dim=1)}),
    )
    with torch.no_grad():
        model.factors[1].net.weight.fill_(1.0)
        model.factors[1].net.bias.zero_()
    x = torch.full((20000, 1), 0.7)
    q = split(guide.factors[0].net(x[:1]))
    posterior = Normal(0.35, 0.5**0.5)
    expected = Normal(0.0, 2**0.5).log_prob(torch.tensor(0.7)) - kl_divergence(q, posterior).squeeze()
    total = sum(ELBO(model, guide).terms({"x": x}).values())
    assert abs(total.mean() - expected) < 5 * total.std() / len(x) ** 0.5


def test_likelihood_is_conditional_on_given():
    torch.manual_seed(0)
    model = Model({"a": Categorical(3), "b | a": Categorical(2, given=3)})
    batch = {"a": torch.tensor([0, 2, 1]), "b": torch.tensor([1, 0, 1])}
    loss = Likelihood(model, given=("b",))(batch)
    expected = -(model.log_prob(batch) - model.log_prob(b=batch["b"])).mean()
    torch.testing.assert_close(loss, expected)


def two_way():
    return Model(
        {"h[t] = x[t], h[t-1]": Recurrent(nn.GRUCell(2, 2)), "x[t] | h[t-1]": Gaussian(nn.Linear(2, 4), dim=2)}
    )


BAD_GUIDES = {
    "gives what the model computes": (
        lambda: ELBO(two_way(), Model({"h[t] | x[t]": Gaussian(nn.Linear(2, 4), dim=2)})),
        FormulaError,
        "the guide gives h, which the model computes",
    ),
    "another number of axes": (
        lambda: ELBO(vae()[0], Model({"z[t] | x": Gaussian(nn.Linear(7, 6))})),
        FormulaError,
        "z has 0 indices in the model, 1 here",
    ),
    "a cycle of the two": (
        lambda: ELBO(
            Model(
                {
                    "z": Gaussian(dim=2),
                    "h = z": Function(nn.Linear(2, 2), dim=2),
                    "x | h": Gaussian(nn.Linear(2, 4), dim=2),
                }
            ),
            Model({"z | h, x": Gaussian(nn.Linear(4, 4), dim=2)}),
        ),
        FormulaError,
        "cycle",
    ),
    "reads a random name": (
        lambda: ELBO(vae()[0], Model({"z | y": Gaussian(nn.Linear(7, 6))}))({"x": torch.zeros(2, 7)}),
        FormulaError,
        "the guide reads y, which nobody gives",
    ),
    "no reparameterised draw": (
        lambda: ELBO(
            semi_supervised()[0],
            Model({"y | x": Categorical(nn.Linear(5, 4), 4), "z | x": Gaussian(nn.Linear(5, 4))}),
            estimators={"y": Reparameterised()},
        ),
        GraftError,
        "y is discrete .* has no reparameterised draws",
    ),
    "unknown given": (
        lambda: Likelihood(vae()[0], given=("w",)),
        GraftError,
        "given names 'w'",
    ),
    "an empty batch": (lambda: ELBO(*vae())({"x": torch.zeros(0, 7)}), GraftError, "batch is empty"),
    "impossible evidence": (
        lambda: Likelihood(Model({"a": Categorical(probs=torch.tensor([1.0, 0.0]))}))({"a": torch.tensor([1])}),
        GraftError,
        "log_prob is -inf",
    ),
    "a continuous latent without a guide": (
        lambda: Likelihood(vae()[0])({"x": torch.zeros(2, 7)}),
        GraftError,
        "continuous unknowns: z",
    ),
    "an undirected model": (
        lambda: ELBO(Model({"a, b": Table(2, 2), "z": Gaussian(dim=1)}), Model({"z": Gaussian(dim=1)}))(
            {"a": torch.tensor([0])}
        ),
        GraftError,
        "normaliser",
    ),
}


@pytest.mark.parametrize("case", BAD_GUIDES, ids=str)
def test_errors(case):
    make, kind, message = BAD_GUIDES[case]
    with pytest.raises(kind, match=message):
        make()


def test_a_guide_reads_the_models_computed_variables():
    model, guide = vrnn()
    assert ELBO(model, guide).program.proposes == ("z",)
    assert Real(2) == model.graph.variables["z"].support
