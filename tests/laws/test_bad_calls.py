"""Wrong calls: each is a `GraftError` that names the variable and what was expected."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import distributions as td
from torch import nn

from graft.distributions.supports import Binary, Real
from graft.errors import GraftError
from graft.factors.bernoulli import Bernoulli
from graft.factors.gaussian import Gaussian
from graft.factors.recurrent import Recurrent
from graft.inference.evidence import Missing, Partial, Soft
from graft.model import Model
from graft.zoo.formulas import SYSTEMS

HMM, TAGGER, VAE = (SYSTEMS[name].model() for name in ("hmm", "mrf_tagger", "vae"))
NET, GMM, RBM = (SYSTEMS[name].model() for name in ("deterministic_net", "bayesian_gmm", "rbm"))
HYBRID, TALK, CRF = (SYSTEMS[name].model() for name in ("nn_hmm", "vhred", "table_crf"))
VRNN, STICKS = SYSTEMS["vrnn"].model(), SYSTEMS["stick_breaking"].model()
MOTION = Model(
    {"h[t] = x[t], h[t-1]": Recurrent(nn.GRUCell(2, 2)), "y[t] | h[t]": Gaussian(nn.Linear(2, 4), dim=2)},
    support={"x": Real(2)},
)


def long(*shape: int) -> torch.Tensor:
    return torch.zeros(shape, dtype=torch.long)


def nan(*shape: int) -> torch.Tensor:
    return torch.full(shape, torch.nan)


#: A call, and what its error must say: the variable (or axis), and what was expected.
CALLS: dict[str, tuple[Callable[[], Any], str]] = {
    "unknown name": (lambda: VAE.log_prob(y=torch.zeros(2)), "'y' is no variable of this model; there are z, x"),
    "unknown axis": (lambda: HMM.sample(sizes={"n": 3}), "sizes names axis 'n'; this model has t"),
    "size is no number": (lambda: HMM.sample(sizes={"t": -1}), "the size of axis 't' must be a whole number, not -1"),
    "no tensor": (lambda: VAE.log_prob(z=[0.0, 0.0], x=torch.zeros(6)), "z must be a tensor or evidence, not list"),
    "event shape": (
        lambda: VAE.log_prob(z=torch.zeros(3), x=torch.zeros(6)),
        "z has shape (3,); its values have event shape (2,)",
    ),
    "too few dimensions": (
        lambda: GMM.log_prob(y=torch.zeros(2)),
        "y has shape (2,), too few for axes [n] and 1 event dimensions",
    ),
    "batches disagree": (
        lambda: VAE.log_prob(z=torch.zeros(3, 2), x=torch.zeros(4, 6)),
        "x has batch shape (4,), z has (3,)",
    ),
    "axes disagree": (lambda: HMM.log_prob(s=long(2, 4), w=long(2, 5)), "w has 5 elements on axis 't', s has 4"),
    "size disagrees": (
        lambda: HMM.log_prob(s=long(2, 4), sizes={"t": 5}),
        "s has 4 elements on axis 't', sizes says 5",
    ),
    "axis without size": (lambda: HMM.sample(), "axis 't' has no size"),
    "NaN": (lambda: VAE.log_prob(z=nan(2), x=torch.zeros(6)), "z at (0,) is NaN or infinite"),
    "NaN input": (lambda: NET.given(x=nan(3, 4)), "x at (0, 0) is NaN or infinite"),
    "label too large": (lambda: HMM.log_prob(w=long(2, 5) + 6), "w at (0, 0) is out of range: its values are 0 to 5"),
    "named labels": (
        lambda: HMM.log_prob(s=long(2, 5) + 4),
        "its values are 0 to 3 (verb, noun, preposition, determiner)",
    ),
    "label too small": (lambda: HMM.log_prob(w=long(2, 5) - 2), "w at (0, 0) is out of range"),
    "labels as floats": (lambda: HMM.log_prob(w=torch.zeros(2, 5)), "w has 6 states: give integers, not torch.float32"),
    "missing input label": (lambda: CRF.given(w=long(2, 5) - 1), "w at (0, 0) is out of range"),
    "not binary": (
        lambda: RBM.score(v=torch.full((4,), 0.5), h=torch.zeros(3)),
        "v at () is out of range: its values are 0 and 1",
    ),
    "lengths too long": (
        lambda: HMM.log_prob(w=long(2, 5), lengths=torch.tensor([6, 5])),
        "lengths of axis 't' go from 0 to its size 5; 6 is given",
    ),
    "negative lengths": (lambda: HMM.log_prob(w=long(2, 5), lengths=torch.tensor([-1, 5])), "-1 is given"),
    "lengths as floats": (
        lambda: HMM.log_prob(w=long(2, 5), lengths=torch.ones(2)),
        "lengths of axis 't' must be integer",
    ),
    "lengths of another batch": (
        lambda: HMM.log_prob(w=long(2, 5), lengths=torch.tensor([5, 5, 5])),
        "lengths of axis 't' has batch shape (3,), w has (2,)",
    ),
    "lengths without axes": (
        lambda: VAE.sample(lengths=torch.tensor([3])),
        "lengths must be a dict by axis: this model has the axes none",
    ),
    "lengths of two axes": (
        lambda: TALK.sample(lengths=torch.tensor([3])),
        "lengths must be a dict by axis: this model has the axes n, t",
    ),
    "lengths of a stranger": (
        lambda: TALK.sample(lengths={"k": torch.tensor([3])}),
        "lengths names axis 'k'; this model has n, t",
    ),
    "lengths of a row": (
        lambda: TALK.sample(sizes={"n": 2}, lengths={"t": torch.tensor(3)}),
        "lengths of axis 't' has shape ()",
    ),
    "lengths and mask": (
        lambda: HMM.log_prob(w=long(2, 5), lengths=long(2), mask=long(2, 5).bool()),
        "axis 't' has both lengths and a mask: give one",
    ),
    "mask as numbers": (lambda: HMM.log_prob(w=long(2, 5), mask=long(2, 5)), "mask of axis 't' must be boolean"),
    "mask of another size": (
        lambda: HMM.log_prob(w=long(2, 5), mask=long(2, 4).bool()),
        "mask of axis 't' has 4 elements on axis 't', w has 5",
    ),
    "function of random variables": (
        lambda: STICKS.given(pi=torch.ones(4) / 4),
        "pi is a function of the random v: it has no density",
    ),
    "function through functions": (
        lambda: SYSTEMS["inpainting"].model().given(g=torch.zeros(1, 4, 4)),
        "g is a function of the random z",
    ),
    "evidence on an input": (
        lambda: CRF.given(w=Partial(torch.ones(2, 5, 6).bool())),
        "w is not random: evidence such as Partial is about what is",
    ),
    "weights on a real": (
        lambda: VAE.given(z=Soft(torch.zeros(2))),
        "z is not discrete: Partial and Soft evidence is about states",
    ),
    "states of evidence": (lambda: HMM.given(s=Soft(torch.zeros(5, 3))), "evidence on s has 3 states, the variable 4"),
    "partial as numbers": (
        lambda: HMM.given(s=Partial(torch.ones(5, 4).bool()), w=Missing(long(5), long(5).bool()), x=1),
        "'x' is no variable",
    ),
    "missing input": (lambda: NET.sample(), "x is needed, but nothing gives it: pass x="),
    "missing input of a recurrence": (
        lambda: MOTION.sample(sizes={"t": 3}),
        "x is needed, but nothing gives it: pass x=",
    ),
    "not everything to score": (
        lambda: TAGGER.score(y=long(2, 5)),
        "score is of a full assignment: w is not given in full",
    ),
    "hidden states to score": (lambda: HYBRID.score(frames=torch.zeros(2, 5, 6)), "s is not given in full"),
    "latents of a VRNN to score": (
        lambda: VRNN.score(x=torch.zeros(2, 5, 3)),
        "score is of a full assignment: z is not given in full",
    ),
    "where of missing": (
        lambda: VAE.given(z=torch.zeros(2), x=Missing(torch.zeros(6), torch.zeros(5).bool())),
        "Missing of x: `where` has shape (5,), not (6,) or ()",
    ),
    "calling a model": (lambda: VAE(torch.zeros(2)), "a model is not called"),
}


@pytest.mark.parametrize("name", CALLS)
def test_wrong_calls(name):
    call, rule = CALLS[name]
    with pytest.raises(GraftError) as caught:
        call()
    assert rule in str(caught.value)


class Says(nn.Module):
    """A module that returns whatever it was told."""

    def __init__(self, what: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.what = what

    def forward(self, x: torch.Tensor) -> Any:
        return self.what(x)


#: What the module of "y[t] | x[t-1]" (or "y[t] = x[t-1]") returns for (2, 4, 3) values, and what the error says.
OUTPUTS: dict[str, tuple[str, Callable[[torch.Tensor], Any], str]] = {
    "no distribution": ("|", lambda x: x, "y[t] | x[t-1]: the module returned Tensor, not a distribution"),
    "scalar event": (
        "|",
        lambda x: td.Normal(x, 1.0),
        "a distribution with 0 event dimensions, where y has one until told",
    ),
    "matrix event": ("|", lambda x: td.Independent(td.Normal(x, 1.0), 2), "a distribution with 2 event dimensions"),
    "leading shape": (
        "|",
        lambda x: td.Independent(td.Normal(x[:, :2], 1.0), 1),
        "the distribution has leading shape (2, 2), which does not fit batch and axes (2, 4)",
    ),
    "no tensor": ("=", lambda x: [x], "y[t] = x[t-1]: the function returned list, not a tensor"),
    "scalar value": ("=", lambda x: x.sum(-1), "event shape (), where y has one event dimension until told"),
    "fewer dimensions": ("=", lambda x: x.sum(), "the function returned (), with fewer dimensions than (2, 4)"),
    "leading shape of a value": (
        "=",
        lambda x: x[:, :2],
        "the value has leading shape (2, 2), which does not fit batch and axes (2, 4)",
    ),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_wrong_outputs(name):
    mark, what, rule = OUTPUTS[name]
    model = Model({f"y[t] {mark} x[t-1]": Says(what)}, support={"x": Real(3)})
    with pytest.raises(GraftError, match=re.escape(rule)):
        model.sample(x=torch.zeros(2, 4, 3))


def test_told_event_shapes_are_held():
    model = Model({"y | x": Says(lambda x: td.Independent(td.Normal(x, 1.0), 1))}, support={"y": Real(3), "x": Real(2)})
    with pytest.raises(GraftError, match=re.escape("y | x: event shape (2,), but y is Real(3)")):
        model.sample(x=torch.zeros(2))


def test_what_does_not_exist_may_be_anything():
    """Padding is no bad input: NaN and -100 stand where nothing exists."""
    w = torch.tensor([[0, 1, -100], [2, -100, -100]])
    assert torch.isfinite(HMM.log_prob(w=w, lengths=torch.tensor([2, 1]))).all()
    vector = Model({"v": Bernoulli(dim=3)})
    with pytest.raises(GraftError, match="v at"):
        vector.log_prob(v=nan(3))
    assert vector.graph.variables["v"].support == Binary(3)
