"""Baselines: what is taken off the signal of a score-function estimator without changing its mean."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from graft.errors import GraftError
from graft.objectives.estimators.base import Signal


class Baseline(nn.Module):
    """A guess of the signal that does not look at the draw it belongs to.

    Attributes:
        learns: it has parameters, fitted by least squares beside the rest.
    """

    learns: ClassVar[bool] = False

    def guess(self, signal: Signal) -> Tensor:
        """The guess, broadcast to the cost."""
        raise NotImplementedError

    def see(self, signal: Signal, guess: Tensor) -> None:
        """Learn from a signal and what was guessed of it."""

    def _moves(self, signal: Signal) -> bool:
        """Whether a signal is to be learnt from: in training, where gradients are wanted."""
        return self.training and torch.is_grad_enabled() and bool(signal.cost.numel())

    def spread(self) -> Tensor | None:
        """What signal and guess are divided by; None if by nothing."""
        return None


class RunningAverage(Baseline):
    """The mean of past signals; at the first step, which has none, that of the other rows.

    Args:
        decay: how much of the past is kept at each step.

    Raises:
        GraftError: decay does not lie in [0, 1).

    Source: Williams 1992, section 5.

    Example:
        >>> average = RunningAverage(0.9)
        >>> signal = Signal(torch.tensor([2.0, 4.0]), None, None, {})
        >>> average.guess(signal), average.see(signal, average.guess(signal)), average.guess(signal)
        (tensor([4., 2.]), None, tensor(3.))
    """

    mean: Tensor
    steps: Tensor

    def __init__(self, decay: float = 0.9) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise GraftError(f"decay lies in [0, 1), it is not {decay!r}")
        self.decay = decay
        self.register_buffer("mean", torch.zeros((), dtype=torch.float64))
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def guess(self, signal: Signal) -> Tensor:
        if self._moves(signal) and not int(self.steps):
            return other_rows(signal.cost, signal.rank)
        return _averaged(self.mean, self.decay, self.steps).to(signal.cost.dtype)

    def see(self, signal: Signal, guess: Tensor) -> None:
        if not self._moves(signal):
            return
        with torch.no_grad():
            now = signal.cost.mean().to(self.mean.dtype)
            # a signal that is no number stops the step, and is not remembered
            good = torch.isfinite(now)
            self.mean.copy_(torch.where(good, self.mean * self.decay + now * (1 - self.decay), self.mean))
            self.steps.add_(good)


class InputDependent(Baseline):
    """A network of the evidence, and the running average of what it leaves, divided by its running spread.

    At the first step, which has no average yet, that of the other rows stands for it: an optimiser with a memory would
    remember the size of a signal from which nothing was taken for thousands of steps.

    Args:
        net: reads the evidence `of` and returns one number a row, shape (batch, 1) or (batch,).
        of: name of the evidence that it reads.
        decay: of the running averages.
        normalise: divide the signal by its running standard deviation where that is above one: the gradient of this
            variable is then a scaled one.

    Raises:
        GraftError: at a call, if `of` is no evidence, or the network returns another shape.

    Source: Mnih & Gregor 2014, sections 2.3.1 and 2.3.2.

    Example:
        >>> InputDependent(nn.Linear(3, 1), "x").learns
        True
    """

    learns = True
    mean: Tensor
    square: Tensor
    steps: Tensor
    #: what the network left of a signal that is not yet in the averages
    _left: Tensor | None = None

    def __init__(self, net: nn.Module, of: str, decay: float = 0.8, normalise: bool = False) -> None:
        super().__init__()
        self.net, self.of, self.decay, self.normalise = net, of, decay, normalise
        for name in ("mean", "square"):
            self.register_buffer(name, torch.zeros((), dtype=torch.float64))
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def guess(self, signal: Signal) -> Tensor:
        if self.of not in signal.evidence:
            raise GraftError(f"the baseline reads {self.of}, which is no evidence of this call")
        out = self.net(signal.evidence[self.of])
        batch = signal.cost.shape[signal.cost.dim() - signal.rank :]
        if tuple(out.shape) not in (tuple(batch), (*batch, 1)):
            raise GraftError(f"the baseline's network returned {tuple(out.shape)}, not one number a row {tuple(batch)}")
        out = out.reshape(batch)
        self._left = (signal.cost - out).detach().to(self.mean.dtype)
        if self._moves(signal) and not int(self.steps):
            self._learn()
            return out + other_rows(signal.cost - out.detach(), signal.rank)
        return out + self._mean().to(out.dtype)

    def spread(self) -> Tensor | None:
        """The standard deviation that the signal is divided by, at least one; None without `normalise`."""
        if not self.normalise:
            return None
        return _averaged(self.square, self.decay, self.steps).sqrt().clamp_min(1.0)

    def see(self, signal: Signal, guess: Tensor) -> None:
        if self._moves(signal):
            self._learn()

    def _learn(self) -> None:
        """Take what the network left into the averages, once."""
        left, self._left = self._left, None
        if left is None:
            return
        with torch.no_grad():
            good = torch.isfinite(left).all()
            self.steps.add_(good)
            left = torch.where(good, left, 0.0)
            self._remember(self.mean, left.mean(), good)
            self._remember(self.square, (left - self._mean()).square().mean(), good)

    def _remember(self, held: Tensor, now: Tensor, good: Tensor) -> None:
        """Move an average; a signal that is no number stops the step, and is not remembered."""
        held.copy_(torch.where(good, held * self.decay + now * (1 - self.decay), held))

    def _mean(self) -> Tensor:
        return _averaged(self.mean, self.decay, self.steps)


def _averaged(held: Tensor, decay: float, steps: Tensor) -> Tensor:
    """A running average without its start: the sum of k steps divided by the weight they have."""
    return held / (1 - decay ** steps.to(held.dtype)).clamp_min(1e-12)


def other_rows(signal: Tensor, rank: int) -> Tensor:
    """For each row of a batch the mean over the other ones, which does not look at its draw; 0 for a single row.

    Args:
        signal: (extra, batch).
        rank: dimensions of the batch.

    Example:
        >>> other_rows(torch.tensor([[1.0, 2.0, 6.0]]), 1)
        tensor([4.0000, 3.5000, 1.5000])
    """
    ahead = tuple(range(signal.dim() - rank))
    rows = signal.detach().mean(ahead) if ahead else signal.detach()
    return (rows.sum() - rows) / max(1, rows.numel() - 1)


class LeaveOneOut(Baseline):
    r"""The mean of the other samples' signals, $b_l = \frac{1}{L-1} \sum_{m \ne l} f_m$.

    Raises:
        GraftError: at a call, if there is one sample only.

    Source: Mnih & Rezende 2016, section 2.4; Kool, van Hoof & Welling 2019.

    Example:
        >>> LeaveOneOut().guess(Signal(torch.tensor([1.0, 2.0, 6.0]), None, 0, {}))
        tensor([4.0000, 3.5000, 1.5000])
    """

    def guess(self, signal: Signal) -> Tensor:
        if signal.samples is None or signal.cost.shape[signal.samples] < 2:
            raise GraftError("LeaveOneOut compares samples: ask for samples=2 or more")
        count, cost = signal.cost.shape[signal.samples], signal.cost
        if signal.weight is not None and signal.samples:
            # one guess for all cells of enumerated states, whose weights may depend on the draw
            cost = (cost * signal.weight).sum(tuple(range(signal.samples)), keepdim=True)
        return (cost.sum(signal.samples, keepdim=True) - cost) / (count - 1)
