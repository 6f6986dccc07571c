"""Images of which a few are labelled: a draw that is balanced over classes, and batches of both kinds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from graft.data.images import Images, WholeBatches, drawn
from graft.errors import DataError

#: Stands for a label that is not known.
UNKNOWN = -1


@dataclass(frozen=True, eq=False)
class PartlyLabelled:
    """Images with labels, and others whose labels nobody may look at."""

    labelled: Images
    unlabelled: Images

    @property
    def all(self) -> Images:
        """Both, the labels of the latter unknown."""
        one, two = self.labelled, self.unlabelled
        unknown = torch.full_like(two.labels, UNKNOWN)
        return Images(torch.cat([one.pixels, two.pixels]), torch.cat([one.labels, unknown]), one.shape, one.levels)


def partly_labelled(images: Images, labels: int, unlabelled: int, seed: int) -> PartlyLabelled:
    """Draw images to be labelled, as many of each class, and some of the rest to be without.

    Args:
        images: with all labels.
        labels: how many in all, a multiple of the number of classes.
        unlabelled: how many of the others; 0 for all.
        seed: of the draw; with the same seed, the images of fewer labels are among those of more.

    Raises:
        DataError: the classes cannot have as many labels each, or nothing is left to be without.

    Example:
        >>> images = Images(torch.rand(20, 4), torch.arange(20) % 2, (2, 2))
        >>> found = partly_labelled(images, labels=6, unlabelled=10, seed=0)
        >>> found.labelled.labels.bincount().tolist(), len(found.unlabelled)
        ([3, 3], 10)
    """
    classes = int(images.labels.max()) + 1
    each = labels // classes
    fewest = int(images.labels.bincount(minlength=classes).min())
    if labels < 1 or labels % classes or each > fewest:
        raise DataError(
            f"labels={labels} cannot be drawn alike from {classes} classes: it is a positive multiple of {classes}, at "
            f"most {classes * fewest}, for one class has {fewest} images"
        )
    rest = len(images) - labels
    if not 0 <= unlabelled <= rest or not rest:
        raise DataError(f"unlabelled={unlabelled}, but beside {labels} labelled images there are {rest}")
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    ordered = images.labels[order]
    chosen = torch.cat([order[ordered == k][:each] for k in range(classes)])
    free = torch.ones(len(images), dtype=torch.bool)
    free[chosen] = False
    others = order[free[order]][: unlabelled or rest]
    return PartlyLabelled(images.take(chosen), images.take(others))


class Mixed(WholeBatches):
    r"""Batches of unlabelled images and, beside them, of labelled ones, drawn with replacement; all made binary anew.

    One pass goes through the unlabelled images once. Draws come from the global random state.

    Args:
        data: both kinds.
        beside: labelled rows in every batch, which come first; the others have the label -1.
        alone: leave the unlabelled rows out, so that a pass has as many batches of labelled rows only.

    Example:
        >>> data = partly_labelled(Images(torch.rand(9, 4), torch.arange(9) % 2, (2, 2)), 4, 0, seed=0)
        >>> batch = Mixed(data, beside=2)[[0, 3, 4]]
        >>> batch["x"].shape, batch["y"][2:].tolist(), len(Mixed(data, beside=2))
        (torch.Size([5, 4]), [-1, -1, -1], 5)
    """

    def __init__(self, data: PartlyLabelled, beside: int, *, alone: bool = False) -> None:
        self.data, self.beside, self.alone = data, beside, alone

    def __len__(self) -> int:
        return len(self.data.unlabelled)

    def __getitems__(self, rows: Sequence[int]) -> dict[str, Tensor]:
        known = self.data.labelled
        picked = torch.randint(len(known), (self.beside,))
        pixels, labels = known.pixels[picked], known.labels[picked]
        if not self.alone:
            pixels = torch.cat([pixels, self.data.unlabelled.pixels[torch.as_tensor(rows)]])
            labels = torch.cat([labels, labels.new_full((len(rows),), UNKNOWN)])
        return {"x": drawn(pixels), "y": labels}
