"""The log-density of fully observed data equals a computation by hand, for batches, ragged rows and holes."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from tests.reference import densities
from torch import Tensor
from torch.testing import assert_close

from graft.distributions.supports import Binary, Finite
from graft.factors.categorical import Categorical
from graft.factors.gaussian import Gaussian
from graft.graph.nodes import Variable
from graft.model import Model
from graft.zoo.formulas import SYSTEMS

DIRECTED = (
    "vae semi_supervised_vae sigmoid_belief_net hmm vrnn storn vrae controlled_text sentence_vae dmm draw gsn "
    "bayesian_gmm"
).split()
TIMED = "hmm vrnn storn vrae controlled_text sentence_vae dmm draw gsn".split()
UNDIRECTED = "mrf mrf_tagger table_crf neural_crf pose segmentation rbm dbm dbn".split()
CHAINS = "mrf_tagger table_crf neural_crf".split()
HOLED = "hmm vrnn storn dmm mrf_tagger table_crf".split()
BATCHES = [(), (3,), (2, 2), (2, 1, 2)]


@pytest.fixture(autouse=True)
def doubles():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def parts(model: Model) -> dict[str, object]:
    return {node.formula.text: node.module for node in model.graph.nodes}


def value_of(variable: Variable, lead: tuple[int, ...]) -> Tensor:
    support = variable.support
    if isinstance(support, Finite):
        return torch.randint(support.states, lead)
    shape = lead + (support.event_shape if support else ())
    if isinstance(support, Binary):
        return torch.randint(2, shape).double()
    if variable.name == "pi":
        return torch.randn(shape).softmax(-1)
    return torch.randn(shape)


def observed(name: str, model: Model, batch: tuple[int, ...]) -> dict[str, Tensor]:
    """Values of everything that is not computed."""
    sizes = {"t": 5, "i": 4, "j": 4, **SYSTEMS[name].sizes}
    found = {n: v for n, v in SYSTEMS[name].inputs(batch).items() if n != "lengths"}
    for variable in model.graph.variables.values():
        if variable.name not in found and not variable.is_computed:
            lead = batch + tuple(sizes[x] for x in variable.axes)
            found[variable.name] = value_of(variable, lead)
    return found


def by_hand(name: str, model: Model, values: dict[str, Tensor], batch, exists: Tensor | None = None) -> Tensor:
    """The reference, row by row, on the elements that exist."""
    rows = []
    for row in product(*(range(n) for n in batch)):
        mine = {}
        for variable, value in values.items():
            has_time = "t" in model.graph.variables[variable].axes
            mine[variable] = value[row][exists[row]] if has_time and exists is not None else value[row]
        rows.append(getattr(densities, name)(parts(model), **mine))
    return torch.stack(rows).reshape(batch)


def extra(name: str, batch: tuple[int, ...]) -> dict[str, object]:
    """`lengths`, where a formula reads them."""
    return {"lengths": {"t": torch.full(batch, 5)}} if name == "neural_crf" else {}


@pytest.mark.parametrize("batch", BATCHES, ids=str)
@pytest.mark.parametrize("name", DIRECTED)
def test_log_prob_of_everything(name, batch):
    model = SYSTEMS[name].model()
    values = observed(name, model, batch)
    expected = by_hand(name, model, values, batch)
    assert_close(model.log_prob(**values), expected)
    assert_close(model.score(**values), expected)


@pytest.mark.parametrize("batch", BATCHES, ids=str)
@pytest.mark.parametrize("name", UNDIRECTED)
def test_score_of_an_assignment(name, batch):
    model = SYSTEMS[name].model()
    values = observed(name, model, batch)
    assert_close(model.score(**values, **extra(name, batch)), by_hand(name, model, values, batch))


def ragged(batch: tuple[int, ...], size: int) -> Tensor:
    lengths = torch.randint(0, size + 1, batch)
    if lengths.dim():
        lengths.view(-1)[0], lengths.view(-1)[-1] = 0, size
    return lengths


def spoilt(name: str, model: Model, values: dict[str, Tensor], exists: Tensor) -> dict[str, Tensor]:
    """The same values with rubbish where nothing exists."""
    found = {}
    for variable, value in values.items():
        if "t" in model.graph.variables[variable].axes:
            mask = exists.reshape(*exists.shape, *(1,) * (value.dim() - exists.dim()))
            value = torch.where(mask, value, torch.nan if value.is_floating_point() else -100)
        found[variable] = value
    return found


@pytest.mark.parametrize("batch", BATCHES[1:], ids=str)
@pytest.mark.parametrize("name", [*TIMED, *CHAINS])
def test_a_ragged_batch_equals_the_loop_over_its_members(name, batch):
    model = SYSTEMS[name].model()
    values = observed(name, model, batch)
    size = next(v.shape[len(batch)] for n, v in values.items() if "t" in model.graph.variables[n].axes)
    lengths = ragged(batch, size)
    exists = torch.arange(size) < lengths.unsqueeze(-1)
    found = model.score(**spoilt(name, model, values, exists), lengths=lengths)
    assert_close(found, by_hand(name, model, values, batch, exists))


@pytest.mark.parametrize("side", ["left", "holes"])
@pytest.mark.parametrize("name", HOLED)
def test_holes_are_cut_out(name, side):
    model, batch = SYSTEMS[name].model(), (4,)
    values = observed(name, model, batch)
    size = next(v.shape[1] for n, v in values.items() if "t" in model.graph.variables[n].axes)
    exists = torch.rand(4, size) < 0.6
    if side == "left":
        exists = torch.arange(size) >= torch.tensor([0, 1, size - 1, size]).unsqueeze(-1)
    found = model.score(**spoilt(name, model, values, exists), mask=exists)
    assert_close(found, by_hand(name, model, values, batch, exists))


@pytest.mark.parametrize("name", ["vrnn", "storn", "dmm", "hmm"])
def test_gradients_of_padding_are_zero(name):
    model = SYSTEMS[name].model()
    values = observed(name, model, (2,))
    size = next(v.shape[1] for n, v in values.items() if "t" in model.graph.variables[n].axes)
    lengths = torch.tensor([1, size])
    exists = torch.arange(size) < lengths.unsqueeze(-1)
    leaves = {
        n: v.requires_grad_() if v.is_floating_point() else v for n, v in spoilt(name, model, values, exists).items()
    }
    model.score(**leaves, lengths=lengths).sum().backward()
    for name_, value in leaves.items():
        if value.is_floating_point() and "t" in model.graph.variables[name_].axes:
            assert not value.grad[~exists].any()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.parametrize("batch", BATCHES, ids=str)
def test_a_dialogue_of_ragged_turns(batch):
    model = SYSTEMS["vhred"].model()
    values = {"z": torch.randn(*batch, 3, 2), "w": torch.randint(6, (*batch, 3, 4))}
    turns, words = ragged(batch, 3), torch.randint(0, 5, (*batch, 3))
    found = model.log_prob(**values, lengths={"n": turns, "t": words})
    rows = []
    for row in product(*(range(n) for n in batch)):
        count = int(turns[row])
        spoken = [values["w"][row][n, : int(words[row][n])] for n in range(count)]
        rows.append(densities.vhred(parts(model), values["z"][row][:count], spoken))
    assert_close(found, torch.stack(rows).reshape(batch))


@pytest.mark.parametrize("batch", BATCHES, ids=str)
def test_a_dialogue_of_full_turns(batch):
    model = SYSTEMS["vhred"].model()
    values = observed("vhred", model, batch)
    assert_close(model.log_prob(**values), by_hand("vhred", model, values, batch))


def by_rows(net, s: dict[tuple[int, int], int], y: Tensor) -> Tensor:
    """log p(s, y) of "s[0,j]" uniform, "s[i,j] | s[i-1,j]" by a network, "y[i,j] | s[i,j]" of unit scale at s."""
    total = torch.zeros(())
    for (i, j), value in s.items():
        above = torch.zeros(2)
        if (i - 1, j) in s:
            above[s[i - 1, j]] = 1
        total = total + (net(above).log_softmax(-1)[value] if i else -torch.log(torch.tensor(2.0)))
        total = total + torch.distributions.Normal(float(value), 1.0).log_prob(y[i, j]).sum()
    return total


@pytest.mark.parametrize("known", [True, False])
def test_a_row_that_reads_one_that_ended_before(known):
    net = torch.nn.Linear(2, 2)
    emission = Gaussian(dim=1, given=2, loc=torch.tensor([[0.0], [1.0]]), scale=1.0)
    model = Model({
        "s[0,j]": Categorical(probs=torch.tensor([0.5, 0.5])),
        "s[i,j] | s[i-1,j]": Categorical(net, 2),
        "y[i,j] | s[i,j]": emission,
    })  # fmt: skip
    columns, y = [2, 1, 3], torch.randn(3, 3, 1)
    lengths = {"j": torch.tensor(columns)}
    cells = [(i, j) for i in range(3) for j in range(columns[i])]
    scores = {}
    for states in product(range(2), repeat=len(cells)):
        scores[states] = by_rows(net, dict(zip(cells, states, strict=True)), y)
    if not known:
        assert_close(model.log_prob(y=y, lengths=lengths), torch.stack(list(scores.values())).logsumexp(0))
        return
    s = torch.zeros(3, 3, dtype=torch.long)
    s[0, 1] = s[1, 0] = s[2, 2] = 1
    found = scores[tuple(int(s[cell]) for cell in cells)]
    assert_close(model.log_prob(s=s, y=y, lengths=lengths), found)


def test_a_ragged_grid_has_only_the_pairs_that_exist():
    model = SYSTEMS["segmentation"].model()
    y, image, columns = torch.randint(3, (4, 4)), torch.randn(1, 4, 4), [4, 1, 3, 0]
    cells = {(i, j) for i in range(3) for j in range(columns[i])}
    f, total = parts(model), torch.zeros(())
    scores = f["y[i,j] | image"].net.net(image.unsqueeze(0))[0]
    for i, j in cells:
        total = total + scores[y[i, j], i, j]
        if (i - 1, j) in cells:
            total = total + f["y[i-1,j], y[i,j]"].values[y[i - 1, j], y[i, j]]
        if (i, j - 1) in cells:
            total = total + f["y[i,j-1], y[i,j]"].values[y[i, j - 1], y[i, j]]
    lengths = {"i": torch.tensor(3), "j": torch.tensor(columns)}
    assert_close(model.score(y=y, image=image, lengths=lengths), total)


@pytest.mark.parametrize("name", ["hmm", "nn_hmm"])
def test_no_recurrence_is_needed_to_score_what_is_given(name):
    """A chain whose states are all given is one call on whole tensors per factor."""
    model = SYSTEMS[name].model()
    values = {**observed(name, model, (2,)), **SYSTEMS[name].inputs((2,))}
    entry = model.shapes(**values)["s[t] | s[t-1]"]
    assert entry.returns.axes == (4,)
