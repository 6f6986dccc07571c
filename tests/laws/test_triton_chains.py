"""Laws of Triton's chain kernels: right where they are interpreted, whole where they are compiled for cards.

There need be no card: the interpreter says what kernels mean, the compiler that they are machine code for each card.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from tests.reference import triton_chains

from graft.ops import chain_kernels
from graft.ops.cuda import choose

triton = pytest.importorskip("triton", reason="Triton is not installed")
from triton.backends.compiler import GPUTarget  # noqa: E402

from graft.ops.cuda import launch  # noqa: E402
from graft.ops.cuda.paths import best_paths  # noqa: E402
from graft.ops.cuda.swept import Swept  # noqa: E402

MODELS = 105
KERNELS = {"forward", "backward", "pairs", "viterbi", "follow"}
ANSWERS = [
    "log_z",
    "by_unary",
    "by_pairwise",
    "listed",
    "marginals",
    "pair_marginals",
    "again",
    "best",
    "path",
    "beyond",
]
QUERIES = ["log_partition", "expected_counts", "entropy", "kl", "mode", "top_k", "sample", "second"]
DTYPES = (torch.float32, torch.float64)
SIZES = (2, 8, 16, 64, 128)
not_interpreted = pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="Triton interprets kernels here")
TABLES = {"one": lambda s: (s, s), "by step": lambda s: (1, 4, s, s), "by row and step": lambda s: (2, 4, s, s)}


@pytest.fixture(scope="module")
def interpreted():
    """What kernels answer in a process of their own: Triton is told to interpret them as it is imported."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.reference.triton_chains", str(MODELS)],
        env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return dict(json.loads(line) for line in run.stdout.splitlines())


@pytest.mark.parametrize("answer", ANSWERS + QUERIES)
def test_interpreted_kernels_are_right(interpreted, answer):
    found = {name: off[answer] for name, off in interpreted.items() if answer in off}
    assert len(found) >= {"log_z": MODELS, "listed": 100}.get(answer, 1)
    assert {name: off for name, off in found.items() if not off <= 1} == {}


def test_all_kernels_were_interpreted(interpreted):
    assert interpreted["launched"].keys() == KERNELS


def cases(sizes):
    """In `make test` these sizes in each type, for one of the cards and one kind of table; otherwise all."""
    found = []
    for (card, capability), (kind, dtype) in itertools.product(enumerate((80, 90)), enumerate(DTYPES)):
        for (at, size), (which, table) in itertools.product(enumerate(SIZES), enumerate(TABLES)):
            kept = size in sizes and (card + kind + at) % 2 == 0 and which == (at + kind) % 3
            name = f"sm_{capability}, {dtype}, {size}, {table}"
            marks = () if kept else (pytest.mark.slow,)
            found.append(pytest.param(capability, dtype, size, table, id=name, marks=marks))
    return found


def potentials(size, dtype, table):
    return torch.zeros(2, 5, size, dtype=dtype), torch.zeros(TABLES[table](size), dtype=dtype), torch.tensor([5, 3])


@pytest.fixture
def compiling(monkeypatch, tmp_path):
    """Launches compile, with the arguments that they have, for a card that need not be here."""
    found = {}

    def target(capability):
        driver = SimpleNamespace(
            get_current_device=lambda: capability,
            get_current_stream=lambda device: 0,
            get_current_target=lambda: GPUTarget("cuda", capability, 32),
        )
        monkeypatch.setattr(triton.runtime.driver, "_active", driver)
        return found

    def compile_only(kernel, programs, like, *arguments, **constants):
        assert programs > 0
        found[kernel.fn.__name__] = kernel.run(*arguments, grid=(programs,), warmup=True, **constants)

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(launch, "launch", compile_only)
    return target


@not_interpreted
@pytest.mark.parametrize(("capability", "dtype", "size", "table"), cases(SIZES))
def test_sums_compile_to_machine_code(compiling, capability, dtype, size, table):
    found = compiling(capability)
    Swept(*potentials(size, dtype, table)).gradients(torch.ones(2))
    assert found.keys() == {"forward", "backward", "pairs"}
    fit(found)
    # four for the rounding error and one for what is below the greatest, of each entry that a thread holds
    entries = max(launch.block(size) ** 2 // (32 * launch.warps(size)), 1)
    subtractions = found["forward"].asm["ptx"].count("sub.f32" if dtype == torch.float32 else "sub.f64")
    assert subtractions >= 5 * entries, "the compiler has simplified the compensated sums away"


@not_interpreted
@pytest.mark.parametrize(("capability", "dtype", "size", "table"), cases((16, 128)))
def test_best_paths_compile_to_machine_code(compiling, capability, dtype, size, table):
    found = compiling(capability)
    u, w, lengths = potentials(size, dtype, table)
    best_paths(u, w if w.dim() == 4 else w[None, None], lengths)
    assert found.keys() == {"viterbi", "follow"}
    fit(found)


def fit(found):
    """Whether kernels ask for no more memory than every card gives."""
    for name, kernel in found.items():
        assert len(kernel.asm["cubin"]) > 0
        assert kernel.metadata.shared <= 48 * 1024, name


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_kernels_are_right_on_a_device():
    device = torch.device("cuda")
    assert choose.works(torch.zeros(1, device=device).device)
    for name, u, w, lengths in [*triton_chains.models(MODELS), *triton_chains.special()]:
        u, w, lengths = u.to(device), w.to(device), lengths.to(device)
        assert chain_kernels.chosen(u, w) == "triton"
        off = triton_chains.answers(u, w, lengths)
        assert {answer: by for answer, by in off.items() if not by <= 1} == {}, name


class OnCard(torch.Tensor):
    """Says that it is on a CUDA device."""

    device = property(lambda self: torch.device("cuda", 0))


def chosen(states, dtype=torch.float32, tables=None):
    u, w = torch.zeros(2, 3, states, dtype=dtype), torch.zeros(states, states, dtype=tables or dtype)
    return chain_kernels.chosen(u.as_subclass(OnCard), w.as_subclass(OnCard))


def test_what_triton_serves(monkeypatch):
    monkeypatch.setattr(choose, "works", lambda device: True)
    assert chosen(choose.MOST) == "triton"
    assert chosen(choose.MOST + 1) == "torch"
    assert chosen(3, torch.float16) == "torch"
    assert chosen(3, torch.float32, torch.float64) == "torch"
    assert chosen(0) == "torch"
    monkeypatch.setenv("GRAFT_TRITON", "0")
    assert chosen(3) == "torch"
    monkeypatch.delenv("GRAFT_TRITON")
    assert chosen(3) == "triton"
    monkeypatch.setattr(choose, "find_spec", lambda name: None)
    assert chosen(3) == "torch"


def test_a_device_where_triton_fails_is_left_to_torch(monkeypatch):
    """As where there is no compiler of C: a word of it, and once."""
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    choose.works.cache_clear()

    def fails(*arguments, **constants):
        raise RuntimeError("no compiler of C")

    monkeypatch.setattr(launch, "launch", fails)
    with pytest.warns(UserWarning, match="no compiler of C"):
        assert not choose.works(torch.device("cpu"))
    assert not choose.works(torch.device("cpu"))
    choose.works.cache_clear()
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert not choose.works(torch.device("cpu"))
    choose.works.cache_clear()
