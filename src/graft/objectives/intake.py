"""Batches as they come in: checked, typed, and matched with the way their program is run."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from graft.distributions.supports import Binary, Finite
from graft.errors import GraftError
from graft.graph.nodes import Variable
from graft.inference.clean import Given
from graft.inference.guided import straight
from graft.inference.guided.straight import Straight
from graft.inference.program import Program, readable
from graft.inference.settle import Situation
from graft.model import Model
from graft.objectives.truth import told
from graft.ops.entries import all_below, all_binary, all_finite

#: Name, shape, type and device of all that a batch holds.
Kind = tuple[tuple[str, torch.Size, torch.dtype, torch.device], ...]


#: Kinds of batches that are remembered at a time.
KINDS = 4096


@dataclass(frozen=True, eq=False)
class Taken:
    """A batch, checked.

    Attributes:
        known: names of what is fully given.
        values: (batch, event) tensors, typed.
        batch: shape of the leading dimensions.
        straight: the plan, if the program runs straight through.
        kind: of a batch of plain tensors; None for others.
    """

    known: frozenset[str]
    values: Mapping[str, Tensor]
    batch: tuple[int, ...]
    straight: Straight | None
    kind: Kind | None = None
    _situation: Situation | None = None

    def compact(self, values: Mapping[str, Tensor] | None) -> Mapping[str, Tensor] | None:
        """Values in the user's order as the run keeps them."""
        if values is None or self._situation is None or not self._situation.frame.existence:
            return values
        frame, variables = self._situation.frame, self._situation.graph.variables
        return {name: frame.compact(value, variables[name].axes) for name, value in values.items()}

    @property
    def sizes(self) -> Mapping[str, int]:
        """Of all axes."""
        return {} if self._situation is None else self._situation.frame.sizes

    @property
    def situation(self) -> Situation:
        assert self._situation is not None
        return self._situation


class Intake:
    """Checks the batches of one objective.

    A batch of new names, shapes or types goes through every check that a call of the model makes. After that, only the
    values of tensors that were not seen before are looked at.

    Args:
        model: whose evidence it is.
        program: model and guide.
    """

    def __init__(self, model: Model, program: Program) -> None:
        self.model, self.program, self._variables = model, program, program.variables
        #: values were looked at before they came here
        self.trusts = False
        #: batch shape, plan, and whether values are to be typed
        self._kinds: dict[Kind, tuple[tuple[int, ...], Straight, bool]] = {}
        self._plans: dict[frozenset[str], Straight | None] = {}
        #: tensors whose values were looked at, with the version they had
        self._seen: dict[int, tuple[weakref.ref[Tensor], int]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Without what was seen, which are references to tensors that live elsewhere."""
        return {**self.__dict__, "_seen": {}}

    def take(self, batch: Any) -> Taken:
        """Check a batch.

        Raises:
            GraftError: it is no dict; wrong names, shapes or values; a variable without a guide that needs one.
        """
        # a plain dict is looked up as it is: option names are in no kind
        values = batch if type(batch) is dict else None
        kind = None if values is None else _kind_of(values)
        found = None if kind is None else self._kinds.get(kind)
        if values is not None and found is not None and self._all_good(values):
            shape, plan, typed = found
            now = {name: self._typed(name, value) for name, value in values.items()} if typed else values
            return Taken(plan.known, now, shape, plan, kind)
        values, options = told(batch, "an objective")
        return self._settled(values, options, None if options else _kind_of(values))

    def _settled(self, values: dict[str, Any], options: dict[str, Any], kind: Kind | None) -> Taken:
        situation = self._situated(values, options)
        known = frozenset(name for name, given in situation.given.items() if given.value is not None)
        whole = {name: given.value for name, given in situation.given.items() if given.value is not None}
        self._all_guided(situation, known)
        self._all_whole(situation)
        plan = self._plan(known) if kind is not None and len(whole) == len(values) and self._plain(situation) else None
        batch = situation.frame.batch
        if plan is not None and kind is not None:
            typed = any(self._typed(name, value) is not value for name, value in values.items())
            if len(self._kinds) >= KINDS:
                self._kinds.clear()
            self._kinds[kind] = (batch, plan, typed)
        return Taken(known, whole, batch, plan, None if plan is None else kind, situation)

    def _situated(self, values: dict[str, Any], options: dict[str, Any]) -> Situation:
        """The call's situation, what only the guide reads beside the model's evidence."""
        own = {name: value for name, value in values.items() if self._only_guide(name)}
        situation = self.model.settled({n: v for n, v in values.items() if n not in own}, **options)
        for name, value in own.items():
            if not isinstance(value, Tensor) or tuple(value.shape[: situation.frame.rank]) != situation.frame.batch:
                shown = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
                raise GraftError(
                    f"{name}, which the guide reads, is {shown}: it begins with batch {situation.frame.batch}"
                )
            if value.is_floating_point() and not bool(torch.isfinite(value).all()):
                raise GraftError(f"{name} holds NaN or infinity (shape {tuple(value.shape)})")
        given = {name: Given(value=value) for name, value in own.items()}
        return replace(situation, given={**situation.given, **given}) if given else situation

    def _only_guide(self, name: str) -> bool:
        """An input without axes of the guide that the model does not know."""
        variable = self.program.guide.variables.get(name)
        return name not in self.program.model.variables and variable is not None and not variable.axes

    def _plan(self, known: frozenset[str]) -> Straight | None:
        if known not in self._plans:
            readable(self.program, known)
            serves = straight.serves(self.program, known)
            self._plans[known] = Straight(self.program, known) if serves else None
        return self._plans[known]

    @staticmethod
    def _plain(situation: Situation) -> bool:
        return not situation.frame.existence and all(g.cells is None for g in situation.given.values())

    def _all_guided(self, situation: Situation, known: frozenset[str]) -> None:
        """Whatever is neither given nor guided can be summed out: it is discrete."""
        for name in self.program.model.random:
            variable = self.program.model.variables[name]
            if name in known or name in self.program.proposes or variable.is_discrete:
                continue
            raise GraftError(
                f"{name} is latent and real, and the guide does not give it: add a factor for it, such as "
                f'"{variable.term} | {", ".join(sorted(known)) or "..."}", or give it as evidence'
            )

    def _all_whole(self, situation: Situation) -> None:
        """What the guide draws is given in full or not at all."""
        for name in self.program.proposes:
            given = situation.given.get(name)
            if given is not None and (given.value is None or given.cells is not None):
                raise GraftError(
                    f"{name} is drawn by the guide, and the batch knows its states or cells only in part (-1, Partial, "
                    "Soft, Missing): give it in full, leave it out, or take it out of the guide, so that it is summed "
                    "exactly (rows with and without a label: SemiSupervised)"
                )

    @contextmanager
    def trusting(self, batch: Mapping[str, Any]) -> Iterator[None]:
        """Where a batch's values are good, take copies of it without looking at them again."""
        told = [(name, value) for name, value in batch.items() if type(value) is Tensor and name in self._variables]
        before, self.trusts = self.trusts, all(self._looked_at(self._variables[name], value) for name, value in told)
        try:
            yield
        finally:
            self.trusts = before

    def _all_good(self, values: Mapping[str, Tensor]) -> bool:
        return all(self._good(name, value) for name, value in values.items())

    def _good(self, name: str, value: Tensor) -> bool:
        """Whether a tensor's values may stand as they are; a device is asked once for each tensor."""
        if self.trusts or torch.compiler.is_compiling():
            return True
        if value.is_cpu:  # where a buffer may be filled anew behind its version
            return self._looked_at(self._variables[name], value)
        key = id(value)
        held = self._seen.get(key)
        if held is not None and held[0]() is value and held[1] == value._version:
            return True
        if not self._looked_at(self._variables[name], value):
            return False
        if len(self._seen) > 4096:
            self._seen = {k: pair for k, pair in self._seen.items() if pair[0]() is not None}
        if not value.is_inference():
            self._seen[key] = (weakref.ref(value), value._version)
        return True

    @staticmethod
    def _looked_at(variable: Variable, value: Tensor) -> bool:
        support = variable.support
        if isinstance(support, Binary) and not variable.is_input:
            return all_binary(value)
        if isinstance(support, Finite):
            return all_below(value, support.states)
        return all_finite(value)

    def _typed(self, name: str, value: Tensor) -> Tensor:
        support = self._variables[name].support
        if isinstance(support, Finite):
            return value.long()
        if isinstance(support, Binary) and not value.is_floating_point():
            return value.to(self.model._like().dtype)
        return value


def _kind_of(values: Mapping[str, Any]) -> Kind | None:
    kind = []
    for name, value in values.items():
        if type(value) is not Tensor:
            return None
        kind.append((name, value.shape, value.dtype, value.device))
    return tuple(kind)
