"""Linear chains: log Z with its gradients by unary and pairwise potentials, in float32.

Contestants get the same potentials and do the same work: value and both gradients of the sum over the batch.
"""

from __future__ import annotations

import math

from foreign import foreign
from harness import Case, Contestant, Section, Unfit, main
from potentials import arrays

#: (batch, T, S); seconds for each contestant
LISTED = {(32, 40, 20): 3, (32, 100, 50): 3, (64, 256, 128): 4, (8, 2000, 16): 4, (1, 100_000, 8): 4}
OTHERS = [
    *((32, 40, 2), (32, 40, 3), (32, 40, 5), (32, 60, 64), (16, 60, 256), (8, 30, 512)),
    *((1, 40, 20), (1, 10, 5), (32, 10, 20), (1000, 10, 20), (1000, 40, 9), (1, 1000, 64)),
]
QUICK = {(32, 40, 20), (8, 2000, 16), (1, 40, 20)}
#: The most bytes of potentials (b, T, S, S) that a contestant is given.
MOST_BYTES = 600_000_000


def with_gradients(size, log_z):
    """One step: log Z of the batch, summed, and its gradients."""
    import torch

    unary, pairwise = (torch.from_numpy(x).requires_grad_() for x in arrays(*size))

    def step():
        unary.grad = pairwise.grad = None
        value = log_z(unary, pairwise).sum()
        value.backward()
        return float(value.detach())

    return step


def graft(*size):
    import torch

    from graft.structured import LinearChain

    lengths = torch.full(size[:1], size[1])
    return with_gradients(size, lambda u, w: LinearChain(u, w, lengths).log_partition)


def scaled_loop(*size):
    """What one writes by hand: scaled products of matrices in a loop, and autograd."""
    if size[1] > 10_000:
        raise Unfit("autograd through so many steps")

    def log_z(u, w):
        high = u.amax(-1)
        emissions, table = (u - high[..., None]).exp(), w.exp()
        alpha, logs = emissions[:, 0], high.sum(-1)
        for t in range(1, u.shape[1]):
            alpha = (alpha @ table) * emissions[:, t]
            scale = alpha.sum(-1, keepdim=True)
            alpha, logs = alpha / scale, logs + scale[:, 0].log()
        return logs + alpha.sum(-1).log()

    return with_gradients(size, log_z)


def pytorch_crf(*size):
    import torch
    from torchcrf import CRF

    if size[1] > 10_000:
        raise Unfit("autograd through so many steps")
    crf = CRF(size[2])
    mask = torch.ones(size[1], size[0], dtype=torch.bool)
    with torch.no_grad():
        crf.start_transitions.zero_()
        crf.end_transitions.zero_()

    def log_z(u, w):
        del crf._parameters["transitions"]
        crf.transitions = w
        value = crf._compute_normalizer(u.transpose(0, 1), mask)
        del crf.transitions
        crf.register_parameter("transitions", None)
        return value

    return with_gradients(size, log_z)


def edges(u, w):
    """Potentials (b, T-1, S, S) with everything in them, as two of the peers want it."""
    import torch

    first = torch.cat([u[:, :1, :, None], u.new_zeros(u[:, 1:-1, :, None].shape)], 1)
    return w + u[:, 1:, None, :] + first


def refuse_more_than(most_bytes, size):
    needed = 4 * math.prod(size) * size[2]
    if needed > most_bytes:
        raise Unfit(f"{needed / 1e9:.2g} GB of potentials, held many times")


def torch_struct(*size):
    needed = 2 * math.prod(size) * size[2] ** 2
    if needed > 1e9:
        raise Unfit(f"{needed / 1e9:.2g} GB for the first level of its tree, products of matrices in log space")
    from torch_struct import LinearChainCRF

    # its axes are (next state, state)
    return with_gradients(size, lambda u, w: LinearChainCRF(edges(u, w).mT).partition)


def pyro_scan(*size):
    refuse_more_than(MOST_BYTES, size)
    from pyro.distributions.hmm import _sequential_logmatmulexp

    return with_gradients(size, lambda u, w: _sequential_logmatmulexp(edges(u, w)).logsumexp((-2, -1)))


def sections(options):
    inner = foreign(options.jax, "jax_chains.py")
    contestants = [
        Contestant("graft", graft),
        Contestant("loop of scaled products", scaled_loop),
        Contestant("pytorch-crf", pytorch_crf),
        Contestant("torch-struct", torch_struct),
        Contestant("Pyro's scan", pyro_scan),
        Contestant("dynamax", lambda *size: inner("log_z", *size)),
    ]
    listed = [Case(str(size), size, size in QUICK, seconds) for size, seconds in LISTED.items()]
    others = [Case(str(size), size, size in QUICK, 0.5) for size in OTHERS]
    about = "log Z and its gradients by unary and pairwise potentials, float32, at (batch, T, S)."
    yield Section("chains", "Chains: log Z and gradients", listed, contestants, about)
    yield Section("chains-more", "Chains: other sizes", others, contestants, about)


if __name__ == "__main__":
    main(sections)
