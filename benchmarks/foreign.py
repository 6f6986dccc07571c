"""Contestants in a Python of their own, so that their libraries cannot meddle with those of the others.

The other Python runs a script that ends in `serve(make)`, where `make(*parameters)` returns the work, a function
without arguments that returns a number or `None`; here `foreign(python, script)` is what makes its steps. Requests and
answers are lines of JSON. Work is timed over there, so that the pipe does not count.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from harness import Step, Unfit

#: JAX's way to ask for one thread.
ALONE = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


class Worker:
    """A process that does one contestant's work."""

    def __init__(self, python: str, script: str) -> None:
        self.process = subprocess.Popen(
            [python, "-W", "ignore", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "XLA_FLAGS": "" if os.environ["OMP_NUM_THREADS"] != "1" else ALONE},
        )

    def ask(self, request: object) -> dict:
        """One request; raises as the other side did."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("its process ended")
        answer = json.loads(line)
        if "missing" in answer:
            raise ImportError(answer["missing"])
        if "unfit" in answer:
            raise Unfit(answer["unfit"])
        return answer


def foreign(python: str | None, script: str | Path, units: float = 1.0) -> Callable[..., Step]:
    """What makes steps that run in another Python; `script` is beside this file."""
    workers: list[Worker] = []

    def make(*parameters: object) -> Step:
        if python is None:
            raise ImportError("--jax names no Python")
        if not workers:
            workers.append(Worker(python, str(Path(__file__).parent / script)))
        workers[0].ask({"make": parameters})
        last: dict = {}

        def run() -> float | None:
            last.update(workers[0].ask({"run": True}))
            return last["value"]

        return Step(run, units, lambda: last["seconds"])

    return make


def serve(make: Callable[..., Callable[[], float | None]]) -> None:
    """In the other Python: answers requests until there are no more."""
    out, sys.stdout = sys.stdout, sys.stderr
    run: Callable[[], float | None] = lambda: None  # noqa: E731
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if "make" in request:
                run = make(*request["make"])
                answer: dict = {"ready": True}
            else:
                start = time.perf_counter()
                value = run()
                seconds = time.perf_counter() - start
                answer = {"seconds": seconds, "value": None if value is None else float(value)}
        except ImportError as error:
            answer = {"missing": str(error)}
        except Exception as error:  # a peer's failure is a result
            answer = {"unfit": f"failed: {type(error).__name__}: {str(error)[:200]}"}
        out.write(json.dumps(answer) + "\n")
        out.flush()
