"""Laws of `LinearGaussianChain` against the dense joint Gaussian, over a table of small random chains."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cache

import pytest
import torch
from tests.reference.kalman import Dense
from torch.autograd import gradcheck, gradgradcheck

from graft.errors import GraftError
from graft.ops.kalman import chosen
from graft.structured.gaussian_parameters import Dynamics, Emission, GaussianEvidence
from graft.structured.linear_gaussian_chain import LinearGaussianChain

NAN = float("nan")
DOUBLE = torch.float64


@dataclass(frozen=True)
class Case:
    """How to make one chain; parameters are shared, by step, or by row and step; what is unused holds NaN."""

    batch: tuple[int, ...] = (3,)
    length: int = 5
    states: int = 2
    cells: int = 2
    parameters: str = "shared"
    offsets: bool = True
    observed: bool = True
    missing: str = "none"  # steps, cells
    lengths: bool = False
    evidence: str = "none"  # diagonal, full
    dtype: torch.dtype = DOUBLE
    zero: str = ""  # which noises are singular: initial, state, reading


TABLE = {
    "plain": Case(),
    "no batch": Case(batch=()),
    "two batch dims": Case(batch=(2, 3), parameters="rows"),
    "empty batch": Case(batch=(0,)),
    "by step": Case(parameters="steps"),
    "by row and step": Case(parameters="rows"),
    "one step for all": Case(parameters="one"),
    "no offsets": Case(offsets=False),
    "no element": Case(length=0),
    "no element, by step": Case(length=0, parameters="steps", lengths=True),
    "one element": Case(length=1, parameters="steps"),
    "one state, one cell": Case(states=1, cells=1),
    "three states, one cell": Case(states=3, cells=1),
    "wide": Case(cells=5),
    "wide, missing cells": Case(cells=4, missing="cells", parameters="rows"),
    "wide, noiseless": Case(cells=3, zero="reading"),
    "missing steps": Case(missing="steps"),
    "missing cells": Case(missing="cells"),
    "missing cells, by row": Case(missing="cells", parameters="rows", lengths=True),
    "lengths": Case(lengths=True, batch=(6,)),
    "lengths, by step": Case(lengths=True, parameters="steps", batch=(6,)),
    "lengths, by row": Case(lengths=True, parameters="rows", batch=(6,)),
    "prior": Case(observed=False, lengths=True),
    "messages": Case(observed=False, evidence="diagonal"),
    "full messages": Case(observed=False, evidence="full", parameters="rows", lengths=True),
    "observations and messages": Case(evidence="full", missing="cells"),
    "wide and messages": Case(evidence="diagonal", cells=4),
    "float32": Case(dtype=torch.float32, parameters="rows", missing="cells"),
    "known start": Case(zero="initial"),
    "noiseless states": Case(zero="state"),
    "noiseless readings": Case(zero="reading", cells=1),
}


def spd(*shape):
    root = torch.randn(*shape, shape[-1], dtype=DOUBLE)
    return root @ root.mT + 0.3 * torch.eye(shape[-1], dtype=DOUBLE)


@cache
def made(name):
    """The arguments of a case, and the dense reference of each of its rows."""
    case = TABLE[name]
    torch.manual_seed(list(TABLE).index(name))
    t, d, e = case.length, case.states, case.cells
    moves = max(t - 1, 0)

    def lead(steps):
        return {"shared": (), "steps": (steps,), "rows": (*case.batch, steps), "one": (1,)}[case.parameters]

    def hidden(x, size):
        return x * torch.tensor([0.0] + [1.0] * (size - 1), dtype=DOUBLE).outer(torch.ones(size, dtype=DOUBLE))

    first, noise, reading = spd(*case.batch, d), spd(*lead(moves), d), spd(*lead(t), e)
    zero = {"initial": first, "state": noise, "reading": reading}.get(case.zero)
    if zero is not None:
        zero[..., 0, :], zero[..., :, 0] = 0.0, 0.0
    dynamics = {
        "initial_mean": torch.randn(*case.batch, d, dtype=DOUBLE),
        "initial_covariance": first,
        "transition": 0.6 * torch.randn(*lead(moves), d, d, dtype=DOUBLE),
        "noise": noise,
        "offset": torch.randn(*lead(moves), d, dtype=DOUBLE) if case.offsets else None,
    }
    emission = {
        "loading": torch.randn(*lead(t), e, d, dtype=DOUBLE),
        "noise": reading,
        "offset": torch.randn(*lead(t), e, dtype=DOUBLE) if case.offsets else None,
    }
    x = torch.randn(*case.batch, t, e, dtype=DOUBLE)
    where = {"none": None, "steps": torch.rand(*case.batch, t) < 0.4, "cells": torch.rand(*case.batch, t, e) < 0.4}
    missing = where[case.missing]
    if missing is not None:
        x[missing] = NAN
    lengths = torch.randint(0, t + 1, case.batch) if case.lengths else None
    precision = spd(*case.batch, t, d) if case.evidence == "full" else torch.rand(*case.batch, t, d, dtype=DOUBLE)
    shift = torch.randn(*case.batch, t, d, dtype=DOUBLE)
    if lengths is not None:
        gone = torch.arange(t) >= lengths[..., None]
        x[gone], shift[gone] = NAN, NAN
        if case.parameters == "rows" and t:
            reading[gone], noise[gone[..., 1:]], dynamics["transition"][gone[..., 1:]] = NAN, NAN, NAN
    kept = {k: None if v is None else v.to(case.dtype) for k, v in dynamics.items()}
    options = {"lengths": lengths}
    if case.evidence != "none":
        options["evidence"] = GaussianEvidence(precision.to(case.dtype), shift.to(case.dtype))
    told = {k: None if v is None else v.to(case.dtype) for k, v in emission.items()}
    arguments = [Dynamics(**kept), Emission(**told)]
    if case.observed:
        arguments.append(x.to(case.dtype))
        options["missing"] = missing
    else:
        options["length"] = t
    return arguments, options, references(case, arguments, options)


def references(case, arguments, options):
    """One dense model per row, of the elements that exist."""
    dynamics, emission, *observed = arguments
    found = {}
    for row in itertools.product(*map(range, case.batch)):
        length = case.length if options["lengths"] is None else int(options["lengths"][row])

        def at(x, core, step, row=row):
            if x is None:
                return torch.zeros(core, dtype=DOUBLE)
            x = x.double()
            if x.dim() == len(core):
                return x
            x = x[row] if x.dim() > len(core) + 1 else x
            return x[step if x.shape[0] > 1 else 0]

        d, e = case.states, case.cells
        steps = [
            tuple(
                at(x, core, t)
                for x, core in ((dynamics.transition, (d, d)), (dynamics.offset, (d,)), (dynamics.noise, (d, d)))
            )
            for t in range(length - 1)
        ]
        emissions, messages = [], []
        for t in range(length):
            c, offset = at(emission.loading, (e, d), t), at(emission.offset, (e,), t)
            if observed:
                missing = options["missing"]
                gone = torch.zeros(e, dtype=torch.bool) if missing is None else missing[row][t].expand(e)
                value = observed[0][row][t].double()
                emissions.append((c, offset, at(emission.noise, (e, e), t), value, ~gone))
            else:
                emissions.append(None)
            told = options.get("evidence")
            if told is None:
                messages.append(None)
            else:
                precision = told.precision[row][t].double()
                precision = precision.diag() if precision.dim() == 1 else precision
                messages.append((precision, told.shift[row][t].double()))
        mean, covariance = dynamics.initial_mean[row].double(), dynamics.initial_covariance[row].double()
        found[row] = Dense(mean, covariance, steps, emissions, messages)
    return found


def close(found, expected, case, scale=1.0):
    tolerance = (1e-9 if case.dtype == DOUBLE else 2e-6) * scale
    torch.testing.assert_close(found.double(), expected.double(), rtol=tolerance, atol=tolerance)


@pytest.fixture(params=TABLE)
def name(request):
    return request.param


@pytest.fixture
def chain(name):
    arguments, options, _ = made(name)
    return LinearGaussianChain(*arguments, **options, method="sequential")


def test_evidence_has_the_dense_probability(chain, name):
    case, (_, _, rows) = TABLE[name], made(name)
    found = chain.log_partition
    assert found.shape == case.batch and found.dtype == case.dtype
    for row, dense in rows.items():
        close(found[row], dense.posterior()[2] if dense.length else torch.zeros(()), case)


def test_moments_are_the_dense_ones(chain, name):
    for kind in ("smoothed", "filtered", "predicted"):
        moments_are_dense(chain, name, kind)


def moments_are_dense(chain, name, kind):
    case, (_, _, rows) = TABLE[name], made(name)
    found = chain.moments(kind)
    assert found.mean.shape == (*case.batch, case.length, case.states)
    for row, dense in rows.items():
        n = dense.length
        if n:
            mean, covariance = dense.states(kind)
            close(found.mean[row][:n], mean, case)
            close(found.covariance[row][:n], covariance, case)
        assert not found.mean[row][n:].any() and not found.covariance[row][n:].any()
    if not case.zero:
        distribution = {"smoothed": chain.marginals, "filtered": chain.filtered, "predicted": chain.predicted}[kind]
        assert distribution.batch_shape == (*case.batch, case.length)
        close(distribution.mean, found.mean, case)
        for row, dense in rows.items():
            close(distribution.covariance_matrix[row][: dense.length], found.covariance[row][: dense.length], case, 4)
            eye = torch.eye(case.states).expand(case.length - dense.length, -1, -1)
            close(distribution.covariance_matrix[row][dense.length :], eye, case)


def test_neighbours_covary_as_in_the_dense_model(chain, name):
    case, (_, _, rows) = TABLE[name], made(name)
    found, d = chain.cross_covariance, case.states
    for row, dense in rows.items():
        covariance = dense.posterior()[1] if dense.length else None
        for t in range(max(case.length - 1, 0)):
            inside = t + 1 < dense.length
            block = covariance[t * d : (t + 1) * d, (t + 1) * d : (t + 2) * d] if inside else torch.zeros(d, d)
            close(found[row][t], block, case)


def test_entropy_density_and_mode(chain, name):
    case, (_, _, rows) = TABLE[name], made(name)
    mode = chain.mode()
    torch.manual_seed(0)
    states = torch.randn(4, *case.batch, case.length, case.states, dtype=case.dtype)
    if case.zero and case.length:
        with pytest.raises(GraftError, match="singular"):
            chain.entropy()
        with pytest.raises(GraftError, match="singular"):
            chain.log_prob(states)
        return
    entropy, density = chain.entropy(), chain.log_prob(states)
    assert density.shape == (4, *case.batch)
    for row, dense in rows.items():
        if dense.length == 0:
            assert entropy[row] == 0 and not density[(slice(None), *row)].any()
            continue
        mean, covariance, _ = dense.posterior()
        joint = torch.distributions.MultivariateNormal(mean, covariance)
        close(entropy[row], joint.entropy(), case)
        close(mode[row][: dense.length].flatten(), mean, case)
        flat = states[(slice(None), *row)][:, : dense.length].flatten(1).double()
        close(density[(slice(None), *row)], joint.log_prob(flat), case, 10)


def test_joint_is_evidence_times_posterior(name):
    """p(z, x) = p(x) p(z | x): the same chain, its states observed without noise by one more reading each."""
    case, (arguments, options, rows) = TABLE[name], made(name)
    if case.zero or not case.observed or case.evidence != "none" or case.missing != "none":
        pytest.skip("needs a density of all")
    chain = LinearGaussianChain(*arguments, **options)
    z = chain.sample()
    found = chain.log_partition + chain.log_prob(z)
    prior = LinearGaussianChain(arguments[0], length=case.length, lengths=options["lengths"]).log_prob(z)
    for row, dense in rows.items():
        total = prior[row].double()
        for t, (c, offset, r, x, _) in enumerate(dense.emissions):
            mean = c @ z[row][t].double() + offset
            total = total + torch.distributions.MultivariateNormal(mean, r).log_prob(x)
        close(found[row], total, case, 10)


def test_methods_agree(name):
    case, (arguments, options, _) = TABLE[name], made(name)
    one, two = (LinearGaussianChain(*arguments, **options, method=m) for m in ("sequential", "parallel"))
    close(one.log_partition, two.log_partition, case)
    for kind in ("smoothed", "filtered"):
        for a, b in zip(one.moments(kind), two.moments(kind), strict=True):
            close(a, b, case)
    close(one.cross_covariance, two.cross_covariance, case)
    if not case.zero:
        draws = [c.rsample((3,), torch.Generator().manual_seed(1)) for c in (one, two)]
        close(*draws, case, 10)


def test_long_chains_agree_to_the_digit():
    torch.manual_seed(0)
    step = torch.linalg.qr(torch.randn(4, 4, dtype=DOUBLE))[0]  # nothing is forgotten
    eye = torch.eye(4, dtype=DOUBLE)
    arguments = (
        Dynamics(eye[0], eye, step, 1e-4 * eye),
        Emission(eye[:2], eye[:2, :2]),
        torch.randn(400, 2, dtype=DOUBLE),
    )
    one, two = (LinearGaussianChain(*arguments, method=m) for m in ("sequential", "parallel"))
    torch.testing.assert_close(one.log_partition, two.log_partition, rtol=1e-12, atol=1e-9)
    torch.testing.assert_close(one.mode(), two.mode(), rtol=1e-9, atol=1e-9)
    assert LinearGaussianChain(*arguments).method == "parallel"


@pytest.mark.parametrize("kind", ["sample", "rsample", "simulate"])
@pytest.mark.parametrize("which", ["plain", "lengths, by row", "noiseless states", "observations and messages"])
def test_draws_have_the_moments(which, kind):
    """Fails by chance less than once in 10^5 runs: 5 standard errors, some 60 means and 60 variances."""
    case, (arguments, options, rows) = TABLE[which], made(which)
    if kind == "rsample" and case.zero:
        pytest.skip("no density")
    chain = LinearGaussianChain(*arguments, **options)
    count = 20000
    generator = torch.Generator().manual_seed(3)
    draws = getattr(chain, kind)((count,), generator)
    draws = draws[0] if kind == "simulate" else draws
    for row, dense in rows.items():
        if not dense.length:
            continue
        mean, covariance = dense.prior() if kind == "simulate" else dense.posterior()[:2]
        found = draws[(slice(None), *row)][:, : dense.length].flatten(1)
        assert not draws[(slice(None), *row)][:, dense.length :].any()
        spread = covariance.diagonal().clamp_min(0)
        assert ((found.mean(0) - mean).abs() <= 5 * (spread / count).sqrt() + 1e-9).all()
        assert ((found.var(0) - spread).abs() <= 5 * spread * math.sqrt(2 / count) + 1e-9).all()
        joint = (found - mean).T @ (found - mean) / count - covariance
        error = ((covariance**2 + spread.outer(spread)) / count).sqrt()
        assert (joint.abs() <= 5.5 * error + 1e-9).all()


def test_simulated_observations_have_the_moments():
    """As above: 5 standard errors of some twenty numbers, less than once in 10^5 runs."""
    (dynamics, emission, _), _, rows = made("plain")
    z, x = LinearGaussianChain(dynamics, emission, length=5).simulate(20000, torch.Generator().manual_seed(5))
    noise = x - z @ emission.loading.T - emission.offset
    assert (noise.mean(0).abs() <= 5 * (emission.noise.diagonal() / 20000).sqrt()).all()
    spread = emission.noise.diagonal()
    assert ((noise.var(0) - spread).abs() <= 5 * spread * math.sqrt(2 / 20000)).all()
    assert z.shape == (20000, 3, 5, 2) and len(rows) == 3


@pytest.mark.parametrize("which", ["plain", "lengths", "observations and messages", "float32"])
def test_forecasts_are_those_of_missing_steps(which):
    case, (arguments, options, _) = TABLE[which], made(which)
    if case.parameters != "shared":
        chain = LinearGaussianChain(*arguments, **options)
        with pytest.raises(GraftError, match="differs from step to step"):
            chain.forecast(2)
        return
    dynamics, emission, x = arguments
    found = LinearGaussianChain(*arguments, **options).forecast(3)
    padded = torch.cat([x, x.new_full((*case.batch, 3, case.cells), NAN)], -2)
    lengths = options["lengths"]
    ends = torch.full(case.batch, case.length) if lengths is None else lengths
    missing = torch.isnan(padded)
    for row in range(case.batch[0]):
        missing[row, ends[row] :] = True
    told = {}
    if case.evidence != "none":
        full = options["evidence"]
        told["evidence"] = GaussianEvidence(
            *(
                torch.cat([v, torch.zeros(*v.shape[:1], 3, *v.shape[2:], dtype=v.dtype)], 1)
                for v in (full.precision, full.shift)
            )
        )
    longer = LinearGaussianChain(dynamics, emission, padded, missing=missing, **told).moments()
    for row in range(case.batch[0]):
        ahead = slice(int(ends[row]), int(ends[row]) + 3)
        close(found.states.mean[row], longer.mean[row, ahead], case)
        close(found.states.covariance_matrix[row], longer.covariance[row, ahead], case)
        loading = emission.loading
        spread = loading @ longer.covariance[row, ahead] @ loading.mT + emission.noise
        close(found.observations.covariance_matrix[row], spread, case)
        close(found.observations.mean[row], longer.mean[row, ahead] @ loading.mT + emission.offset, case)


GRADIENTS = {
    "sequential": ("sequential", 2, "none"),
    "parallel": ("parallel", 2, "none"),
    "wide": ("sequential", 3, "full"),
}


@pytest.mark.parametrize("example", GRADIENTS)
def test_gradients_are_finite_differences(example):
    method, cells, messages = GRADIENTS[example]
    torch.manual_seed(1)
    t, d = 3, 2  # the second row ends after two
    roots = [torch.randn(d, d, dtype=DOUBLE) for _ in range(2)] + [torch.randn(cells, cells, dtype=DOUBLE)]
    x = torch.randn(2, t, cells, dtype=DOUBLE)
    missing = torch.zeros(2, t, cells, dtype=torch.bool)
    missing[0, 1], missing[1, 2, 0] = True, True
    rest = [torch.randn(d, dtype=DOUBLE), 0.5 * torch.randn(d, d, dtype=DOUBLE), torch.randn(cells, d, dtype=DOUBLE)]
    inputs = [v.requires_grad_() for v in (*roots, *rest, x, torch.randn(2, t, d, dtype=DOUBLE))]

    def built(p, q, r, mean, step, loading, x, shift):
        eye = torch.eye(d, dtype=DOUBLE)
        dynamics = Dynamics(mean, p @ p.mT + eye, step, q @ q.mT + eye)
        evidence = GaussianEvidence((q @ q.mT).expand(2, t, d, d), shift) if messages == "full" else None
        noise = r @ r.mT + torch.eye(cells, dtype=DOUBLE)
        options = {"missing": missing, "evidence": evidence, "method": method, "lengths": torch.tensor([3, 2])}
        return LinearGaussianChain(dynamics, Emission(loading, noise), x, **options)

    used = inputs if messages == "full" else inputs[:-1]

    def value(*given):
        return built(*given, *inputs[len(given) :]).log_partition

    def others(*given):
        chain = built(*given, *inputs[len(given) :])
        noise = torch.Generator().manual_seed(0)
        return (*chain.moments(), chain.entropy(), chain.cross_covariance, chain.rsample((), noise))

    assert gradcheck(value, used, fast_mode=True)
    assert gradcheck(others, used, fast_mode=True)
    if method == "parallel" or cells == 3:
        assert gradgradcheck(value, used, fast_mode=True)


def test_what_is_not_seen_has_gradient_zero(name):
    case, (arguments, options, _) = TABLE[name], made(name)
    if not case.observed or not case.length:
        pytest.skip("nothing is seen")
    dynamics, emission, x = arguments
    x, step = x.clone().requires_grad_(), dynamics.transition.clone().requires_grad_()
    moved = Dynamics(dynamics.initial_mean, dynamics.initial_covariance, step, dynamics.noise, dynamics.offset)
    LinearGaussianChain(moved, emission, x, **options).log_partition.sum().backward()
    gone = torch.isnan(x)
    assert not x.grad[gone].any() and torch.isfinite(x.grad).all()
    if case.length > 1:
        assert torch.isfinite(step.grad).all()


def test_float32_is_computed_in_float64():
    """A plain float32 filter loses this covariance altogether."""
    eye = torch.eye(2)
    dynamics = Dynamics(torch.zeros(2), 1e6 * eye, torch.tensor([[1.0, 1.0], [0.0, 1.0]]), 1e-8 * eye)
    emission, x = Emission(torch.tensor([[1.0, 0.0]]), torch.tensor([[1e-4]])), torch.arange(200.0)[:, None]
    low = LinearGaussianChain(dynamics, emission, x)
    wide = Dynamics(*(v.double() for v in vars(dynamics).values() if v is not None))
    high = LinearGaussianChain(wide, Emission(emission.loading.double(), emission.noise.double()), x.double())
    assert low.log_partition.dtype == torch.float32
    torch.testing.assert_close(low.log_partition.double(), high.log_partition, rtol=1e-6, atol=0)
    torch.testing.assert_close(low.moments().covariance.double(), high.moments().covariance, rtol=1e-6, atol=0)


def test_queries_work_in_inference_mode_and_without_gradients():
    arguments, options, _ = made("missing cells, by row")
    chain = LinearGaussianChain(*arguments, **options)
    expected = chain.log_partition
    with torch.inference_mode():
        assert torch.equal(LinearGaussianChain(*arguments, **options).log_partition, expected)
        assert torch.equal(chain.moments().mean, chain.mode())
    step = arguments[0].transition.nan_to_num().clone().requires_grad_()
    with torch.no_grad():
        parts = {**vars(arguments[0]), "transition": step}
        chain = LinearGaussianChain(Dynamics(**parts), *arguments[1:], **options)
        chain.mode()
    chain = LinearGaussianChain(Dynamics(**parts), *arguments[1:], **options)
    with torch.no_grad():
        chain.mode()
    chain.log_partition.sum().backward()
    assert step.grad.abs().sum() > 0


def test_the_method_is_chosen_by_size():
    def method(length, states):
        eye = torch.eye(states)
        chain = LinearGaussianChain(Dynamics(torch.zeros(states), eye, eye, eye), length=length)
        assert chosen(chain._system) == chain.method
        return chain.method

    assert method(4, 2) == "sequential" and method(1000, 2) == "parallel" and method(100, 64) == "sequential"


def test_a_chain_means_what_it_was_made_of():
    """Whatever is done to its arguments in place afterwards, in whatever order things are asked."""
    (dynamics, emission, x), options, _ = made("lengths, by step")
    mine = [v.clone() for v in vars(dynamics).values()]
    seen, lengths = x.clone(), options["lengths"].clone()
    chain = LinearGaussianChain(Dynamics(*mine), emission, seen, **{**options, "lengths": lengths})
    want = LinearGaussianChain(dynamics, emission, x, **options)
    chain.mode()
    with torch.no_grad():
        for v in (*mine, seen, lengths):
            v.fill_(7)
        assert torch.equal(chain.log_partition, want.log_partition)
    assert torch.equal(chain.moments("predicted").mean, want.moments("predicted").mean)
