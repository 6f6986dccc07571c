"""A broken file gives an error that names the line and what is wrong; nothing is guessed."""

import gzip
import io
import math
import re

import pytest
import torch
from tests.reference.formats_texts import SPRINKLER

from graft import formats
from graft.errors import DataError, FormatError, GraftError
from graft.factors import Bernoulli, Categorical, Table
from graft.model import Model

A = "variable a { type discrete [ 2 ] { p, q }; }\n"
B = "variable b { type discrete [ 2 ] { p, q }; }\n"
PA = "probability ( a ) { table 0.5, 0.5; }\n"
PB = "probability ( b | a ) { (p) 0.5, 0.5; (q) 0.5, 0.5; }\n"

#: The text, the line at fault, words of the message.
BIF = {
    "empty": ("", 1, "a variable is expected, but the file ends"),
    "only a network": ("network n {\n}\n", 3, "a variable is expected, but the file ends"),
    "no keyword": (A + "distribution ( a ) {}", 2, "network, variable or probability is expected, not 'distribution'"),
    "a mark": (A + "}", 2, "network, variable or probability is expected, not '}'"),
    "two networks": ("network a {}\nnetwork b {}\n" + A + PA, 2, "a second network block"),
    "network without name": ("network {}", 1, "the network's name is expected, not '{'"),
    "network with words": ("network a {\n b }", 2, "a property or '}' is expected, not 'b'"),
    "declared twice": (A + A, 2, "variable 'a' is declared twice"),
    "no type": ("variable a {\n}", 2, "variable 'a' has no type"),
    "two types": ("variable a {\n type discrete [1] {p};\n type discrete [1] {p}; }", 3, "a second type"),
    "continuous": ("variable a { type\ncontinuous; }", 2, "discrete is expected, not 'continuous'"),
    "states declared": ("variable a { type discrete [ 3 ] {\n p, q }; }", 1, "has '3' states, but 2 are named"),
    "a count in words": (
        "variable a { type discrete [ two ] { p, q }; }",
        1,
        "number of states is expected, not 'two'",
    ),
    "a huge count": (f"variable a {{ type discrete [ {'9' * 9999} ] {{ p }}; }}", 1, "states, but 1 are named"),
    "states alike": ("variable a { type discrete [ 2 ] {\np,\np }; }", 3, "the state 'p' twice"),
    "states none": ("variable a { type discrete [ 0 ] { }; }", 1, "a state is expected, not '}'"),
    "two commas": ("variable a { type discrete [ 2 ] { p,\n, q }; }", 2, "a state is expected, not ','"),
    "no semicolon": ("variable a { type discrete [ 2 ] { p, q }\n}", 2, "';' is expected, not '}'"),
    "empty name": ('variable "" { type discrete [ 1 ] { p }; }', 1, "not an empty name"),
    "backquote": ("\nvariable a`b { type discrete [ 1 ] { p }; }", 2, "has a backquote"),
    "quotes open": ('variable "a\n', 1, "these quotes are not closed"),
    "comment open": (A + PA + "/* and so on", 3, "this comment is never closed"),
    "a control character": (A + PA + "\x00", 3, "is expected, not '\\x00'"),
    "property open": ("variable a { property b\n}", 2, "';' after a property is expected, not '}'"),
    "no block": (A + "\n" + B + PA, 3, "variable 'b' has no probability block"),
    "two blocks": (A + PA + PA, 3, "a second probability block for 'a'"),
    "unknown variable": (A + PA + "probability ( c ) { table 1; }", 3, "no variable 'c' is declared"),
    "unknown parent": (A + B + PA + "probability ( b |\n c ) { default 1, 0; }", 5, "no variable 'c' is declared"),
    "parent twice": (A + B + PA + "probability ( b | a,\na ) { default 1, 0; }", 5, "'a' stands twice"),
    "own parent": (A + "probability ( a | a ) { default 1, 0; }", 2, "'a' stands twice"),
    "cycle": (A + B + "\nprobability ( a | b ) { default 1, 0; }\n" + PB, 4, "a cycle: "),
    "two children": (A + B + "probability ( a, b |\n a ) { table 1; }", 3, "one variable before '|'"),
    "two bars": (A + B + "probability ( a | b |\n a ) { table 1; }", 3, "a second '|'"),
    "no parents after the bar": (A + "probability ( a | ) { table 1, 0; }", 2, "a variable is expected, not ')'"),
    "no numbers": (A + "probability ( a ) { }", 2, "no numbers for 'a'"),
    "two tables": (A + "probability ( a ) { table 1, 0;\ntable 1, 0; }", 3, "a second table"),
    "two defaults": (A + B + PA + "probability ( b | a ) { default 1, 0;\ndefault 1, 0; }", 5, "a second default"),
    "table and rows": (A + B + PA + "probability ( b | a ) { table 1, 0, 1, 0;\n(p) 1, 0; }", 4, "a table and rows"),
    "table too long": (A + "probability ( a ) {\ntable 0.5, 0.25, 0.25; }", 3, "has 2 entries, not 3"),
    "table too short": (A + B + PA + "probability ( b | a ) { table 1, 0; }", 4, "has 4 entries, not 2"),
    "table summing by the other axis": (
        A + B + PA + "probability ( b | a ) { table .9, .1, .2, .8; }",
        4,
        "sum to 1.1",
    ),
    "row too long": (A + B + PA + "probability ( b | a ) { (p) 1, 0;\n(q) 1, 0, 0; }", 5, "2 numbers are expected"),
    "row missing": (A + B + PA + "probability ( b | a ) { (q) 1, 0; }", 4, "'b' has no row for (p), and no default"),
    "row twice": (A + B + PA + "probability ( b | a ) { (q) 1, 0;\n(q) 1, 0; (p) 1, 0; }", 5, "a second row for (q)"),
    "row of no state": (A + B + PA + "probability ( b | a ) { (p) 1, 0;\n(r) 1, 0; }", 5, "'r' is no state of 'a'"),
    "row of too many": (A + B + PA + "probability ( b | a ) { (p) 1, 0;\n(q, p) 1, 0; }", 5, "a row of 1 states"),
    "row of a root": (A + "probability ( a ) { (p) 1, 0; }", 2, "a row of 0 states"),
    "row of nothing": (A + "probability ( a ) { () 1, 0; }", 2, "a state is expected, not ')'"),
    "sum": (A + "probability ( a ) {\ntable 0.5, 0.4998; }", 3, "sum to 0.9998, not to one"),
    "sum of a row": (A + B + PA + "probability ( b | a ) { (p) 1, 0;\n(q) 0.5, 0.6; }", 5, "sum to 1.1"),
    "sum of a default": (A + B + PA + "probability ( b | a ) { (p) 1, 0;\ndefault 0, 0; }", 5, "sum to 0"),
    "negative": (A + "probability ( a ) { table 1.5,\n-0.5; }", 3, "'-0.5' is negative"),
    "nan": (A + "probability ( a ) { table nan,\n0.5; }", 2, "a number is expected, not 'nan'"),
    "infinite": (A + "probability ( a ) { table 0.5,\ninf; }", 3, "a number is expected, not 'inf'"),
    "too large": (A + "probability ( a ) { table 0.5,\n1e999; }", 3, "'1e999' is too large"),
    "too small": (A + "probability ( a ) { table 1,\n1e-999; }", 3, "'1e-999' is not zero, but too small"),
    "python's numbers": (A + "probability ( a ) { table 0_1,\n0; }", 2, "a number is expected, not '0_1'"),
    "two points": (A + "probability ( a ) { table 0.5.5, 0; }", 2, "a number is expected, not '0.5.5'"),
    "ends in numbers": (A + "probability ( a ) { table 0.5, 0.5", 2, "a number is expected, but the file ends"),
    "comma at the end": (A + "probability ( a ) { table 0.5, 0.5, ; }", 2, "a number is expected, not ';'"),
    "expression": (A + "probability ( a ) { table 1/2, 1/2; }", 2, "a number is expected, not '1/2'"),
    "called as what a call gives": ("\n" + A.replace(" a ", " lengths "), 2, "cannot be called 'lengths'"),
    "default over too many": (
        "".join(f"variable v{k} {{ type discrete [ 2 ] {{ p, q }}; }}\n" for k in range(40))
        + "".join(f"probability ( v{k} ) {{ table 1, 0; }}\n" for k in range(39))
        + f"probability ( v39 | {', '.join(f'v{k}' for k in range(39))} ) {{ default 1, 0; }}",
        80,
        "a table of 1,099,511,627,776 entries",
    ),
    "rows of too many": (
        "".join(f"variable v{k} {{ type discrete [ 2 ] {{ p, q }}; }}\n" for k in range(40))
        + "".join(f"probability ( v{k} ) {{ table 1, 0; }}\n" for k in range(39))
        + f"probability ( v39 | {', '.join(f'v{k}' for k in range(39))} ) {{ ({', '.join('p' * 39)}) 1, 0; }}",
        80,
        "has no row for (p, p,",
    ),
}

UAI = {
    "empty": ("", 1, "MARKOV or BAYES is expected, but the file ends"),
    "another word": ("\nmarkov\n1", 2, "MARKOV or BAYES is expected, not 'markov'"),
    "no variable": ("MARKOV\n0\n0", 2, "a network needs a variable"),
    "a count in words": ("MARKOV\none\n2", 2, "a whole number, not 'one'"),
    "a negative count": ("MARKOV\n-1\n2", 2, "a whole number, not '-1'"),
    "many variables": ("MARKOV\n999999999999\n2 2", 2, "999,999,999,999 variables are announced"),
    "a count of many digits": (f"MARKOV\n{'9' * 5000}", 2, "a whole number, not '9999"),
    "a size of zero": ("MARKOV\n2\n2 0\n0", 3, "the number of states of variable 1 is at least 1"),
    "sizes missing": ("MARKOV\n2\n2", 2, "2 variables are announced, but only 1 words follow"),
    "many factors": ("MARKOV\n1\n2\n999999999\n1 0\n2 1 1", 4, "999,999,999 factors are announced"),
    "a scope too long": ("MARKOV\n1\n2\n1\n9 0\n2 1 1", 5, "factor 0 has 9 variables, the network 1"),
    "a stranger": ("MARKOV\n2\n2 2\n1\n1 2\n2 1 1", 5, "a variable of factor 0 is less than 2, not 2"),
    "twice in a scope": ("MARKOV\n2\n2 2\n1\n2 1 1\n4 1 1 1 1", 5, "factor 0 has variable 1 twice"),
    "too large": ("MARKOV\n2\n99999 99999\n1\n2 0 1\n9999800001\n1 1", 5, "a table of 9,999,800,001 entries"),
    "a large variable in no factor": ("MARKOV\n2\n99999999 2\n1\n1 1\n2\n1 1", 7, "variable 0: a table of 99,999,999"),
    "entries announced": ("MARKOV\n2\n2 2\n1\n2 0 1\n3\n1 1 1", 6, "factor 0 has 4 entries, one a joint state, not 3"),
    "entries missing": ("MARKOV\n2\n2 2\n1\n2 0 1\n4\n1 1 1\n", 7, "4 numbers are expected, but only 3 words are left"),
    "entries too many": ("MARKOV\n1\n2\n1\n1 0\n2\n1 1\n1", 8, "should end here, but goes on with '1'"),
    "garbage": ("MARKOV\n1\n2\n1\n1 0\n2\n1 1\nthe end", 8, "goes on with 'the'"),
    "negative": ("MARKOV\n1\n2\n1\n1 0\n2\n1\n-1", 8, "factor 0: '-1' is negative"),
    "nan": ("MARKOV\n1\n2\n1\n1 0\n2\n1\nnan", 8, "factor 0: a number is expected, not 'nan'"),
    "infinity": ("MARKOV\n1\n2\n1\n1 0\n2\n1\ninfinity", 8, "not 'infinity'"),
    "too big": ("MARKOV\n1\n2\n1\n1 0\n2\n1\n1e400", 8, "'1e400' is too large"),
    "too little": ("MARKOV\n1\n2\n1\n1 0\n2\n0\n1e-400", 8, "'1e-400' is not zero, but too small"),
    "python's numbers": ("MARKOV\n1\n2\n1\n1 0\n2\n1\n1_0", 8, "not '1_0'"),
    "other digits": ("MARKOV\n1\n2\n1\n1 0\n2\n1\n\u0661", 8, "not '\u0661'"),
    "bayes: a sum": ("BAYES\n1\n2\n1\n1 0\n2\n.5\n.6", 7, "factor 0: probabilities sum to 1.1"),
    "bayes: a later row": ("BAYES\n2\n2 2\n2\n1 0\n2 0 1\n2 .5 .5\n4\n.5 .5\n.5 .6", 10, "factor 1: probabilities sum"),
    "bayes: none": ("BAYES\n2\n2 2\n1\n1 0\n2\n.5 .5", 5, "no factor is a conditional of variable 1"),
    "bayes: two": ("BAYES\n1\n2\n2\n1 0\n1 0\n2 1 0 2 1 0", 6, "factors 0 and 1 are both conditionals of variable 0"),
    "bayes: constant": ("BAYES\n1\n2\n1\n0\n1 1\n1", 5, "factor 0 has no variable"),
    "bayes: cycle": ("BAYES\n2\n2 2\n2\n2 1 0\n2 0 1\n4 1 0 1 0\n4 1 0 1 0", 5, "a cycle of variables: "),
}


def broken(text, format):
    with pytest.raises(FormatError) as caught:
        formats.read(io.StringIO(text), format=format)
    return caught.value


@pytest.mark.parametrize("name", BIF)
def test_broken_bif(name):
    text, line, words = BIF[name]
    error = broken(text, "bif")
    assert words in error.rule
    assert error.line == line
    assert str(error).startswith(f"the file, line {line}: ")


@pytest.mark.parametrize("name", UAI)
def test_broken_uai(name):
    text, line, words = UAI[name]
    error = broken(text, "uai")
    assert words in error.rule
    assert error.line == line


@pytest.mark.parametrize("text", [SPRINKLER, SPRINKLER.replace("\n", "\r\n"), SPRINKLER.replace("\n", "\r")])
def test_lines_are_counted_alike_however_they_end(text):
    error = broken(text.replace("0.99, 0.01", "0.99, 0.02"), "bif")
    assert error.line == text.splitlines().index("  (yes) 0.99, 0.01;") + 1


FILES = {
    "not UTF-8": (b"variable a\n{ type \xff", "a.bif", 2, "a text in UTF-8 is expected; byte 0xff is none"),
    "UTF-16": ("variable".encode("utf-16"), "a.bif", 1, "a text in UTF-8 is expected"),
    "no gzip": (b"MARKOV 1 2 0", "a.uai.gz", None, "the content is no gzip"),
    "half a gzip": (gzip.compress(b"MARKOV 1 2 0" * 99)[:-9], "a.uai.gz", None, "broken gzip"),
    "a damaged gzip": (gzip.compress(b"MARKOV 1 2 0")[:-8] + b"12345678", "a.uai.gz", None, "broken gzip"),
    "more after a gzip": (gzip.compress(b"MARKOV 1 2 0") + b"more", "a.uai.gz", None, "broken gzip"),
}


@pytest.mark.parametrize("name", FILES)
def test_broken_files(name, tmp_path):
    content, file, line, words = FILES[name]
    (tmp_path / file).write_bytes(content)
    with pytest.raises(FormatError, match=words) as caught:
        formats.read(tmp_path / file)
    assert (caught.value.line, caught.value.file) == (line, file)


def test_a_gzip_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("graft.formats.source.LONGEST", 10_000)
    path = tmp_path / "a.uai.gz"
    path.write_bytes(gzip.compress(b" " * 10_001))
    with pytest.raises(FormatError, match="unpacks to more than 10,000 bytes"):
        formats.read(path)


def test_gzip_is_seen_whatever_the_name(tmp_path):
    (tmp_path / "a.bif").write_bytes(gzip.compress(b"\xef\xbb\xbf" + SPRINKLER.encode()))
    assert len(formats.read(tmp_path / "a.bif").graph.nodes) == 3
    with open(tmp_path / "a.bif", "rb") as file:
        assert len(formats.read(file).graph.nodes) == 3


def test_what_format_must_be_told(tmp_path):
    with pytest.raises(GraftError, match=r"\.bif or \.uai"):
        formats.read(io.StringIO("MARKOV 1 2 0"))
    with pytest.raises(GraftError, match="format is 'bif' or 'uai', not 'net'"):
        formats.read(io.StringIO(""), format="net")
    with pytest.raises(DataError, match=r"none\.uai could not be read: No such file"):
        formats.read(tmp_path / "none.uai")


NET = Model({"x0, x1": Table(2, 3), "x2": Table(2)})

#: Evidence: the text and what is known, states by name.
EVIDENCE = {
    "nothing": ("", {}),
    "none": ("0", {}),
    "no count": ("2 0 1 1 2", {"x0": 1, "x1": 2}),
    "no count, over lines": ("2\n0 1\n2 1", {"x0": 1, "x2": 1}),
    "one sample": ("1\n2 0 1 1 2", {"x0": 1, "x1": 2}),
    "one empty sample": ("1\n0", {}),
    "several": ("3\n1 0 1\n0\n2 0 0 1 2", {"x0": [1, -1, 0], "x1": [-1, -1, 2]}),
    "both readings, by lines": ("2\n0\n1 1 1", {"x1": [-1, 1]}),
    "both readings, on one line": ("2 0 1 1 1", {"x0": 1, "x1": 1}),
}


@pytest.mark.parametrize("name", EVIDENCE)
def test_evidence(name):
    text, known = EVIDENCE[name]
    found = formats.read_evidence(io.StringIO(text), NET)
    assert {variable: value.tolist() for variable, value in found.items()} == known
    assert NET.given(found).log_partition.shape == ((3,) if name == "several" else (2,) if "by lines" in name else ())


EVIDENCE_BROKEN = {
    "a stranger": ("1 3 0", 1, "the number of a variable is less than 3, not 3"),
    "no state": ("1\n1\n1 3", 3, "the state of variable 1 is less than 3, not 3"),
    "twice": ("3 0 1 2 1\n0 1", 2, "variable 0 is told twice"),
    "too few": ("2 0 1", 1, "2 variables are announced as known"),
    "too many": ("1 0 1\n0 0 0", 2, "should end here"),
    "a word": ("1 0 a", 1, "a whole number, not 'a'"),
    "both readings": ("2\n0\n1\n1\n1", 1, "say samples=True or False"),
}


@pytest.mark.parametrize("name", EVIDENCE_BROKEN)
def test_broken_evidence(name):
    text, line, words = EVIDENCE_BROKEN[name]
    with pytest.raises(FormatError) as caught:
        formats.read_evidence(io.StringIO(text), NET)
    assert words in caught.value.rule
    assert caught.value.line == line


def test_evidence_as_told():
    text = "2\n0\n1\n1\n1"
    assert set(formats.read_evidence(io.StringIO(text), NET, samples=False)) == {"x0", "x1"}
    assert formats.read_evidence(io.StringIO(text), NET, samples=True)["x1"].tolist() == [-1, 1]


def test_evidence_of_binary_variables_may_be_missing():
    model = Model({"a": Bernoulli(probs=0.25), "b | a": Categorical(2, given=2)})
    found = formats.read_evidence(io.StringIO("2\n1 0 1\n1 1 0"), model)
    alone = [model.log_prob(a=found["a"].allowed[0, 1].float()), model.log_prob(b=found["b"][1])]
    assert model.given(found).log_partition.tolist() == pytest.approx([value.item() for value in alone], abs=1e-6)


def test_results_come_back(tmp_path):
    posterior = NET.given()
    marginals = {name: posterior.marginals[name].probs.detach() for name in ("x0", "x1", "x2")}
    told = {"log_partition": posterior.log_partition.detach(), "marginals": marginals, "mode": posterior.mode()}
    for suffix, (what, value) in zip(("PR", "MAR", "MAP"), told.items(), strict=True):
        path = formats.write_result(formats.Result(**{what: value}), tmp_path / f"a.uai.{suffix}", NET)
        assert path.read_text().split()[0] == suffix
        found = getattr(formats.read_result(path, NET), what)
        values, others = (found, value) if isinstance(value, dict) else ({"": found}, {"": value})
        assert values.keys() == others.keys()
        for name, one in values.items():
            assert one.tolist() == pytest.approx(others[name].tolist(), rel=1e-12)


RESULTS_BROKEN = {
    "another word": ("Z 1", 1, "PR, MAR, MAP or MPE is expected, not 'Z'"),
    "no number": ("PR\nmany", 2, "a logarithm to base ten is expected, not 'many'"),
    "nan": ("PR\nnan", 2, "not 'nan'"),
    "another model": ("MAR\n2 2 .5 .5 2 .5 .5", 2, "the model has 3 variables, the result 2"),
    "another variable": ("MAR\n3 2 .5 .5 2 .5 .5 2 1 0", 2, "the number of states of x1 is 3, not 2"),
    "no state": ("MAP\n3 0 0 2", 2, "the state of x2 is less than 2, not 2"),
    "more": ("MAP\n3 0 0 1\n0", 3, "should end here"),
}


@pytest.mark.parametrize("name", RESULTS_BROKEN)
def test_broken_results(name):
    text, line, words = RESULTS_BROKEN[name]
    with pytest.raises(FormatError) as caught:
        formats.read_result(io.StringIO(text), NET)
    assert words in caught.value.rule
    assert caught.value.line == line


@pytest.mark.parametrize("result", [{}, {"mode": {}}, {"marginals": {"x0": Table(2).values.detach()}}])
def test_results_that_are_none(result, tmp_path):
    with pytest.raises(FormatError):
        formats.write_result(formats.Result(**result), tmp_path / "a.MAR", NET)
    assert not any(tmp_path.iterdir())


def result(**told):
    """Made past its annotations, which these tests check."""
    made = formats.Result()
    for name, value in told.items():
        object.__setattr__(made, name, value)
    return made


ONES = {"x0": torch.tensor(1), "x1": torch.tensor(1), "x2": torch.tensor(1)}
NOT_TENSORS = {
    "a number": ({"log_partition": -1.5}, "log_partition: a tensor of real numbers is expected, not float"),
    "complex": ({"log_partition": torch.tensor(1j)}, "not torch.complex64"),
    "infinite": ({"log_partition": torch.tensor(math.inf)}, "one log_partition is expected, not inf"),
    "nan": ({"log_partition": torch.tensor(math.nan)}, "one log_partition is expected, not nan"),
    "a list": ({"mode": [1, 1, 1]}, "mode: a dict of tensors by variable is expected, not list"),
    "a state in numbers": ({"mode": {**ONES, "x1": 1}}, "mode of x1: a tensor of real numbers is expected, not int"),
    "half a state": ({"mode": {**ONES, "x2": torch.tensor(0.5)}}, "a state of x2 is expected, from 0 to 1, not 0.5"),
    "nan as a state": ({"mode": {**ONES, "x2": torch.tensor(math.nan)}}, "a state of x2 is expected"),
    "a list of numbers": ({"marginals": {"x0": [0.5, 0.5]}}, "marginals of x0: a tensor of real numbers is expected"),
}


@pytest.mark.parametrize("name", NOT_TENSORS)
def test_results_that_are_no_tensors(name, tmp_path):
    told, words = NOT_TENSORS[name]
    with pytest.raises(FormatError) as caught:
        formats.write_result(result(**told), tmp_path / "a.MAR", NET)
    assert words in caught.value.rule
    assert not any(tmp_path.iterdir())


MARKED = {
    "uai": "MARKOV\n1\n2\n1\n1 0\n2\n1 3",
    "bif": "variable a { type discrete [2] { p, q }; } probability ( a ) { table 0.25, 0.75; }",
}


@pytest.mark.parametrize("kind", MARKED)
@pytest.mark.parametrize("opened", [io.StringIO, lambda text: io.BytesIO(text.encode())], ids=["text", "bytes"])
def test_a_byte_order_mark_is_no_part_of_a_text(kind, opened):
    plain, marked = (formats.read(opened(mark + MARKED[kind]), format=kind) for mark in ("", "\ufeff"))
    (name,) = plain.graph.variables
    assert torch.equal(plain.given().marginals[name].probs, marked.given().marginals[name].probs)
    broken = MARKED[kind].replace("1 3", "x 3").replace("0.25", "x")
    with pytest.raises(FormatError) as caught:
        formats.read(opened("\ufeff" + broken), format=kind)
    assert caught.value.line == (7 if kind == "uai" else 1)


def diverged(factor, entry):
    with torch.no_grad():
        next(factor.parameters())[0] = entry
    return factor


#: Factors that training or a hand has spoilt, each with the formulas that need it.
SPOILT = {
    "a table": lambda entry: {"a, b": diverged(Table(2, 2), entry)},
    "a conditional": lambda entry: {"a": Categorical(2), "b | a": diverged(Categorical(2, given=2), entry)},
}


@pytest.mark.parametrize("entry", [math.nan, math.inf])
@pytest.mark.parametrize("factor", SPOILT)
@pytest.mark.parametrize("suffix", ["uai", "bif", "uai.gz"])
def test_tables_without_a_meaning_are_not_written(factor, entry, suffix, tmp_path):
    if factor == "a table" and suffix == "bif":
        pytest.skip("a BIF file has no potentials")
    formulas = SPOILT[factor](entry)
    text = re.escape(next(reversed(formulas)))
    with pytest.raises(GraftError, match=f"{text}: the table holds NaN or plus infinity"):
        formats.write(Model(formulas), tmp_path / f"a.{suffix}")
    assert not any(tmp_path.iterdir())


def test_a_row_without_a_possible_state_is_not_written(tmp_path):
    spoilt = SPOILT["a conditional"](-math.inf)
    with pytest.raises(GraftError, match=r"b \| a: a row of the table has no possible state"):
        formats.write(Model(spoilt), tmp_path / "a.uai")
    written = formats.write(Model(SPOILT["a table"](-math.inf)), tmp_path / "b.uai")
    assert "0.0 0.0" in written.read_text()
