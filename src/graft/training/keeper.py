"""The folder of a run: its log and its checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from graft.errors import GraftError
from graft.training import checkpoint
from graft.training.checkpoint import About
from graft.training.durable import named, sweep
from graft.training.log import Row, Table

CHECKPOINTS, LOG, SECONDS = "checkpoints", "log.csv", "seconds.csv"


class Keeper:
    """Writes what a run leaves on the disk; only the first process does.

    Args:
        folder: of the run; is made if it is not there.
        every: steps from one checkpoint to the next, besides those after each epoch.
        fabric: tells which process this is.

    Raises:
        GraftError: the folder cannot be written to.
    """

    def __init__(self, folder: Path, every: int | None, fabric: Any) -> None:
        self.folder, self.every, self.fabric = folder, every, fabric
        self.checkpoints = folder / CHECKPOINTS
        self.last: Path | None = None
        self.log, self.seconds = Table(folder / LOG), Table(folder / SECONDS)
        self._together(self._open)

    def found(self) -> list[Path]:
        """The checkpoints, the newest first."""
        return checkpoint.found(self.checkpoints)

    def check_new(self) -> None:
        """Nothing is written over.

        Raises:
            GraftError: the folder holds a run.
        """
        self.fabric.barrier()  # nobody writes before all have looked
        there = [path.name for path in (self.log.path, self.seconds.path) if path.exists()]
        there += [f"{CHECKPOINTS}/{path.name}" for path in self.found()]
        self.fabric.barrier()
        if there:
            raise GraftError(f"{self.folder} already holds {', '.join(there)}: resume it, or choose another folder")

    def keep(self, about: About, module: dict[str, Any], state: dict[str, Any]) -> None:
        """Write a checkpoint, then remove those that are no longer needed.

        Raises:
            GraftError: it cannot be written; those before are still there.
        """

        def write() -> None:
            self.last = checkpoint.write(self.checkpoints, about, module, state)
            checkpoint.keep_only(self.checkpoints, {self.last.name, about.best})

        self._together(write)

    def tidy(self, newest: Path, best: str | None) -> None:
        """Go on from a checkpoint: those that a killed process had no time to remove are removed.

        Raises:
            GraftError: they cannot be.
        """
        self.last = newest
        self._together(lambda: checkpoint.keep_only(self.checkpoints, {newest.name, best}))

    def note(self, rows: list[Row], seconds: list[Row]) -> None:
        """Add the last epoch to the log; the first call writes all of it.

        Raises:
            GraftError: it cannot be written.
        """

        def write() -> None:
            self.log.add(rows)
            self.seconds.add(seconds)

        self._together(write)

    def _open(self) -> None:
        with named(self.folder):
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            probe = self.checkpoints / ".probe.writing"
            probe.touch()
            probe.unlink()
        sweep(self.checkpoints)
        sweep(self.folder)

    def _together(self, work: Any) -> None:
        """Done by the first process; if it fails there, all processes stop."""
        failure = ""
        if self.fabric.global_rank == 0:
            try:
                work()
            except GraftError as error:
                failure = str(error)
        failure = self.fabric.broadcast(failure)
        if failure:
            raise GraftError(failure)
