"""What a training step of the tagger's chains costs beside the softmax's, on the same batches in turn.

    python benchmarks/tagger.py data=FOLDER [steps=100]

Prints the median time of a step of each arm, and the median of the ratios to the softmax's step on the same batch with
its interquartile range. One thread, since a run trains several arms at once.
"""

from __future__ import annotations

import sys
import time
from statistics import median, quantiles

import torch
from torch.optim import Adam

from graft.objectives.likelihood import Likelihood
from graft.zoo.crf_tagger.config import ARMS, Config
from graft.zoo.crf_tagger.corpus import Corpus, loader
from graft.zoo.crf_tagger.data import splits, treebank, vocabulary
from graft.zoo.crf_tagger.model import READS, Parts

WARM = 5  # steps that are not counted


def step(objective, optimizer, batch):
    """Seconds of one training step, as `fit` makes it."""
    started = time.perf_counter()
    optimizer.zero_grad()
    objective(batch).backward()
    torch.nn.utils.clip_grad_norm_(objective.parameters(), 5.0)
    optimizer.step()
    return time.perf_counter() - started


def main(data, steps=100):
    torch.set_num_threads(1)
    config = Config(data=data)
    train = splits(config, treebank(config)).train
    words = vocabulary(config, train)
    corpus = Corpus.of(train.words, words, train.tags)
    arms = {}
    for arm in ARMS:
        torch.manual_seed(0)
        objective = Likelihood(Parts(config, words).model(arm))
        arms[arm] = objective, Adam(objective.parameters(), lr=1e-3, fused=True)
    reads = tuple({name for names in READS.values() for name in names})
    seconds = {arm: [] for arm in ARMS}
    for number, batch in enumerate(loader(corpus, config.batch, reads, generator=torch.Generator().manual_seed(0))):
        for arm, (objective, optimizer) in arms.items():
            own = {name: value for name, value in batch.items() if name in (*READS[arm], "lengths", "y")}
            taken = step(objective, optimizer, own)
            if number >= WARM:
                seconds[arm].append(taken)
        if number == WARM + steps - 1:
            break
    for arm, own in seconds.items():
        ratios = [a / b for a, b in zip(own, seconds["softmax"], strict=True)]
        low, _, high = quantiles(ratios, n=4)
        print(f"{arm:12} {1e3 * median(own):7.1f} ms  x {median(ratios):.2f} of softmax ({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    found = dict(word.split("=", 1) for word in sys.argv[1:])
    main(found["data"], int(found.get("steps", 100)))
