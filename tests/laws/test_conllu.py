"""Laws of the reader of CoNLL-U: what is written is read, what breaks the format is named with its line."""

from __future__ import annotations

import itertools
import random
import re

import networkx as nx
import pytest
from tests.reference.data_folder import ABSENT, real

from graft.data import conllu
from graft.data.conllu import Sentence
from graft.data.conllu_lines import UPOS
from graft.data.dependency_tree import UNKNOWN, tree_fault
from graft.errors import DataError

# a form may hold what Python's `splitlines` takes for the end of a line
FORMS = ["dog", "1 000", "été", "e\u0301", "a\u2028b", "a\x0cb", "\x85", "\u00a0", "_", "#", "0", "1-2", "漢"]


def row(identity, form="a", upos="X", head="_", relation="_", **other):
    columns = {"lemma": "_", "xpos": "_", "feats": "_", "deps": "_", "misc": "_"} | other
    lemma, xpos, feats, deps, misc = columns.values()
    return "\t".join([str(identity), form, lemma, upos, xpos, feats, str(head), relation, deps, misc])


def token(identity, **other):
    return row(identity, upos="_", **other)


def write(path, text, encoding="utf-8"):
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return path


def random_tree(rng, n):
    """Heads of a random tree: each word hangs on one that was placed before it."""
    order = rng.sample(range(1, n + 1), n)
    heads = [0] * n
    for k, word in enumerate(order[1:], start=1):
        heads[word - 1] = rng.choice(order[:k])
    return tuple(heads)


def random_sentence(rng):
    n = rng.randint(1, 8)
    heads = random_tree(rng, n)
    relations = tuple(rng.choice(["obj", "nmod:poss"]) if head else "root" for head in heads)
    words, upos = rng.choices(FORMS, k=n), rng.choices(UPOS, k=n)
    return Sentence(tuple(words), tuple(upos), heads, relations, rng.choice(["", "a-1", "b 2"]))


def lines_of(sentence, rng):
    """One of the ways to write a sentence, with tokens and empty nodes that do not count."""
    name = [f"# sent_id = {sentence.name}"] if sentence.name else []
    lines = ["# text = any", *name, "#"]
    covered = node = 0
    for k, (word, upos, head, relation) in enumerate(
        zip(sentence.words, sentence.upos, sentence.heads, sentence.relations, strict=True), start=1
    ):
        while rng.random() < 0.2:
            lines.append(row(f"{k - 1}.{node + 1}", deps="1:obj"))
            node += 1
        if covered < k < len(sentence.words) and rng.random() < 0.3:
            covered = rng.randint(k + 1, len(sentence.words))
            lines.append(token(f"{k}-{covered}", feats="Typo=Yes", misc="SpaceAfter=No"))
        lines.append(row(k, word, upos, head, relation, lemma="two words", feats="A=B"))
        node = 0
    return lines


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"], ids=["", "bom"])
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("between", [1, 3])
@pytest.mark.parametrize("after", [0, 1, 2])
def test_what_is_written_is_read(bom, end, between, after, tmp_path):
    rng = random.Random(0)
    for _ in range(10):
        sentences = tuple(random_sentence(rng) for _ in range(rng.randint(1, 4)))
        blocks = [end.join(lines_of(sentence, rng)) for sentence in sentences]
        text = (end * (between + 1)).join(blocks) + end * after
        assert conllu.read(write(tmp_path / "a.conllu", bom + text.encode())) == sentences


@pytest.mark.parametrize("heads", [("_", "_"), (2, "_"), ("_", 0), ("_", 1)], ids=str)
def test_heads_may_be_unknown(heads, tmp_path):
    relations = ["root" if head == 0 else "_" for head in heads]
    lines = [row(k, head=head, relation=r) for k, (head, r) in enumerate(zip(heads, relations, strict=True), start=1)]
    (sentence,) = conllu.read(write(tmp_path / "a.conllu", "\n".join(lines)))
    assert sentence.heads == tuple(UNKNOWN if head == "_" else head for head in heads)


ROOT = row(1, head=0, relation="root")
TWO = [row(1, head=2, relation="obj"), row(2, head=0, relation="root")]
LATER = f"# sent_id = 1\n{ROOT}\n\n"  # so that the line at fault is not the first

MALFORMED = {
    "no lines": ("", 1, "holds no sentence"),
    "blank lines": ("\n\n", 1, "holds no sentence"),
    "comments only": (f"{LATER}# text = a\n\n", 4, "comments without a sentence"),
    "comments at the end": (f"{LATER}# text = a", 4, "comments without a sentence"),
    "comment inside": (f"{LATER}{TWO[0]}\n# a\n{TWO[1]}", 5, "a comment inside a sentence"),
    "nine columns": (LATER + ROOT.rpartition("\t")[0], 4, "9 columns; expected 10"),
    "eleven columns": (LATER + ROOT + "\t_", 4, "11 columns"),
    "blanks between": (LATER + ROOT.replace("\t", "    "), 4, "1 columns; expected 10, with tabs"),
    "a line of blanks": (f"{LATER} \n{ROOT}", 4, "1 columns"),
    "empty form": (LATER + row(1, form="", head=0, relation="root"), 4, "FORM is empty"),
    "form of blanks": (LATER + row(1, form="  ", head=0, relation="root"), 4, "FORM is empty"),
    "empty xpos": (LATER + row(1, xpos="", head=0, relation="root"), 4, "XPOS is empty"),
    "blank in the tag": (LATER + row(1, upos="NO UN"), 4, "UPOS is 'NO UN'; only FORM"),
    "blank in the deps": (LATER + row(1, deps="0: root"), 4, "DEPS is '0: root'; only FORM"),
    "starts at 2": (LATER + row(2), 4, "ID is '2'; expected 1"),
    "starts at 0": (LATER + row(0), 4, "ID is '0'; expected 1"),
    "gap": (f"{LATER}{row(1)}\n{row(3)}", 5, "ID is '3'; expected 2"),
    "twice": (f"{LATER}{row(1)}\n{row(1)}", 5, "ID is '1'; expected 2"),
    "leading zero": (LATER + row("01"), 4, "ID is '01'"),
    "plus": (LATER + row("+1"), 4, r"ID is '\+1'"),
    "other digits": (LATER + row("１"), 4, "ID is '１'"),
    "no number": (LATER + row("a"), 4, "ID is 'a'"),
    "token of one word": (f"{LATER}{token('1-1')}\n{TWO[0]}\n{TWO[1]}", 4, "token of the words 1-1"),
    "token backwards": (f"{LATER}{token('2-1')}\n{TWO[0]}\n{TWO[1]}", 4, "token of the words 2-1"),
    "token too late": (f"{LATER}{TWO[0]}\n{token('1-2')}\n{TWO[1]}", 5, "words 1-2 where word 2 is next"),
    "token too early": (f"{LATER}{token('2-3')}\n{TWO[0]}\n{TWO[1]}", 4, "words 2-3 where word 1 is next"),
    "token too long": (f"{LATER}{token('1-3')}\n{TWO[0]}\n{TWO[1]}", 4, "up to 3, but the sentence has 2"),
    "tokens overlap": (f"{LATER}{token('1-2')}\n{row(1)}\n{token('2-3')}\n{row(2)}\n{row(3)}", 6, "lines 4 and 6 over"),
    "token twice": (f"{LATER}{token('1-2')}\n{token('1-3')}\n{row(1)}\n{row(2)}\n{row(3)}", 5, "lines 4 and 5 over"),
    "token with a head": (f"{LATER}{token('1-2', head=0)}\n{TWO[0]}\n{TWO[1]}", 4, "HEAD of a multiword token must"),
    "token with a tag": (f"{LATER}{row('1-2')}\n{TWO[0]}\n{TWO[1]}", 4, "UPOS of a multiword token must be _"),
    "node too early": (f"{LATER}{row('1.1')}\n{ROOT}", 4, r"empty node is 1\.1; expected 0\.1"),
    "node from 0": (f"{LATER}{ROOT}\n{row('1.0')}", 5, r"ID is '1\.0'"),
    "node from 2": (f"{LATER}{ROOT}\n{row('1.2')}", 5, r"empty node is 1\.2; expected 1\.1"),
    "node twice": (f"{LATER}{ROOT}\n{row('1.1')}\n{row('1.1')}", 6, r"expected 1\.2"),
    "node with a head": (f"{LATER}{ROOT}\n{row('1.1', head=1)}", 5, "HEAD of an empty node must be _"),
    "no tag": (LATER + row(1, upos="_"), 4, "UPOS is '_'; expected one of ADJ, "),
    "no universal tag": (LATER + row(1, upos="NN"), 4, "UPOS is 'NN'"),
    "head beyond": (f"{LATER}{TWO[0]}\n{row(2, head=3, relation='obj')}", 5, "head is 3; expected 0 to 2"),
    "head below": (LATER + row(1, head=-1), 4, "HEAD is '-1'"),
    "head no number": (LATER + row(1, head="x"), 4, "HEAD is 'x'"),
    "head too large": (LATER + row(1, head="9" * 5000), 4, "HEAD is '999"),
    "two roots": (f"{LATER}{ROOT}\n{row(2, head=0, relation='root')}", 5, "second root beside word 1"),
    "no root": (f"{LATER}{TWO[0]}\n{row(2, head=1, relation='obj')}", 4, "no word .* has head 0"),
    "own head": (f"{LATER}{ROOT}\n{row(2, head=2, relation='obj')}", 5, "cycle"),
    "cycle": (f"{LATER}{ROOT}\n{row(2, head=3)}\n{row(3, head=2)}", 5, "cycle"),
    "root that hangs": (f"{LATER}{ROOT}\n{row(2, head=1, relation='root')}", 5, "'root' if and only if its head is 0"),
    "root by no name": (LATER + row(1, head=0, relation="obj"), 4, "'root' if and only if its head is 0"),
    "two names": (f"{LATER}# sent_id = a\n# text = b\n#sent_id=c\n{ROOT}", 6, "second sent_id"),
    "latin": (f"{LATER}# é\n{ROOT}".encode("latin-1"), 4, "byte 0xe9 is not UTF-8"),
    "cut inside a letter": (f"{LATER}{ROOT}é".encode()[:-1], 4, "byte 0xc3 is not UTF-8"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "line", "message"), MALFORMED.values(), ids=MALFORMED)
def test_what_breaks_the_format_is_named_with_its_line(text, line, message, tmp_path):
    with pytest.raises(DataError, match=rf"wrong\.conllu, line {line}: .*{message}"):
        conllu.read(write(tmp_path / "wrong.conllu", text))


def test_damaged_files_are_read_or_refused_but_never_crash(tmp_path):
    rng = random.Random(1)
    read, refused = 0, []
    for _ in range(300):
        text = "\n\n".join("\n".join(lines_of(random_sentence(rng), rng)) for _ in range(2)).encode()
        at = rng.randrange(len(text))
        text = text[:at] + rng.choice([b"", b"\t", b"\n", b" ", b"0", b"7", b"-", b".", b"#", b"\xff"]) + text[at + 1 :]
        try:
            read += bool(conllu.read(write(tmp_path / "a.conllu", text)))
        except DataError as error:
            refused.append(str(error))
    assert read > 30 and len(refused) > 30
    assert all(re.search(r"a\.conllu, line \d+: ", message) for message in refused)


def test_a_file_that_is_not_there_is_named(tmp_path):
    for path in (tmp_path / "none.conllu", tmp_path):
        with pytest.raises(DataError, match=f"{re.escape(str(path))} cannot be read: "):
            conllu.read(path)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_heads_are_a_tree_exactly_if_the_graph_of_them_is(n):
    for heads in itertools.product(range(n + 1), repeat=n):
        graph = nx.DiGraph([(head, word) for word, head in enumerate(heads, start=1)])
        fits = heads.count(0) == 1 and nx.is_arborescence(graph)
        relations = ["root" if head == 0 else "obj" for head in heads]
        assert (tree_fault(heads, relations) is None) == fits, heads


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_known_heads_are_part_of_a_tree_exactly_if_the_others_can_be_filled_in(n):
    trees = [heads for heads in itertools.product(range(n + 1), repeat=n) if tree_fault(heads, ["_"] * n) is None]
    partial = {tuple(h if k else UNKNOWN for h, k in zip(tree, known, strict=True))
               for tree in trees for known in itertools.product([False, True], repeat=n)}  # fmt: skip
    for heads in itertools.product(range(-1, n + 1), repeat=n):
        assert (tree_fault(heads, ["_"] * n) is None) == (heads in partial), heads


WRONG_SENTENCES = {
    "no words": (((), (), (), ()), "at least one; got 0 words"),
    "fewer tags": ((("a", "b"), ("X",), (0, 1), ("root", "obj")), "2 words, 1 tags, 2 heads, 2 relations"),
    "no tree": ((("a", "b"), ("X", "X"), (0, 2), ("root", "obj")), "sentence 'name', word 2: the heads run in a cycle"),
    "head below": ((("a",), ("X",), (-2,), ("_",)), "word 1: the head is -2; expected 0 to 1"),
}


@pytest.mark.parametrize(("fields", "message"), WRONG_SENTENCES.values(), ids=WRONG_SENTENCES)
def test_wrong_sentences_are_refused(fields, message):
    with pytest.raises(DataError, match=message):
        Sentence(*fields, "name")


def fill(folder, *names):
    for k, name in enumerate(names):
        write(folder / name, row(1, form=str(k), head=0, relation="root"))


def test_a_folder_gives_the_three_parts_by_name(tmp_path):
    fill(tmp_path, "x-test.conllu", "x-train.conllu", "x-dev.conllu", "notes.conllu")
    treebank = conllu.load(tmp_path)
    assert [part[0].words for part in (treebank.train, treebank.dev, treebank.test)] == [("1",), ("2",), ("0",)]


FOLDERS = {
    "empty": ([], r"exactly one file \*-train\.conllu; found none"),
    "no dev": (["x-train.conllu", "x-test.conllu"], r"\*-dev\.conllu; found none"),
    "two tests": (["x-train.conllu", "x-dev.conllu", "x-test.conllu", "y-test.conllu"], "x-test.conllu, y-test.conllu"),
}


@pytest.mark.parametrize(("names", "message"), FOLDERS.values(), ids=FOLDERS)
def test_what_a_folder_lacks_is_named(names, message, tmp_path):
    fill(tmp_path, *names)
    with pytest.raises(DataError, match=message):
        conllu.load(tmp_path)


@pytest.mark.skipif(not real("ud_english_ewt").is_dir(), reason=ABSENT)
def test_the_real_treebank_is_read_word_by_word():
    (path,) = real("ud_english_ewt").glob("*-dev.conllu")
    sentences = conllu.read(path)
    rows = [line.split("\t") for line in path.read_text("utf-8").split("\n") if re.match(r"\d+\t", line)]
    flat = [(w, u, str(h), r) for s in sentences
            for w, u, h, r in zip(s.words, s.upos, s.heads, s.relations, strict=True)]  # fmt: skip
    assert flat == [(r[1], r[3], r[6], r[7]) for r in rows]
    assert len({s.name for s in sentences}) == len(sentences)
