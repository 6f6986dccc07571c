"""A training step of a variational autoencoder through graft, beside the same step written out by hand."""

from __future__ import annotations

from harness import Case, Contestant, Section, main

BATCHES = 20  # different batches in each timed call


def networks(hidden, latent):
    import torch
    from torch import nn

    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(784, hidden), nn.ReLU(), nn.Linear(hidden, 2 * latent))
    decoder = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, 784))
    return encoder, decoder


def data(rows):
    import torch

    torch.manual_seed(1)
    return [torch.bernoulli(torch.rand(rows, 784)) for _ in range(BATCHES)]


def steps(loss_of, parameters, batches):
    """Whole training steps: loss, gradients, Adam."""
    from torch.optim import Adam

    optimizer = Adam(parameters, lr=1e-4)

    def run():
        for batch in batches:
            loss = loss_of(batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return run


def graft(hidden, latent, rows, form="auto"):
    from graft.factors import Bernoulli, Gaussian
    from graft.model import Model
    from graft.objectives import ELBO

    encoder, decoder = networks(hidden, latent)
    model = Model({"z": Gaussian(dim=latent), "x | z": Bernoulli(decoder, dim=784)})
    objective = ELBO(model, Model({"z | x": Gaussian(encoder, dim=latent)}), form=form)
    return steps(lambda x: objective({"x": x}), objective.parameters(), data(rows))


def by_hand(hidden, latent, rows):
    """Raw tensor operations, the divergence in closed form."""
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits

    encoder, decoder = networks(hidden, latent)

    def loss(x):
        loc, log_scale = encoder(x).chunk(2, -1)
        scale = log_scale.exp()
        logits = decoder(loc + scale * torch.randn_like(loc))
        likelihood = -binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)
        divergence = (0.5 * (scale.square() + loc.square() - 1) - log_scale).sum(-1)
        return -(likelihood - divergence).mean()

    return steps(loss, [*encoder.parameters(), *decoder.parameters()], data(rows))


def with_distributions(hidden, latent, rows):
    """The same with torch.distributions objects."""
    import torch
    from torch.distributions import Bernoulli, Independent, Normal, kl_divergence

    encoder, decoder = networks(hidden, latent)
    prior = Independent(Normal(torch.zeros(latent), torch.ones(latent)), 1)

    def loss(x):
        loc, log_scale = encoder(x).chunk(2, -1)
        q = Independent(Normal(loc, log_scale.exp()), 1)
        p = Independent(Bernoulli(logits=decoder(q.rsample())), 1)
        return -(p.log_prob(x) - kl_divergence(q, prior.expand(q.batch_shape))).mean()

    return steps(loss, [*encoder.parameters(), *decoder.parameters()], data(rows))


def with_pyro(hidden, latent, rows):
    """Pyro's SVI, its own Adam, divergences in closed form (TraceMeanField_ELBO), validation off."""
    import pyro
    import pyro.distributions as dist
    import torch
    from pyro.infer import SVI, TraceMeanField_ELBO

    pyro.clear_param_store()
    pyro.enable_validation(False)
    encoder, decoder = networks(hidden, latent)

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("rows", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x), latent), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("rows", len(x)):
            loc, log_scale = encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))

    svi = SVI(model, guide, pyro.optim.Adam({"lr": 1e-4}), TraceMeanField_ELBO())
    batches = data(rows)

    def run():
        for batch in batches:
            svi.step(batch)

    return run


def sections(options):
    cases = [
        Case("400 hidden, batch 128", (400, 20, 128), quick=True, seconds=20.0, makes=8),
        Case("64 hidden, batch 32", (64, 10, 32), quick=True, seconds=10.0, makes=8),
    ]
    contestants = [
        Contestant("graft", graft),
        Contestant("raw tensors", by_hand),
        Contestant("torch.distributions", with_distributions),
        Contestant("Pyro", with_pyro),
    ]
    about = (
        f"Loss, gradients and Adam over {BATCHES} batches of 784 pixels, one hidden layer each way. A ratio below 1 is "
        "what graft adds. Contestants are made eight times, for where their memory lies moves a step by some per cent."
    )
    yield Section("training-step", "A training step of a VAE", cases, contestants, about, None, f"{BATCHES} steps")


if __name__ == "__main__":
    main(sections)
