"""Grey images with their labels, and binary ones drawn from them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from graft.errors import DataError


@dataclass(frozen=True, eq=False)
class Images:
    """Images as rows of cells.

    Args:
        pixels: intensities from 0 to 1.
        labels: the class of each.
        shape: height and width.
        levels: how many intensities there are, at equal distances.

    Raises:
        DataError: rows, cells and shape do not agree, or an intensity is outside its range.

    Example:
        >>> two = Images(torch.rand(2, 6), torch.tensor([3, 1]), (2, 3))
        >>> len(two), two.take(torch.tensor([1])).labels
        (2, tensor([1]))
    """

    pixels: Float[Tensor, "n cells"]
    labels: Int[Tensor, " n"]
    shape: tuple[int, int]
    levels: int = 256

    def __post_init__(self) -> None:
        height, width = self.shape
        if len(self.pixels) != len(self.labels) or self.pixels.shape[1] != height * width:
            raise DataError(
                f"{len(self.labels)} labels and images of {self.shape} do not go with pixels {tuple(self.pixels.shape)}"
            )
        if self.pixels.numel():
            low, high = (float(end) for end in self.pixels.aminmax())
            if not 0 <= low <= high <= 1:
                raise DataError(f"intensities must be from 0 to 1, but lie from {low:g} to {high:g}")

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def cells(self) -> int:
        """Of one image."""
        return self.pixels.shape[1]

    def take(self, rows: Int[Tensor, " k"]) -> Images:
        """Some of the images."""
        return Images(self.pixels[rows], self.labels[rows], self.shape, self.levels)

    def binary(self, seed: int) -> Float[Tensor, "n cells"]:
        """Every cell drawn once with its intensity as probability, the same for the same seed."""
        return torch.bernoulli(self.pixels, generator=torch.Generator().manual_seed(seed))

    def continuous(self, generator: torch.Generator | None = None) -> Float[Tensor, "n cells"]:
        r"""$(k + u) / L$ for a cell of level $k$ out of $L$, $u$ uniform on $[0, 1)$.

        Any density $p$ of these gives a bound for the levels: $-E_u \log_2 p + \log_2 L$ bits a cell.

        Source: L. Theis, A. van den Oord & M. Bethge, A note on the evaluation of generative models, 2016, section 3.1.
        """
        level = (self.pixels * (self.levels - 1)).round()
        drawn = (level + torch.rand(level.shape, generator=generator)) / self.levels
        # a sum that is rounded up would be of the next level
        return drawn.minimum(torch.nextafter((level + 1) / self.levels, torch.zeros(())))

    def spaced(self, count: int) -> Images:
        """So many images at equal distances, all if there are fewer; 0 for all.

        Example:
            >>> Images(torch.rand(9, 1), torch.arange(9), (1, 1)).spaced(3).labels
            tensor([0, 3, 6])
        """
        if not 0 < count < len(self):
            return self
        return self.take(torch.arange(count) * len(self) // count)


@dataclass(frozen=True, eq=False)
class Parts:
    """Images to learn from, to choose settings by, and to measure on; the middle part may be empty."""

    train: Images
    valid: Images
    test: Images


class WholeBatches(Dataset[dict[str, Tensor]], ABC):
    """A data set that gives a whole batch at once: to be fed by `batches`."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitems__(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """The batch of some rows."""

    def __getitem__(self, rows: Sequence[int]) -> dict[str, Tensor]:
        return self.__getitems__(rows)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return (self[[row]] for row in range(len(self)))


class Fresh(WholeBatches):
    r"""Batches of binary images, drawn anew whenever they are asked for: $x_j \sim \mathrm{Bernoulli}(\text{pixel}_j)$.

    Draws come from the global random state, so a seeded run repeats them.

    Args:
        images: whose intensities are the probabilities.
        labels: give the labels too, as `y`.

    Source: R. Salakhutdinov & I. Murray, On the quantitative analysis of deep belief networks, 2008, section 6 (binary
        digits as samples); anew at every step: Y. Burda et al., Importance weighted autoencoders, 2016, section 5.

    Example:
        >>> batch = Fresh(Images(torch.tensor([[0.0, 1.0]]), torch.tensor([7]), (1, 2)), labels=True)[[0, 0]]
        >>> batch["x"].tolist(), batch["y"].tolist()
        ([[0.0, 1.0], [0.0, 1.0]], [7, 7])
    """

    def __init__(self, images: Images, *, labels: bool = False) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, rows: Sequence[int]) -> dict[str, Tensor]:
        index = torch.as_tensor(rows)
        batch = {"x": drawn(self.images.pixels[index])}
        return {**batch, "y": self.images.labels[index]} if self.labels else batch


def drawn(pixels: Float[Tensor, "*cells"]) -> Float[Tensor, "*cells"]:
    """Every cell 1 with its intensity as probability, else 0; twice as fast as `torch.bernoulli`.

    Example:
        >>> drawn(torch.tensor([0.0, 1.0]))
        tensor([0., 1.])
    """
    return torch.rand_like(pixels).lt_(pixels)


def batches(data: Dataset[Any], size: int, seed: int) -> DataLoader[Any]:
    """Shuffled batches of a data set that gives a whole batch at once (`__getitems__`).

    Args:
        data: such as `Fresh`.
        size: rows of a batch.
        seed: of the order.
    """
    order = torch.Generator().manual_seed(seed)
    return DataLoader(data, size, shuffle=True, collate_fn=lambda batch: batch, generator=order)
