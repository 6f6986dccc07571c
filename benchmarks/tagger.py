"""What a training step of the tagger costs with each kind of chain on top, beside a softmax."""

from __future__ import annotations

from pathlib import Path

from harness import Case, Contestant, Section, main

BATCHES = 8  # of the training set, one after the other, in each timed call


def arm(name):
    """A contestant: training steps of one arm, on the same batches as the others."""

    def make(folder):
        if not folder.is_dir():
            raise ImportError(f"--data names no folder that holds {folder.name}")
        import torch
        from torch.optim import Adam

        from graft.objectives.likelihood import Likelihood
        from graft.zoo.crf_tagger.model import READS, Parts

        config, words, batches = corpus(folder)
        torch.manual_seed(0)
        objective = Likelihood(Parts(config, words).model(name))
        optimizer = Adam(objective.parameters(), lr=1e-3, fused=True)
        own = [{key: batch[key] for key in (*READS[name], "lengths", "y")} for batch in batches]

        def steps():
            for batch in own:
                optimizer.zero_grad()
                objective(batch).backward()
                torch.nn.utils.clip_grad_norm_(objective.parameters(), 5.0)
                optimizer.step()

        return steps

    return make


def corpus(folder):
    """The configuration, the vocabulary, and some batches."""
    from itertools import islice

    import torch

    from graft.zoo.crf_tagger.config import Config
    from graft.zoo.crf_tagger.corpus import Corpus, loader
    from graft.zoo.crf_tagger.data import splits, treebank, vocabulary
    from graft.zoo.crf_tagger.model import READS

    config = Config(data=str(folder))
    train = splits(config, treebank(config)).train
    words = vocabulary(config, train)
    reads = tuple({name for names in READS.values() for name in names})
    generator = torch.Generator().manual_seed(0)
    sentences = Corpus.of(train.words, words, train.tags)
    return config, words, list(islice(loader(sentences, config.batch, reads, generator=generator), BATCHES))


def sections(options):
    from graft.zoo.crf_tagger.config import ARMS

    arms = ["softmax", *(name for name in ARMS if name != "softmax")]
    cases = [Case("a step", (Path(options.data or ".") / "ud_english_ewt",), quick=True, seconds=12.0)]
    contestants = [Contestant(name, arm(name)) for name in arms]
    about = f"Forward, backward and update, over {BATCHES} batches of the treebank, by kind of output."
    yield Section("tagger", "The tagger: a training step", cases, contestants, about, None, f"{BATCHES} steps")


if __name__ == "__main__":
    main(sections)
