"""What `using=` takes and gives: shapes, existence, kinds, errors that say what would serve."""

from __future__ import annotations

import math

import pytest
import torch
from tests.reference.approximate import NETS
from torch import nn

import graft
from graft.factors import Categorical, Gaussian, Scores, Table

ENGINES = {
    "bp": graft.LoopyBP(),
    "trw": graft.TreeReweighted(),
    "mf": graft.MeanField(),
    "gibbs": graft.Gibbs(draws=20, warmup=5, chains=2),
    "max": graft.LoopyBP(temperature=0),
}
#: What each engine refuses, and the engine that its message names.
REFUSED = {
    "log_partition": {"gibbs": "MeanField", "max": "LoopyBP"},
    "entropy": {"gibbs": "LoopyBP", "max": "LoopyBP"},
    "mode": {"gibbs": "temperature=0", "bp": "temperature=0", "trw": "temperature=0"},
    "sample": {"bp": "Gibbs", "trw": "Gibbs", "mf": "Gibbs", "max": "Gibbs"},
    "marginals": {"max": "LoopyBP"},
    "diagnostics": {"bp": "Gibbs", "trw": "Gibbs", "mf": "Gibbs", "max": "Gibbs"},
}


def tagger():
    return graft.Model(
        {"y[t-1], y[t]": Table(3, 3), "y[t] | x": Scores(nn.Identity()), "y[0]": Table(3), "y[-1]": Table(3)},
        labels={"y": ["B", "I", "O"]},
    )


def asked(posterior, what):
    match what:
        case "marginals":
            return posterior.marginals["y"]
        case "diagnostics":
            return posterior.diagnostics("y")
        case "log_partition":
            return posterior.log_partition
    return getattr(posterior, what)()


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("what", REFUSED)
def test_an_engine_answers_or_names_one_that_does(what, name):
    posterior = tagger().given(x=torch.randn(2, 4, 3), using=ENGINES[name])
    if name in REFUSED[what]:
        with pytest.raises(graft.GraftError) as error:
            asked(posterior, what)
        assert REFUSED[what][name] in str(error.value)
    else:
        assert asked(posterior, what) is not None


def test_lengths_and_masks_are_those_of_the_exact_posterior():
    """A chain is a tree: padded, ragged and empty rows, pairs, ends that differ by row."""
    torch.manual_seed(0)
    model, x = tagger(), torch.randn(4, 6, 3)
    mask = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 0, 1, 1, 0, 1], [0, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0]]).bool()
    for existence in ({"lengths": torch.tensor([6, 3, 0, 1])}, {"mask": mask}):
        exact = model.given(x=x, **existence)
        found = model.given(x=x, **existence, using=graft.LoopyBP(damping=0.0))
        assert torch.allclose(found.log_partition, exact.log_partition, atol=1e-4)
        assert torch.allclose(found.entropy(), exact.entropy(), atol=1e-4)
        for text in ("y[t-1], y[t]", "y[0]", "y[-1]"):
            assert torch.allclose(found.marginals[text], exact.marginals[text], atol=1e-5)
        assert torch.allclose(found.marginals["y"].probs, exact.marginals["y"].probs, atol=1e-5)
        assert found.marginals["y"].labels == ("B", "I", "O")
        best = model.given(x=x, **existence, using=graft.LoopyBP(temperature=0, damping=0.0)).mode()
        assert bool((best["y"] == exact.mode()["y"]).all())
        path = exact.mode()["y"]
        assert torch.allclose(found.log_prob(y=path), exact.log_prob(y=path), atol=1e-4)
        assert torch.allclose(
            found.expectation(lambda a, b: (a == b).float(), "y[t-1], y[t]"),
            exact.expectation(lambda a, b: (a == b).float(), "y[t-1], y[t]"),
            atol=1e-5,
        )


@torch.no_grad()
def test_a_batch_is_its_rows_one_by_one():
    net = NETS["ring"]
    values = net.values(1, 3)
    for engine in (
        graft.LoopyBP(tolerance=1e-10),
        graft.TreeReweighted(tolerance=1e-10),
        graft.MeanField(tolerance=1e-9),
    ):
        whole = net.model().given(values, using=engine)
        for row in range(3):
            one = net.model().given({x: v[row] for x, v in values.items()}, using=engine)
            assert one.log_partition.shape == one.converged.shape == one.residual.shape == ()
            assert abs(float((one.log_partition - whole.log_partition[row]).detach())) < 1e-6
            assert torch.allclose(one.marginals["a"].probs, whole.marginals["a"].probs[row], atol=1e-6)


def test_batches_of_any_shape_and_none():
    model = tagger()
    for batch in ((), (0,), (2, 3), (2, 0)):
        for name, engine in ENGINES.items():
            posterior = model.given(x=torch.randn(*batch, 4, 3), using=engine)
            assert posterior.converged.shape == posterior.residual.shape == batch
            if name != "max":
                assert posterior.marginals["y"].probs.shape == (*batch, 4, 3)
    for engine in ENGINES.values():
        assert model.given(x=torch.randn(2, 0, 3), using=engine).converged.tolist() == [True, True]


def test_evidence_and_what_nothing_depends_on():
    """A network with some states given, some weighed, and a leaf that the query does not need."""
    model = graft.Model({
        "a": Categorical(3), "b | a": Categorical(2, given=3), "c | a": Categorical(2, given=3),
        "x | b": Gaussian(dim=2, given=2), "note | c": Categorical(4, given=2),
    })  # fmt: skip
    evidence = {"x": torch.randn(5, 2), "c": torch.tensor([0, 1, -1, -1, 0])}
    exact, found = model.given(evidence), model.given(evidence, using=graft.LoopyBP(damping=0.0))
    assert torch.allclose(found.log_partition, exact.log_partition, atol=1e-5)
    for name in ("a", "b", "c", "note"):
        assert torch.allclose(found.marginals[name].probs, exact.marginals[name].probs, atol=1e-5)
    drawn = model.given(evidence, using=ENGINES["gibbs"]).sample((7,), seed=0)
    assert drawn["note"].shape == (7, 5) and drawn["a"].shape == (7, 5)
    assert set(drawn) == set(exact.sample(1))


def test_impossible_rows_have_no_answer():
    """Proved by the messages: `-inf` with no gradient, and errors that name the rows."""
    table = Table(values=torch.tensor([[0.0, -math.inf], [-math.inf, -math.inf]]))
    model = graft.Model({"a, b": table, "b, c": Table(2, 2)})
    a = torch.tensor([0, 1, 0])
    for engine in (graft.LoopyBP(), graft.TreeReweighted(), graft.MeanField()):
        found = model.given(a=a, using=engine)
        assert found.log_partition.isinf().tolist() == [False, True, False]
        model.zero_grad()
        found.log_partition[1].backward()
        assert all(p.grad is None or not bool(p.grad.any()) for p in model.parameters())
        for ask in (lambda p: p.marginals["b"], lambda p: p.entropy()):
            with pytest.raises(graft.ImpossibleEvidence) as error:
                ask(found)
            assert error.value.rows == [(1,)]


def test_bounds_that_have_not_converged_are_estimates():
    net = NETS["strong complete"]
    found = net.model().given(net.values(0), using=graft.TreeReweighted(iterations=4, tolerance=1e-9))
    assert not bool(found.converged.any()) and found.kind == "estimate" and found.steps == 4
    assert bool((found.residual > 1e-9).all())


def test_terms_that_share_no_factor_are_refused_by_message_passing_only():
    net = NETS["chain"]
    with pytest.raises(graft.GraftError, match=r"no factor holds a, c together.*Gibbs"):
        _ = net.model().given(net.values(0), using=graft.LoopyBP()).marginals["a, c"]
    for engine in (graft.MeanField(), ENGINES["gibbs"]):
        table = net.model().given(net.values(0), using=engine).marginals["a, c"]
        assert torch.allclose(table.sum((-2, -1)), torch.ones_like(table[:, 0, 0]))


def test_parts_of_factors_have_tables_in_any_order():
    net = NETS["tree of triples"]
    exact, found = net.model().given(net.values(0)), net.model().given(net.values(0), using=graft.LoopyBP())
    for text in ("c, a", "b, a, c", "e, c"):
        assert torch.allclose(found.marginals[text], exact.marginals[text], atol=1e-4)


@pytest.mark.parametrize("engine", [name for name in ENGINES if name != "max"])  # maxima are no marginals
def test_losses_over_elements_are_decided_by_the_marginals(engine):
    net = NETS["chain"]
    posterior = net.model().given(net.values(0), using=ENGINES[engine])
    decision = posterior.decide()
    missed = 0.0
    for name in posterior.marginals:
        probs = posterior.marginals[name].probs
        assert torch.equal(decision[name], probs.argmax(-1))
        missed = missed + 1 - probs.amax(-1)
    assert decision.kind == "estimate" and torch.allclose(decision.risk, missed)
    assert torch.allclose(posterior.risk("hamming", decision), missed)


#: What no approximate engine answers: the call, and what its error names.
UNANSWERED = {
    "filtered": (lambda p: p.filtered["a"], "filtered"),
    "predicted": (lambda p: p.predicted["a"], "predicted"),
    "top_k": (lambda p: p.top_k(3), r"top_k.*mode\(\)"),
    "zero-one": (lambda p: p.decide("zero-one"), "decide.*'hamming'"),
    "a function": (lambda p: p.decide(lambda truth, decision: truth["a"]), "decide"),
    "among": (lambda p: p.decide(among=3), "decide"),
    "risk": (lambda p: p.risk("zero-one", p.decide()), r"risk.*log_prob\(\)"),
}


@pytest.mark.parametrize("query", UNANSWERED)
def test_what_no_engine_answers_says_what_would_serve(query):
    call, message = UNANSWERED[query]
    posterior = NETS["chain"].model().given(NETS["chain"].values(0), using=graft.LoopyBP())
    with pytest.raises(graft.GraftError, match=f"LoopyBP does not answer {message}") as error:
        call(posterior)
    assert "without using= answers it exactly" in str(error.value)


def test_explain_tells_engine_kind_and_convergence():
    posterior = tagger().given(x=torch.randn(2, 4, 3), using=graft.TreeReweighted())
    row = next(row for row in posterior.explain().rows if row.variable == "y[t]")
    assert row.method == "tree-reweighted belief propagation" and row.kind == "upper bound"
    assert "2 of 2 rows converged" in row.why and "TreeReweighted" in repr(posterior)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: graft.LoopyBP(damping=1.0), "damping is a number from 0 and below 1, not 1.0"),
        (lambda: graft.LoopyBP(iterations=0), "iterations is a whole number from 1, not 0"),
        (lambda: graft.LoopyBP(tolerance=math.nan), "tolerance is a number from 0"),
        (lambda: graft.MeanField(gradient="exact"), "gradient is 'unrolled' or 'implicit'"),
        (lambda: graft.MeanField(restarts=True), "restarts is a whole number"),
        (lambda: graft.TreeReweighted(optimise=-1), "optimise is a whole number from 0"),
        (lambda: graft.Gibbs(draws=3), "draws is a whole number from 4"),
        (lambda: tagger().given(x=torch.randn(2, 4, 3), using="loopy"), "using= takes an engine such as LoopyBP"),
        (lambda: tagger().given(x=torch.randn(2, 4, 3), using=graft.LoopyBP), "using= takes an engine such as"),
        (lambda: tagger().given(x=torch.randn(2, 4, 3), using=graft.LoopyBP()).log_prob(x=0), "x is evidence already"),
    ],
)
def test_bad_settings_are_refused_at_once(make, message):
    # annotations would refuse some of these before the engine sees them
    with pytest.raises(Exception) as error:
        make()
    if isinstance(error.value, graft.GraftError):
        assert message in str(error.value)
    else:
        assert type(error.value).__name__ in ("TypeCheckError", "BeartypeCallHintParamViolation")


def test_too_wide_a_table_is_refused_before_it_is_made():
    model = graft.Model({"a, b, c": Table(100, 100, 100)})
    with pytest.raises(graft.IntractableError, match=r"a, b, c"):
        model.given(using=graft.LoopyBP(), budget=1_000_000)


def test_the_exact_error_names_the_engines():
    grid = graft.Model({"y[i-1,j], y[i,j]": Table(21, 21), "y[i,j-1], y[i,j]": Table(21, 21)})
    with pytest.raises(graft.IntractableError, match=r"LoopyBP.*TreeReweighted.*MeanField.*Gibbs"):
        grid.given(sizes={"i": 12, "j": 12})
