"""One arm with one seed: trained, measured, and left in a folder of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.optim import Adam
from torch.optim.lr_scheduler import LinearLR

from graft.data.tag_schemes import allowed
from graft.model import Model
from graft.training.fit import Run, fit
from graft.training.stopping import EarlyStopping
from graft.training.weights import save_weights
from graft.zoo.crf_tagger.config import Config
from graft.zoo.crf_tagger.corpus import Corpus, loader
from graft.zoo.crf_tagger.criteria import OBJECTIVES
from graft.zoo.crf_tagger.data import Splits, digest
from graft.zoo.crf_tagger.measure import SELECTED, figures, pairs_seen, selection, whole
from graft.zoo.crf_tagger.model import READS, Parts
from graft.zoo.crf_tagger.predict import legal_modes, modes, predict
from graft.zoo.crf_tagger.vocabulary import Vocabulary

WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class Bench:
    """What all arms share.

    Args:
        config: the settings.
        vocabulary: of the training data.
        train: all of them, every tag told.
        dev: for choosing epochs.
        test: measured once an arm.
        digest: tells these data from others.
    """

    config: Config
    vocabulary: Vocabulary
    train: Corpus
    dev: Corpus
    test: Corpus
    digest: str

    @classmethod
    def of(cls, config: Config, splits: Splits, vocabulary: Vocabulary) -> Bench:
        """The data as numbers."""
        train, dev, test = (Corpus.of(part.words, vocabulary, part.tags) for part in splits)
        return cls(config, vocabulary, train, dev, test, digest(splits))

    def run(self, method: str, seed: int, folder: Path) -> dict[str, float]:
        """Train an arm, and measure it on test data.

        Args:
            method: an arm, with "-" and what it is trained by unless that is the likelihood.
            seed: of everything random in it.
            folder: for checkpoints and weights; what was cut off there goes on.
        """
        arm, _, criterion = method.partition("-")
        model = self.started(arm, seed)
        ended = self._fit(model, arm, criterion or "likelihood", seed, folder)
        save_weights(model, folder / WEIGHTS)
        return {**self.measured(model, arm), **_cost(ended)}

    def started(self, arm: str, seed: int) -> Model:
        """An untrained arm on its device; the global random state stays as it was."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return Parts(self.config, self.vocabulary).model(arm).to(device(self.config))

    def measured(self, model: Model, arm: str) -> dict[str, float]:
        """The figures on test data."""
        model.eval()
        seen = pairs_seen(self.train, len(self.vocabulary.tags))
        found = predict(model, self.test, READS[arm])
        told = figures(self.config.task, self.vocabulary.tags, found, self.test, seen)
        if self.config.task == "chunks":
            # a chain has the rules inside; what a softmax gains by them alone is not the chain's merit
            mode = found.mode
            if arm == "softmax":
                mode = legal_modes(model, self.test, READS[arm], allowed(self.vocabulary.tags))
            right = whole(mode == self.test.tags, self.test)
            told["sentences, legal decoding %"] = 100 * float(right.double().mean())
        return told

    def _fit(self, model: Model, arm: str, criterion: str, seed: int, folder: Path) -> Run:
        config = self.config
        train = self.train if config.labels == 1 else self.train.annotated(config.labels, seed)
        batches = loader(train, config.batch, READS[arm], generator=torch.Generator().manual_seed(seed))
        rate = config.table_rate if arm == "table" else config.rate
        optimizer = Adam(model.parameters(), lr=rate, fused=True)
        return fit(
            OBJECTIVES[criterion](model),
            batches,
            epochs=config.epochs,
            optimizer=optimizer,
            schedule=LinearLR(optimizer, 1.0, 0.0, total_iters=config.epochs * len(batches)),
            schedule_each="step",
            clip=config.clip,
            stopping=EarlyStopping(SELECTED[config.task], better="higher", patience=config.epochs),
            seed=seed,
            accelerator=device(config),
            progress=False,
            watch=self._watch(model, arm),
            folder=folder,
            resume=True,
        )

    def _watch(self, model: Model, arm: str) -> Callable[[int], dict[str, float]]:
        def watch(epoch: int) -> dict[str, float]:
            was, _ = model.training, model.eval()
            mode = modes(model, self.dev, READS[arm])
            model.train(was)
            return selection(self.config.task, self.vocabulary.tags, mode, self.dev)

        return watch


def device(config: Config) -> str:
    """A GPU if there is one and the settings allow it."""
    return "cuda" if config.device == "auto" and torch.cuda.is_available() else "cpu"


def _cost(run: Run) -> dict[str, float]:
    return {"epoch kept": float(run.best or 0), "epochs": float(len(run.history)), "seconds": run.seconds}
