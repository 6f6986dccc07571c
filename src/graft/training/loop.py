"""The loop over epochs and batches."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

from graft.errors import GraftError
from graft.training import random_state
from graft.training.batches import Source
from graft.training.checkpoint import About, name_of
from graft.training.keeper import Keeper
from graft.training.log import Row, figures
from graft.training.run import Run
from graft.training.schedule import Schedule
from graft.training.share import Mean, Share
from graft.training.step import Learner
from graft.training.stopping import Best
from graft.training.together import everyone

#: Figures measured after an epoch, by name.
Watch = Callable[[int], Mapping[str, float]]


class Loop:
    """Everything that changes while a model is trained.

    Args:
        learner: makes the steps.
        data: that it learns from.
        valid: that it is judged by.
        schedule: of the learning rate.
        best: the best epoch.
        watch: measures further figures.
        keeper: of the run's folder.
        settings: that a run which is resumed must have in common with this one.
    """

    def __init__(
        self,
        learner: Learner,
        data: Source,
        valid: Source | None,
        schedule: Schedule,
        best: Best,
        watch: Watch | None,
        keeper: Keeper | None,
        settings: dict[str, Any],
    ) -> None:
        self.learner, self.data, self.valid, self.schedule = learner, data, valid, schedule
        self.best, self.watch, self.keeper, self.settings = best, watch, keeper, settings
        self.fabric = learner.fabric
        self.epoch = self.step = self.position = 0
        self.mean = Mean(self.fabric.device)
        self.rows: list[Row] = []
        self.seconds: list[Row] = []
        self.stopped = ""
        self.start: dict[str, Any] = {}
        self.began = time.perf_counter()

    def run(self, epochs: int, advance: Callable[[Row], None]) -> Run:
        """Train up to a number of epochs.

        Args:
            epochs: in all, those before a resumption included.
            advance: told of every finished epoch.
        """
        while self.epoch < epochs and not self.stopped:
            self._epoch()
            advance(self.rows[-1])
        self.best.restore(self.learner.objective)
        history = tuple({**row, "seconds": at["seconds"]} for row, at in zip(self.rows, self.seconds, strict=True))
        folder = self.keeper.folder if self.keeper is not None else None
        stopped = self.stopped or f"all {self.epoch} epochs are done"
        return Run(history, time.perf_counter() - self.began, self.best.epoch, stopped, folder)

    def random(self) -> dict[str, Any]:
        """All random states of this process."""
        return {"global": random_state.capture(self.fabric.device), "data": self.data.state()}

    def restore_random(self, state: dict[str, Any]) -> None:
        """Put back what `random` gave."""
        random_state.restore(state["global"], self.fabric.device)
        self.data.restore(state["data"])

    def _epoch(self) -> None:
        for share in self._begin():
            self._step(share)
        if self.position == 0:
            raise GraftError("the data gave no batch")
        self._end()

    def _begin(self) -> Any:
        if self.position == 0:
            self.start = self.random()
            return self.data.begin(self.epoch)
        # the order of a half-done epoch is drawn again as it was; then the present comes back
        now = self.random()
        self.restore_random(self.start)
        batches = self.data.begin(self.epoch, self.position)
        self.restore_random(now)
        return batches

    def _step(self, share: Share) -> None:
        loss = self._told(lambda: self.learner.step(share))
        self.mean.add(loss, share)
        self.step, self.position = self.step + 1, self.position + 1
        self.schedule.stepped()
        if self.keeper is not None and self.keeper.every and self.step % self.keeper.every == 0:
            self._keep(self.keeper)

    def _end(self) -> None:
        self._told(lambda: self.learner.check_parameters(self.step))
        row: Row = {"epoch": self.epoch + 1, "step": self.step, "loss": self.mean.value(self.fabric)}
        if self.valid is not None:
            valid = self.valid
            row["valid"] = self._told(lambda: self.learner.mean(valid))
        if self.watch is not None:
            # every process measures, all believe the first
            row.update(self.fabric.broadcast(figures(self.watch(self.epoch + 1))))
        self.epoch, self.position, self.mean = self.epoch + 1, 0, Mean(self.fabric.device)
        try:
            self._judge(row)
        except GraftError:
            self._record(row)  # a figure that is not there costs nothing but the judgement
            raise
        self._record(row)

    def _judge(self, row: Row) -> None:
        self.schedule.ended(row)
        self.best.see(row, self.learner.objective, name_of(self.epoch, self.step) if self.keeper is not None else None)
        if self.best.over and self.best.rule is not None:
            self.stopped = f"{self.best.rule.figure} has not improved for {self.best.rule.patience} epochs"

    def _record(self, row: Row) -> None:
        self.rows.append(row)
        self.seconds.append({"epoch": row["epoch"], "seconds": time.perf_counter() - self.began})
        if self.keeper is not None:
            self._keep(self.keeper)
            self.keeper.note(self.rows, self.seconds)
        if self.fabric.loggers:
            self.fabric.log_dict(row, step=self.step)
            for logger in self.fabric.loggers:
                logger.save()

    def _keep(self, keeper: Keeper) -> None:
        self._told(lambda: self.learner.check_parameters(self.step))
        now = self.random()
        shared = {"start": self.start if self.position else now, "now": now, "total": self.mean.total.cpu()}
        gathered = everyone(shared, self.fabric)
        about = About(self.epoch, self.step, self.best.checkpoint)
        keeper.keep(about, self.learner.objective.state_dict(), self._state(gathered))

    def _state(self, gathered: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "settings": self.settings,
            "epoch": self.epoch,
            "step": self.step,
            "position": self.position,
            "total": torch.stack([one["total"] for one in gathered]),
            "rows": self.mean.rows,
            "start": [one["start"] for one in gathered],
            "now": [one["now"] for one in gathered],
            "optimizer": self.learner.optimizer.state_dict(),
            "schedule": self.schedule.state(),
            "precision": self.fabric.strategy.precision.state_dict(),
            "log": self.rows,
            "seconds": self.seconds,
            "best": self.best.state(),
            "stopped": self.stopped,
        }

    def _told(self, work: Callable[[], Any]) -> Any:
        """Do some work; an error also says where the last checkpoint is."""
        try:
            return work()
        except GraftError as error:
            if self.keeper is not None and self.keeper.last is not None and error.args:
                error.args = (f"{error.args[0]}; the last checkpoint is {self.keeper.last}", *error.args[1:])
            raise
