"""What answers about general graphs promise beside their numbers: gradients, empty batches, types, effort."""

from __future__ import annotations

import pytest
import torch

from graft import LoopyBP, Model
from graft.factors import Categorical, Gaussian, LinearGaussian, Table
from graft.inference.ordering import _Greedy, best_order


def loop(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    pairs = ["a, b", "b, c", "c, a"]
    return Model({pair: Table(values=torch.randn(3, 3, generator=generator).to(dtype)) for pair in pairs})


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("using", [None, LoopyBP()], ids=["exact", "approximate"])
def test_marginals_read_without_gradients_do_not_stay_so(mode, using):
    posterior = loop().given() if using is None else loop().given(using=using)
    with mode():
        assert not posterior.marginals["a"].probs.requires_grad
    for name in "ab":
        assert posterior.marginals[name].probs.requires_grad


def test_filtered_states_read_without_gradients_do_not_stay_so():
    chain = Model(
        {"s[0]": Categorical(2), "s[t] | s[t-1]": Categorical(2, given=2), "y[t] | s[t]": Categorical(3, given=2)}
    )
    real = Model({"z[0]": Gaussian(dim=1), "z[t] | z[t-1]": LinearGaussian(1, 1), "x[t] | z[t]": LinearGaussian(1, 1)})
    one, two = chain.given(y=torch.tensor([0, 2])), real.given(x=torch.zeros(2, 1))
    with torch.no_grad():
        _ = one.filtered["s"], two.filtered["z"], two.marginals["z"], two.log_partition
    assert one.filtered["s"].probs.requires_grad
    assert two.filtered["z"].mean.requires_grad and two.marginals["z"].mean.requires_grad
    assert two.log_partition.requires_grad


def test_batches_without_rows():
    posterior = loop().given(c=torch.zeros(0, dtype=torch.long))
    assert posterior.marginals["a"].probs.shape == (0, 3) and posterior.decide()["b"].shape == (0,)


def test_the_wider_type_wins_whatever_the_order():
    narrow, wide = Table(values=torch.zeros(2, 2)), Table(values=torch.zeros(2, 2, dtype=torch.float64))
    for factors in ({"a, b": narrow, "b, c": wide}, {"b, c": wide, "a, b": narrow}):
        posterior = Model(factors).given()
        assert posterior.log_partition.dtype == posterior.marginals["a"].probs.dtype == torch.float64


def test_a_hub_costs_no_more_than_its_leaves():
    """Looked-at neighbours grow with the number of leaves, not with its square."""
    counts = []
    for n in (100, 200):
        scopes = [("h", f"y{i}") for i in range(n)]
        greedy = _Greedy(scopes, {"h": 3, **{f"y{i}": 2 for i in range(n)}}, None, _Greedy.fill)
        greedy.order()
        counts.append(greedy.looked)
    assert counts[1] < 3 * counts[0]
    assert best_order(scopes, {"h": 3, **{f"y{i}": 2 for i in range(n)}}).largest == 6


def test_many_leaves_of_a_hub():
    leaves = {f"y{i} | h": Categorical(2, given=3) for i in range(150)}
    model = Model({"h": Categorical(3), **leaves})
    with torch.no_grad():
        posterior = model.given(y0=torch.tensor(1))
        table = model.graph.nodes[8].module.table.softmax(-1)
        assert torch.allclose(posterior.marginals["y7"].probs, posterior.marginals["h"].probs @ table, atol=1e-6)


def test_parameters_that_change_in_place_are_read_anew():
    model = loop(torch.float64)
    with torch.no_grad():
        for step in range(3):
            model.graph.nodes[0].module.values.data[0, 0] = float(step)  # no version counter sees this
            fresh = Model({node.formula.text: Table(values=node.module.values.data) for node in model.graph.nodes})
            assert torch.equal(model.given().marginals["b"].probs, fresh.given().marginals["b"].probs)
