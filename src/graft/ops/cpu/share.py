"""Work shared among threads, and scratch memory that is used again."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
import torch

#: Multiplications below which a second thread costs more than it does.
WORTH_A_THREAD = 2_000_000
#: Scratch of more bytes than this is given back to the system.
KEPT_BYTES = 1 << 28

_pool: list[ThreadPoolExecutor] = []
_scratch: list[np.ndarray] = []


def _forget() -> None:
    """In a forked process the threads of the parent do not exist."""
    _pool.clear()


os.register_at_fork(after_in_child=_forget)


def share(count: int, work: float, run: Callable[[int, int, int], None]) -> None:
    """Calls `run(worker, first, last)` on parts of `range(count)`, in as many threads as torch may use.

    Kernels hold no lock while they run. Python's threads are safe to use from several threads at once and after a
    fork; OpenMP's are not.
    """
    workers = workers_for(count, work)
    if workers == 1:
        run(0, 0, count)
        return
    bounds = [count * k // workers for k in range(workers + 1)]
    if not _pool:
        _pool.append(ThreadPoolExecutor(max_workers=max(1, (os.cpu_count() or 2) - 1), thread_name_prefix="graft"))
    others = [_pool[0].submit(run, k, bounds[k], bounds[k + 1]) for k in range(1, workers)]
    try:
        run(0, bounds[0], bounds[1])
    finally:
        # an interrupted caller would free what they write to
        wait(others)
    for other in others:
        other.result()


def workers_for(count: int, work: float) -> int:
    """How many threads share `count` pieces of so much work."""
    if work < 2 * WORTH_A_THREAD:
        return 1
    return max(1, min(count, torch.get_num_threads(), int(work // WORTH_A_THREAD)))


def take(count: int, dtype: np.dtype) -> np.ndarray:
    """A flat array of any content, aligned to whole cache lines; `give` it back when it is no longer needed.

    Fresh memory costs more than the sweep that first writes to it: the system hands it out page by page.
    """
    size = count * dtype.itemsize
    for k in range(len(_scratch)):
        try:
            # another thread may take one meanwhile
            found = _scratch.pop(k)
        except IndexError:
            break
        if size <= found.size <= 4 * size + 4096:
            return found[:size].view(dtype)
        _scratch.insert(k, found)
    return aligned(count, dtype)


def aligned(count: int, dtype: np.dtype) -> np.ndarray:
    """A flat array of any content that begins with a cache line: registers are loaded twice as fast from there."""
    size = count * dtype.itemsize
    fresh = np.empty(size + 64, np.uint8)  # numpy asks the system for large pages
    start = -fresh.__array_interface__["data"][0] % 64
    return fresh[start : start + size].view(dtype)


def give(*arrays: np.ndarray) -> None:
    """Keeps scratch for the next `take`."""
    for array in arrays:
        if array.nbytes <= KEPT_BYTES:
            _scratch.append(array.view(np.uint8))
    while len(_scratch) > 8:
        _scratch.pop(0)
