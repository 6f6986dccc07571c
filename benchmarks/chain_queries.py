"""Linear chains, other queries: the best sequence, the k best, marginals, samples, entropy; beside peers with them."""

from __future__ import annotations

from chains import edges, refuse_more_than
from foreign import foreign
from harness import Case, Contestant, Section, Step, Unfit, main
from potentials import arrays

SIZES = {(32, 40, 20): True, (32, 100, 50): False, (8, 2000, 16): True}
#: Sequences in a list, and draws of each row.
BEST, DRAWS = 5, 100


def tensors(size):
    import torch

    return [torch.from_numpy(x) for x in arrays(*size)]


def graft(ask):
    def make(*size):
        import torch

        from graft.structured import LinearChain

        unary, pairwise = tensors(size)
        lengths = torch.full(size[:1], size[1])
        return lambda: ask(LinearChain(unary, pairwise, lengths))

    return make


def score(size, states):
    """The sum of the scores of sequences, as a number to compare."""
    import torch

    unary, pairwise = tensors(size)
    states = torch.as_tensor(states).reshape(size[:2])
    nodes = unary.gather(2, states[..., None]).sum()
    return float(nodes + pairwise[states[:, :-1], states[:, 1:]].sum())


def best_of_graft(*size):
    make = graft(lambda chain: chain.mode())(*size)
    want = score(size, make())
    return lambda: (make(), want)[1]


def best_of_pytorch_crf(*size):
    import torch
    from torchcrf import CRF

    unary, pairwise = tensors(size)
    crf = CRF(size[2], batch_first=True)
    with torch.no_grad():
        crf.start_transitions.zero_()
        crf.end_transitions.zero_()
        crf.transitions.copy_(pairwise)
    want = score(size, crf.decode(unary))
    return lambda: (crf.decode(unary), want)[1]


def given_hmm(size):
    """hmmlearn's HMM, with the log-likelihoods of the frames in place of data."""
    import numpy as np
    from hmmlearn.base import BaseHMM

    class Given(BaseHMM):
        def _compute_log_likelihood(self, X):
            return X

    unary, pairwise = arrays(*size)
    model = Given(n_components=size[2], implementation="scaling")
    model._check = lambda: None
    model.n_features = size[2]
    table = np.exp(pairwise.astype(np.float64))
    model.startprob_, model.transmat_ = np.full(size[2], 1 / size[2]), table / table.sum(1, keepdims=True)
    return model, unary.reshape(-1, size[2]).astype(np.float64), [size[1]] * size[0]


def best_of_hmmlearn(*size):
    model, frames, lengths = given_hmm(size)
    want = score(size, model.decode(frames, lengths)[1])
    return lambda: (model.decode(frames, lengths), want)[1]


def marginals_of_hmmlearn(*size):
    model, frames, lengths = given_hmm(size)
    return lambda: float(model.predict_proba(frames, lengths)[0].sum())


def dense_hmm(size):
    """pomegranate's HMM without distributions: the log-likelihoods are handed to each call."""
    import torch
    from pomegranate.distributions import Normal
    from pomegranate.hmm import DenseHMM

    unary, pairwise = tensors(size)
    states = [Normal([0.0], [1.0], covariance_type="diag") for _ in range(size[2])]
    even = torch.full(size[2:], 1 / size[2])
    return DenseHMM(states, edges=pairwise.exp(), starts=even, ends=torch.ones(size[2])), unary


def marginals_of_pomegranate(*size):
    if size[1] > 1000:
        raise Unfit("half a minute a call")
    model, unary = dense_hmm(size)
    return lambda: float(model.forward_backward(emissions=unary)[1].exp()[:, 0].sum())


def best_of_pomegranate(*size):
    model, unary = dense_hmm(size)
    want = score(size, model.viterbi(emissions=unary))
    return lambda: (model.viterbi(emissions=unary), want)[1]


def torch_struct(ask):
    def make(*size):
        refuse_more_than(24_000_000, size)
        if size[1] > 1000:
            raise Unfit("seconds to minutes a call")
        from torch_struct import LinearChainCRF

        unary, pairwise = tensors(size)
        return lambda: ask(LinearChainCRF(edges(unary, pairwise).mT))

    return make


def samples_of_torch_struct(*size):
    """Two of the draws: it takes a whole sweep for each."""
    run = torch_struct(lambda chain: chain.sample((2,)) is None or None)(*size)
    return Step(run, units=2 / DRAWS)


def sections(options):
    inner = foreign(options.jax, "jax_chains.py")
    cases = [Case(str(size), size, quick, 2.0) for size, quick in SIZES.items()]

    def section(key, title, *contestants, **more):
        return Section(key, title, cases, [Contestant(name, make) for name, make in contestants], **more)

    yield section(
        "chains-mode", "Chains: the best sequence (Viterbi)",
        ("graft", best_of_graft), ("pytorch-crf", best_of_pytorch_crf), ("hmmlearn", best_of_hmmlearn),
        ("pomegranate", best_of_pomegranate),
        ("torch-struct", torch_struct(lambda chain: chain.argmax is None or None)),
        ("dynamax", lambda *size: inner("mode", *size)),
    )  # fmt: skip
    yield section(
        "chains-marginals", "Chains: marginals of all elements (smoothing)",
        ("graft", graft(lambda chain: float(chain.marginals[:, 0].sum()))),
        ("torch-struct", torch_struct(lambda chain: chain.marginals is None or None)),
        ("hmmlearn", lambda *size: marginals_of_hmmlearn(*size)), ("pomegranate", marginals_of_pomegranate),
        ("dynamax", lambda *size: inner("marginals", *size)),
        about="The number compared is the mass at first elements.", agree=None,
    )  # fmt: skip
    yield section(
        "chains-samples", f"Chains: {DRAWS} samples of each row",
        ("graft", graft(lambda chain: chain.sample((DRAWS,)) is None or None)),
        ("torch-struct", samples_of_torch_struct), ("dynamax", lambda *size: inner("sample", *size, DRAWS)),
        about="pytorch-crf, hmmlearn and pomegranate draw none given the data. torch-struct is timed on two draws.",
    )  # fmt: skip
    yield section(
        "chains-list", f"Chains: the {BEST} best sequences",
        ("graft", graft(lambda chain: float(chain.top_k(BEST)[1].sum()))),
        ("torch-struct", torch_struct(lambda chain: float(chain.kmax(BEST).sum()))),
        about="The only other one; it gives their scores, graft the sequences too.",
    )  # fmt: skip
    yield section(
        "chains-entropy", "Chains: entropy",
        ("graft", graft(lambda chain: float(chain.entropy().sum()))),
        ("torch-struct", torch_struct(lambda chain: float(chain.entropy.sum()))), agree=1e-3,
    )  # fmt: skip


if __name__ == "__main__":
    main(sections)
