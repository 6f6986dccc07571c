"""The sigmoid belief net: its layers, its arms, what they learn where everything can be summed, its pictures."""

import itertools
import math

import pytest
import torch

from graft.cli.settings import read
from graft.data import digits
from graft.data.images import Images, Parts
from graft.errors import GraftError
from graft.evaluation import log_likelihood
from graft.zoo.sbn import RECIPE, SBN, Config, belief_net, hidden
from graft.zoo.sbn_pictures import below, depth, descended, means, pictures

LAYERS = [(3,), (4, 3), (5, 4, 3)]
#: Estimators of each arm, as `explain()` tells them.
SERVES = {
    "wake_sleep": "none: draws are held fixed",
    "nvil": "ScoreFunction(InputDependent)",
    "vimco": "VIMCO",
    "rws": "none: draws are held fixed",
}
WRONG = [
    (["layers=0"], "layers must be at least 1 each"),
    (["layers=5,-1"], "layers must be at least 1 each"),
    (["layers="], "layers must be whole numbers"),
    (["layers=5,many"], "layers must be whole numbers"),
    (["samples=1"], "samples must be at least 2"),
    (["epochs=0"], "epochs must be at least 1"),
]


def bars():
    """Images of 3x3 cells: every set of rows filled, or every set of columns, each as likely; 14 images in all."""
    sets = torch.tensor(list(itertools.product([0.0, 1.0], repeat=3)))
    rows = sets.repeat_interleave(3, 1)
    columns = sets.repeat(1, 3)
    pixels = torch.cat([rows, columns])
    images = Images(pixels, torch.zeros(len(pixels), dtype=torch.long), (3, 3), 2)
    return Parts(images, images, images)


BARS = bars()
#: Of the distribution of the bars: the empty and the full image come twice as often as the other twelve.
ENTROPY = 12 / 16 * math.log(16) + 4 / 16 * math.log(8)


def started(layers, arm="rws", data=BARS, **settings):
    told = Config(layers=layers, **settings)
    pair = RECIPE.started(told, arm, 0, data)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return told, pair, RECIPE.objective(told, arm, pair)


def logits(net, below_):
    """The logits of every factor's network at every state of a layer, by plain algebra."""
    return below_ @ net.weight.T + net.bias


def states(units):
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=units)))


def log_bernoulli(value, at):
    """(states of what is read, values)."""
    return value @ torch.nn.functional.logsigmoid(at).T + (1 - value) @ torch.nn.functional.logsigmoid(-at).T


def by_sums(model, x):
    """log p(x), layer by layer from the top, without a word of graft's."""
    nodes = list(model.graph.nodes)
    assert nodes[0].reads == ()
    above, log_p = None, None
    for node in nodes:
        here = x if node.head.name == "x" else states(node.module.event[0])
        if above is None:
            log_p = log_bernoulli(here, node.module.table[None])[:, 0]
        else:
            each = log_bernoulli(here, logits(node.module.net[0], above))
            log_p = (each + log_p).logsumexp(-1)
        above = here
    return log_p


@pytest.mark.parametrize("layers", LAYERS, ids=str)
def test_layers_go_from_the_visible_side(layers):
    told, pair, _ = started(layers, data=digits.load())
    drawn = pair.model.sample((7,), seed=0)
    assert {name: value.shape[1] for name, value in drawn.items()} == {
        "x": 64,
        **{f"h{k + 1}": size for k, size in enumerate(layers)},
    }
    assert hidden(pair.model) == tuple(f"h{k + 1}" for k in range(len(layers)))
    up = pair.guide.sample(x=drawn["x"], seed=0)
    assert {name: value.shape for name, value in up.items()} == {
        name: value.shape for name, value in drawn.items() if name != "x"
    }
    assert read([f"layers={','.join(map(str, layers))}"], Config).layers == told.layers


def test_visible_units_start_at_the_means_of_the_cells():
    data = digits.load()
    visible = belief_net((5, 4), data).model.graph.variables["x"].nodes[0].module.net[-1]
    count = len(data.train)
    close = (data.train.pixels.sum(0) + 1) / (count + 2)
    torch.testing.assert_close(visible.bias.sigmoid(), close)


@pytest.mark.parametrize("layers", LAYERS, ids=str)
def test_likelihood_is_the_sum_over_all_states(layers):
    torch.manual_seed(0)
    pair = belief_net(layers, BARS)
    with torch.no_grad():
        for parameter in pair.model.parameters():
            parameter.normal_()
        expected = by_sums(pair.model, BARS.test.pixels)
    batch = {"x": BARS.test.pixels}
    exact = log_likelihood(pair.model, pair.guide, batch)
    torch.testing.assert_close(exact.rows, expected.double(), rtol=1e-4, atol=1e-4)
    drawn = log_likelihood(pair.model, pair.guide, batch, samples=4000, exact=False, seed=0)
    # seeded: it passes or fails for ever; of other seeds fewer than one in a hundred would fail
    assert abs(drawn.mean - exact.mean) < 4 * drawn.error


@pytest.mark.parametrize("arm", SBN.arms)
def test_each_arm_has_its_estimator_in_every_layer(arm):
    _, _, objective = started((4, 3, 2), arm)
    found = {row.name: (row.treatment, row.estimator) for row in objective.explain("x").rows}
    assert found.pop("x")[0] == "given"
    assert found == {f"h{k}": ("drawn", SERVES[arm]) for k in (1, 2, 3)}


@pytest.mark.parametrize("arm", SBN.arms)
def test_every_parameter_moves_the_baselines_too(arm):
    told, pair, objective = started((4, 3), arm)
    names = {name for name, _ in objective.named_parameters()}
    assert len(names) == sum(1 for _ in pair.parameters()) + (8 if arm == "nvil" else 0)
    before = {name: parameter.detach().clone() for name, parameter in objective.named_parameters()}
    optimizer = RECIPE.optimizer(told, arm, objective)
    torch.manual_seed(0)
    for _ in range(2):
        optimizer.zero_grad()
        objective({"x": BARS.train.pixels}).backward()
        optimizer.step()
    still = [name for name, parameter in objective.named_parameters() if torch.equal(parameter, before[name])]
    assert not still


@pytest.mark.parametrize("arm", SBN.arms)
def test_every_arm_learns_the_bars(arm):
    _, pair, objective = started((8,), arm)
    x = BARS.train.pixels.repeat(4, 1)
    optimizer = torch.optim.Adam(objective.parameters(), lr=0.1)
    torch.manual_seed(0)
    for _ in range(100):
        optimizer.zero_grad()
        objective({"x": x}).backward()
        optimizer.step()
    with torch.no_grad():
        after = -float(by_sums(pair.model, BARS.test.pixels).mean())
    # every cell is black in half of the images: without the hidden units it is 9 log 2 = 6.24
    assert ENTROPY <= after < 5.4


def test_a_seed_decides_on_all_that_starts_anywhere(tmp_path):
    told = Config(layers=(5, 4), epochs=1, rows=20, draws=20)
    found = []
    for k in range(2):
        torch.manual_seed(k)
        found.append(RECIPE.trial(told, "nvil", 0, tmp_path / str(k)))
    assert found[0]["NLL"] == found[1]["NLL"] and found[0]["-ELBO"] == found[1]["-ELBO"]


@pytest.mark.parametrize(("words", "message"), WRONG, ids=str)
def test_wrong_settings_are_named(words, message):
    with pytest.raises(GraftError, match=message):
        read(words, Config)


def test_what_is_below_a_layer_is_the_nets_own():
    torch.manual_seed(0)
    model = belief_net((4, 3, 2), BARS).model
    part = below(model, 2)
    assert depth(model) == 3
    assert [str(node) for node in part.graph.nodes] == ["h1 | h2", "x | h1"]
    assert {id(parameter) for parameter in part.parameters()} < {id(parameter) for parameter in model.parameters()}
    h1 = states(4)
    net = model.graph.variables["x"].nodes[0].module.net[0]
    torch.testing.assert_close(means(model, h1), logits(net, h1).sigmoid())


def test_descent_draws_what_lies_between():
    torch.manual_seed(0)
    model = belief_net((4, 3), BARS).model
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    h2, h1 = states(3), states(4)
    lower, visible = (model.graph.variables[name].nodes[0].module.net[0] for name in ("h1", "x"))
    with torch.no_grad():
        weight = log_bernoulli(h1, logits(lower, h2)).exp()
        exact = weight.T @ logits(visible, h1).sigmoid()
    found = descended(model, 2, h2, seed=0, count=4000)
    assert found.shape == (4000, 8, 9)
    # of 72 means, each within five standard errors but for one seed in 20,000
    error = found.std(0) / math.sqrt(4000)
    assert bool(((found.mean(0) - exact).abs() < 5 * error + 1e-6).all())
    assert torch.equal(found, descended(model, 2, h2, seed=0, count=4000))


def test_pictures_of_every_layer(tmp_path):
    trained = {arm: belief_net(layers, BARS) for arm, layers in (("rws", (4, 3, 2)), ("nvil", (3,)))}
    paths = pictures(trained, BARS.test, tmp_path)
    assert [path.name for path in paths] == ["rws-images.png", "rws-held.png", "nvil-images.png", "model.png"]
    assert all(path.stat().st_size > 1000 for path in paths)
