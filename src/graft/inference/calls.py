"""Calling the module of a factor: read its inputs, call it as its kind wants, check what comes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from graft.errors import GraftError, ShapeError
from graft.factors.base import Argument, Call, Conditional, Factor, Function, Potential, TablePotential
from graft.graph.nodes import Node, Variable
from graft.graph.parse import EXISTENCE
from graft.graph.terms import Term, Whole
from graft.inference.domain import Windows, valid
from graft.inference.frame import Frame
from graft.inference.store import Store
from graft.inference.values import Value, union

#: What a network raises of inputs that do not fit it.
FAULTS = (RuntimeError, ValueError, IndexError, TypeError)


def argument(term: Term, variables: Mapping[str, Variable]) -> Argument:
    whole = sum(isinstance(index, Whole) for index in term.indices)
    return Argument(str(term), variables[term.name].support, whole)


def arguments(terms: tuple[Term, ...], variables: Mapping[str, Variable]) -> tuple[Argument, ...]:
    return tuple(argument(term, variables) for term in terms)


def invoke(node: Node, inputs: tuple[Tensor, ...], call: Call, extras: Mapping[str, Any]) -> Any:
    """Call a conditional, a function or a table; a bare module gets the tensors alone.

    Args:
        node: the factor.
        inputs: its variables, in order.
        call: how to read them.
        extras: `lengths` and `mask`, for formulas that name them.

    Raises:
        ShapeError: where a network itself complains; the formula and the shapes it received are named.
    """
    try:
        return _invoke(node, inputs, call, extras)
    except FAULTS as error:
        raise complaint(node, node.reads, inputs, error) from error


def complaint(node: Node, terms: Sequence[Term], inputs: Sequence[Tensor], error: Exception) -> Exception:
    """What a module's own error means for the user: its formula, and what it received."""
    if isinstance(error, torch.OutOfMemoryError | GraftError):
        return error
    shapes = ", ".join(f"{term} {tuple(value.shape)}" for term, value in zip(terms, inputs, strict=False))
    kind = ShapeError if isinstance(error, RuntimeError) else GraftError
    return kind(f"{node}: {type(node.module).__name__} failed on {shapes or 'nothing'}: {error}")


def _invoke(node: Node, inputs: tuple[Tensor, ...], call: Call, extras: Mapping[str, Any]) -> Any:
    module = node.module
    if isinstance(module, Factor) and not extras:
        if isinstance(module, Conditional):
            return module.distribution(inputs, call)
        if isinstance(module, Function):
            return module.compute(inputs, call)
        if isinstance(module, TablePotential):
            return module.table(inputs, call)
    values = iter(inputs)
    everything = [extras[t.name] if t.name in EXISTENCE else next(values) for t in node.formula.right]
    if isinstance(module, Factor):
        return _with_extras(module, tuple(everything), call, node)
    return module(*everything)


def _with_extras(module: Factor, inputs: tuple[Tensor, ...], call: Call, node: Node) -> Any:
    """graft's factors pass `lengths` and `mask` on to their network as inputs of their own."""
    given = iter(call.arguments)
    named = tuple(Argument(t.name) if t.name in EXISTENCE else next(given) for t in node.formula.right)
    call = Call(call.leading, named, call.as_given)
    if isinstance(module, Conditional):
        return module.distribution(inputs, call)
    if isinstance(module, Function):
        return module.compute(inputs, call)
    assert isinstance(module, TablePotential)
    return module.table(inputs, call)


def _existence(node: Node, frame: Frame) -> dict[str, Tensor]:
    """What `lengths` and `mask` on the right of a formula stand for, in compact order."""
    if not any(term.name in EXISTENCE for term in node.formula.right):
        return {}
    for letter in node.letters:
        found = frame.existence.get(letter)
        if found is not None:
            steps = torch.arange(frame.sizes[letter], device=found.lengths.device)
            return {"lengths": found.lengths, "mask": steps < found.lengths.unsqueeze(-1)}
    size = next((frame.sizes[x] for x in node.letters if x in frame.sizes), 1)
    mask = torch.ones(*frame.batch, size, dtype=torch.bool, device=frame.device)
    return {"lengths": mask.sum(-1), "mask": mask}


def read_all(node: Node, store: Store, window: Windows) -> tuple[tuple[Tensor, ...], tuple[Term, ...]]:
    """The inputs of a factor, aligned on one set of enumerated terms."""
    letters = tuple(x for x in node.letters if x in store.frame.sizes)
    values = [store.read(term, letters, window) for term in node.reads]
    slots = union(values)
    if node.indexes():
        values = [
            _with_states(node, term, value, store, window) for term, value in zip(node.reads, values, strict=True)
        ]
    return tuple(value.aligned(slots) for value in values), slots


def _with_states(node: Node, term: Term, value: Value, store: Store, window: Windows) -> Value:
    """A value to look up in a table: *no state* may stand only where the factor does not, as any state there."""
    tensor = value.tensor
    if tensor.is_floating_point() or not tensor.numel() or int(tensor.min()) >= 0:
        return value
    stands = _stands(node, store, window)
    absent = tensor < 0
    if stands is not None:
        absent = absent & stands.reshape((*stands.shape, *(1,) * _whole(term)))
    if bool(absent.any()):
        raise GraftError(f"{node}: {term} has no state in some row (an empty sequence?) to look up in a table")
    return Value(tensor.clamp_min(0), value.slots)


def _whole(term: Term) -> int:
    return sum(isinstance(index, Whole) for index in term.indices)


def _stands(node: Node, store: Store, window: Windows) -> Tensor | None:
    """(batch, letters): where a factor stands within its window, also in the middle of loops; None if everywhere."""
    outside = store.scopes[0].outside if store.scopes else store.frame
    mask = valid(node, store.variables, outside)
    if mask is None:
        return None
    fixed = {scope.letter: scope.position for scope in store.scopes}
    for place in range(len(node.letters) - 1, -1, -1):
        letter, dim = node.letters[place], outside.rank + place
        if letter in fixed:
            mask = mask.select(dim, fixed[letter] if mask.shape[dim] > 1 else 0)
        elif mask.shape[dim] > 1:
            low, high = window[letter]
            mask = mask.narrow(dim, low, high - low)
    return mask


def call_here(node: Node, store: Store, window: Windows) -> tuple[Any, tuple[Term, ...]]:
    """Call a factor on what the store holds.

    Returns:
        A distribution, a tensor or a table, with dimensions (slots, batch, letters, ...), and the slots.
    """
    inputs, slots = read_all(node, store, window)
    letters = [x for x in node.letters if x in store.frame.sizes]
    leading = len(slots) + store.frame.rank + len(letters)
    call = Call(leading if node.reads else 0, arguments(node.reads, store.variables))
    out = invoke(node, inputs, call, _existence(node, store.frame))
    store.heard(node, inputs, out, len(letters))
    return out, slots


def potential_here(node: Node, store: Store, window: Windows) -> tuple[Tensor, tuple[Term, ...]]:
    """The value of an opaque potential at what the store holds: (slots, batch, letters)."""
    assert isinstance(node.module, Potential)
    values = [store.read(term, node.letters, window) for term in node.terms]
    slots = union(values)
    tensors = tuple(value.aligned(slots) for value in values)
    count = len(node.formula.left)
    leading = len(slots) + store.frame.rank + len(node.letters)
    call = Call(leading, arguments(node.terms, store.variables))
    try:
        out = node.module.log_potential(tensors[:count], tensors[count:], call)
    except (RuntimeError, ValueError) as error:
        raise complaint(node, node.terms, tensors, error) from error
    store.heard(node, tensors, out, len(node.letters))
    return out, slots


def checked(dist: Any, node: Node, lead: tuple[int, ...], variable: Variable) -> Distribution:
    """The distribution a conditional returned, if it is one and its shapes fit.

    Raises:
        ShapeError: naming the formula, what came back, and the rule.
    """
    if not isinstance(dist, Distribution):
        raise GraftError(f"{node}: the module returned {type(dist).__name__}, not a distribution")
    support = variable.support
    rank = len(dist.event_shape)
    if support is not None and tuple(dist.event_shape) != support.event_shape:
        raise ShapeError(f"{node}: event shape {tuple(dist.event_shape)}, but {variable.name} is {support}")
    if support is None and rank != 1 and not (rank == 0 and _discrete(dist)):
        rule = f"{node}: a distribution with {rank} event dimensions, where {variable.name} has one until told"
        raise ShapeError(rule + f" (support={{{variable.name!r}: Real(...)}}, or Independent)")
    fits(tuple(dist.batch_shape), lead, node, "distribution")
    return dist


def _discrete(dist: Distribution) -> bool:
    constraint = dist.support
    return constraint is not None and bool(constraint.is_discrete)


def fits(shape: tuple[int, ...], lead: tuple[int, ...], node: Node, what: str) -> None:
    """Whether a shape broadcasts to the leading dimensions.

    Raises:
        ShapeError: if not.
    """
    try:
        if torch.broadcast_shapes(shape, lead) == torch.Size(lead):
            return
    except RuntimeError:
        pass
    raise ShapeError(f"{node}: the {what} has leading shape {shape}, which does not fit batch and axes {lead}")
