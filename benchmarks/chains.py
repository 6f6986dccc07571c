"""Linear chains side by side with peers: log Z with its gradients by unary and pairwise potentials, in float32.

All contestants do the same work in turn, round after round, so that whatever else the machine does falls on all of
them. `README.md` beside this file says how to install the peers; those that cannot be imported are listed.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

#: (batch, T, S)
SIZES = [(32, 40, 20), (32, 100, 50), (64, 256, 128), (8, 2000, 16), (1, 100_000, 8)]
#: The most bytes of potentials (b, T, S, S) that a contestant is given.
MOST_BYTES = 600_000_000

Step = Callable[[], float]


def potentials(size):
    import torch

    generator = torch.Generator().manual_seed(0)
    unary = torch.randn(*size, generator=generator).requires_grad_()
    return unary, torch.randn(size[2], size[2], generator=generator).requires_grad_()


def with_gradients(size, log_z) -> Step:
    """One step: log Z of the batch, summed, and its gradients."""
    unary, pairwise = potentials(size)

    def step():
        unary.grad = pairwise.grad = None
        value = log_z(unary, pairwise).sum()
        value.backward()
        return float(value.detach())

    return step


def graft(size) -> Step:
    import torch

    from graft.structured import LinearChain

    lengths = torch.full(size[:1], size[1])
    return with_gradients(size, lambda u, w: LinearChain(u, w, lengths).log_partition)


def scaled_loop(size) -> Step:
    """What one writes by hand: scaled products of matrices in a loop, and autograd."""
    import torch

    def log_z(u, w):
        high = u.amax(-1)
        emissions, table = (u - high[..., None]).exp(), w.exp()
        alpha, logs = emissions[:, 0], high.sum(-1)
        for t in range(1, u.shape[1]):
            alpha = (alpha @ table) * emissions[:, t]
            scale = alpha.sum(-1, keepdim=True)
            alpha, logs = alpha / scale, logs + scale[:, 0].log()
        return logs + alpha.sum(-1).log()

    return with_gradients(size, torch.enable_grad()(log_z))


def pytorch_crf(size) -> Step:
    import torch
    from torchcrf import CRF

    if size[1] > 10_000:
        raise MemoryError("autograd through so many steps")
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


def fits(size) -> None:
    bytes_needed = 4 * math.prod(size) * size[2]
    if bytes_needed > MOST_BYTES:
        raise MemoryError(f"{bytes_needed / 1e9:.1f} GB of potentials, several times")


def torch_struct(size) -> Step:
    fits(size)
    if math.prod(size) * size[2] > 6_000_000:
        raise MemoryError("log-space products of matrices, S^3 a step")
    from torch_struct import LinearChainCRF

    # its axes are (next state, state)
    return with_gradients(size, lambda u, w: LinearChainCRF(edges(u, w).mT).partition)


def pyro_scan(size) -> Step:
    fits(size)
    from pyro.distributions.hmm import _sequential_logmatmulexp

    return with_gradients(size, lambda u, w: _sequential_logmatmulexp(edges(u, w)).logsumexp((-2, -1)))


class Dynamax:
    """dynamax's compiled filter, in a Python of its own, one step at each line written to it."""

    def __init__(self, python: str, threads: int) -> None:
        command = [python, str(Path(__file__).resolve()), "--worker", str(threads)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, line: str) -> str:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline()

    def __call__(self, size) -> Step:
        reply = self.ask(json.dumps(size))
        if reply.strip() != "ready":
            raise ImportError("dynamax: " + reply.strip())
        step = lambda: float(self.ask("step"))  # noqa: E731
        step.timed_elsewhere = True  # type: ignore[attr-defined]
        return step


def worker() -> None:
    """In the other Python: reads sizes and `step`, answers with seconds."""
    try:
        import jax
        import jax.numpy as jnp
        from dynamax.hidden_markov_model import hmm_filter
    except ImportError as error:
        print(error, flush=True)
        return

    def total(unary, pairwise):
        first = jnp.full(unary.shape[-1], 1 / unary.shape[-1])
        each = jax.vmap(lambda u: hmm_filter(first, jnp.exp(pairwise), u).marginal_loglik)
        return each(unary).sum()

    run = jax.jit(jax.value_and_grad(total, argnums=(0, 1)))
    inputs = ()
    for line in sys.stdin:
        if line.strip() == "step":
            start = time.perf_counter()
            jax.block_until_ready(run(*inputs))
            print(time.perf_counter() - start, flush=True)
        else:
            size = json.loads(line)
            one, two = jax.random.split(jax.random.key(0))
            inputs = jax.random.normal(one, size), jax.nn.log_softmax(jax.random.normal(two, (size[2], size[2])))
            jax.block_until_ready(run(*inputs))
            print("ready", flush=True)


CONTESTANTS: dict[str, Callable[..., Step]] = {
    "graft": graft,
    "loop of scaled products": scaled_loop,
    "pytorch-crf": pytorch_crf,
    "torch-struct": torch_struct,
    "Pyro's scan": pyro_scan,
}


def timed(step: Step) -> float:
    if getattr(step, "timed_elsewhere", False):
        return step()
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def compete(size, contestants, seconds: float) -> dict:
    """Times all that can do this size, in turn, until each has had its share of the seconds."""
    steps, results = {}, {}
    for name, make in contestants.items():
        try:
            steps[name] = make(size)
            value = steps[name]()  # compilation and caches are paid here
            if not getattr(steps[name], "timed_elsewhere", False):
                results[name] = {"value": value}
        except (ImportError, MemoryError) as error:
            results[name] = {"missing": str(error) or type(error).__name__}
            steps.pop(name, None)
    times: dict[str, list[float]] = {name: [] for name in steps}
    share = seconds / max(1, len(steps))
    for turn in range(1000):
        due = [name for name in steps if turn < 2 or sum(times[name]) < share]
        if not due:
            break
        for name in due:
            times[name].append(timed(steps[name]))
    for name, taken in times.items():
        results.setdefault(name, {}).update(median=statistics.median(taken), least=min(taken), turns=len(taken))
    return results


def geometric_mean(values) -> float:
    return math.exp(statistics.fmean(math.log(value) for value in values))


def report(found: dict, measure: str) -> str:
    names = list(next(iter(found.values())))
    lines = [f"| ms ({measure}) | " + " | ".join(found) + " | graft is faster by |", "|---" * (len(found) + 2) + "|"]
    for name in names:
        cells = [result[name].get(measure) for result in found.values()]
        ratios = [r[name][measure] / r["graft"][measure] for r in found.values() if measure in r[name]]
        shown = [f"{1e3 * cell:.2f}" if cell else "-" for cell in cells]
        faster = f"{geometric_mean(ratios):.1f} (least {min(ratios):.1f})" if ratios else "-"
        lines.append(f"| {name} | " + " | ".join(shown) + f" | {faster if name != 'graft' else ''} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", help="a folder that peers were installed into")
    parser.add_argument("--jax", help="a Python that has dynamax")
    parser.add_argument("--seconds", type=float, default=20.0, help="for each size")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sizes", nargs="*", help="batch,T,S")
    parser.add_argument("--only", nargs="*", help="contestants beside graft")
    parser.add_argument("--json", help="where the figures go")
    parser.add_argument("--worker", type=int)
    options = parser.parse_args()
    if options.worker:
        worker()
        return
    if options.peers:
        sys.path.append(options.peers)
    import torch

    torch.set_num_threads(options.threads)
    contestants = dict(CONTESTANTS)
    if options.jax:
        contestants["dynamax"] = Dynamax(options.jax, options.threads)
    if options.only is not None:
        contestants = {name: make for name, make in contestants.items() if name in ("graft", *options.only)}
    sizes = [tuple(map(int, size.split(","))) for size in options.sizes] if options.sizes else SIZES
    found = {str(size): compete(size, contestants, options.seconds) for size in sizes}
    for size, results in found.items():
        for name, result in results.items():
            if "missing" in result:
                print(f"{size}: {name} left out: {result['missing']}")
    for measure in ("median", "least"):
        print(f"\n{report(found, measure)}")
    if options.json:
        about = {"torch": torch.__version__, "threads": options.threads, "machine": platform.processor()}
        Path(options.json).write_text(json.dumps({"about": about, "results": found}, indent=1))


if __name__ == "__main__":
    main()
