"""The edges of exact inference: great width, great size, none at all."""

from __future__ import annotations

import resource
import time

import pytest
import torch
from tests.reference.bulk import close
from tests.reference.transfer import grid_log_partition
from torch import nn

import graft
from graft.distributions.supports import Binary
from graft.errors import IntractableError
from graft.factors import Bernoulli, Bias, Bilinear, Categorical, Gaussian, Scores, Table
from graft.inference.evidence import Soft


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_a_grid_of_144_equals_the_transfer_matrix():
    nodes, down, across = normal(12, 12, 2), normal(2, 2), normal(3, 2, 2)[2]
    model = graft.Model({"y[i-1,j], y[i,j]": Table(values=down), "y[i,j-1], y[i,j]": Table(values=across)})
    found = model.given(y=Soft(nodes)).log_partition
    close(found, grid_log_partition(nodes, down, across), "12 x 12")


def test_a_model_too_wide_is_refused_before_anything_is_allocated():
    model = graft.Model({"y[i-1,j], y[i,j]": Table(2, 2), "y[i,j-1], y[i,j]": Table(2, 2)})
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rule = r"clique \{y\[\d+,\d+\].*joint states.*budget.*What would serve"
    with pytest.raises(IntractableError, match=rule) as error:
        model.given(sizes={"i": 14, "j": 14}, budget=10**5)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert "evidence" in str(error.value)
    assert "bytes" in str(error.value)
    assert grown < 64 * 2**10, "KiB"
    assert time.perf_counter() - start < 20


def test_a_budget_bounds_the_plan():
    model = graft.Model({"y[t-1], y[t]": Table(9, 9)})
    with pytest.raises(IntractableError, match="budget"):
        model.given(sizes={"t": 50}, budget=1000)
    assert model.given(sizes={"t": 50}, budget=10**6).log_partition.isfinite()


def test_a_vector_of_many_units_is_refused_unless_its_units_separate():
    machine = graft.Model({"v, h": Bilinear(40, 3), "v": Bias(40), "h": Bias(3)}, support=units(v=40, h=3))
    assert machine.given().log_partition.isfinite()
    wide = graft.Model({"v, h": Bilinear(40, 40)}, support=units(v=40, h=40))
    with pytest.raises(IntractableError, match="v"):
        wide.given()


def units(**lengths: int) -> dict:
    return {name: Binary(n) for name, n in lengths.items()}


def test_a_continuous_unknown_is_named():
    model = graft.Model({"z": Gaussian(dim=2), "c | z": Categorical(nn.Linear(2, 3), 3)})
    with pytest.raises(IntractableError, match="z"):
        _ = model.given(c=torch.tensor(1)).log_partition


SMALL = {
    "no rows": ({"s": torch.zeros(0, 3, dtype=torch.long)}, {}, (0,)),
    "no elements": ({"s": torch.zeros(2, 0, dtype=torch.long)}, {}, (2,)),
    "no length": ({"s": torch.full((2, 3), -100)}, {"lengths": torch.tensor([0, 0])}, (2,)),
}


@pytest.mark.parametrize("name", SMALL)
def test_nothing_has_probability_one(name):
    values, options, batch = SMALL[name]
    model = graft.Model({"s[0]": Categorical(2), "s[t] | s[t-1]": Categorical(2, given=2)})
    found = model.log_prob(values, **options)
    assert found.shape == batch
    assert not bool(found.any())


@pytest.mark.parametrize("sizes", [{"t": 0}, {"t": 1}], ids=["none", "one"])
def test_unknowns_of_short_axes_answer_every_query(sizes):
    model = graft.Model({"y[t-1], y[t]": Table(2, 2), "y[t]": Table(2)})
    posterior = model.given(sizes=sizes)
    assert posterior.mode()["y"].shape == (sizes["t"],)
    assert posterior.top_k(3)[0]["y"].shape == (3, sizes["t"])
    assert posterior.sample(4)["y"].shape == (4, sizes["t"])
    assert posterior.marginals["y"].probs.shape == (sizes["t"], 2)
    assert posterior.marginals["y[t-1], y[t]"].shape == (0, 2, 2)
    assert posterior.entropy().isfinite()


def test_empty_batches_answer_every_query():
    model = graft.Model({"y[t-1], y[t]": Table(2, 2), "y[t] | x": Scores(nn.Linear(3, 2), states=2)})
    posterior = model.given(x=torch.zeros(0, 4, 3))
    assert posterior.log_partition.shape == (0,)
    assert posterior.mode()["y"].shape == (0, 4)
    assert posterior.sample(2)["y"].shape == (2, 0, 4)
    assert posterior.top_k(2)[1].shape == (2, 0)
    assert posterior.marginals["y"].probs.shape == (0, 4, 2)
    assert posterior.entropy().shape == (0,)


def test_barren_variables_are_part_of_the_mode():
    model = graft.Model(
        {
            "a": Categorical(probs=torch.tensor([0.4, 0.6])),
            "b | a": Categorical(probs=torch.tensor([[1.0, 0.0], [0.5, 0.5]])),
        }
    )
    mode = model.given().mode()
    assert (int(mode["a"]), int(mode["b"])) == (0, 0), "0.4 against 0.3, though 1 is the likelier a"


def test_a_thousand_elements_are_ordered_in_little_time():
    model = graft.Model({"y[t-2], y[t-1], y[t]": Table(2, 2, 2)})
    start = time.perf_counter()
    model.given(sizes={"t": 1000})
    assert time.perf_counter() - start < 20


def test_double_parameters_take_single_values():
    model = graft.Model({"s": Categorical(2), "v | s": Bernoulli(dim=3, given=2)}).double()
    found = model.given(v=torch.tensor([1.0, 0.0, 1.0])).log_partition
    assert found.dtype == torch.float64
