"""Laws of the faces for users of hmmlearn and of scikit-learn's mixtures, against both references."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.mixture import GaussianMixture
from tests.reference.baum_welch import HMM, GaussianStates, SymbolStates

from graft import Model
from graft.errors import GraftError
from graft.objectives import Likelihood
from graft.sklearn import GMM, GMMHMM, CategoricalHMM, GaussianHMM

KINDS = ("diag", "full", "spherical", "tied")
LENGTHS = [12, 0, 1, 20]
RNG = np.random.default_rng(0)
X = RNG.normal(size=(33, 2)) + 4 * RNG.integers(0, 3, size=33)[:, None]
SYMBOLS = RNG.integers(0, 4, size=(33, 1))
HOLES = np.where(RNG.random(X.shape) < 0.2, np.nan, X)
START, MOVES = np.array([0.5, 0.3, 0.2]), RNG.dirichlet(np.ones(3), size=3)
MEANS = np.array([[0.0, 1.0], [4.0, 3.0], [8.0, 9.0]])
COVARIANCES = {
    "diag": np.full((3, 2), 2.0),
    "full": np.stack([2 * np.eye(2)] * 3),
    "spherical": np.full(3, 2.0),
    "tied": 2 * np.eye(2),
}
#: name: an estimator, data
TABLE = {
    **{f"Gaussian, {kind}": (GaussianHMM(3, kind, random_state=0), X) for kind in KINDS},
    "Gaussian, missing numbers": (GaussianHMM(3, random_state=0), HOLES),
    "Gaussian, single precision": (GaussianHMM(3, random_state=0, dtype="float32", algorithm="map"), X),
    "symbols": (CategoricalHMM(3, random_state=0), SYMBOLS),
    "mixtures": (GMMHMM(2, 2, random_state=0), HOLES),
    "full mixtures": (GMMHMM(2, 2, random_state=0, covariance_type="full"), X),
}
cases = pytest.mark.parametrize("name", TABLE)


def given(kind: str, **settings) -> GaussianHMM:
    """A model at the parameters of this file, which fitting keeps to begin with."""
    found = GaussianHMM(3, kind, init_params="", tol=-1.0, **settings)
    found.startprob_, found.transmat_, found.means_, found.covars_ = START, MOVES, MEANS, COVARIANCES[kind]
    return found


def plain(kind: str, rows: np.ndarray) -> tuple[HMM, list[np.ndarray]]:
    wide = COVARIANCES["full"]
    return HMM(START, MOVES, GaussianStates(MEANS, wide, kind)), np.split(rows, np.cumsum(LENGTHS)[:-1])


@pytest.mark.parametrize("rows", [X, HOLES], ids=["whole", "holes"])
@pytest.mark.parametrize("kind", KINDS)
def test_fitting_is_em_from_what_was_set(kind, rows):
    model = given(kind, n_iter=5, covars_prior=0.0, min_covar=0.0).fit(rows, LENGTHS)
    (want, parts), history = plain(kind, rows), []
    for _ in range(5):
        total, want = want.stepped(parts)
        history.append(total)
    np.testing.assert_allclose(model.monitor_.history, history, rtol=1e-9)
    np.testing.assert_allclose(model.means_, want.states.means, rtol=1e-6)
    np.testing.assert_allclose(model.covars_, want.states.covariances, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(model.startprob_, want.start, atol=1e-9)
    np.testing.assert_allclose(model.transmat_, want.moves, atol=1e-9)


def test_priors_are_those_of_hmmlearn():
    """Its documented updates, written out for one step."""
    settings = {"startprob_prior": 1.5, "transmat_prior": 2.0, "means_prior": 1.0, "means_weight": 2.0}
    model = given("diag", n_iter=1, covars_prior=0.3, covars_weight=5.0, **settings).fit(X, LENGTHS)
    hmm, parts = plain("diag", X)
    found = [hmm.smoothed(x) for x in parts if len(x)]
    post, start = np.concatenate([g for _, g, _ in found]), sum(g[0] for _, g, _ in found) + 0.5
    moves, mass = sum(c for _, _, c in found) + 1.0, post.sum(0)[:, None]
    means = (2.0 * 1.0 + post.T @ X) / (2.0 + mass)
    squares = post.T @ X**2 - 2 * means * (post.T @ X) + means**2 * mass
    variances = (0.3 + 2.0 * (means - 1.0) ** 2 + squares) / (4.0 + mass)
    np.testing.assert_allclose(model.means_, means)
    np.testing.assert_allclose(np.diagonal(model.covars_, axis1=1, axis2=2), variances)
    np.testing.assert_allclose(model.startprob_, start / start.sum())
    np.testing.assert_allclose(model.transmat_, moves / moves.sum(1, keepdims=True))


@pytest.mark.parametrize("kind", ["full", "tied"])
@pytest.mark.parametrize("states", [1, 2, 3, 4])
def test_scatters_of_matrices(states, kind):
    """A number is a multiple of the identity for any number of states; a heavy prior has its mode."""
    wide = np.concatenate([X, X[:, :1] ** 2], 1)
    heavy = {"covars_weight": 1e9 + 3, "random_state": 0, "min_covar": 0.0}
    by_number = GaussianHMM(states, kind, covars_prior=2e9, **heavy).fit(wide)
    by_matrix = GaussianHMM(states, kind, covars_prior=2e9 * np.eye(3), **heavy).fit(wide)
    np.testing.assert_allclose(by_number.covars_, np.broadcast_to(2 * np.eye(3), (states, 3, 3)), atol=1e-3)
    np.testing.assert_allclose(by_number.covars_, by_matrix.covars_)
    assert by_number.monitor_.history == by_matrix.monitor_.history


def test_questions_of_symbols_that_are_missing():
    table, rows = RNG.dirichlet(np.ones(4), size=3), np.where(RNG.random(SYMBOLS.shape) < 0.3, -1, SYMBOLS)
    model = CategoricalHMM(3)
    model.startprob_, model.transmat_, model.emissionprob_ = START, MOVES, table
    hmm, parts = HMM(START, MOVES, SymbolStates(table)), np.split(rows, np.cumsum(LENGTHS)[:-1])
    found = [hmm.smoothed(x) for x in parts if len(x)]
    total, probs = model.score_samples(rows, LENGTHS)
    assert total == pytest.approx(sum(t for t, _, _ in found)) == model.score(rows, LENGTHS)
    np.testing.assert_allclose(probs, np.concatenate([g for _, g, _ in found]), atol=1e-10)
    nothing = model.predict_proba(np.full((2, 1), -1))
    np.testing.assert_allclose(nothing, [START, START @ MOVES])


def test_tensors_are_tables_and_criteria_count_all_parameters():
    model = given("diag")
    assert (model.predict(torch.tensor(X, requires_grad=True)) == model.predict(X)).all()
    assert given("diag", params="m").aic(X) == pytest.approx(model.aic(X))


def test_symbols_are_fitted_by_em():
    table = RNG.dirichlet(np.ones(4), size=3)
    model = CategoricalHMM(3, init_params="", tol=-1.0, n_iter=5)
    model.startprob_, model.transmat_, model.emissionprob_ = START, MOVES, table
    rows = np.where(RNG.random(SYMBOLS.shape) < 0.2, -1, SYMBOLS)
    model.fit(rows, LENGTHS)
    want, parts = HMM(START, MOVES, SymbolStates(table)), np.split(rows, np.cumsum(LENGTHS)[:-1])
    for total in model.monitor_.history:
        found, want = want.stepped(parts)
        assert found == pytest.approx(total, rel=1e-10)
    np.testing.assert_allclose(model.emissionprob_, want.states.table, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_questions(kind):
    model, (hmm, parts) = given(kind), plain(kind, HOLES)
    found = [hmm.smoothed(x) if len(x) else (0.0, np.zeros((0, 3)), 0) for x in parts]
    total, probs = model.score_samples(HOLES, LENGTHS)
    assert total == pytest.approx(sum(t for t, _, _ in found))
    assert model.score(HOLES, LENGTHS) == pytest.approx(total)
    np.testing.assert_allclose(probs, np.concatenate([g for _, g, _ in found]), atol=1e-10)
    np.testing.assert_allclose(model.predict_proba(HOLES, LENGTHS), probs)
    best, states = model.decode(HOLES, LENGTHS)
    assert best == pytest.approx(joint(hmm, parts, states)) and best <= total
    for other in RNG.integers(0, 3, size=(10, 33)):
        assert joint(hmm, parts, np.where(RNG.random(33) < 0.1, other, states)) <= best
    right, each = model.decode(HOLES, LENGTHS, algorithm="map")
    assert right == pytest.approx(probs.max(1).sum()) and (each == probs.argmax(1)).all()
    count = {"diag": 12, "spherical": 9, "tied": 9, "full": 15}[kind] + 2 + 6
    assert model.bic(HOLES, LENGTHS) == pytest.approx(count * np.log(33) - 2 * total)
    assert model.aic(HOLES, LENGTHS) == pytest.approx(2 * count - 2 * total)


def joint(hmm: HMM, parts: list[np.ndarray], states: np.ndarray) -> float:
    """The log-probability of sequences and states end to end."""
    total = 0.0
    for x, own in zip(parts, np.split(states, np.cumsum(LENGTHS)[:-1]), strict=True):
        if len(x):
            total += hmm.states.log_densities(x)[np.arange(len(x)), own].sum()
            total += np.log(hmm.start[own[0]]) + np.log(hmm.moves[own[:-1], own[1:]]).sum()
    return float(total)


@cases
def test_layouts_agree(name):
    model, rows = TABLE[name]
    model, parts = clone(model).fit(rows, LENGTHS), np.split(rows, np.cumsum(LENGTHS)[:-1])
    again = clone(model).fit(parts)
    assert again.monitor_.history == model.monitor_.history
    states = model.predict(rows, LENGTHS)
    listed = model.predict(parts)
    assert [len(one) for one in listed] == LENGTHS and np.concatenate(listed).tolist() == states.tolist()
    block = rows[:32].reshape(4, 8, -1)
    assert model.predict(block).shape == (4, 8) and model.predict_proba(block).shape[:2] == (4, 8)
    np.testing.assert_allclose(model.score(block), model.score(rows[:32], [8] * 4), rtol=1e-6)
    drawn, hidden = model.sample(5, random_state=1)
    assert drawn.shape == (5, rows.shape[1]) and hidden.shape == (5,)
    assert (model.sample(5, random_state=1)[0] == drawn).all()


@cases
def test_sklearn_conventions(name):
    model, rows = TABLE[name]
    fresh = clone(model)
    assert fresh.get_params() == model.get_params()
    with pytest.raises(NotFittedError) as error:
        fresh.predict(rows)
    assert isinstance(error.value, GraftError) and not hasattr(fresh, "startprob_")
    history = np.array(fresh.set_params(n_iter=6, tol=-1.0).fit(rows, LENGTHS).monitor_.history)
    assert len(history) == 6 and np.isfinite(history).all()
    if name not in ("Gaussian, single precision", "Gaussian, full", "Gaussian, tied"):  # their default has a prior
        assert history[-1] >= history[0]
    same = pickle.loads(pickle.dumps(fresh))
    assert same.score(rows, LENGTHS) == fresh.score(rows, LENGTHS)


def test_what_is_not_in_params_stays():
    for letter, name in {"s": "startprob_", "t": "transmat_", "m": "means_", "c": "covars_"}.items():
        model = given("diag", n_iter=3, params="stmc".replace(letter, ""))
        before = getattr(model, name)
        model.fit(X, LENGTHS)
        np.testing.assert_allclose(getattr(model, name), before)
        others = {"startprob_": START, "transmat_": MOVES, "means_": MEANS}
        assert all(not np.allclose(getattr(model, n), v) for n, v in others.items() if n != name)
        assert all(p.requires_grad for p in model.model_.parameters())


def test_the_model_goes_on_by_gradient_and_shows_in_the_attributes():
    model = GaussianHMM(2, random_state=0, n_iter=2).fit(X, LENGTHS)
    assert isinstance(model.model_, Model)
    before, start = model.score(X), model.means_
    objective = Likelihood(model.model_)
    optimizer = torch.optim.SGD(objective.parameters(), lr=1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        objective({"y": torch.from_numpy(X)[None]}).backward()
        optimizer.step()
    assert model.score(X) > before and not np.allclose(model.means_, start)


def test_one_point_and_few_points():
    for rows in (X[:1], np.repeat(X[:1], 5, 0), X[:2]):
        for kind in KINDS:
            model = GaussianHMM(3, kind, random_state=0).fit(rows)
            assert all(
                np.isfinite(getattr(model, name)).all() for name in ("startprob_", "transmat_", "means_", "covars_")
            )
            assert np.isfinite(model.score(rows))
    assert np.isfinite(GMMHMM(2, 3, random_state=0).fit(X[:1]).score(X[:1]))


WRONG = {
    "no states": (lambda: GaussianHMM(0).fit(X), "n_components"),
    "kind": (lambda: GaussianHMM(2, "round").fit(X), "covariance_type"),
    "letters": (lambda: GaussianHMM(2, params="xyz").fit(X), "params"),
    "prior below 1": (lambda: GaussianHMM(2, transmat_prior=0.5).fit(X), "transmat_prior must be at least 1"),
    "lengths": (lambda: GaussianHMM(2).fit(X, [3, 4]), "lengths add up"),
    "infinite": (lambda: GaussianHMM(2).fit(np.full((3, 2), np.inf)), "infinite"),
    "one axis": (lambda: GaussianHMM(2).fit(X[0]), "elements, dimensions"),
    "strings": (lambda: GaussianHMM(2).fit([["a"]]), "numbers"),
    "nothing": (lambda: GaussianHMM(2).fit(np.zeros((0, 2))), "no element"),
    "ragged widths": (lambda: GaussianHMM(2).fit([X, X[:, :1]]), "differ in their dimensions"),
    "other width": (lambda: given("diag").predict(X[:, :1]), "dimensions"),
    "means of another width": (lambda: setattr(given("full"), "means_", np.zeros((3, 5))), "dimensions"),
    "chances": (lambda: setattr(GaussianHMM(2), "startprob_", [0.5, 0.6]), "sum to one"),
    "shape": (lambda: setattr(GaussianHMM(2), "transmat_", [[0.5, 0.5]]), "transmat_ has shape"),
    "variances": (lambda: setattr(GaussianHMM(1), "covars_", [[-1.0]]), "positive"),
    "matrices": (lambda: setattr(GaussianHMM(1, "full"), "covars_", [[[1.0, 2.0], [2.0, 1.0]]]), "positive definite"),
    "half a symbol": (lambda: CategoricalHMM(2).fit([[0.5]]), "whole numbers"),
    "a new symbol": (lambda: CategoricalHMM(2).fit(SYMBOLS).score([[9]]), "symbol 9"),
    "two symbols": (lambda: CategoricalHMM(2).fit(X.astype(int)), "one symbol per row"),
    "a mixture of no kind": (lambda: GMMHMM(2, 2, covariance_type="tied").fit(X), "covariance_type"),
    "start of a mixture": (lambda: GMM(2, init_params="best").fit(X), "init_params"),
    "no rows": (lambda: GMM(2).fit(np.zeros((0, 2))), "no row"),
    "a mixture of blocks": (lambda: GMM(1).fit(X[None]), "one table"),
    "a mixture of lists": (lambda: GMM(1).fit(X).predict([X, X]), "one table"),
    "states changed": (
        lambda: given("diag").set_params(n_components=2).predict(X),
        "the model has 3 states",
    ),
    "scatter of another size": (lambda: GaussianHMM(2, "full", covars_prior=np.eye(3)).fit(X), "scatter of a prior"),
    "scatter of variances": (lambda: GaussianHMM(2, "full", covars_prior=[1.0, 2.0]).fit(X), "is of variances"),
    "scatters of tied": (lambda: GaussianHMM(3, "tied", covars_prior=np.ones((3, 2, 2))).fit(X), "does not fit"),
    "negative scatter": (lambda: GaussianHMM(2, covars_prior=[1.0, -1.0]).fit(X), "scatter of a prior is negative"),
    "skew scatter": (lambda: GaussianHMM(2, "full", covars_prior=[[1.0, 1.0], [0.0, 1.0]]).fit(X), "not symmetric"),
    "indefinite scatter": (lambda: GaussianHMM(2, "tied", covars_prior=np.diag([1.0, -1])).fit(X), "semidefinite"),
    "unfitted mixture": (lambda: GMM(2).predict(X), "not fitted"),
    "mixture of another width": (lambda: GMM(1).fit(X).predict(X[:, :1]), "dimensions"),
}


@pytest.mark.parametrize("name", WRONG)
def test_errors(name):
    do, rule = WRONG[name]
    with pytest.raises(GraftError, match=rule):
        do()


@pytest.mark.parametrize("reg", [0.0, 1e-6, 0.1])
@pytest.mark.parametrize("kind", KINDS)
def test_mixtures_equal_those_of_sklearn(kind, reg):
    settings = {"covariance_type": kind, "reg_covar": reg, "max_iter": 40, "random_state": 3, "tol": 1e-6}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        ours, theirs = GMM(3, **settings).fit(X), GaussianMixture(3, **settings).fit(X)
    assert ours.n_iter_ == theirs.n_iter_ and ours.converged_ == theirs.converged_
    assert ours.lower_bound_ == pytest.approx(theirs.lower_bound_, abs=1e-9)
    for name in ("weights_", "means_", "covariances_"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-8)
    np.testing.assert_allclose(ours.score_samples(X), theirs.score_samples(X), atol=1e-8)
    assert ours.bic(X) == pytest.approx(theirs.bic(X)) and ours.aic(X) == pytest.approx(theirs.aic(X))
    assert (ours.predict(X) == theirs.predict(X)).all() and ours.score(X) == pytest.approx(theirs.score(X))


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_mixtures_of_any_size_equal_those_of_sklearn(kind, width):
    """More dimensions than components, and fewer."""
    wide = np.concatenate([X, np.sin(X[:, :1])], 1)[:, :width]
    for states in (1, 2):
        ours = GMM(states, covariance_type=kind, random_state=3).fit(wide)
        theirs = GaussianMixture(states, covariance_type=kind, random_state=3).fit(wide)
        np.testing.assert_allclose(ours.covariances_, theirs.covariances_, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_mixtures_begin_where_they_are_told(kind):
    shape = COVARIANCES[kind]
    inverse = 1 / shape if kind in ("diag", "spherical") else np.linalg.inv(shape)
    told = {"weights_init": START, "means_init": MEANS, "precisions_init": inverse, "max_iter": 2, "tol": 0.0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        ours = GMM(3, covariance_type=kind, **told).fit(X)
        theirs = GaussianMixture(3, covariance_type=kind, **told).fit(X)
    np.testing.assert_allclose(ours.means_, theirs.means_, rtol=1e-9)
    np.testing.assert_allclose(ours.covariances_, theirs.covariances_, rtol=1e-9, atol=1e-12)


def test_mixtures_of_rows_with_holes_and_hardly_any_rows():
    mixture = GMM(2, random_state=0, n_init=2, max_iter=300).fit(HOLES)
    assert np.isfinite(mixture.score_samples(HOLES)).all() and mixture.converged_
    assert GMM(3, random_state=0).fit(X[:1]).predict_proba(X).shape == (33, 3)
    for kind in KINDS:
        few = GMM(3, covariance_type=kind, random_state=0).fit(np.repeat(X[:1], 4, 0))
        assert np.isfinite(few.means_).all() and np.isfinite(few.covariances_).all()
    drawn, of = mixture.sample(6, random_state=0)
    assert drawn.shape == (6, 2) and of.shape == (6,)
    with pytest.warns(ConvergenceWarning):
        GMM(2, random_state=0, max_iter=1).fit(X)
