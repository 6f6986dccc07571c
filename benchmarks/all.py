"""Runs every benchmark, each in a process of its own, and writes their sections to one file: `make bench`."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

BENCHMARKS = (
    "chains.py",
    "chain_queries.py",
    "first_calls.py",
    "networks.py",
    "loopy_bp.py",
    "em.py",
    "tagger.py",
    "training_step.py",
)


def main() -> int:
    """The number of benchmarks that failed."""
    here, failed = Path(__file__).parent, 0
    for name in BENCHMARKS:
        if not (here / name).exists():
            print(f"{name}: not here, skipped", flush=True)
            continue
        print(f"{name} {' '.join(sys.argv[1:])}", flush=True)
        start = time.perf_counter()
        code = subprocess.run([sys.executable, "-W", "ignore", str(here / name), *sys.argv[1:]]).returncode
        failed += code != 0
        print(f"{name}: {f'failed with {code}, ' if code else ''}{time.perf_counter() - start:.0f} s\n", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
