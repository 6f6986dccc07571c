"""Images cut across the middle, the upper half to predict the lower one from."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from graft.data.images import Fresh


def halves(x: Float[Tensor, "n cells"], shape: tuple[int, int]) -> dict[str, Tensor]:
    """The rows above the middle as `upper`, the others as `lower`.

    Args:
        x: images as rows of cells.
        shape: height and width.

    Example:
        >>> import torch
        >>> found = halves(torch.arange(6.0)[None], (3, 2))
        >>> found["upper"].tolist(), found["lower"].tolist()
        ([[0.0, 1.0]], [[2.0, 3.0, 4.0, 5.0]])
    """
    cut = shape[0] // 2 * shape[1]
    return {"upper": x[:, :cut], "lower": x[:, cut:]}


class Halves(Fresh):
    """Batches of binary images, drawn anew whenever they are asked for, as `upper` and `lower`.

    Example:
        >>> import torch
        >>> from graft.data.images import Images
        >>> batch = Halves(Images(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([7]), (2, 2)))[[0]]
        >>> batch["upper"].tolist(), batch["lower"].tolist()
        ([[0.0, 0.0]], [[1.0, 1.0]])
    """

    def __getitems__(self, rows: Sequence[int]) -> dict[str, Tensor]:
        return halves(super().__getitems__(rows)["x"], self.images.shape)
