"""The command line: what each command prints, writes and refuses."""

import re

import pytest

from graft.cli.main import COMMANDS, main
from graft.cli.plans import evidence
from graft.zoo.formulas import SYSTEMS


def run(capsys, *words):
    code = main(list(words))
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def test_help_names_every_command(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == 0
    for name, command in COMMANDS.items():
        assert f"graft {name}" in out
        assert command.help in out


def test_no_words_is_an_error(capsys):
    code, out, _ = run(capsys)
    assert code == 2
    assert "graft list" in out


def test_list_names_every_system(capsys):
    code, out, _ = run(capsys, "list")
    assert code == 0
    names = set(re.findall(r"^│ (\w+) ", out, re.MULTILINE))
    assert names == set(SYSTEMS)
    assert f"{len(SYSTEMS)} systems" in out


@pytest.mark.parametrize("name", SYSTEMS)
def test_explain_prints_a_plan_or_a_reason(capsys, name):
    code, out, err = run(capsys, "explain", name)
    assert (code, err) == (0, "")
    assert SYSTEMS[name].title in out
    for node in SYSTEMS[name].model().graph.nodes:
        assert node.formula.text in out
    assert "variable" in out or "not exact: " in out


@pytest.mark.parametrize("name", ["hmm", "vae", "rbm", "vhred", "segmentation", "deterministic_net"])
def test_show_prints_formulas_latex_shapes_and_plan(capsys, name):
    code, out, err = run(capsys, "show", name)
    assert (code, err) == (0, "")
    for part in ("formulas", "LaTeX", "shapes", "batch | axes | event", "plan, given"):
        assert part in out
    assert ("guide" in out) or SYSTEMS[name].guide is None
    assert "wrote" not in out


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_show_writes_the_diagram_and_says_where(capsys, tmp_path, suffix):
    path = tmp_path / f"vae.{suffix}"
    code, out, _ = run(capsys, "show", "vae", f"path={path}")
    assert code == 0
    assert f"wrote {path}" in out
    assert path.stat().st_size > 0


REFUSED = [
    (("show",), "say which system"),
    (("explain",), "say which system"),
    (("show", "hmmm"), "did you mean hmm"),
    (("explain", "crf"), "table_crf, neural_crf"),
    (("show", "qqqqqq"), "`graft list` names all"),
    (("show", "hmm", "hmm.png"), "path=FILE"),
    (("show", "hmm", "path="), "path=FILE"),
    (("show", "hmm", "file=hmm.png"), "path=FILE"),
    (("show", "hmm", "path=a.png", "path=b.png"), "path=FILE"),
    (("show", "hmm", "path=hmm.docx"), "hmm.docx"),
    (("show", "hmm", "path=no/such/folder/hmm.png"), "no/such/folder"),
    (("explain", "hmm", "now"), "one word too many"),
    (("list", "everything"), "one word too many"),
    (("paint", "hmm"), "no command 'paint'"),
]


@pytest.mark.parametrize(("words", "message"), REFUSED, ids=lambda x: " ".join(x) if isinstance(x, tuple) else "")
def test_wrong_words_exit_with_two_and_a_reason(capsys, words, message):
    code, _, err = run(capsys, *words)
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) == 1


OBSERVED = {"hmm": ("w",), "bayes_net": ("wet",), "vae": ("x",), "vhred": ("w",), "vrnn": ("x",), "mrf": (), "gan": ()}


@pytest.mark.parametrize(("name", "names"), OBSERVED.items())
def test_evidence_is_what_one_observes(name, names):
    system = SYSTEMS[name]
    assert evidence(system.model().graph, system.guide().graph if system.guide else None) == names


@pytest.mark.parametrize("command", ["list", "show", "explain"])
def test_each_command_has_a_help(capsys, command):
    code, out, err = run(capsys, command, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"graft {command}")
