"""Factors that read only inputs of the model: called once, on the inputs as the user gave them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from graft.errors import GraftError, ShapeError
from graft.factors.base import Call
from graft.graph.factor_graph import FactorGraph
from graft.graph.nodes import Node
from graft.graph.parse import EXISTENCE
from graft.inference.calls import arguments, invoke
from graft.inference.frame import Frame
from graft.inference.ready import Ready
from graft.inference.roles import roles
from graft.inference.shapes_of import Sizes


@dataclass(eq=False)
class Asked:
    """Existence as the user asked for it, by axis.

    Attributes:
        lengths: integers (batch, left).
        masks: booleans (batch, left, size).
    """

    lengths: dict[str, Tensor] = field(default_factory=dict)
    masks: dict[str, Tensor] = field(default_factory=dict)

    def extras(self, node: Node, sizes: Sizes) -> dict[str, Tensor]:
        """What `lengths` and `mask` on the right of a formula stand for."""
        wanted = [term.name for term in node.formula.right if term.name in EXISTENCE]
        if not wanted:
            return {}
        for letter in node.letters:
            if letter in self.masks:
                return {"lengths": self.masks[letter].sum(-1), "mask": self.masks[letter]}
            if letter in self.lengths:
                lengths = self.lengths[letter]
                size = sizes.of.get(letter, sizes.told.get(letter, int(lengths.max()) if lengths.numel() else 0))
                steps = torch.arange(size, device=lengths.device)
                return {"lengths": lengths, "mask": steps < lengths.unsqueeze(-1)}
        for letter in node.letters:
            known = sizes.of.get(letter, sizes.told.get(letter))
            if known is not None and sizes.batch is not None:
                mask = torch.ones(*sizes.batch, known, dtype=torch.bool)
                return {"lengths": mask.sum(-1), "mask": mask}
        raise GraftError(f"{node}: the module reads {wanted[0]}, which the call does not give")


class InputsOnly(Mapping):  # bare: a shape checker must not sample items, which runs networks
    """Outputs of factors that read only inputs of the model, each made when first asked for.

    Args:
        graph: the model.
        inputs: raw values of its inputs.
        asked: existence as the user gave it.
        sizes: what is known of batch and axes so far.
    """

    def __init__(self, graph: FactorGraph, inputs: Mapping[str, Tensor], asked: Asked, sizes: Sizes) -> None:
        self.graph, self.inputs, self.asked, self.sizes = graph, inputs, asked, sizes
        self.frame: Frame | None = None
        self._made: dict[Node, tuple[bool, Any]] = {}
        self._nodes = {node: None for node in roles(graph).of_inputs if all(t.name in inputs for t in node.reads)}

    def __iter__(self) -> Iterator[Node]:
        return iter(self._nodes)

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, node: object) -> bool:
        return node in self._nodes

    def __getitem__(self, node: Node) -> Ready:
        assert self.frame is not None
        out = self.output(node)
        _same_shape(node, self.shape(node, out), self.frame)
        return Ready(node, out, self.frame)

    def output(self, node: Node) -> Any:
        """What the module returned."""
        want = torch.is_grad_enabled()
        if node not in self._made or (want and not self._made[node][0]):
            tensors = tuple(self.inputs[term.name] for term in node.reads)
            rank = None if self.sizes.batch is None else len(self.sizes.batch)
            call = Call(rank, arguments(node.reads, self.graph.variables), as_given=True)
            self._made[node] = (want, invoke(node, tensors, call, self.asked.extras(node, self.sizes)))
        return self._made[node][1]

    def shape(self, node: Node, out: Any) -> tuple[int, ...]:
        """Batch and axes of an output."""
        if isinstance(out, Distribution):
            return tuple(out.batch_shape)
        if not isinstance(out, Tensor):
            raise GraftError(f"{node}: the module returned {type(out).__name__}")
        if node.kind == "potential":
            event = len(node.formula.left)
        else:
            support = self.graph.variables[node.head.name].support
            event = int(out.is_floating_point()) if support is None else support.event_rank
        return tuple(out.shape[: out.dim() - event])

    def tell(self, node: Node) -> None:
        """Learn batch shape and axis sizes from an output."""
        shape = self.shape(node, self.output(node))
        axes = len(node.letters)
        if len(shape) < axes:
            raise ShapeError(f"{node}: the module returned leading shape {shape}, too few for axes {node.letters}")
        self.sizes.batch_is(shape[: len(shape) - axes], str(node))
        for letter, size in zip(node.letters, shape[len(shape) - axes :], strict=True):
            self.sizes.axis_is(letter, size, str(node))


def _same_shape(node: Node, shape: tuple[int, ...], frame: Frame) -> None:
    expected = frame.shape(node.letters)
    if shape != expected:
        axes = f" and axes [{', '.join(node.letters)}]" if node.letters else ""
        raise ShapeError(
            f"{node}: the module returned leading shape {shape}, not {expected} (batch {frame.batch}{axes})"
        )
