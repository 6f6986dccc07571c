"""Factors that one run calls more than once must be the same each time."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

from graft.errors import GraftError
from graft.graph.nodes import Node


def same_again(node: Node, why: str) -> None:
    """Refuse a factor whose network draws a mask, or moves its statistics, at every call.

    Args:
        node: of the guide.
        why: it is called again.

    Raises:
        GraftError: a dropout or normalising layer of it is in training mode.
    """
    if not isinstance(node.module, nn.Module) or not node.module.training:
        return
    for part in node.module.modules():
        noisy = isinstance(part, _DropoutNd) and part.p > 0
        if part.training and (noisy or isinstance(part, _NormBase)):
            raise GraftError(
                f"{node}: its {type(part).__name__} is in training mode, and {why} calls the network a second time, "
                "which would be another network: put that layer into evaluation mode, or take it out of this factor"
            )
