"""What the first call of each kernel costs: with nothing kept from before, and in a later process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness import parser, setup
from report import circumstances, replace
from rich.console import Console
from rich.table import Table

TITLE = "First calls of the chain kernels"
ABOUT = (
    "Seconds of the first call of each kind, in this order: later ones share what earlier ones compiled or loaded. "
    "*Compiled*: in a process with an empty cache; *loaded*: in the next one. Importing numba is in the first."
)


def calls():
    """Names and work, in order."""
    import torch

    from graft.structured import LinearChain

    unary, table = torch.randn(4, 9, 5), torch.randn(5, 5)
    steps = table.expand(8, -1, -1) * torch.linspace(1, 2, 8)[:, None, None]
    far = torch.full((5, 5), float("-inf")).fill_diagonal_(-300.0)

    def gradient(u, w):
        u, w = u.clone().requires_grad_(), w.clone().requires_grad_()
        return lambda: LinearChain(u, w).log_partition.sum().backward()

    return {
        "log Z and gradients, one table, float32": gradient(unary, table),
        "float64": gradient(unary.double(), table.double()),
        "tables by step, float32": gradient(unary, steps),
        "log space": gradient(unary * 400, far + torch.eye(5).roll(1, 0) * 0.0),
        "mode": lambda: LinearChain(unary, table).mode(),
        "sample": lambda: LinearChain(unary, table).sample(3),
        "top_k": lambda: LinearChain(unary, table).top_k(3),
        "pair_marginals": lambda: LinearChain(unary, table).pair_marginals,
        "entropy": lambda: LinearChain(unary, table).entropy(),
    }


def child() -> None:
    """Times each call once, and answers with a line of JSON."""
    found = {}
    for name, call in calls().items():
        start = time.perf_counter()
        call()
        found[name] = time.perf_counter() - start
    print(json.dumps(found))


def measured(folder: str) -> dict[str, float]:
    """The times of a process that keeps machine code in a folder."""
    command = [sys.executable, "-W", "ignore", __file__, "--child"]
    answer = subprocess.run(command, env={**os.environ, "NUMBA_CACHE_DIR": folder}, capture_output=True, text=True)
    if answer.returncode:
        raise RuntimeError(answer.stderr)
    return json.loads(answer.stdout)


def main() -> None:
    options = parser().parse_args()
    setup(options)
    with tempfile.TemporaryDirectory() as folder:
        compiled, loaded = measured(folder), measured(folder)
    rows = [(name, f"{compiled[name]:.2f}", f"{loaded[name]:.2f}") for name in compiled]
    rows.append(("all", f"{sum(compiled.values()):.2f}", f"{sum(loaded.values()):.2f}"))
    table = Table("seconds", "compiled", "loaded", title=TITLE)
    for row in rows:
        table.add_row(*row)
    Console().print(table)
    if options.write:
        lines = [f"## {TITLE}", "", ABOUT, "", "| seconds | compiled | loaded |", "|---|---|---|"]
        lines += [f"| {' | '.join(row)} |" for row in rows]
        replace(Path(options.write), "first-calls", "\n".join([*lines, "", circumstances(options)]))


if __name__ == "__main__":
    child() if "--child" in sys.argv else main()
