"""Settings that every recipe on images has."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from graft.data import digits, mnist
from graft.data.images import Parts
from graft.errors import GraftError

#: Images of MNIST that settings are chosen by, the last to learn from; they are not trained on then.
HELD_OUT = 10_000


@dataclass(frozen=True)
class Settings:
    """What a recipe on images can be told; the fields of a recipe's own come after these.

    Args:
        data: digits of 8x8 cells, which need no download, or MNIST.
        folder: where the files of MNIST are, for `data=mnist`.
        arms: which, with commas between; empty for the recipe's usual ones.
        seeds: how many, from 0; a seed decides on the start, the order of batches and all that is drawn.
        epochs: of every arm.
        batch: rows in a gradient step.
        rate: learning rate (Adam) at the start; it falls to nothing over all epochs in a straight line.
        rows: test images that are measured, at equal distances; 0 for all.
        draws: of the guide for each of them, in the estimate of its log-likelihood.
        jobs: arms trained at once, each in a process of its own.
        run: folder that the run is written to; if empty, one in `runs` named after recipe, data and time. A run that
            was cut off goes on where it was.
        measured: the part of the data that figures are of: `test`, or `valid`, for choosing settings; of MNIST that is
            the last 10,000 training images, which are then not trained on.
    """

    data: Literal["digits", "mnist"] = "digits"
    folder: str = ""
    arms: str = ""
    seeds: int = 2
    epochs: int = 100
    batch: int = 100
    rate: float = 2e-3
    rows: int = 2000
    draws: int = 5000
    jobs: int = 2
    run: str = ""
    measured: Literal["test", "valid"] = "test"

    def __post_init__(self) -> None:
        for key in ("seeds", "epochs", "batch", "jobs"):
            if getattr(self, key) < 1:
                raise GraftError(f"{key} must be at least 1, not {getattr(self, key)}")
        if self.draws < 2 or self.rows < 0:
            raise GraftError("draws must be at least 2 and rows at least 0")
        if not (self.rate > 0 and math.isfinite(self.rate)):
            raise GraftError(f"rate must be positive, not {self.rate}")
        if self.data == "mnist" and not self.folder:
            raise GraftError("data=mnist needs folder=, where its four files are")

    def methods(self, known: tuple[str, ...], usual: tuple[str, ...] = ()) -> tuple[str, ...]:
        """The arms asked for.

        Args:
            known: what can be asked for.
            usual: what it is if nothing is; all if empty.

        Raises:
            GraftError: one is unknown or told twice.

        Example:
            >>> Settings(arms="iwae").methods(("vae", "iwae"))
            ('iwae',)
        """
        if not self.arms:
            return usual or known
        told = tuple(self.arms.split(","))
        wrong = [arm for arm in told if arm not in known or told.count(arm) > 1]
        if wrong:
            raise GraftError(f"arms are {', '.join(known)}, each at most once; not {wrong[0]!r}")
        return told

    def images(self) -> Parts:
        """The data that the settings ask for, with what is measured in the place of the test part.

        Raises:
            DataError: the files are not there, or are not what they should be.
        """
        held_out = 0 if self.measured == "test" else HELD_OUT
        parts = digits.load() if self.data == "digits" else mnist.load(self.folder, held_out)
        return parts if self.measured == "test" else Parts(parts.train, parts.valid, parts.valid)
