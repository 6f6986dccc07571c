"""Work that every process does, and that fails in all of them if it fails in one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch

from graft.errors import GraftError

T = TypeVar("T")


def together(work: Callable[[], T], fabric: Any) -> T:
    """Do some work; no process goes on, to wait for the others for ever, where one of them has failed.

    Args:
        work: holds no collective operation that comes after its likely failures.
        fabric: tells how many processes there are.

    Returns:
        What the work gave in this process.

    Raises:
        GraftError: the work failed in another process; names the process and its reason. Where it failed, its own
            error is raised.
    """
    if fabric.world_size == 1:
        return work()
    failure: Exception | None = None
    found: list[T] = []
    try:
        found.append(work())
    except Exception as error:
        failure = error
    failed = torch.tensor(float(failure is not None), device=fabric.device)
    if not bool(fabric.all_reduce(failed, reduce_op="sum")):
        return found[0]
    reasons = everyone(None if failure is None else str(failure), fabric)
    if failure is not None:
        raise failure
    rank, reason = next((rank, reason) for rank, reason in enumerate(reasons) if reason is not None)
    raise GraftError(f"process {rank} stopped: {reason}")


def everyone(value: Any, fabric: Any) -> list[Any]:
    """A value of every process."""
    if fabric.world_size == 1:
        return [value]
    found: list[Any] = [None] * fabric.world_size
    torch.distributed.all_gather_object(found, value)
    return found
