"""The factors of a model stay, however one tries; their parameters go everywhere that PyTorch takes them."""

import copy
import io

import pytest
import torch
from torch import nn

from graft.errors import GraftError
from graft.factors import Categorical, Scores
from graft.model import Model


def chain():
    torch.manual_seed(0)
    transition = Categorical(2, given=2)
    return Model({"s[0]": Categorical(2), "s[t] | s[t-1]": transition, "s[t] | x[t]": Scores(nn.Linear(3, 2))})


OTHER = Categorical(2)
CHANGES = {
    "replace": lambda model: model.factors.__setitem__(0, OTHER),
    "replace by a name": lambda model: setattr(model.factors, "0", OTHER),
    "replace by nothing": lambda model: setattr(model.factors, "0", None),
    "replace all": lambda model: setattr(model, "factors", nn.ModuleList([OTHER])),
    "append": lambda model: model.factors.append(OTHER),
    "extend": lambda model: model.factors.extend([OTHER]),
    "add": lambda model: model.factors.__iadd__([OTHER]),
    "insert": lambda model: model.factors.insert(0, OTHER),
    "register": lambda model: model.factors.register_module("0", OTHER),
    "delete": lambda model: model.factors.__delitem__(0),
    "delete by a name": lambda model: delattr(model.factors, "0"),
    "pop": lambda model: model.factors.pop(0),
}


@pytest.mark.parametrize("name", CHANGES)
def test_no_module_takes_the_place_of_a_factor(name):
    model = chain()
    before = list(model.factors)
    with pytest.raises(GraftError, match=r"factors of a model stay.*make a new model"):
        CHANGES[name](model)
    assert list(model.factors) == before == [node.module for node in model.graph.nodes]


def reloaded(model):
    other, file = chain(), io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    return other


#: What makes a model of a model that answers alike.
COPIES = {
    "deepcopy": copy.deepcopy,
    "copy of a copy": lambda model: copy.deepcopy(copy.deepcopy(model)),
    "state": reloaded,
    "double and back": lambda model: copy.deepcopy(model).double().float(),
    "assigned": lambda model: _assigned(model),
}


def _assigned(model):
    other = chain()
    other.load_state_dict(model.state_dict(), assign=True)
    return other


@pytest.mark.parametrize("name", COPIES)
def test_inference_follows_the_parameters(name):
    model, x = chain(), torch.randn(4, 5, 3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter))
    other = COPIES[name](model)
    assert all(node.module is factor for node, factor in zip(other.graph.nodes, other.factors, strict=True))
    torch.testing.assert_close(other.given(x=x).log_partition, model.given(x=x).log_partition)
    with torch.no_grad():
        other.factors[0].table[0] += 1
    assert not torch.equal(other.given(x=x).log_partition, model.given(x=x).log_partition) or name == "assigned"


def test_parts_of_a_factor_may_be_replaced():
    model, x = chain(), torch.randn(4, 5, 3)
    before = model.given(x=x).log_partition
    model.factors[2].net = nn.Linear(3, 2)
    assert not torch.equal(before, model.given(x=x).log_partition)
    assert model.double().given(x=x.double()).log_partition.dtype == torch.float64
