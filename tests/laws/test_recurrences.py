"""What recurrences compute equals plain loops: both ways, nested axes, own first and last elements, ragged rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from graft.distributions.supports import Real
from graft.factors.function import Function
from graft.factors.gaussian import Gaussian
from graft.factors.recurrent import Recurrent
from graft.model import Model


@pytest.fixture(autouse=True)
def doubles():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def half(*values: Tensor) -> Tensor:
    """A function of several pasts that knows their order."""
    return sum(v * 0.5 ** (k + 1) for k, v in enumerate(values)) + 1.0


def double(value: Tensor) -> Tensor:
    return 2.0 * value


def cell(inputs: int) -> Recurrent:
    return Recurrent(nn.LSTMCell(inputs, 2), learn_initial=True)


def computed(net: Callable[..., Tensor]) -> Function:
    return Function(net, dim=2, concat=False)


def at(h: list, t: int) -> Any:
    """What stands at a place: zeros outside."""
    return h[t] if 0 <= t < len(h) and h[t] is not None else torch.zeros(2)


@dataclass(frozen=True)
class Loop:
    """A model that computes h from an input x with the axis t, and the same by hand for one row of x (T, 2)."""

    factors: dict[str, Any]
    by_hand: Callable[[dict[str, Any], Tensor], list[Tensor]]


def forward(f: dict[str, Any], x: Tensor) -> list[Tensor]:
    h: list[Tensor] = []
    for t in range(len(x)):
        h.append(half(x[t], at(h, t - 1)))
    return h


def backward(f: dict[str, Any], x: Tensor) -> list[Tensor]:
    h: list[Any] = [None] * len(x)
    for t in reversed(range(len(x))):
        h[t] = half(x[t], at(h, t + 1))
    return h


def lag_two(f: dict[str, Any], x: Tensor) -> list[Tensor]:
    h: list[Tensor] = []
    for t in range(len(x)):
        h.append(double(x[t]) if t < 2 else half(x[t], h[t - 1], h[t - 2]))
    return h


def first_and_last(f: dict[str, Any], x: Tensor) -> list[Tensor]:
    h: list[Tensor] = []
    for t in range(len(x)):
        if t == 0:
            h.append(double(x[0]))
        else:
            h.append(-x[t] if t == len(x) - 1 else half(x[t], h[t - 1]))
    return h


def own_last(f: dict[str, Any], x: Tensor) -> list[Tensor]:
    h: list[Any] = [None] * len(x)
    for t in reversed(range(len(x))):
        h[t] = double(x[t]) if t == len(x) - 1 else half(x[t], h[t + 1])
    return h


def lstm(f: dict[str, Any], x: Tensor, backward: bool = False, own: bool = False) -> list[Tensor]:
    module = next(m for m in f.values() if isinstance(m, Recurrent))
    h, pair = [torch.zeros(2)] * len(x), module.start.unsqueeze(1).unbind(0)
    start = pair
    order = list(range(len(x)))[:: -1 if backward else 1]
    for t in order:
        if own and t == order[0]:
            pair = (double(x[t]).unsqueeze(0), start[1])
        else:
            pair = module.cell(x[t].unsqueeze(0), pair)
        h[t] = pair[0][0]
    return h


def shifted(f: dict[str, Any], x: Tensor) -> list[Tensor]:
    rows = list(x)
    return [half(at(rows, t - 2), at(rows, t + 1), x[0], x[-1]) for t in range(len(x))]


LOOPS: dict[str, Loop] = {
    "forward": Loop({"h[t] = x[t], h[t-1]": computed(half)}, forward),
    "backward": Loop({"h[t] = x[t], h[t+1]": computed(half)}, backward),
    "lag two": Loop(
        {"h[0] = x[0]": double, "h[1] = x[1]": double, "h[t] = x[t], h[t-1], h[t-2]": computed(half)}, lag_two
    ),
    "first and last": Loop(
        {"h[t] = x[t], h[t-1]": computed(half), "h[0] = x[0]": double, "h[-1] = x[-1]": torch.neg},
        first_and_last,
    ),
    "own last": Loop({"h[t] = x[t], h[t+1]": computed(half), "h[-1] = x[-1]": double}, own_last),
    "LSTM": Loop({"h[t] = x[t], h[t-1]": cell(2)}, lstm),
    "LSTM backward": Loop({"h[t] = x[t], h[t+1]": cell(2)}, lambda f, x: lstm(f, x, backward=True)),
    "LSTM with a first state": Loop(
        {"h[0] = x[0]": double, "h[t] = x[t], h[t-1]": cell(2)}, lambda f, x: lstm(f, x, own=True)
    ),
    "LSTM with a last state": Loop(
        {"h[-1] = x[-1]": double, "h[t] = x[t], h[t+1]": cell(2)},
        lambda f, x: lstm(f, x, backward=True, own=True),
    ),
    "no recurrence": Loop({"h[t] = x[t-2], x[t+1], x[0], x[-1]": computed(half)}, shifted),
}


@pytest.mark.parametrize("ragged", ["full", "ragged", "holes"])
@pytest.mark.parametrize("name", LOOPS)
def test_loops(name, ragged):
    loop = LOOPS[name]
    model = Model(loop.factors, support={"x": Real(2), "h": Real(2)}).double()
    x, exists = torch.randn(5, 4, 2), torch.ones(5, 4).bool()
    if ragged == "ragged":
        exists = torch.arange(4) < torch.arange(5).unsqueeze(-1)
    elif ragged == "holes":
        exists = torch.rand(5, 4) < 0.6
    found = model.sample(x=torch.where(exists.unsqueeze(-1), x, torch.nan), mask=exists)["h"]
    for row in range(5):
        by_hand = loop.by_hand({n.formula.text: n.module for n in model.graph.nodes}, x[row][exists[row]])
        assert_close(found[row][exists[row]], torch.stack(by_hand) if by_hand else torch.zeros(0, 2))
        assert not found[row][~exists[row]].any()


def test_draws_and_observations_start_alike():
    """Outside the sequence stand the same zeros whether x is drawn or given."""
    model = Model({"x[t] | x[t-1]": Gaussian(nn.Linear(2, 4), dim=2)})
    drawn = model.sample((4,), seed=3, sizes={"t": 3})["x"]
    net = model.graph.nodes[0].module.net
    total = torch.zeros(4)
    for t in range(3):
        loc, log_scale = net(drawn[:, t - 1] if t else torch.zeros(4, 2)).chunk(2, -1)
        total = total + torch.distributions.Normal(loc, log_scale.exp()).log_prob(drawn[:, t]).sum(-1)
    assert_close(model.log_prob(x=drawn), total)


GRIDS = {
    "down and right": ("h[i,j] = x[i,j], h[i-1,j], h[i,j-1]", 1, 1),
    "up and right": ("h[i,j] = x[i,j], h[i+1,j], h[i,j-1]", -1, 1),
    "diagonal": ("h[i,j] = x[i,j], h[i-1,j-1], h[i-1,j+1]", 1, 0),
    "no recurrence": ("h[i,j] = x[i,j], x[i-1,j-1], x[i-1,j+1]", 1, 0),
}


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("ragged", [False, True])
def test_two_axes(name, ragged):
    formula, down, right = GRIDS[name]
    model = Model({formula: computed(half)}, support={"x": Real(2)})
    x, rows, columns = torch.randn(3, 4, 2), torch.tensor(3), torch.tensor([4, 4, 4])
    if ragged:
        rows, columns = torch.tensor(3), torch.tensor([4, 1, 3])
    found = model.sample(x=x, lengths={"i": rows, "j": columns})["h"]
    h: dict[tuple[int, int], Tensor] = {}
    cells = {(i, j): x[i, j] for i in range(int(rows)) for j in range(int(columns[i]))}
    read = cells if name == "no recurrence" else h
    zero = torch.zeros(2)
    for i, j in sorted(cells, key=lambda cell: (down * cell[0], cell[1])):
        if right:
            h[i, j] = half(x[i, j], h.get((i - down, j), zero), h.get((i, j - 1), zero))
        else:
            h[i, j] = half(x[i, j], read.get((i - 1, j - 1), zero), read.get((i - 1, j + 1), zero))
    for i in range(3):
        for j in range(4):
            assert_close(found[i, j], h.get((i, j), zero), msg=f"{i}, {j}")


def test_single_elements_of_ragged_rows():
    model = Model({"y | x[-1], x[0], x[-2]": Gaussian(nn.Identity(), dim=6, scale=1.0)}, support={"x": Real(2)})
    x = torch.randn(4, 3, 2)
    y = torch.zeros(4, 6)
    found = model.log_prob(x=x, y=y, lengths={"x.1": torch.tensor([0, 1, 2, 3])})
    for row, length in enumerate(range(4)):
        rows = list(x[row, :length])
        read = torch.cat([at(rows, length - 1), at(rows, 0), at(rows, length - 2)])
        assert_close(found[row], torch.distributions.Normal(read, 1.0).log_prob(y[row]).sum())
