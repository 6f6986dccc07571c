"""The arguments of a linear-Gaussian chain, checked and flattened to a `System`: what the layer computes with."""

from __future__ import annotations

from math import prod

import torch
from jaxtyping import Shaped
from torch import Tensor

from graft.errors import GraftError, ShapeError
from graft.ops.kalman_evidence import Observed, added, evidence
from graft.ops.kalman_system import System, Weights
from graft.ops.modes import ordinary
from graft.structured.existence import Existence
from graft.structured.gaussian_checks import Argument, covariance, finite, joint_batch
from graft.structured.gaussian_parameters import Dynamics, Emission, GaussianEvidence


class GaussianSystem:
    """Parameters and evidence with one flat batch dimension, in float64: copies, which nobody else changes.

    Arguments and errors are those of `LinearGaussianChain`.

    Attributes:
        batch_shape: the batch dimensions of all arguments, broadcast.
        length: T.
        states: D.
        cells: E; 0 without an emission.
        dtype: of the answers.
    """

    def __init__(
        self,
        dynamics: Dynamics,
        emission: Emission | None = None,
        observations: Shaped[Tensor, " ..."] | None = None,
        *,
        missing: Shaped[Tensor, " ..."] | None = None,
        evidence: GaussianEvidence | None = None,
        lengths: Shaped[Tensor, " ..."] | None = None,
        length: int | None = None,
    ) -> None:
        self.length = _length(emission, observations, missing, evidence, length)
        self.states = _states(dynamics)
        self.cells = 0 if emission is None else _cells(emission)
        with ordinary():
            self._read(dynamics, emission, observations, missing, evidence, lengths)

    def _read(
        self,
        dynamics: Dynamics,
        emission: Emission | None,
        observations: Tensor | None,
        missing: Tensor | None,
        evidence: GaussianEvidence | None,
        lengths: Tensor | None,
    ) -> None:
        self._arguments = _arguments(dynamics, emission, observations, evidence, self.length, self.states, self.cells)
        self.batch_shape = joint_batch(list(self._arguments.values()))
        self._rows, self._slots = prod(self.batch_shape), max(self.length, 1)
        device = dynamics.initial_mean.device
        lengths = None if lengths is None else lengths.clone()
        self._existence = Existence(self.batch_shape, self.length, lengths, None, device)
        self._alive = self._existence.alive
        self.dtype = _dtype(self._arguments)
        self._seen = self._cells_seen(observations, missing)
        self._system = self._whole()

    def _flat(self, name: str) -> Tensor:
        argument = self._arguments[name]
        value = argument.flat(self.batch_shape)
        used = None
        if argument.steps is not None and argument.steps == self.length and self.length > 0:
            used = self._alive
        elif argument.steps is not None and value.shape[1] > 1:
            used = self._alive[:, 1:]
        if used is not None and value.shape[0] == 1:
            used = used.any(0, keepdim=True)
        if used is not None and value.shape[1] == 1:
            used = used.any(1, keepdim=True)
        if name == "observations" and self._seen is not None:
            used = self._seen & self._alive[:, :, None]
            value = value.expand(len(used), *value.shape[1:])
        return finite(value, used, name)

    def _covariance(self, name: str) -> Tensor:
        found = self._flat(name)
        return covariance(found, name, self._arguments[name].value.dtype)

    def _cells_seen(self, observations: Tensor | None, missing: Tensor | None) -> Tensor | None:
        """(rows, T, E): which cells of the observations were observed."""
        if missing is None or observations is None:
            return None
        if missing.dtype != torch.bool:
            raise GraftError(f"missing must be bool, not {missing.dtype}")
        if missing.shape not in (observations.shape, observations.shape[:-1]):
            shapes = f"{tuple(observations.shape)} or {tuple(observations.shape[:-1])}"
            raise ShapeError(f"missing has shape {tuple(missing.shape)}; it is that of the observations, {shapes}")
        cells = missing if missing.shape == observations.shape else missing[..., None].expand(observations.shape)
        wide = cells.expand(*self.batch_shape, *observations.shape[-2:])
        return ~wide.reshape(self._rows, *observations.shape[-2:])

    def _whole(self) -> System:
        if self.length == 0:
            return self._nothing()
        readings, weights = None, None
        if "observations" in self._arguments:
            value = self._flat("observations") - self._flat("emission.offset")
            observed = Observed(self._flat("emission.loading"), value, self._covariance("emission.noise"), self._seen)
            readings, weights = evidence(observed)
        if "evidence.precision" in self._arguments:
            weights = added(weights, self._weights())
        system = System(
            self._flat("initial_mean"),
            self._covariance("initial_covariance"),
            self._flat("transition"),
            self._flat("offset"),
            self._covariance("noise"),
            self.length,
            self._rows,
            readings,
            weights,
        )
        return system if bool(self._alive.all()) else system.forgetting(self._alive)

    def _weights(self) -> Weights:
        argument = self._arguments["evidence.precision"]
        if len(argument.core) == 1:
            found = self._flat("evidence.precision")
            if bool((found < 0).any()):
                raise GraftError("evidence.precision is negative somewhere: a precision is at least zero")
            precision = torch.diag_embed(found)
        else:
            precision = self._covariance("evidence.precision")
        return Weights(precision, self._flat("evidence.shift"), precision.new_zeros(1, 1))

    def _nothing(self) -> System:
        """A chain without elements has one slot, in which nothing exists."""
        mean = torch.zeros(1, self.states, dtype=torch.float64, device=self._alive.device)
        eye = torch.eye(self.states, dtype=torch.float64, device=self._alive.device)[None]
        return System(mean, eye, eye[:, None], mean[:, None], eye[:, None], 1, self._rows)

    def _by_row(self, value: Tensor) -> Tensor:
        """(rows or 1, slots, ...) as (batch, T, ...), 0 at removed elements, in the caller's type."""
        value = value.expand(self._rows, *value.shape[1:])
        alive = self._alive.reshape(*self._alive.shape, *(1,) * (value.dim() - 2))
        value = torch.where(alive, value, 0.0)[:, : self.length]
        return value.reshape(*self.batch_shape, *value.shape[1:]).to(self.dtype)


def _length(
    emission: Emission | None,
    observations: Tensor | None,
    missing: Tensor | None,
    evidence: GaussianEvidence | None,
    length: int | None,
) -> int:
    """T, from whatever tells it."""
    if observations is not None and emission is None:
        raise GraftError("observations need an emission, which says how they come from the state")
    if missing is not None and observations is None:
        raise GraftError("missing is about the cells of observations, which are not given")
    told = {"length": length}
    shift = None if evidence is None else evidence.shift
    for name, value in (("observations", observations), ("evidence.shift", shift)):
        if value is not None:
            if value.dim() < 2:
                raise ShapeError(f"{name} has shape {tuple(value.shape)}; it is (..., T, cells)")
            told[name] = value.shape[-2]
    sizes = {name: size for name, size in told.items() if size is not None}
    if not sizes:
        raise GraftError("nothing tells how many steps there are: give observations, evidence or length=")
    if len(set(sizes.values())) > 1:
        raise ShapeError("the number of steps differs: " + ", ".join(f"{k} has {v}" for k, v in sizes.items()))
    found = next(iter(sizes.values()))
    if found < 0:
        raise GraftError(f"length must be at least 0, not {found}")
    return found


def _states(dynamics: Dynamics) -> int:
    mean = dynamics.initial_mean
    if mean.dim() == 0 or mean.shape[-1] == 0:
        raise ShapeError(f"initial_mean has shape {tuple(mean.shape)}; it is (..., D) with D >= 1")
    return mean.shape[-1]


def _cells(emission: Emission) -> int:
    if emission.loading.dim() < 2:
        raise ShapeError(f"emission.loading has shape {tuple(emission.loading.shape)}; it is (E, D) or (..., T, E, D)")
    return emission.loading.shape[-2]


def _arguments(
    dynamics: Dynamics,
    emission: Emission | None,
    observations: Tensor | None,
    evidence: GaussianEvidence | None,
    steps: int,
    d: int,
    e: int,
) -> dict[str, Argument]:
    """All tensors by name, their shapes checked."""
    moves, zero = max(steps - 1, 0), dynamics.initial_mean.new_zeros(())
    offset = zero.expand(d) if dynamics.offset is None else dynamics.offset
    found = [
        Argument("initial_mean", dynamics.initial_mean, (d,)),
        Argument("initial_covariance", dynamics.initial_covariance, (d, d)),
        Argument("transition", dynamics.transition, (d, d), moves),
        Argument("noise", dynamics.noise, (d, d), moves),
        Argument("offset", offset, (d,), moves),
    ]
    if emission is not None:
        level = zero.expand(e) if emission.offset is None else emission.offset
        found += [
            Argument("emission.loading", emission.loading, (e, d), steps),
            Argument("emission.noise", emission.noise, (e, e), steps),
            Argument("emission.offset", level, (e,), steps),
        ]
    if observations is not None:
        found.append(_along_time("observations", observations, (e,), steps))
    if evidence is not None:
        core = (d,) if evidence.precision.dim() == evidence.shift.dim() else (d, d)
        found.append(_along_time("evidence.precision", evidence.precision, core, steps))
        found.append(_along_time("evidence.shift", evidence.shift, (d,), steps))
    return {argument.name: argument.checked().owned() for argument in found}


def _along_time(name: str, value: Tensor, core: tuple[int, ...], steps: int) -> Argument:
    """One that has a time dimension for certain."""
    if value.dim() <= len(core) or value.shape[-len(core) - 1] != steps:
        sizes = ", ".join(map(str, core))
        raise ShapeError(f"{name} has shape {tuple(value.shape)}; it is (..., {steps}, {sizes})")
    return Argument(name, value, core, steps)


def _dtype(arguments: dict[str, Argument]) -> torch.dtype:
    found = torch.float32
    for argument in arguments.values():
        found = torch.promote_types(found, argument.value.dtype)
    return found
