"""The weights of a module as a safetensors file: read without running anything that stands in it."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from graft.errors import GraftError
from graft.training.durable import put

State = dict[str, Any]
_EXTRA = "_extra_state"  # how names of what `get_extra_state` gives end


def save_weights(module: nn.Module, path: str | Path) -> Path:
    """Write the weights of a module to a file, whole or not at all.

    Tied tensors are written once. State that is no tensor (`get_extra_state`) is kept if JSON can hold it.

    Args:
        module: any.
        path: of the file; its folder is there.

    Returns:
        The path.

    Raises:
        GraftError: a value cannot be written as such (it is named), or the file cannot be.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     load_weights(nn.Linear(2, 1), save_weights(nn.Linear(2, 1), Path(folder, "weights.safetensors")))
    """
    return put(Path(path), encoded(module.state_dict()))


def load_weights(module: nn.Module, path: str | Path) -> None:
    """Put weights that `save_weights` wrote into a module; names, shapes and types must agree.

    Args:
        module: as the one that was saved.
        path: of the file.

    Raises:
        GraftError: the file cannot be read, or does not fit the module; every name at fault is told. The module is
            unchanged then.
    """
    state = read_weights(Path(path))
    check_fit(state, module, Path(path))
    put_back(module, state)


def encoded(state: Mapping[str, Any]) -> bytes:
    """A state dict in the safetensors format."""
    tensors, same, extra = {}, {}, {}
    seen: dict[Any, str] = {}
    for name, value in state.items():
        if not isinstance(value, Tensor):
            extra[name] = _as_json(name, value)
        elif (first := seen.setdefault(_place(name, value), name)) != name:
            same[name] = first
        else:
            tensors[name] = _whole(name, value)
    # one entry: several are written in an order that differs from process to process
    notes = {"graft": json.dumps({"same": same, "extra": extra})}
    try:
        return save(tensors, metadata=notes)
    except (KeyError, SafetensorError) as error:
        raise GraftError(f"the weights cannot be written as safetensors: {error}") from error


def read_weights(path: Path) -> State:
    """A state dict from a file; tensors are on the CPU.

    Raises:
        GraftError: the file cannot be read as safetensors.
    """
    try:
        with safe_open(path, "pt") as file:
            notes = json.loads((file.metadata() or {}).get("graft", "{}"))
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
        tied = {name: state[first] for name, first in notes.get("same", {}).items()}
        return {**state, **tied, **dict(notes.get("extra", {}))}
    # `RuntimeError` and `RecursionError`: of the JSON and of sizes that do not fit
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise GraftError(f"{path} does not hold weights: {error}") from error


def check_fit(state: Mapping[str, Any], module: nn.Module, path: Path) -> None:
    """Compare a state dict with what a module has.

    Raises:
        GraftError: names what is missing, unexpected, or of another shape or type.
    """
    own = module.state_dict()
    faults = [f"{name} is missing" for name in own if name not in state]
    faults += [f"{name} is unexpected" for name in state if name not in own]
    for name in own.keys() & state.keys():
        found, wanted = _signature(state[name]), _signature(own[name])
        if found != wanted and not name.endswith(_EXTRA):
            faults.append(f"{name} is {found} in the file and {wanted} here")
    if faults:
        raise GraftError(f"{path} does not fit {type(module).__name__}: {'; '.join(sorted(faults))}")


def kept(module: nn.Module) -> State:
    """A copy of the state dict, where it is."""
    state = module.state_dict()
    return {name: v.detach().clone() if isinstance(v, Tensor) else copy.deepcopy(v) for name, v in state.items()}


def put_back(module: nn.Module, state: Mapping[str, Any]) -> None:
    """Load a state dict strictly.

    Raises:
        GraftError: the module refuses it.
    """
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise GraftError(f"{type(module).__name__} refuses the weights: {error}") from error


def shapes(state: Mapping[str, Any]) -> dict[str, str]:
    """Type and shape of every tensor, by name."""
    return {name: _signature(value) for name, value in state.items()}


def _signature(value: Any) -> str:
    return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}" if isinstance(value, Tensor) else "JSON"


def _place(name: str, value: Tensor) -> Any:
    """Equal for names of one and the same tensor; a tensor without elements is nowhere."""
    if not value.numel() or value.layout is not torch.strided:
        return name
    return value.device, value.data_ptr(), value.dtype, tuple(value.shape), value.stride()


def _whole(name: str, value: Tensor) -> Tensor:
    """The tensor as its file has it: dense, contiguous, sharing nothing."""
    if value.layout is not torch.strided or value.is_meta or value.is_quantized or value.dtype == torch.complex128:
        raise GraftError(
            f"{name} cannot be written as safetensors: it is {value.dtype}, {value.layout}, {value.device}"
        )
    return value.detach().to("cpu", copy=True).contiguous()


def _as_json(name: str, value: Any) -> Any:
    try:
        if json.loads(json.dumps(value, allow_nan=False)) == value:
            return value
    except (TypeError, ValueError):
        pass
    raise GraftError(f"{name} is a {type(value).__name__} that JSON does not give back, so it cannot be saved")
