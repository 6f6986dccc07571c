"""The first thing every call does: check what was given, settle batch, sizes and existence."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from graft.errors import GraftError, ShapeError
from graft.graph.factor_graph import FactorGraph
from graft.graph.nodes import Variable
from graft.graph.parse import RESERVED
from graft.inference.clean import Given, both, clean
from graft.inference.evidence import EVIDENCE
from graft.inference.frame import Existence, Frame, existence_of
from graft.inference.inputs_only import Asked, InputsOnly
from graft.inference.roles import roles
from graft.inference.shapes_of import Sizes, note, raw
from graft.inference.values import Value

_VALUES = (Tensor, *EVIDENCE)


@dataclass(frozen=True, eq=False)
class Situation:
    """What one call knows.

    Attributes:
        graph: the model.
        frame: batch, sizes, existence.
        given: cleaned and compact values and evidence, by name.
        ready: outputs of factors that read only inputs, made when first asked for.
        made: values of functions that no random variable reaches, likewise. All sums of one call share both, so that
            a network with dropout is the same network in numerator and normaliser.
    """

    graph: FactorGraph
    frame: Frame
    given: Mapping[str, Given]
    ready: InputsOnly
    made: dict[str, tuple[bool, Value]] = field(default_factory=dict)

    def without(self, names: Collection[str]) -> Situation:
        """The same call without what it knows of some variables."""
        return replace(self, given={n: g for n, g in self.given.items() if n not in names})

    def extended(self, values: Mapping[str, Any]) -> Situation:
        """The same call with more values of random variables.

        Raises:
            GraftError: names that are not random, or values that do not fit the call.
        """
        _names(self.graph, values)
        known = Sizes({})
        known.batch_is(self.frame.batch, "the evidence")
        for letter, size in self.frame.sizes.items():
            known.axis_is(letter, size, "the evidence")
        given = dict(self.given)
        for name, value in values.items():
            variable = self.graph.variables[name]
            if not variable.is_random:
                raise GraftError(f"{name} is not random: it belongs to what is given")
            note(known, variable, value)
            given[name] = both(clean(variable, value, self.frame), self.given.get(name), variable, self.frame.rank)
        return replace(self, given=given)


def settle(
    graph: FactorGraph,
    values: Mapping[str, Any],
    lengths: Any = None,
    mask: Any = None,
    sizes: Mapping[str, int] | None = None,
    like: Tensor | None = None,
    batch: tuple[int, ...] | None = None,
) -> Situation:
    """Check the arguments of a call and find its frame.

    Args:
        graph: the model.
        values: tensors and evidence by name.
        lengths: of the one time axis, or a dict by axis.
        mask: likewise.
        sizes: of axes that no value has.
        like: a parameter of the model, whose type log-probabilities take (and, where no value tells, its device).
        batch: the batch shape, where no value tells.

    Raises:
        GraftError: unknown names, inputs that are absent, disagreeing shapes, values that cannot be.
    """
    _names(graph, values)
    known = Sizes(_sizes(graph, sizes or {}))
    for name, value in values.items():
        note(known, graph.variables[name], value)
    asked = Asked(_by_axis(graph, lengths, "lengths"), _by_axis(graph, mask, "mask"))
    _note_asked(graph, asked, known)
    inputs = {n: raw(v) for n, v in values.items() if graph.variables[n].is_input}
    ready = InputsOnly(graph, inputs, asked, known)
    longest = {x: int(v.max()) if v.numel() else 0 for x, v in asked.lengths.items()}
    _learn(graph, known, ready, inputs, longest)
    if known.batch is None and batch is not None:
        known.batch_is(batch, "the call")
    known.complete(roles(graph).letters, longest)
    like = torch.empty(0) if like is None else like
    device = next((raw(v).device for v in values.values()), like.device)
    frame = Frame(known.batch or (), known.of, {}, device, like.dtype)
    frame = _with_existence(graph, frame, asked)
    given = {name: _cleaned(graph.variables[name], value, frame) for name, value in values.items()}
    ready.frame, ready.inputs = frame, {**inputs, **_restored(graph, given, frame)}
    return Situation(graph, frame, given, ready)


def _names(graph: FactorGraph, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if name in RESERVED and name not in graph.variables:
            raise GraftError(f"{name}= is no option of this call")
        if name not in graph.variables:
            raise GraftError(f"{name!r} is no variable of this model; there are {', '.join(graph.variables)}")
        variable = graph.variables[name]
        if not isinstance(value, _VALUES):
            raise GraftError(f"{name} must be a tensor or evidence, not {type(value).__name__}")
        if variable.is_computed:
            _may_replace(graph, variable)
        if not isinstance(value, Tensor) and not variable.is_random:
            raise GraftError(f"{name} is not random: evidence such as {type(value).__name__} is about what is")


def _may_replace(graph: FactorGraph, variable: Variable) -> None:
    """A given value may stand for a function of inputs only."""
    for node in variable.functions:
        for term in node.reads:
            parent = graph.variables[term.name]
            if parent.is_random:
                rule = f"{variable.name} is a function of the random {parent.name}: it has no density"
                raise GraftError(f"{rule}, so it cannot be given")
            if parent.is_computed and parent.name != variable.name:
                _may_replace(graph, parent)


def _sizes(graph: FactorGraph, sizes: Mapping[str, int]) -> Mapping[str, int]:
    if not isinstance(sizes, Mapping):
        raise GraftError(f"sizes must be a dict of whole numbers by axis, not {type(sizes).__name__}")
    for letter, size in sizes.items():
        if letter not in graph.letters:
            raise GraftError(f"sizes names axis {letter!r}; this model has {', '.join(graph.letters) or 'none'}")
        if not isinstance(size, int) or size < 0:
            raise GraftError(f"the size of axis {letter!r} must be a whole number, not {size!r}")
    return sizes


def _by_axis(graph: FactorGraph, given: Any, what: str) -> dict[str, Tensor]:
    if given is None:
        return {}
    if isinstance(given, Tensor):
        axes = [x for x in graph.letters if x in graph.time] or list(graph.letters)
        if len(axes) != 1:
            raise GraftError(f"{what} must be a dict by axis: this model has the axes {', '.join(axes) or 'none'}")
        given = {axes[0]: given}
    if not isinstance(given, Mapping) or not all(isinstance(value, Tensor) for value in given.values()):
        raise GraftError(f"{what} must be a tensor, or a dict of tensors by axis, not {type(given).__name__}")
    for letter, value in given.items():
        if letter not in graph.letters:
            raise GraftError(f"{what} names axis {letter!r}; this model has {', '.join(graph.letters) or 'none'}")
        whole = not (value.is_floating_point() or value.is_complex() or value.dtype == torch.bool)
        bad = value.dtype != torch.bool if what == "mask" else not whole
        if bad:
            kind = "boolean" if what == "mask" else "integer"
            raise GraftError(f"{what} of axis {letter!r} must be {kind}, not {value.dtype}")
    return {letter: value if what == "mask" else value.long() for letter, value in given.items()}


def _note_asked(graph: FactorGraph, asked: Asked, sizes: Sizes) -> None:
    both = asked.lengths.keys() & asked.masks.keys()
    if both:
        raise GraftError(f"axis {min(both)!r} has both lengths and a mask: give one")
    for what, given, own in (("lengths", asked.lengths, 0), ("mask", asked.masks, 1)):
        for letter, value in given.items():
            left = graph.left_of(letter)
            rank = value.dim() - len(left) - own
            who = f"{what} of axis {letter!r}"
            if rank < 0:
                axes = [*left, letter][: len(left) + own]
                raise ShapeError(f"{who} has shape {tuple(value.shape)}; it has the batch dimensions and axes {axes}")
            sizes.batch_is(tuple(value.shape[:rank]), who)
            for other, size in zip((*left, letter), value.shape[rank:], strict=False):
                sizes.axis_is(other, size, who)


def _learn(
    graph: FactorGraph,
    known: Sizes,
    ready: InputsOnly,
    inputs: Mapping[str, Tensor],
    longest: Mapping[str, int],
) -> None:
    """Batch shape and sizes that only the outputs of factors of inputs can tell."""
    for node in ready:
        missing = [x for x in node.letters if x not in known.of and x not in known.told]
        if known.batch is None or missing:
            ready.tell(node)
    if known.batch is None:
        for name, value in inputs.items():
            variable = graph.variables[name]
            if not variable.axes and variable.support is None:
                event = int(value.is_floating_point())
                known.batch_is(tuple(value.shape[: value.dim() - event]), name)
                break


def _with_existence(graph: FactorGraph, frame: Frame, asked: Asked) -> Frame:
    """Add existence axis by axis, from left to right: lengths follow the rows they belong to."""
    found: dict[str, Existence] = {}
    if not asked.lengths and not asked.masks:
        return frame
    letters = [x for x in graph.letters if x in asked.lengths or x in asked.masks]
    for letter in sorted(letters, key=lambda x: len(graph.left_of(x))):
        left, size = graph.left_of(letter), frame.sizes[letter]
        if letter in asked.masks:
            mask = asked.masks[letter]
        else:
            lengths = asked.lengths[letter]
            if lengths.numel() and (int(lengths.min()) < 0 or int(lengths.max()) > size):
                worst = int(lengths.max()) if int(lengths.max()) > size else int(lengths.min())
                raise GraftError(f"lengths of axis {letter!r} go from 0 to its size {size}; {worst} is given")
            mask = torch.arange(size, device=lengths.device) < lengths.unsqueeze(-1)
        one = existence_of(mask, left)
        one = replace(one, lengths=replace(frame, existence=found).compact(one.lengths, left))
        found[letter] = one
    return replace(frame, existence=found)


def _cleaned(variable: Variable, value: Any, frame: Frame) -> Given:
    if variable.is_input and not variable.axes and variable.support is None:
        return _whole(variable, value, frame)
    return clean(variable, value, frame)


def _whole(variable: Variable, value: Tensor, frame: Frame) -> Given:
    """An input without axes whose dimensions only its readers understand."""
    if tuple(value.shape[: frame.rank]) != frame.batch:
        raise ShapeError(
            f"{variable.name} has shape {tuple(value.shape)}, which does not begin with batch {frame.batch}"
        )
    if value.is_floating_point() and not frame.existence and not bool(torch.isfinite(value).all()):
        raise GraftError(f"{variable.name} holds NaN or infinity (shape {tuple(value.shape)})")
    return Given(value=value)


def _restored(graph: FactorGraph, given: Mapping[str, Given], frame: Frame) -> dict[str, Tensor]:
    """Inputs in the user's order, with what does not exist replaced."""
    return {
        name: frame.restore(found.value, graph.variables[name].axes)
        for name, found in given.items()
        if graph.variables[name].is_input and found.value is not None
    }
