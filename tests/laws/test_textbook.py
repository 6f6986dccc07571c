"""Time flies like an arrow: a Markov random field, a hidden Markov model, a conditional random field."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

from graft import Finite, Model
from graft.factors import Categorical, Scores, Table

V, N, P, D = range(4)
SENTENCE, TAGS = (0, 1, 2, 3, 4), (N, V, P, D, N)
FOLLOWS = [[1, 6, 3, 4], [8, 4, 2, 0.1], [1, 3, 1, 3], [0.1, 8, 0, 0]]
SUITS = [[3, 5, 3, 0.1, 0.1], [4, 5, 2, 0.1, 5], [0.1, 0.1, 3, 0.1, 0.1], [0.1, 0.2, 0.1, 8, 0.1]]
STEP = [[0.1, 0.4, 0.2, 0.3], [0.8, 0.1, 0.1, 0], [0.2, 0.3, 0.2, 0.3], [0.2, 0.8, 0, 0]]
SAYS = [[0.2, 0.5, 0.2, 0.05, 0.05], [0.3, 0.4, 0.2, 0, 0.1], [0.1, 0.1, 0.3, 0.3, 0.2], [0.1, 0.2, 0.1, 0.5, 0.1]]


def table(rows: list) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


class Look(nn.Module):
    def forward(self, words):
        return table(SUITS).log().T[words]


FIELD = Model({"y[t-1], y[t]": Table(values=table(FOLLOWS).log()), "y[t], w[t]": Table(values=table(SUITS).log())})
HMM = Model(
    {
        "y[0]": Categorical(probs=table([0.25] * 4)),
        "y[t] | y[t-1]": Categorical(probs=table(STEP)),
        "w[t] | y[t]": Categorical(probs=table(SAYS)),
    }
)
CRF = Model(
    {"y[t-1], y[t]": Table(values=table(FOLLOWS).log()), "y[t] | w[t]": Scores(Look(), states=4, onehot=False)},
    support={"w": Finite(5)},
)
MODELS = {"field": FIELD, "hmm": HMM, "crf": CRF}


def weight(name: str, tags: tuple[int, ...], words: tuple[int, ...]) -> float:
    """The product as one writes it on the board."""
    follow, suit, start = (STEP, SAYS, 0.25) if name == "hmm" else (FOLLOWS, SUITS, 1.0)
    pairs = math.prod(follow[a][b] for a, b in itertools.pairwise(tags))
    return start * pairs * math.prod(suit[t][w] for t, w in zip(tags, words, strict=True))


def everything(name: str, words: tuple[int, ...]) -> float:
    """Z: of all taggings of the sentence, or of all sentences of its length."""
    sentences = [words] if name == "crf" else itertools.product(range(5), repeat=len(words))
    taggings = list(itertools.product(range(4), repeat=len(words)))
    return sum(weight(name, tags, sentence) for sentence in sentences for tags in taggings)


@pytest.mark.parametrize("name", MODELS)
def test_scores_are_the_products_on_the_board(name):
    found = MODELS[name].score(y=torch.tensor(TAGS), w=torch.tensor(SENTENCE)).exp()
    assert found.item() == pytest.approx(weight(name, TAGS, SENTENCE), rel=1e-12)


def test_the_board_begins_as_in_the_book():
    assert SUITS[N][0] * FOLLOWS[N][V] * SUITS[V][1] * FOLLOWS[V][P] == 4 * 8 * 5 * 3
    assert (SAYS[N][0], STEP[N][V], STEP[V][P], SAYS[V][1]) == (0.3, 0.8, 0.2, 0.5)


@pytest.mark.parametrize("name", MODELS)
def test_probabilities_are_scores_over_all_scores(name):
    tags, words = TAGS[:3], SENTENCE[:3]
    found = MODELS[name].log_prob(y=torch.tensor(tags), w=torch.tensor(words)).exp()
    assert found.item() == pytest.approx(weight(name, tags, words) / everything(name, words), rel=1e-12)


def test_the_hidden_markov_model_sums_to_one():
    assert HMM.given(sizes={"t": 5}).log_partition.item() == pytest.approx(0, abs=1e-12)
    assert everything("hmm", SENTENCE[:3]) == pytest.approx(1, rel=1e-12)


def test_the_sum_of_the_field_runs_over_sentences_and_that_of_the_crf_over_tags():
    z = {words: CRF.given(w=torch.tensor(words)).log_partition.exp().item() for words in (SENTENCE, (1, 1, 2, 3, 4))}
    for words, found in z.items():
        assert found == pytest.approx(everything("crf", words), rel=1e-12)
    assert len(set(z.values())) == 2
    assert FIELD.given(sizes={"t": 3}).log_partition.exp().item() == pytest.approx(everything("field", (0, 0, 0)))


BEST = {"field": (V, N, V, D, N), "hmm": TAGS, "crf": (V, N, V, D, N)}


@pytest.mark.parametrize("name", MODELS)
def test_the_best_tagging_has_the_greatest_product(name):
    posterior = MODELS[name].given(w=torch.tensor(SENTENCE))
    best = max(itertools.product(range(4), repeat=5), key=lambda tags: weight(name, tags, SENTENCE))
    assert tuple(posterior.mode()["y"].tolist()) == best == BEST[name]
