"""The semi-supervised VAE: its draw of labels, its networks, its arms and their stages, its figures."""

import pytest
import torch
from torch import nn

from graft.cli.main import main
from graft.data.images import Images
from graft.data.partly_labelled import UNKNOWN, Mixed, partly_labelled
from graft.errors import DataError, GraftError
from graft.objectives.estimators import Enumerate, Reparameterised
from graft.zoo.experiment.experiment import WEIGHTS
from graft.zoo.semi_supervised import RECIPE, Featured, bound_of, predicted
from graft.zoo.semi_supervised_config import Config
from graft.zoo.semi_supervised_models import CLASSES, Shifted, Styled, first_stage, module_of, second_stage
from graft.zoo.semi_supervised_pictures import by_class, by_style

TINY = {"hidden": 6, "latent": 2, "features": 3, "labels": 20, "unlabelled": 60, "epochs": 1, "rows": 40, "seeds": 1}
TOLD = Config(**TINY)
GUIDED = ["m2", "m1m2"]


def numbered(count, classes=4):
    """Images that hold their own number, so that each can be told from all others."""
    return Images(torch.arange(count).unsqueeze(1) / count, torch.arange(count) % classes, (1, 1))


@pytest.fixture(scope="module")
def data():
    return TOLD.images()


@pytest.mark.parametrize(("labels", "unlabelled"), [(4, 0), (12, 5), (36, 4)])
def test_a_draw_is_balanced_and_takes_nothing_twice(labels, unlabelled):
    found = partly_labelled(numbered(40), labels, unlabelled, seed=3)
    assert found.labelled.labels.bincount().tolist() == [labels // 4] * 4
    assert len(found.unlabelled) == (unlabelled or 40 - labels)
    assert len(found.all.pixels.unique()) == len(found.all) == labels + len(found.unlabelled)
    assert (found.all.labels[labels:] == UNKNOWN).all()


def test_the_seed_decides_the_draw_and_more_labels_hold_fewer():
    few, again, other, more = (partly_labelled(numbered(200), n, 0, s) for n, s in ((8, 1), (8, 1), (8, 2), (40, 1)))
    assert torch.equal(few.labelled.pixels, again.labelled.pixels)
    assert torch.equal(few.unlabelled.pixels, again.unlabelled.pixels)
    assert not torch.equal(few.labelled.pixels, other.labelled.pixels)
    assert torch.isin(few.labelled.pixels, more.labelled.pixels).all()


@pytest.mark.parametrize(("labels", "unlabelled"), [(0, 0), (6, 0), (44, 0), (40, 0), (8, 33), (8, -1)])
def test_a_draw_that_cannot_be_is_refused(labels, unlabelled):
    with pytest.raises(DataError, match=r"labels=|labelled images"):
        partly_labelled(numbered(40), labels, unlabelled, seed=0)


def test_batches_hold_both_kinds_and_no_label_of_the_others():
    images = Images(torch.ones(40, 3) * (torch.arange(40) % 2).unsqueeze(1), torch.arange(40) % 2, (1, 3))
    found = partly_labelled(images, 10, 0, seed=0)
    batch = Mixed(found, beside=8)[[0, 5, 7]]
    assert batch["x"].shape == (11, 3)
    # cells of intensity 0 and 1 stay what they are, so rows tell which image they are
    assert torch.equal(batch["x"][:8, 0].long(), batch["y"][:8])
    assert torch.equal(batch["x"][8:], found.unlabelled.pixels[[0, 5, 7]])
    assert batch["y"][8:].tolist() == [UNKNOWN] * 3
    alone = Mixed(found, beside=8, alone=True)
    assert alone[[0, 5, 7]]["y"].min() >= 0 and len(alone) == 30


@pytest.mark.parametrize("kind", ["Shifted", "Styled"])
def test_networks_in_parts_are_one_network_on_all_joined(kind):
    y, rest = torch.eye(CLASSES), torch.randn(CLASSES, 4, generator=torch.Generator().manual_seed(0))
    if kind == "Styled":
        whole = Styled(4, 7, 2)
        below, above, found = whole.units[0], whole.rest, whole(y, rest)
    else:
        below, above = nn.Linear(4, 7), Shifted(7, 2)
        found = above(below(rest), y)
    joined = torch.cat([below.weight, above.shift.weight], 1)
    hidden = torch.relu(torch.cat([rest, y], 1) @ joined.T + below.bias)
    torch.testing.assert_close(found, above.out(hidden))


@pytest.mark.parametrize("arm", GUIDED)
def test_labels_are_enumerated_and_styles_drawn(arm, data):
    bound = RECIPE.objective(TOLD, arm, RECIPE.started(TOLD, arm, 0, data)).bound
    style = {"m2": "z", "m1m2": "z2"}[arm]
    assert isinstance(bound.estimator("y"), Enumerate) and isinstance(bound.estimator(style), Reparameterised)
    assert set(bound.names) == {"y", style}


def test_the_baseline_is_the_classifier_of_the_guide(data):
    own = module_of(RECIPE.started(TOLD, "supervised", 0, data).model, "y | x")
    guides = module_of(RECIPE.started(TOLD, "m2", 0, data).guide, "y | x")
    assert {n: p.shape for n, p in own.named_parameters()} == {n: p.shape for n, p in guides.named_parameters()}


def test_stages_share_the_networks_and_divide_them(data):
    pair = RECIPE.started(TOLD, "m1m2", 0, data)
    one, two = ({id(p) for p in stage.parameters()} for stage in (first_stage(pair, 3), second_stage(pair)))
    assert one | two == {id(p) for p in pair.parameters()} and not one & two


def test_features_are_draws_of_the_first_guide(data):
    """The mean of 4,000 draws at one image lies within 6 standard errors in all dimensions: fails once in 1e8."""
    pair = RECIPE.started(TOLD, "m1m2", 0, data)
    guide = first_stage(pair, 3).guide
    one = Images((torch.rand(20, 64) > 0.5).float()[:1].expand(20, -1), torch.arange(20) % 2, (8, 8))
    drawn = partly_labelled(one, 2, 0, seed=0)
    torch.manual_seed(5)
    batch = Featured(drawn, 3990, guide)[list(range(10))]
    assert set(batch) == {"z1", "y"} and not batch["z1"].requires_grad
    known = guide.given(x=one.pixels[:1]).marginals["z1"]
    away = (batch["z1"].mean(0) - known.mean[0]) / (known.stddev[0] / 4000**0.5)
    assert away.abs().max() < 6


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Each arm after one epoch: folder and figures."""
    places = {arm: tmp_path_factory.mktemp(arm) for arm in RECIPE.arms}
    return {arm: (place, RECIPE.trial(TOLD, arm, 0, place)) for arm, place in places.items()}


@pytest.mark.parametrize("arm", RECIPE.arms)
def test_saved_weights_of_all_stages_give_the_same_figures(arm, trained, data):
    place, figures = trained[arm]
    pair = RECIPE.restored(TOLD, arm, data, place / WEIGHTS)
    again = RECIPE.figures(TOLD, arm, pair, data)
    assert again == {name: figures[name] for name in again}
    fresh = RECIPE.started(TOLD, arm, 0, data).state_dict()
    moved = {n for n, value in pair.state_dict().items() if not torch.equal(value, fresh[n])}
    # all has been learnt but the label's prior, which stays uniform
    assert set(fresh) - moved == (set() if pair.guide is None else {"model.factors.0.table"})


def test_the_second_stage_leaves_the_first_as_it_was(trained, data):
    place, _ = trained["m1m2"]
    pair = RECIPE.restored(TOLD, "m1m2", data, place / WEIGHTS)
    alone = RECIPE.started(TOLD, "m1m2", 0, data)
    (place / "cut" / "m1").mkdir(parents=True)

    class Cut(Exception):
        pass

    class Recipe(type(RECIPE)):
        def objective(self, told, arm, pair):
            raise Cut

    with pytest.raises(Cut):
        Recipe().learn(TOLD, "m1m2", alone, data, 0, place / "cut")
    for one, two in zip(first_stage(pair, 3).parameters(), first_stage(alone, 3).parameters(), strict=True):
        assert torch.equal(one, two)
    # and a trial that was cut off there goes on to the same end
    RECIPE.learn(TOLD, "m1m2", alone, data, 0, place / "cut")
    for name, value in alone.state_dict().items():
        assert torch.equal(value, pair.state_dict()[name]), name


def test_the_answer_is_the_most_probable_label_at_the_mean(trained, data):
    test = data.test.spaced(30)
    for arm, (place, _) in trained.items():
        pair = RECIPE.restored(TOLD, arm, data, place / WEIGHTS)
        read = test.pixels
        if arm == "m1m2":
            read = module_of(pair.guide, "z1 | x").net(read)[:, :3]
        net = module_of(pair.guide or pair.model, {"m1m2": "y | z1"}.get(arm, "y | x")).net
        assert torch.equal(predicted(pair, test), net(read).argmax(-1)), arm


def test_the_bound_in_chunks_is_the_bound_over_all_labels(trained, data, monkeypatch):
    """With a style that the model does not hear and the guide leaves at its prior, it is exact: a sum over labels."""
    pair = RECIPE.restored(TOLD, "m2", data, trained["m2"][0] / WEIGHTS)
    decoder, encoder = module_of(pair.model, "x | y, z").net, module_of(pair.guide, "z | h, y").net
    with torch.no_grad():
        decoder.units[0].weight.zero_()
        encoder.out[0].weight.zero_()
        encoder.out[0].bias.zero_()
    monkeypatch.setattr("graft.zoo.semi_supervised.CHUNK", 7)
    images = data.test.spaced(30)
    x = images.binary(2008)
    with torch.no_grad():
        q = pair.guide.given(x=x).marginals["y"].probs
        logits = decoder(torch.eye(CLASSES), torch.zeros(CLASSES, 2))
        fits = torch.distributions.Bernoulli(logits=logits).log_prob(x.unsqueeze(1)).sum(-1)
        exact = (q * (fits - q.log() + torch.tensor(0.1).log())).sum(-1).mean()
    assert bound_of(pair, images) == pytest.approx(-float(exact), rel=1e-5)


@pytest.mark.parametrize("arm", GUIDED)
def test_pictures_have_a_line_a_class(arm, trained, data):
    pair = RECIPE.restored(TOLD, arm, data, trained[arm][0] / WEIGHTS)
    lines = by_class(pair, data.test.shape)
    assert [word for word, _ in lines] == [str(k) for k in range(CLASSES)]
    for image, (_, squares) in zip(range(CLASSES), by_style(pair, data.test), strict=True):
        assert squares.shape == (1 + CLASSES, 8, 8) and squares.min() >= 0 and squares.max() <= 1
        first = data.test.pixels[(data.test.labels == image).nonzero()[0, 0]]
        assert torch.equal(torch.from_numpy(squares[0]).flatten(), first)


WRONG = {
    "labels": {"labels": 0},
    "alpha": {"alpha": -1.0},
    "dropout": {"dropout": 1.0},
    "supervised_dropout": {"supervised_dropout": -0.1},
    "supervised_rate": {"supervised_rate": 0.0},
    "supervised_decay": {"supervised_decay": float("nan")},
    "unlabelled": {"unlabelled": -3},
    "beside": {"beside": 0},
}


@pytest.mark.parametrize("name", WRONG)
def test_settings_that_cannot_be_are_refused(name):
    with pytest.raises(GraftError, match=name):
        Config(**WRONG[name])


def test_too_many_labels_are_told_before_anything_is_written(tmp_path, capsys):
    place = tmp_path / "run"
    assert main(["train", "semi_supervised", "labels=1070", f"run={place}"]) == 2
    assert "labels=1070" in capsys.readouterr().err and not place.exists()


def test_settings_are_chosen_on_the_part_for_it(data):
    other = Config(**TINY, measured="valid").images()
    assert torch.equal(other.test.pixels, data.valid.pixels) and torch.equal(other.train.pixels, data.train.pixels)
