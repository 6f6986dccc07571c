"""The classical hybrid: its printed gradients, its states, its arms, and the command that runs them."""

import csv
import itertools
import json

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from graft.cli.main import main
from graft.cli.settings import read
from graft.data import digit_strings
from graft.data.batches import SequenceData
from graft.data.spoken_digits import load as load_spoken
from graft.errors import DataError, GraftError
from graft.factors.mixture import Mixture
from graft.factors.spread import spread
from graft.structured.linear_chain import LinearChain
from graft.zoo.nn_hmm.arms import ARMS, Bench
from graft.zoo.nn_hmm.best import Best
from graft.zoo.nn_hmm.config import Config
from graft.zoo.nn_hmm.emission import Floor, started
from graft.zoo.nn_hmm.measure import ByModel, figures
from graft.zoo.nn_hmm.model import hybrid
from graft.zoo.nn_hmm.network import network
from graft.zoo.nn_hmm.states import States

LABELS, PER_LABEL, OUTPUTS, COMPONENTS = 3, 2, 3, 2
STATES = States(LABELS, PER_LABEL)
LENGTHS = torch.tensor([5, 2, 7])
TINY = ["sequences=40,4,4", "seeds=1", "pretraining=1", "epochs=1", "batch=40"]


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


class Hybrid:
    """A small hybrid in float64, everything the formulas need, and J = log p(y) by its own forward algorithm."""

    def __init__(self, covariance):
        draws = torch.Generator().manual_seed(3)
        torch.manual_seed(3)
        outputs, path = torch.randn(60, OUTPUTS, generator=draws), torch.arange(60) % STATES.count
        mixture = started(
            outputs,
            path,
            STATES.count,
            components=COMPONENTS,
            covariance=covariance,
            floor=0.05,
            generator=draws,
        )
        first, moves = STATES.first / LABELS, STATES.moves / STATES.moves.sum(-1, keepdim=True)
        net = network(4, context=1, hidden=5, outputs=OUTPUTS)
        self.model = hybrid(net, mixture, STATES, first, moves).double()
        self.net, self.mixture, self.covariance = net, mixture, covariance
        self.frames = torch.randn(3, 7, 4, generator=draws).double()
        self.alive = (torch.arange(7) < LENGTHS[:, None]).double()
        self.y = net(self.frames)
        self.posterior = self.model.given(frames=self.frames, lengths=LENGTHS)
        self.gamma = self.posterior.marginals["s"].probs * self.alive[..., None]

    @property
    def raw(self):
        """The log-scales as they stand, floor and all."""
        return self.mixture.raw_scale.detach().requires_grad_()

    def covariances(self, raw):
        scale = spread(raw, self.covariance)
        return scale @ scale.mT if self.covariance == "full" else torch.diag_embed(scale**2)

    def components(self):
        """w_k N(y_t; mu_sk, Sigma_sk), (B, T, S, K), written out."""
        away = self.y[:, :, None, None] - self.mixture.loc
        cov = self.covariances(self.raw)
        square = (away * torch.linalg.solve(cov, away.unsqueeze(-1)).squeeze(-1)).sum(-1)
        norm = torch.logdet(2 * torch.pi * cov)
        return self.mixture.logits.softmax(-1) * (-0.5 * (square + norm)).exp()

    def shares(self):
        """gamma_tsk: the posterior of state and component, zero where there is no frame."""
        parts = self.components()
        return (self.gamma[..., None] * parts / parts.sum(-1, keepdim=True)).detach()

    def leaned(self):
        """Sigma^-1 (y_t - mu_sk), (B, T, S, K, O)."""
        away = self.y[:, :, None, None] - self.mixture.loc
        cov = self.covariances(self.raw)
        return torch.linalg.solve(cov, away.unsqueeze(-1)).squeeze(-1).detach(), cov.detach()

    def gradient(self, *leaves):
        return torch.autograd.grad(self.model.log_prob(frames=self.frames, lengths=LENGTHS).sum(), leaves)


@pytest.fixture(params=["diag", "full"], scope="module")
def small(request):
    return Hybrid(request.param)


def test_gradient_by_emission_is_gamma_over_b(small):
    b = small.components().sum(-1).detach().requires_grad_()
    first, moves = (small.model.factors[k].table.log_softmax(-1).detach() for k in (0, 1))
    unary = b.log() + torch.nn.functional.pad(first.expand(3, 1, -1), (0, 0, 0, 6))
    z = LinearChain(unary, moves, lengths=LENGTHS).log_partition
    close(z, small.model.log_prob(frames=small.frames, lengths=LENGTHS))
    (found,) = torch.autograd.grad(z.sum(), b)
    close(found, small.gamma.detach() / b.detach())


def test_gradient_by_means(small):
    (found,) = small.gradient(small.mixture.loc)
    leaned, _ = small.leaned()
    close(found, (small.shares()[..., None] * leaned).sum((0, 1)))


def test_gradient_by_covariances(small):
    leaned, cov = small.leaned()
    inverse = torch.linalg.inv(cov)
    outer = leaned.unsqueeze(-1) * leaned.unsqueeze(-2) - inverse
    by_cov = 0.5 * (small.shares()[..., None, None] * outer).sum((0, 1))
    # from Sigma to the parameters that stand for it: the chain rule
    original = small.mixture.parametrizations.raw_scale.original
    (expected,) = torch.autograd.grad(small.covariances(small.mixture.raw_scale), original, by_cov)
    (found,) = small.gradient(original)
    close(found, expected)


def test_gradient_by_weights(small):
    weights = small.mixture.logits.softmax(-1).detach()
    by_weight = small.shares().sum((0, 1)) / weights
    expected = weights * (by_weight - (weights * by_weight).sum(-1, keepdim=True))
    (found,) = small.gradient(small.mixture.logits)
    close(found, expected)


def test_gradient_by_moves(small):
    pairs = small.posterior.marginals["s[t-1], s[t]"].sum((0, 1)).detach()
    moves = small.model.factors[1].table.softmax(-1).detach()
    (found,) = small.gradient(small.model.factors[1].table)
    close(found, pairs - moves * pairs.sum(-1, keepdim=True))
    assert (found[~STATES.moves] == 0).all()


def test_gradient_by_network(small):
    leaned, _ = small.leaned()
    by_output = -(small.shares()[..., None] * leaned).sum((2, 3))
    parameters = list(small.net.parameters())
    expected = torch.autograd.grad(small.net(small.frames), parameters, by_output)
    found = small.gradient(*parameters)
    for one, other in zip(found, expected, strict=True):
        close(one, other)


def segmentations(length):
    """Every cut of a row into segments, each of two frames at least but for the last, with labels."""
    if length == 0:
        yield []
    for duration in range(1, length + 1):
        if duration == 1 and length > 1:
            continue
        for rest in segmentations(length - duration):
            for label in range(LABELS):
                yield [(duration, label), *rest]


def as_data(rows):
    made = [[(torch.zeros(duration, 1), label) for duration, label in row] for row in rows]
    return SequenceData.from_segments(made, names=tuple("abc"))


@pytest.mark.parametrize("per_label", [2, 3, 4])
def test_labels_and_starts_are_exhaustive_and_exclusive(per_label):
    """The labelled segmentations of a row partition the paths of states: their probabilities sum to one."""
    states, length = States(LABELS, per_label), 5
    first, moves = states.first / LABELS, states.moves / states.moves.sum(-1, keepdim=True)
    chain = hybrid(nn.Identity(), mixture_of(states), states, first, moves).double()
    rows = list(segmentations(length))
    data = as_data(rows)
    log_prob = chain.log_prob(s=states.evidence(data), frames=data.frames.double())
    close(log_prob.logsumexp(0), chain.log_prob(frames=data.frames[0].double()))
    assert (log_prob > -torch.inf).all()


def mixture_of(states):
    torch.manual_seed(0)
    return Mixture(1, dim=1, given=states.count)


def test_repeated_labels_are_told_apart():
    """ "a a" and one long "a" have the same frame labels, other evidence, and both are possible."""
    # the third way to read four frames: the last of a row may be the first of a segment
    data = as_data([[(2, 0), (2, 0)], [(4, 0)], [(3, 0), (1, 0)]])
    assert data.labels[0].equal(data.labels[1])
    one, two, _ = STATES.evidence(data).allowed
    assert not (one & two).all(-2).any()
    first, moves = STATES.first / LABELS, STATES.moves / STATES.moves.sum(-1, keepdim=True)
    chain = hybrid(nn.Identity(), mixture_of(STATES), STATES, first, moves).double()
    frames = data.frames.double()
    either = chain.log_prob(s=STATES.evidence(data), frames=frames)
    assert (either > -torch.inf).all()
    close(either.logsumexp(0).expand(3), chain.log_prob(s=STATES.frame_evidence(data), frames=frames))


@pytest.mark.parametrize("per_label", [2, 3, 5])
def test_first_guess_of_the_states_says_what_the_labels_say(per_label):
    data = digit_strings.load((30, 1, 1)).train
    states = States(10, per_label)
    path = states.aligned(data)
    assert states.strings(path, data.lengths) == data.strings
    there = data.mask
    assert states.evidence(data).allowed[there].gather(-1, path[there][:, None]).all()
    assert states.moves[path[:, :-1], path[:, 1:]][there[:, 1:]].all()
    first, moves = states.counted(data)
    assert ((first > 0) == states.first).all()
    assert ((moves > 0) == states.moves).all()


def test_states_refuse_what_they_cannot_hold():
    with pytest.raises(GraftError, match="two states"):
        States(3, 1)
    with pytest.raises(DataError, match="one frame"):
        STATES.aligned(as_data([[(1, 0), (2, 1)]]))


@pytest.mark.parametrize("covariance", ["diag", "full"])
def test_floor_holds_and_inverts(covariance):
    shape = (4, 3, 3) if covariance == "full" else (4, 3)
    raw = torch.randn(shape).tril() if covariance == "full" else torch.randn(shape)
    floor = Floor(0.1, covariance)
    close(floor(floor.right_inverse(floor(raw))), floor(raw))
    least = spread(floor(raw - 50), covariance)
    least = least.diagonal(dim1=-2, dim2=-1) if covariance == "full" else least
    assert least.min() >= 0.1 - 1e-6


def test_too_few_frames_for_the_mixtures():
    with pytest.raises(DataError, match=r"state 1 has 1 frames"):
        started(
            torch.randn(5, 2),
            torch.tensor([0, 0, 0, 0, 1]),
            2,
            components=2,
            covariance="diag",
            floor=0.1,
            generator=torch.Generator(),
        )


def test_best_keeps_the_earliest_of_the_best():
    layer, values = nn.Linear(1, 1), iter([1.0, 3.0, 3.0, 2.0])
    best = Best(layer, lambda: {"accuracy %": next(values)})
    kept = []
    for epoch in (1, 2, 3):
        with torch.no_grad():
            layer.weight.fill_(epoch)
        best(epoch)
        kept.append(epoch)
    assert best.restore() == 1
    assert layer.weight.item() == 1.0


@pytest.fixture(scope="module")
def bench():
    config = read(TINY, Config)
    splits = digit_strings.load(config.sequences)
    told = []
    return Bench(config, splits, 0, lambda *words: told.append(words)), told


def test_arms_share_their_start_and_freeze_what_they_say(bench):
    bench, told = bench
    classifier = bench.pretrained()
    weights = [p.detach().clone() for p in classifier.network.parameters()]
    starts = bench.chain(classifier), bench.chain(classifier)
    for one, other in zip(starts[0].state_dict().values(), starts[1].state_dict().values(), strict=True):
        assert one.equal(other)
    for arm in ("separate", "conditional"):
        model = getattr(bench, arm)(bench.chain(classifier)).module
        assert all(map(torch.equal, model.get_submodule("factors.2.net").parameters(), weights))
    joint = bench.joint(bench.chain(classifier))
    table = joint.module.get_submodule("factors.1").table
    assert ((table > -torch.inf) == bench.states.moves).all()
    assert {arm for arm, *_ in told} == {"pretraining", "separate", "conditional", "joint"}


def test_hybrid_says_log_probabilities_of_labels(bench):
    bench, _ = bench
    model, data = bench.chain(bench.pretrained()), bench.splits.valid
    found = ByModel(model, bench.states)(data)
    expected = model.log_prob(
        s=bench.states.frame_evidence(data), frames=data.frames, lengths=data.lengths
    ) - model.log_prob(frames=data.frames, lengths=data.lengths)
    torch.testing.assert_close(found.log_prob, expected.detach(), rtol=1e-4, atol=1e-3)
    assert (found.log_prob <= 1e-3).all()  # of single precision
    assert figures(found, data)["log p per frame"] <= 0


def test_command_leaves_a_run(tmp_path, capsys):
    folder = tmp_path / "run"
    assert main(["train", "nn_hmm", *TINY, f"run={folder}"]) == 0
    printed = capsys.readouterr().out
    names = {path.name for path in folder.iterdir()}
    expected = {"table.txt", "table.md", "metrics.csv", "history.csv", "config.json", "model.png", "sequence.png"}
    assert names == expected | {f"{arm}.safetensors" for arm in ARMS}
    assert all(str(folder / name) in printed for name in names)
    rows = list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))
    assert {(row["arm"], row["seed"]) for row in rows} == set(itertools.product(ARMS, "0"))
    assert all(row["kind"] == "exact" and float(row["value"]) == float(row["value"]) for row in rows)
    assert json.loads((folder / "config.json").read_text())["settings"]["epochs"] == 1
    assert load_file(folder / "joint.safetensors")["factors.2.net.1.weight"].shape == (64, 192)


WRONG = {
    "no command": (["dance"], "no command 'dance'; there are: "),
    "no system named": (["train"], "say which system"),
    "unknown system": (["train", "nope"], "no system 'nope' to train; there are: nn_hmm"),
    "not key=value": (["train", "nn_hmm", "epochs"], "settings are key=value, not 'epochs'; there are: data, folder"),
    "unknown key": (["train", "nn_hmm", "epoch=1"], "unknown setting 'epoch'; there are: data, folder"),
    "given twice": (["train", "nn_hmm", "epochs=1", "epochs=2"], "epochs is given twice"),
    "not a whole number": (["train", "nn_hmm", "epochs=1.5"], "epochs must be a whole number, not '1.5'"),
    "not a number": (["train", "nn_hmm", "rate=fast"], "rate must be a number, not 'fast'"),
    "not a choice": (["train", "nn_hmm", "data=mnist"], "data must be digits or fsdd, not 'mnist'"),
    "tuple too short": (["train", "nn_hmm", "sequences=1,2"], "sequences must be 3 whole numbers with commas"),
    "too few": (["train", "nn_hmm", "seeds=0"], "seeds must be at least 1, not 0"),
    "not positive": (["train", "nn_hmm", "floor=0"], "floor must be positive, not 0.0"),
    "folder not told": (["train", "nn_hmm", "data=fsdd"], "data=fsdd needs folder="),
    "folder not there": (
        ["train", "nn_hmm", "data=fsdd", "folder=no/such/folder"],
        "there is no data folder",
    ),
    "one state": (["train", "nn_hmm", "states=1"], "states must be at least two"),
    "empty data": (["train", "nn_hmm", "sequences=0,1,1"], "at least one sequence"),
}


@pytest.mark.parametrize(("words", "message"), WRONG.values(), ids=WRONG.keys())
def test_command_line_says_what_is_wrong(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert message in capsys.readouterr().err


def test_data_folder_that_is_not_there():
    with pytest.raises(DataError, match="there is no data folder"):
        load_spoken("no/such/folder")
