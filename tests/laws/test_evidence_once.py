"""Single cases that broke once: missing cells, stochastic networks, long k-best lists."""

import torch

from graft.factors import Categorical, Gaussian, Scores, Table
from graft.inference.evidence import Missing
from graft.model import Model


def test_a_value_that_contradicts_known_cells_is_impossible():
    model = Model({"c": Categorical(2), "v | c": Gaussian(dim=2, given=2)})
    where = torch.tensor([[False, True], [False, True]])
    posterior = model.given(v=Missing(torch.tensor([[5.0, 0.0], [5.0, 0.0]]), where))
    found = posterior.log_prob(v=torch.tensor([[5.0, 1.0], [4.0, 1.0]]))
    assert torch.isfinite(found[0])
    assert found[1] == -torch.inf


def test_missing_cells_are_drawn_and_known_ones_kept():
    model = Model({"c": Categorical(2), "v | c": Gaussian(dim=2, given=2)})
    posterior = model.given(v=Missing(torch.tensor([[5.0, 0.0]]), torch.tensor([[False, True]])))
    draws = posterior.sample(50, seed=0)["v"]
    assert (draws[..., 0] == 5).all()
    assert draws[..., 1].std() > 0


def test_dropout_is_the_same_network_in_both_sums():
    """Otherwise probabilities exceed one: numerator and normaliser would read other outputs."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Linear(4, 3))
    model = Model({"y[t-1], y[t]": Table(3, 3), "y[t] | x": Scores(net)})
    x = torch.randn(2, 2, 4)
    posterior = model.given(x=x)
    pairs = [torch.tensor([[a, b], [a, b]]) for a in range(3) for b in range(3)]
    total = sum(posterior.log_prob(y=pair).exp() for pair in pairs)
    torch.testing.assert_close(total, torch.ones_like(total))
    assert all((model.log_prob(x=x, y=pair) <= 0).all() for pair in pairs)


def test_k_best_lists_stay_k_long():
    model = Model({"a[n]": Categorical(3)})
    assert model.given(sizes={"n": 40}).top_k(5)[1].shape == (5,)
