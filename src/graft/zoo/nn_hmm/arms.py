r"""The four arms. All share the first half of the training; the second half is what tells them apart.

First, the network is trained as a frame classifier. Then, for the same number of epochs,

- `network`: the classifier is trained on;
- `separate`: the network is frozen, and the chain fitted to its outputs by $\log p(\text{labels}, y)$;
- `conditional`: the network is frozen, and the chain trained by
  $\log p(\text{labels} \mid y) = \log p(\text{labels}, y) - \log p(y)$;
- `joint`: chain and network together are trained by the same conditional criterion.

The chains of the last three start as one and the same: moves as counted, mixtures by k-means of the outputs.
In every arm that epoch of the second half is kept, its start included, whose strings are most accurate on
validation data.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.optim import Adam

from graft.data.batches import SequenceData, Splits
from graft.model import Model
from graft.objectives.likelihood import Likelihood
from graft.training.fit import fit
from graft.zoo.nn_hmm.best import Best
from graft.zoo.nn_hmm.config import Config
from graft.zoo.nn_hmm.emission import started
from graft.zoo.nn_hmm.measure import ByModel, ByNetwork, Recogniser, string_figures
from graft.zoo.nn_hmm.model import hybrid
from graft.zoo.nn_hmm.network import Classifier, CrossEntropy, network
from graft.zoo.nn_hmm.rows import Batch, loader
from graft.zoo.nn_hmm.states import States

ARMS = ("network", "separate", "conditional", "joint")
#: Told of the start (epoch 0) and of every finished epoch: the arm (or "pretraining"), the epoch, and the figures on
#: validation data.
Watch = Callable[[str, int, Mapping[str, float]], None]


@dataclass(frozen=True)
class Trained:
    """An arm after training.

    Args:
        module: a `Classifier`, or a `Model`.
        recognise: what it makes of data.
        epoch: of the second half that was kept, 0 for its start.
    """

    module: nn.Module
    recognise: Recogniser
    epoch: int


@dataclass(frozen=True)
class Stage:
    """One fit: what is trained, on what, and how it is judged.

    Args:
        name: of the arm.
        objective: the loss.
        module: what is kept of the best epoch.
        recognise: what it makes of data.
        data: training data.
        convert: from data to what the objective reads.
        rates: learning rates and what they are of.
    """

    name: str
    objective: nn.Module
    module: nn.Module
    recognise: Recogniser
    data: SequenceData
    convert: Callable[[SequenceData], Batch]
    rates: tuple[tuple[float, Iterable[nn.Parameter]], ...]


@dataclass(frozen=True)
class Bench:
    """What all arms of one seed share.

    Args:
        config: the settings.
        splits: the data.
        seed: of starts and order.
        watch: told of every epoch.
    """

    config: Config
    splits: Splits
    seed: int
    watch: Watch

    @property
    def states(self) -> States:
        """How labels are made of states."""
        return States(len(self.splits.train.names), self.config.states)

    def arms(self) -> dict[str, Trained]:
        """All four, by name."""
        classifier = self.pretrained()
        return {
            "network": self.network(classifier),
            "separate": self.separate(self.chain(classifier)),
            "conditional": self.conditional(self.chain(classifier)),
            "joint": self.joint(self.chain(classifier)),
        }

    def pretrained(self) -> Classifier:
        """The classifier after the half that all arms share."""
        config, train = self.config, self.splits.train
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            net = network(train.frames.shape[-1], context=config.context, hidden=config.hidden, outputs=config.outputs)
            classifier = Classifier(net, config.outputs, len(train.names))
        self._run(self._classify("pretraining", classifier, config.rate), config.pretraining)
        return classifier

    @torch.no_grad()
    def chain(self, classifier: Classifier) -> Model:
        """The hybrid that the last three arms start from, around a copy of the network."""
        train, config = self.splits.train, self.config
        net = copy.deepcopy(classifier.network)
        emission = started(
            net(train.frames)[train.mask],
            self.states.aligned(train)[train.mask],
            self.states.count,
            components=config.components,
            covariance=config.covariance,
            floor=config.floor,
            generator=torch.Generator().manual_seed(self.seed),
        )
        return hybrid(net, emission, self.states, *self.states.counted(train), names=train.names)

    def network(self, classifier: Classifier) -> Trained:
        """The network alone, trained on."""
        return self._trained(self._classify("network", copy.deepcopy(classifier), self.config.late_rate))

    def separate(self, model: Model) -> Trained:
        """The chain alone, by likelihood."""
        return self._trained(self._frozen("separate", model, Likelihood(model)))

    def conditional(self, model: Model) -> Trained:
        """The chain alone, by the conditional criterion."""
        return self._trained(self._frozen("conditional", model, Likelihood(model, given=("y",))))

    def joint(self, model: Model) -> Trained:
        """Chain and network together, by the conditional criterion."""
        net, chain = _parts(model)
        rates = ((self.config.late_rate, net), (self.config.chain_rate, chain))
        objective = Likelihood(model, given=("frames",))
        convert = self._evidence("frames")
        stage = Stage("joint", objective, model, ByModel(model, self.states), self.splits.train, convert, rates)
        return self._trained(stage)

    def _classify(self, name: str, classifier: Classifier, rate: float) -> Stage:
        rates = ((rate, classifier.parameters()),)
        objective, recognise = CrossEntropy(classifier), ByNetwork(classifier, self.splits.valid)
        return Stage(name, objective, classifier, recognise, self.splits.train, SequenceData.tensors, rates)

    def _frozen(self, name: str, model: Model, objective: Likelihood) -> Stage:
        """The chain is trained on the outputs of the network as they are: computed once."""
        net = model.get_submodule("factors.2.net")
        with torch.no_grad():
            outputs = replace(self.splits.train, frames=net(self.splits.train.frames))
        rates = ((self.config.chain_rate, _parts(model)[1]),)
        return Stage(name, objective, model, ByModel(model, self.states), outputs, self._evidence("y"), rates)

    def _evidence(self, name: str) -> Callable[[SequenceData], Batch]:
        return lambda part: {"s": self.states.evidence(part), name: part.frames, "lengths": part.lengths}

    def _trained(self, stage: Stage) -> Trained:
        return Trained(stage.module, stage.recognise, self._run(stage, self.config.epochs))

    def _run(self, stage: Stage, epochs: int) -> int:
        """Fit, keep the best epoch; returns which it was."""
        valid = self.splits.valid
        best = Best(
            stage.module,
            measure=lambda: string_figures(stage.recognise.strings(valid), valid),
            watch=lambda epoch, found: self.watch(stage.name, epoch, found),
        )

        batches = loader(stage.data, self.config.batch, stage.convert, seed=self.seed)
        optimizer = Adam([{"lr": rate, "params": list(params)} for rate, params in stage.rates])
        fit(stage.objective, batches, epochs=epochs, optimizer=optimizer, seed=self.seed, progress=False, watch=best)
        return best.restore()


def _parts(model: Model) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The parameters of the network, and those of the chain."""
    net = list(model.get_submodule("factors.2.net").parameters())
    inside = {id(p) for p in net}
    return net, [p for p in model.parameters() if id(p) not in inside]
