"""What Triton's chain kernels answer beside log space in double precision and sums over every sequence.

As a program it runs where `TRITON_INTERPRET=1`, which Triton reads once, when it is imported: kernels are then Python
over numpy, on tensors of the CPU. It prints one line for each model: what it is, and by how much each answer is off, in
units of what is allowed.
"""

from __future__ import annotations

import itertools
import json
import math
import sys
import warnings
from collections import Counter
from types import SimpleNamespace

import torch
from tests.reference.chain import Enumerated
from torch.autograd import grad

from graft.ops import chain, chain_gradient, chain_kernels
from graft.ops.chain_gradient import log_z, probabilities
from graft.ops.chain_kernels import every_step
from graft.structured import chain_potentials
from graft.structured.linear_chain import LinearChain

NEG_INF = float("-inf")
#: How potentials are spread, and how many of them are `-inf`.
SPREADS = {
    "plain": (1.0, 0.0),
    "zeros": (2.0, 0.3),
    "mostly zeros": (1.0, 0.75),
    "far apart": (120.0, 0.1),
    "huge": (1e4, 0.0),
    "offset": (1.0, 0.0),
}
#: Rows and steps of the tables, where there are b and T - 1 of them.
TABLES = {
    "one": lambda b, t: (),
    "one, in four dimensions": lambda b, t: (1, 1),
    "by row": lambda b, t: (b, 1),
    "by step": lambda b, t: (1, t - 1),
    "by row and step": lambda b, t: (b, t - 1),
}
#: What may be missing: log Z relative; gradients and marginals; pairs, of which some are sums.
ALLOWED = {torch.float32: (1e-6, 3e-6, 3e-5), torch.float64: (1e-12, 1e-9, 1e-9)}


def models(count: int):
    """Names, potentials and lengths of random models; every kind of table meets every spread and both types."""
    kinds = itertools.cycle(itertools.product(TABLES, SPREADS, (torch.float32, torch.float64)))
    for seed, (table, spread, dtype) in zip(range(count), kinds, strict=False):
        g = torch.Generator().manual_seed(seed)
        b, t, s = (int(torch.randint(low, high, (), generator=g)) for low, high in ((1, 3), (1, 4), (1, 4)))
        t = max(t, 2) if "step" in table else t
        scale, zeros = SPREADS[spread]

        def some(*shape, g=g, scale=scale, zeros=zeros, spread=spread, dtype=dtype):
            x = torch.randn(*shape, generator=g, dtype=torch.float64)
            if spread == "offset":
                x = x + 1e4 * torch.randint(-1, 2, shape, generator=g)
            return (x * scale).masked_fill(torch.rand(shape, generator=g) < zeros, NEG_INF).to(dtype)

        lengths = torch.randint(0, t + 1, (b,), generator=g)
        lengths[0] = t
        yield f"{seed}: {table}, {spread}, {dtype}", some(b, t, s), some(*TABLES[table](b, t), s, s), lengths


def special():
    """Models that stand for what broke elsewhere, and sizes beyond a warp's."""
    g = torch.Generator().manual_seed(0)
    for dtype in (torch.float32, torch.float64):
        w = torch.tensor([[0.0, -120.0], [-120.0, 0.0]], dtype=dtype)
        yield f"two by two, {dtype}", torch.randn(1, 14, 2, generator=g).to(dtype) * 20, w, torch.tensor([14])
        u = 1e4 * torch.randint(-1, 2, (2, 10, 3), generator=g) + torch.randn(2, 10, 3, generator=g)
        w = 1e4 * torch.randint(-1, 2, (3, 3), generator=g) + torch.randn(3, 3, generator=g)
        yield f"1e4 and noise, {dtype}", u.to(dtype), w.to(dtype), torch.tensor([10, 4])
        u, w = torch.randn(2, 5, 17, generator=g).to(dtype), torch.randn(2, 4, 17, 17, generator=g).to(dtype)
        yield f"17 states, {dtype}", u, w, torch.tensor([5, 4])
        turned = torch.randn(5, 5, 3, generator=g).to(dtype).permute(2, 0, 1)
        yield f"lines apart, {dtype}", turned, torch.randn(5, 5, generator=g).to(dtype).mT, torch.tensor([5, 1, 0])
        masked = torch.randn(2, 4, 3, generator=g).to(dtype)
        masked[torch.rand(masked.shape, generator=g) < 0.4] = torch.finfo(dtype).min
        masked[:, :, 0] = 0.0
        yield (
            f"masked by the least number, {dtype}",
            masked,
            torch.randn(3, 3, generator=g).to(dtype),
            torch.tensor([4, 2]),
        )
        nothing = torch.full((2, 3, 2), NEG_INF, dtype=dtype)
        yield f"impossible, {dtype}", nothing, torch.zeros(2, 2, dtype=dtype), torch.tensor([3, 1])


def off(got, want, relative, absolute):
    """The greatest error in units of what is allowed; infinite where what is infinite does not agree."""
    if got.shape != want.shape or not torch.equal(got.isfinite(), want.isfinite()) or bool(got.isnan().any()):
        return math.inf
    error = (got.double() - want.double()).abs() / (relative * want.double().abs() + absolute)
    return float(error.where(want.isfinite(), 0.0).max()) if got.numel() else 0.0


def reference(u, w, lengths, weight):
    """log Z, weighted gradients and pairs, in log space and double precision by torch."""
    tables = w.double() if w.dim() == 4 else w.double()[None, None]
    every = every_step(u, tables)
    value = chain.log_partition(chain.forward(u.double(), every, lengths), lengths)
    single, pairs = probabilities(u.double(), every, lengths)
    weighted = weight.double()[:, None, None, None] * pairs
    by_table = weighted.sum_to_size(tables.shape) if pairs.shape[1] else torch.zeros_like(tables)
    return value, weight.double()[:, None, None] * single, by_table.reshape(w.shape), pairs


def listed(u, w, lengths):
    """log Z and marginals by the list of all sequences."""
    every = every_step(u, w if w.dim() == 4 else w[None, None]).double().expand(len(u), -1, -1, -1)
    values, single = torch.zeros(len(u), dtype=torch.float64), torch.zeros(u.shape, dtype=torch.float64)
    for row, length in enumerate(lengths.tolist()):
        if length:
            every_sequence = Enumerated(u[row, :length].double().tolist(), every[row].tolist(), [True] * length)
            values[row] = every_sequence.log_partition
            if values[row] > NEG_INF:
                single[row, :length] = torch.tensor(every_sequence.marginals(), dtype=torch.float64)
    return values, single


def answers(u, w, lengths, thorough=True):
    """By how much each answer is off; what has few sequences is summed over every one too."""
    relative, absolute, summed = ALLOWED[u.dtype]
    g = torch.Generator(u.device).manual_seed(1)
    weight = torch.randn(len(u), generator=g, dtype=u.dtype, device=u.device)
    value, by_unary, by_table, pairs = reference(u, w, lengths, weight)
    tables = w if w.dim() == 4 else w[None, None]
    leaves = [x.detach().requires_grad_() for x in (u, w)]
    got = log_z(*leaves, lengths)
    found = grad(torch.where(got > NEG_INF, got, 0.0), leaves, weight)
    got = got.detach()
    told = {
        "log_z": off(got, value, relative, relative),
        "by_unary": off(found[0], by_unary, 0.0, absolute),
        "by_pairwise": off(found[1], by_table, 0.0, summed),
    }
    if u.shape[2] ** u.shape[1] <= 100:
        value, single = (x.to(u.device) for x in listed(u.cpu(), w.cpu(), lengths.cpu()))
        told["listed"] = off(got, value, relative, relative)
        told["marginals"] = off(found[0], weight[:, None, None] * single, 0.0, absolute)
    if thorough:
        both, again = chain_kernels.pair_marginals(u, tables, lengths)
        told |= {"pair_marginals": off(both, pairs, 0.0, absolute), "again": off(again, got, 0.0, 1e-30)}
        told |= best(u, tables, lengths, relative)
    return told


def best(u, tables, lengths, relative):
    """By how much the best score is off, and the score of the sequence that is said to have it."""
    every = every_step(u, tables).double()
    want = chain.viterbi(u.double(), every, lengths)[1]
    states, score = chain_kernels.best_paths(u, tables, lengths)
    there = torch.arange(u.shape[1], device=u.device) < lengths[:, None]
    nodes = u.double().gather(2, states[..., None])[..., 0].where(there, 0.0).sum(1)
    rows, time = (torch.arange(n, device=u.device) for n in (len(u), u.shape[1] - 1))
    edges = every.expand(len(u), -1, -1, -1)[rows[:, None], time, states[:, :-1], states[:, 1:]]
    scores = nodes + edges.where(there[:, 1:], 0.0).sum(1)
    stray = float(states[~there].abs().max()) if bool((~there).any()) else 0.0
    return {
        "best": off(score, want, relative, relative),
        "path": off(scores, want, relative, relative),
        "beyond": stray,
    }


def queries():
    """All that `LinearChain` answers by kernels, with holes, twice: it should not matter by which."""
    g = torch.Generator().manual_seed(0)
    u, v = torch.randn(2, 2, 4, 3, generator=g, dtype=torch.float64)
    w = torch.randn(2, 3, 3, 3, generator=g, dtype=torch.float64)
    mask = torch.tensor([[True, False, True, True], [True, True, False, False]])
    p, q, one = LinearChain(u, w, mask=mask), LinearChain(v, w, mask=mask), LinearChain(u, w[0, 0], mask=mask)
    generator = torch.Generator().manual_seed(0)
    return {
        "log_partition": p.log_partition,
        "marginals": p.marginals,
        "pair_marginals": p.pair_marginals,
        "expected_counts": one.expected_counts,
        "entropy": p.entropy(),
        "kl": p.kl(q),
        "mode": p.mode().double(),
        "top_k": p.top_k(3)[1],
        "sample": p.sample((2000,), generator).double().mean(0),
        "second": torch.autograd.functional.hessian(lambda x: log_z(x, w, torch.tensor([4, 2])).sum(), u),
    }


def serve_by_triton():
    """Chains of this process are summed by Triton's kernels, interpreted; returns how often each was launched."""
    from triton.runtime import interpreter

    from graft.ops.cuda import launch as launching

    patch, done = interpreter._patch_lang, {}

    def once(function):
        """Interpreted functions change the language at every call, which takes most of the time; it can stay so."""
        seen = tuple(x in function.__globals__.values() for x in (interpreter.tl, interpreter.tl.core))
        if seen not in done:
            done[seen] = patch(function)
        return SimpleNamespace(restore=lambda: None)

    interpreter._patch_lang = once
    launched, launch = Counter(), launching.launch

    def counted(kernel, *arguments, **constants):
        launched[kernel.fn.__name__] += 1
        launch(kernel, *arguments, **constants)

    launching.launch = counted
    for module in (chain_kernels, chain_gradient, chain_potentials):
        module.chosen = lambda unary, pairwise: "triton"
    return launched


def main(count: int):
    from graft.ops.cuda import swept

    # numpy warns of what the kernels mean to do: -inf less -inf, the logarithm of 0
    warnings.simplefilter("ignore", RuntimeWarning)
    torch.set_num_threads(1)
    want = queries()
    launched = serve_by_triton()
    for at, (name, u, w, lengths) in enumerate(models(count)):
        swept.PROGRAMS = (1, 3, 256)[at % 3]
        print(json.dumps([name, answers(u, w, lengths, thorough=at % 5 == 0)]))
    for name, u, w, lengths in special():
        print(json.dumps([name, answers(u, w, lengths)]))
    got = queries()
    # of 2000 draws of at most 3 states the means are off by 0.2 with probability below 1e-16, by Hoeffding
    bounds = {"sample": 0.2}
    told = {name: off(got[name], want[name], 0.0, bounds.get(name, 1e-9)) for name in want}
    print(json.dumps(["queries", told]))
    print(json.dumps(["launched", launched]))


if __name__ == "__main__":
    main(int(sys.argv[1]))
