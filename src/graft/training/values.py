"""The values in the state of a run: what no run could have written is refused before anything is changed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch

from graft.errors import GraftError
from graft.training.checkpoint import STATE


def check_values(path: Path, state: dict[str, Any], processes: int) -> None:
    """Check the values of a state whose entries are of the right kinds.

    Args:
        path: of the checkpoint.
        state: of the run.
        processes: that each have their part of it.

    Raises:
        GraftError: names the first entry that cannot be.
    """
    for name, good in {**_numbers(state), **_parts(state, processes), "best": _best(state["best"])}.items():
        if not good:
            raise GraftError(f"{path / STATE} does not hold the state of a run: {name} cannot be what it says")


def _numbers(state: dict[str, Any]) -> dict[str, bool]:
    good = {name: type(state[name]) is int and state[name] >= 0 for name in ("epoch", "step", "position", "rows")}
    if all(good.values()):
        good["position"] = state["position"] <= min(state["step"], state["rows"])
        good["rows"] = (state["rows"] == 0) == (state["position"] == 0)
    return good


def _parts(state: dict[str, Any], processes: int) -> dict[str, bool]:
    """One of each process, and a row of the log of each epoch."""
    total = state["total"]
    good = {"total": total.shape == (processes,) and total.is_floating_point() and bool(torch.isfinite(total).all())}
    for name in ("start", "now"):
        value = state[name]
        good[name] = len(value) == processes and all(
            type(one) is dict and {"global", "data"} == set(one) for one in value
        )
    for name, columns in (("log", {"epoch", "step", "loss"}), ("seconds", {"epoch", "seconds"})):
        rows = state[name]
        good[name] = len(rows) == state["epoch"] and all(_is_row(row, columns) for row in rows)
    return good


def _is_row(row: Any, columns: set[str]) -> bool:
    return type(row) is dict and columns <= row.keys() and all(type(value) in (int, float) for value in row.values())


def _best(told: dict[str, Any]) -> bool:
    if told.keys() != {"value", "epoch", "waited", "checkpoint"}:
        return False
    none = told["value"] is None and told["epoch"] is None and told["checkpoint"] is None
    some = type(told["value"]) is float and math.isfinite(told["value"]) and type(told["epoch"]) is int
    named = told["checkpoint"] is None or type(told["checkpoint"]) is str
    return type(told["waited"]) is int and told["waited"] >= 0 and named and (none or some)
