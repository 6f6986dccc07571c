"""Laws of noun chunks: the rule by brute force over all runs of words, and sentences bracketed by hand."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from tests.reference.data_folder import ABSENT, real

from graft.data import conllu
from graft.data.conllu import Sentence
from graft.data.noun_chunks import LABELS, noun_chunks
from graft.data.tag_schemes import decode, encode, tags_of
from graft.errors import DataError

AFTER = {"nummod", "compound", "flat", "fixed", "goeswith"}
BEFORE = AFTER | {"det", "amod", "nmod:poss", "nmod:desc", "nmod:unmarked"}
DEEPER = BEFORE | {"advmod", "cc", "conj", "obl:unmarked", "punct"}
OTHERS = {"nsubj", "obj", "iobj", "obl", "nmod", "case", "acl", "compound:prt", "appos", "dep"}


def random_sentence(rng):
    n = rng.randint(1, 9)
    order = rng.sample(range(1, n + 1), n)
    heads = [0] * n
    for k, word in enumerate(order[1:], start=1):
        heads[word - 1] = rng.choice(order[max(0, k - 3) : k])
    relations = [rng.choice(sorted(DEEPER | OTHERS)) if head else "root" for head in heads]
    upos = rng.choices(["NOUN", "PROPN", "PRON", "ADJ", "VERB"], k=n)
    return Sentence(("a",) * n, tuple(upos), tuple(heads), tuple(relations))


def is_inner(sentence, word, head):
    """Whether a word is inner to the chunk of a head, by the path from one to the other."""
    path = [word]
    while path[-1] not in (head, 0):
        path.append(sentence.heads[path[-1] - 1])
    if path[-1] == 0:
        return False
    *below, top = path[:-1]
    relation = {w: sentence.relations[w - 1] for w in path}
    first = [w for w in range(1, head) if sentence.heads[w - 1] == head and sentence.relations[w - 1] in BEFORE]
    direct = relation[top] in (BEFORE if top < head else AFTER) or relation[top] == "punct"
    direct |= relation[top] == "advmod" and any(w < top < head for w in first)
    direct |= relation[top].partition(":")[0] in AFTER and relation[top] != "compound:prt"

    def step(k, w):
        """Whether a word below `top` is reached from the one above it on the path."""
        above = path[k + 1 : -1]
        adjectival = w < head and any(relation[a] == "amod" for a in above)
        possessive = relation[w] == "case" and relation[path[k + 1]] == "nmod:poss"
        return relation[w] in DEEPER or adjectival or possessive

    return direct and all(step(k, w) for k, w in enumerate(below))


def longest_run(sentence, head):
    inner = {w for w in range(1, len(sentence.words) + 1) if w == head or is_inner(sentence, w, head)}
    runs = [
        range(a, b + 1)
        for a in range(1, head + 1)
        for b in range(head, len(sentence.words) + 1)
        if inner.issuperset(range(a, b + 1))
        and all(w == head or sentence.heads[w - 1] in range(a, b + 1) for w in range(a, b + 1))
        and all(w == head or sentence.relations[w - 1] != "punct" for w in (a, b))
    ]
    return max(runs, key=len)


def test_chunks_are_the_longest_runs_of_inner_words():
    rng = random.Random(0)
    for _ in range(400):
        sentence = random_sentence(rng)
        nominal = [w for w, u in enumerate(sentence.upos, start=1) if u in ("NOUN", "PROPN", "PRON")]
        parts = {w for w in nominal if sentence.relations[w - 1] in ("flat", "fixed", "goeswith")}
        runs = [longest_run(sentence, w) for w in nominal if w not in parts]
        outer = [r for r in runs if not any(set(r) < set(other) for other in runs)]
        assert [(a, b) for a, b, _ in noun_chunks(sentence)] == sorted((r[0] - 1, r[-1]) for r in outer), sentence


def test_chunks_never_overlap_and_cover_the_nouns():
    rng = random.Random(1)
    for _ in range(400):
        sentence = random_sentence(rng)
        chunks = noun_chunks(sentence)
        assert all(a[1] <= b[0] for a, b in pairwise(chunks))
        assert all(label in LABELS for _, _, label in chunks)
        covered = {w for a, b, _ in chunks for w in range(a, b)}
        for w, (tag, relation) in enumerate(zip(sentence.upos, sentence.relations, strict=True)):
            assert w in covered or tag in ("ADJ", "VERB") or relation in ("flat", "fixed", "goeswith")


# each word as form/tag/head/relation
BRACKETED = {
    "name after a title": (
        "[ President/PROPN/2/nmod:desc Bush/PROPN/5/nsubj ]SUBJ on/ADP/4/case [ Tuesday/PROPN/5/obl ]OBL"
        " nominated/VERB/0/root [ Ann/PROPN/5/obj M./PROPN/6/flat Day/PROPN/6/flat ]OBJ"
    ),
    "a possessor is merged": (
        "[ my/PRON/2/nmod:poss brother/NOUN/4/nmod:poss 's/PART/2/case car/NOUN/5/nsubj:pass ]SUBJ sold/VERB/0/root"
    ),
    "what hangs on the possessor is not": (
        "[ the/DET/2/det king/NOUN/6/nmod:poss ]MOD of/ADP/4/case [ France/PROPN/2/nmod ]MOD"
        " 's/PART/2/case [ hat/NOUN/7/nsubj ]SUBJ fell/VERB/0/root"
    ),
    "prepositional phrases stay outside": (
        "[ courts/NOUN/5/nsubj ]SUBJ in/ADP/4/case [ the/DET/4/det area/NOUN/1/nmod ]MOD decide/VERB/0/root"
    ),
    "modifiers of modifiers": (
        "[ a/DET/8/det very/ADV/3/advmod big/ADJ/8/amod and/CCONJ/5/cc red/ADJ/3/conj ,/PUNCT/7/punct"
        " old/ADJ/3/conj house/NOUN/0/root ]OTHER ./PUNCT/8/punct"
    ),
    "a modifier with a clause": (
        "[ an/DET/5/det easy/ADJ/5/amod to/PART/4/mark use/VERB/2/advcl tool/NOUN/0/root ]OTHER"
    ),
    "an adverb inside but not in front": (
        "only/ADV/4/advmod [ the/DET/4/det then/ADV/4/advmod king/NOUN/5/nsubj ]SUBJ knew/VERB/0/root"
    ),
    "quotes inside but not at the edge": (
        "“/PUNCT/5/punct [ the/DET/5/det “/PUNCT/5/punct big/ADJ/5/amod plan/NOUN/0/root ]OTHER ”/PUNCT/5/punct"
    ),
    "numbers behind": ("see/VERB/0/root [ page/NOUN/1/obj 3/NUM/2/nummod ]OBJ"),
    "conjuncts have the role of the first": (
        "[ we/PRON/2/nsubj ]SUBJ gave/VERB/0/root [ them/PRON/2/iobj ]OBJ [ tea/NOUN/2/obj ]OBJ ,/PUNCT/6/punct"
        " [ milk/NOUN/4/conj ]OBJ and/CCONJ/8/cc [ bread/NOUN/4/conj ]OBJ"
    ),
    "expressions are no nouns": ("in/ADP/3/advmod fact/NOUN/1/fixed sleeps/VERB/0/root [ he/PRON/3/nsubj ]SUBJ"),
    "a particle parts a chunk": (
        "the/DET/4/det [ call/NOUN/4/compound ]OTHER in/ADP/2/compound:prt [ number/NOUN/0/root ]OTHER"
    ),
}  # fmt: skip


def parse(text):
    rows, spans = [], []
    for item in text.split():
        if item == "[":
            start = len(rows)
        elif item.startswith("]"):
            spans.append((start, len(rows), item[1:]))
        else:
            rows.append(item.split("/"))
    words, upos, heads, relations = zip(*rows, strict=True)
    return Sentence(words, upos, tuple(map(int, heads)), relations), tuple(spans)


@pytest.mark.parametrize("text", BRACKETED.values(), ids=BRACKETED)
def test_sentences_are_bracketed_as_by_hand(text):
    sentence, spans = parse(text)
    assert noun_chunks(sentence) == spans


def test_an_unknown_head_is_named():
    with pytest.raises(DataError, match="that of word 2, 'b', is unknown"):
        noun_chunks(Sentence(("a", "b"), ("NOUN", "NOUN"), (0, -1), ("root", "_")))


@pytest.mark.skipif(not real("ud_english_ewt").is_dir(), reason=ABSENT)
def test_chunks_of_the_real_treebank_make_a_task_of_eleven_tags():
    (path,) = real("ud_english_ewt").glob("*-dev.conllu")
    seen = set()
    for sentence in conllu.read(path)[:500]:
        chunks = noun_chunks(sentence)
        tags = encode(chunks, len(sentence.words))
        assert decode(tags) == chunks
        seen |= set(tags)
    assert seen == set(tags_of(LABELS))
