"""The tagger: data as numbers, the network against plain loops, a small run from end to end, bad input."""

import csv
import json
import math
import random
from dataclasses import replace

import pytest
import torch

from graft.cli.main import main
from graft.data.conllu import Sentence
from graft.errors import DataError, GraftError
from graft.zoo.crf_tagger.config import ARMS, Config
from graft.zoo.crf_tagger.corpus import UNTOLD, Corpus, loader
from graft.zoo.crf_tagger.data import tagged
from graft.zoo.crf_tagger.data import vocabulary as vocabulary_of
from graft.zoo.crf_tagger.features import AFFIXES
from graft.zoo.crf_tagger.measure import figures, pairs_seen, whole
from graft.zoo.crf_tagger.model import READS, Parts
from graft.zoo.crf_tagger.network import Bag, Encoder, Spelling
from graft.zoo.crf_tagger.predict import predict
from graft.zoo.crf_tagger.tagger import Tagger
from graft.zoo.crf_tagger.vocabulary import WIDTH, Vocabulary

NOUNS, VERBS = ("cat", "dog", "Ann", "treebank"), ("sees", "likes", "tags")
SMALL = (
    "word=8",
    "filters=6",
    "rate=0.03",
    "table_rate=0.05",
    "epochs=2",
    "batch=8",
    "jobs=1",
    "device=cpu",
)


def sentences(count, seed):
    """ "The cat sees a dog", of random words, with their trees."""
    rng = random.Random(seed)
    for _ in range(count):
        subject, verb, thing = rng.choice(NOUNS), rng.choice(VERBS), rng.choice(NOUNS)
        yield Sentence(
            words=("The", subject, verb, "a", thing),
            upos=("DET", "NOUN", "VERB", "DET", "NOUN"),
            heads=(2, 3, 0, 5, 3),
            relations=("det", "nsubj", "root", "det", "obj"),
        )


def written(folder):
    """A small treebank in CoNLL-U."""
    for seed, (part, count) in enumerate({"train": 60, "dev": 12, "test": 12}.items()):
        blocks = []
        for s in sentences(count, seed):
            rows = zip(s.words, s.upos, s.heads, s.relations, strict=True)
            blocks.append(
                "".join(f"{k}\t{w}\t_\t{u}\t_\t_\t{h}\t{r}\t_\t_\n" for k, (w, u, h, r) in enumerate(rows, 1))
            )
        (folder / f"xx-ud-{part}.conllu").write_text("\n".join(blocks) + "\n", encoding="utf-8")
    return folder


def parts(task="upos"):
    """Config, vocabulary and a corpus of the small treebank."""
    data = tagged(tuple(sentences(20, 0)), task)
    config = Config(data="-", task=task, hidden=6, word=5, filters=4, dropout=0.0)
    vocabulary = vocabulary_of(config, data)
    return config, vocabulary, Corpus.of(data.words, vocabulary, data.tags)


SEEDS = {"upos": 2, "chunks": 1}


@pytest.fixture(scope="module", params=SEEDS)
def run(request, tmp_path_factory):
    """A run of all arms on the small treebank: its folder and its data."""
    data, folder = written(tmp_path_factory.mktemp("data")), tmp_path_factory.mktemp("run") / request.param
    assert main(["train", "crf_tagger", f"data={data}", f"run={folder}", *asked(request.param)]) == 0
    return folder, data


def asked(task, hidden=8):
    """The words of the command for a small run."""
    return [f"task={task}", f"seeds={SEEDS[task]}", f"hidden={hidden}", *SMALL]


def task_of(folder):
    return json.loads((folder / "config.json").read_text())["settings"]["task"]


def test_a_run_leaves_figures_weights_and_pictures(run):
    folder, _ = run
    for name in ("config.json", "vocabulary.json", "metrics.csv", "table.md", "model.png", "reliability.png"):
        assert (folder / name).stat().st_size > 0
    with (folder / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["figure"] == "words %"]
    assert {(row["arm"], row["seed"]) for row in rows} == {
        (arm, str(seed)) for arm in ARMS for seed in range(SEEDS[task_of(folder)])
    }
    # four words in five follow from the word alone
    assert all(float(row["value"]) > 60 for row in rows)
    assert "data" not in json.loads((folder / "config.json").read_text())["settings"]


def test_a_saved_run_repeats_its_figures(run, capsys):
    folder, data = run
    from graft.zoo.crf_tagger.recipe import bench, read_settings, saved
    from graft.zoo.crf_tagger.tagger import restored

    config = read_settings(folder, data=str(data))
    own = bench(config, Vocabulary.read(folder / "vocabulary.json"))
    for (method, seed), path in saved(folder).items():
        again = own.measured(restored(config, own.vocabulary, method, path), method)
        before = json.loads((folder / method / f"seed-{seed}" / "figures.json").read_text())
        assert again == {name: before[name] for name in again}
    assert main(["evaluate", str(folder), f"data={data}"]) == 0
    assert "words %" in capsys.readouterr().out


def test_a_finished_run_is_not_trained_again_and_another_is_refused(run, capsys):
    folder, data = run
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}
    words = ["train", "crf_tagger", f"data={data}", f"run={folder}"]
    assert main([*words, *asked(task_of(folder))]) == 0
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}
    assert main([*words, *asked(task_of(folder), hidden=9)]) == 2
    assert "hidden=8" in capsys.readouterr().err


def test_another_treebank_is_measured_with_the_vocabulary_of_the_run(run, tmp_path, capsys):
    folder, data = run
    for path in data.iterdir():
        text = path.read_text()
        (tmp_path / path.name).write_text(text.replace("cat", "aardvark") if "train" in path.name else text)
    assert main(["evaluate", str(folder), f"data={data}"]) == 0
    before = capsys.readouterr().out.splitlines()[1:]
    assert main(["evaluate", str(folder), f"data={tmp_path}"]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == before


def test_a_run_is_not_gone_on_with_on_other_data(run, tmp_path, capsys):
    folder, data = run
    for path in data.iterdir():
        (tmp_path / path.name).write_text(path.read_text().replace("cat", "aardvark"))
    before = (folder / "vocabulary.json").read_bytes()
    assert main(["train", "crf_tagger", f"data={tmp_path}", f"run={folder}", *asked(task_of(folder))]) == 2
    assert "other data" in capsys.readouterr().err
    assert (folder / "vocabulary.json").read_bytes() == before


@pytest.mark.parametrize("command", ["evaluate", "sample", "tag"])
def test_commands_about_runs_help(command, capsys):
    assert main([command, "--help"]) == 0 and command in capsys.readouterr().out


WRONG_SENTENCES = {"one text": "ab c", "no text": [None], "a number": [[1]], "an empty word": [["a", ""]]}


@pytest.mark.parametrize("sentences", WRONG_SENTENCES.values(), ids=WRONG_SENTENCES)
def test_what_is_no_list_of_sentences_is_told(run, sentences):
    with pytest.raises(GraftError, match="sentence"):
        Tagger.load(run[0]).tag_all(sentences)


def test_tagging_from_python_and_the_command_line(run, capsys):
    folder, _ = run
    tagged_ = Tagger.load(folder).tag("The cat likes a dog")
    assert len(tagged_.words) == len(tagged_.tags) == len(tagged_.confidence) == 5
    log_probs = [log_prob for _, log_prob in tagged_.best]
    assert len(log_probs) == 3 and log_probs == sorted(log_probs, reverse=True)
    assert sum(map(math.exp, log_probs)) <= 1 + 1e-5
    assert tagged_.best[0][0] == tagged_.tags
    assert main(["tag", str(folder), "The cat likes a dog", "best=2", "arm=softmax"]) == 0
    out = capsys.readouterr().out
    assert "confidence" in out and "2. " in out and "3. " not in out


@pytest.mark.parametrize("words", [["x"], ["☃", "ÿ\x00", "a b"], ["w"] * 5000], ids=["one", "unknown", "5000"])
def test_sentences_of_any_kind_are_tagged(run, words):
    found = Tagger.load(run[0], "unaries").tag(words)
    assert len(found.tags) == len(words) and all(0 <= p <= 1 + 1e-5 for p in found.confidence)
    # of a sentence of 5000 words every sequence is rarer than a float32 can tell
    assert len(found.best) == 3


def test_many_sentences_come_back_in_order(run):
    tagger = Tagger.load(run[0], "transitions")
    many = [["The", "cat"], ["Ann"], ["The", "dog", "sees", "Ann"]]
    for sentence, found in zip(many, tagger.tag_all(many), strict=True):
        alone = tagger.tag(sentence)
        assert found.tags == alone.tags and found.words == tuple(sentence)
        assert found.confidence == pytest.approx(alone.confidence, abs=1e-5)


WRONG_CALLS = {
    "no data": (["train", "crf_tagger"], "data="),
    "no folder": (["train", "crf_tagger", "data=/nowhere", "run={tmp}"], "nowhere"),
    "arm": (["train", "crf_tagger", "data=x", "arms=hmm"], "softmax, table"),
    "share": (["train", "crf_tagger", "data=x", "labels=1.5"], "labels"),
    "no run": (["tag", "/nowhere", "a"], "not there"),
    "nothing to tag": (["tag", "{run}"], "what to tag"),
    "empty sentence": (["tag", "{run}", "  "], "empty"),
    "no such arm": (["tag", "{run}", "a", "arm=hmm"], "no arm 'hmm'"),
    "no count": (["tag", "{run}", "a", "best=0"], "at least 1"),
    "no number": (["tag", "{run}", "a", "best=²"], "whole number"),
    "twice": (["tag", "{run}", "a", "seed=0", "seed=1"], "twice"),
    "rate": (["train", "crf_tagger", "data=x", "rate=inf"], "rate"),
    "no treebank": (["evaluate", "{run}"], "data=FOLDER"),
    "nothing to draw": (["sample", "{run}"], "is one of crf_tagger"),
}


@pytest.mark.parametrize(("words", "message"), WRONG_CALLS.values(), ids=WRONG_CALLS)
def test_wrong_calls_are_told(words, message, run, tmp_path, capsys):
    assert main([word.format(run=run[0], tmp=tmp_path / "r") for word in words]) == 2
    assert message in capsys.readouterr().err


def test_a_run_with_strange_files_is_refused_and_nothing_runs(run, tmp_path):
    source = run[0]
    for name, content in {"config.json": "[1]", "vocabulary.json": '{"words": 3}'}.items():
        folder = tmp_path / name
        folder.mkdir()
        for kept in ("config.json", "vocabulary.json"):
            (folder / kept).write_text((source / kept).read_text())
        weights = folder / "unaries" / "seed-0" / "weights.safetensors"
        weights.parent.mkdir(parents=True)
        weights.write_bytes((source / "unaries" / "seed-0" / "weights.safetensors").read_bytes())
        Tagger.load(folder)
        (folder / name).write_text(content)
        with pytest.raises(GraftError, match=name):
            Tagger.load(folder)


def test_a_batch_holds_what_plain_loops_say():
    _, vocabulary, _ = parts()
    split = [["The", "cat"], ["dog"], ["a", "cat", "sees"]]
    tags = [["DET", "NOUN"], ["NOUN"], ["DET", "NOUN", "VERB"]]
    corpus = Corpus.of(split, vocabulary, tags)
    batch = corpus.batch([2, 0], ("words", "chars"))
    for row, number in enumerate([2, 0]):
        for t, (word, tag) in enumerate(zip(split[number], tags[number], strict=True)):
            assert batch["words"][row, t] == vocabulary.word(word)
            assert batch["chars"][row, t].tolist() == vocabulary.spelt(word)
            assert batch["y"][row, t] == vocabulary.tag(tag)
        assert (batch["y"][row, len(split[number]) :] == UNTOLD).all()
        assert (batch["chars"][row, len(split[number]) :] == 0).all()
    assert torch.cat(list(corpus.parts(3))).sort()[0].tolist() == [0, 1, 2]


def test_every_epoch_has_every_sentence_once():
    _, _, corpus = parts()
    seen = torch.cat([batch["words"] for batch in loader(corpus, 7, ("words",), generator=torch.Generator())])
    assert seen.flatten().sort()[0].equal(corpus.words.sort()[0])


def test_a_share_of_the_words_is_told():
    _, _, corpus = parts()
    half = corpus.annotated(0.5, 0)
    told = half.tags != UNTOLD
    assert half.tags[told].equal(corpus.tags[told]) and 20 < int(told.sum()) < 80
    assert half.tags.equal(corpus.annotated(0.5, 0).tags) and not half.tags.equal(corpus.annotated(0.5, 1).tags)


def test_the_spelling_is_a_convolution():
    torch.manual_seed(0)
    net = Spelling(40, 6, 5).double()
    chars = torch.randint(0, 40, (30, WIDTH))
    plain = torch.relu(net.filters(net.embedding(chars).mT)).amax(-1)
    torch.testing.assert_close(net(chars), plain)


def test_the_encoder_does_not_look_past_the_end_of_a_row():
    torch.manual_seed(0)
    net = Encoder(torch.zeros(9), 40, 30, word=4, filters=3, hidden=5, layers=1, dropout=0.0)
    words, chars = torch.randint(4, 9, (3, 6)), torch.randint(0, 40, (3, 6, WIDTH))
    affixes, lengths = torch.randint(0, 30, (3, 6, AFFIXES)), torch.tensor([6, 0, 3])
    out = net(words, chars, affixes, lengths)
    alone = net(words[2:, :3], chars[2:, :3], affixes[2:, :3], lengths[2:])
    torch.testing.assert_close(out[2:, :3], alone)
    words[2, 3:], chars[2, 3:], affixes[2, 3:] = 4, 1, 2
    torch.testing.assert_close(net(words, chars, affixes, lengths)[2, :3], out[2, :3])


def test_rare_words_are_forgotten_as_often_as_told():
    """Of 20,000 words of count 1 a fifth is taken for unknown; 5 standard deviations: fails one time in 10^6."""
    torch.manual_seed(0)
    net = Encoder(torch.tensor([0.0, 0, 0, 0, 1, 1e6]), 40, 30, word=4, filters=3, hidden=2, layers=1)
    seen = []
    net.words.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    words = torch.tensor([[4] * 20000, [5] * 20000])
    empty = (torch.zeros(2, 20000, n, dtype=torch.int32) for n in (WIDTH, AFFIXES))
    net(words, *empty, torch.tensor([20000, 20000]))
    share = (seen[0][0] == 1).double().mean()
    assert abs(float(share) - 0.2) < 5 * (0.2 * 0.8 / 20000) ** 0.5
    assert (seen[0][1] == 1).double().mean() < 1e-3


def test_the_bag_adds_the_weights_of_what_is_there():
    net = Bag(12, 3)
    torch.nn.init.normal_(net.weights.weight)
    features = torch.randint(1, 12, (2, 4, 5))
    plain = net.weights.weight[features].sum(-2) + net.bias
    torch.testing.assert_close(net(features), plain)
    features[0, 0] = 0
    torch.testing.assert_close(net(features)[0, 0], net.bias)


def test_chunks_are_legal_in_every_arm_with_a_chain():
    config, vocabulary, corpus = parts("chunks")
    seen = pairs_seen(corpus, len(vocabulary.tags))
    for arm in ARMS:
        torch.manual_seed(3)
        model = Parts(config, vocabulary).model(arm).eval()
        with torch.no_grad():  # an untrained arm of great weights: anything may come out
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        found = predict(model, corpus, READS[arm])
        told = figures("chunks", vocabulary.tags, found, corpus, seen)
        assert (told["illegal sentences %"] > 0) == (arm == "softmax"), (arm, told)


@pytest.mark.parametrize("arm", ARMS)
def test_confidences_and_probabilities_are_those_of_the_model(arm):
    config, vocabulary, corpus = parts()
    torch.manual_seed(0)
    model = Parts(config, vocabulary).model(arm).eval()
    found = predict(model, corpus, READS[arm])
    for row in (0, 7):
        batch = corpus.batch([row], READS[arm])
        posterior = model.given(**{name: value for name, value in batch.items() if name != "y"})
        start, end = int(corpus.starts[row]), int(corpus.starts[row] + corpus.lengths[row])
        best = posterior.marginals["y"].probs[0].max(-1)
        torch.testing.assert_close(found.confidence[start:end], best.values.detach())
        torch.testing.assert_close(found.log_prob[row], posterior.log_prob(y=batch["y"])[0].detach())
        assert found.mode[start:end].equal(posterior.mode()["y"][0])


def test_whole_sentences_are_counted_as_loops_do():
    torch.manual_seed(0)
    lengths = torch.randint(1, 5, (30,))
    corpus = Corpus(*(torch.zeros(int(lengths.sum())),) * 5, lengths=lengths)
    right = torch.rand(int(lengths.sum())) < 0.7
    assert whole(right, corpus).tolist() == [bool(part.all()) for part in right.split(lengths.tolist())]


WRONG_DATA = {
    "no sentences": ([], [], "no sentences"),
    "empty sentence": ([["The"], []], [["DET"], []], "sentence 1 is empty"),
    "too few tags": ([["The", "cat"]], [["DET"]], "2 words and 1 tags"),
    "unknown tag": ([["The"]], [["XXX"]], "no tag 'XXX'"),
}


@pytest.mark.parametrize(("split", "tags", "message"), WRONG_DATA.values(), ids=WRONG_DATA)
def test_wrong_sentences_are_told(split, tags, message):
    _, vocabulary, _ = parts()
    with pytest.raises((DataError, GraftError), match=message):
        Corpus.of(split, vocabulary, tags)


def test_a_vocabulary_survives_its_file(tmp_path):
    _, vocabulary, _ = parts()
    assert Vocabulary.read(vocabulary.write(tmp_path / "v.json")) == vocabulary
    with pytest.raises(GraftError, match="twice"):
        replace(vocabulary, chars=("a", "a"))
