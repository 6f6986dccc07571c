"""`graft convert`: every direction, what it prints, what it refuses."""

import pytest
from tests.reference import formats as reference
from tests.reference.formats_texts import SPRINKLER, UAI

from graft import formats
from graft.cli.main import main


def run(capsys, *words):
    code = main(list(map(str, words)))
    shown = capsys.readouterr()
    return code, shown.out, shown.err


@pytest.mark.parametrize("start", ["a.bif", "a.uai", "a.bif.gz", "a.uai.gz"])
@pytest.mark.parametrize("end", ["b.bif", "b.uai", "b.bif.gz", "b.uai.gz"])
def test_every_direction(start, end, tmp_path, capsys):
    start, end = tmp_path / start, tmp_path / end
    (tmp_path / "first.bif").write_text(SPRINKLER)
    assert run(capsys, "convert", tmp_path / "first.bif", start)[0] == 0
    code, out, err = run(capsys, "convert", start, end)
    assert (code, err) == (0, "")
    assert f"read {start}: 3 variables, 3 conditionals, 18 entries" in out
    assert out.endswith(f"wrote {end}\n")
    named = "bif" in start.name and "uai" in end.name
    assert ("UAI has numbers for names: 0 rain, 1 sprinkler, 2 wet" in out) == named
    tables = [
        table for _, table in reference.uai(formats.write(formats.read(end), tmp_path / "last.uai").read_text())[2]
    ]
    expected = [[value for row in rows.values() for value in row] for _, rows in reference.bif(SPRINKLER)[1].values()]
    assert all(
        found == pytest.approx(list(map(float, e)), abs=1e-15) for found, e in zip(tables, expected, strict=True)
    )


def test_kind(tmp_path, capsys):
    (tmp_path / "a.bif").write_text(SPRINKLER)
    assert run(capsys, "convert", tmp_path / "a.bif", tmp_path / "b.uai", "kind=MARKOV")[0] == 0
    assert (tmp_path / "b.uai").read_text().startswith("MARKOV\n")
    code, _, err = run(capsys, "convert", tmp_path / "b.uai", tmp_path / "c.bif")
    assert (code, "is a potential" in err) == (2, True)
    assert not (tmp_path / "c.bif").exists()


def test_help(capsys):
    code, out, _ = run(capsys, "convert", "--help")
    assert (code, "graft convert FROM TO" in out) == (0, True)


#: What stands after `graft convert`, and words of the complaint.
REFUSED = {
    "nothing": ((), "say which files"),
    "one file": (("a.uai",), "say which files"),
    "too many": (("a.uai", "b.uai", "kind=BAYES", "more"), "say which files"),
    "no such kind": (("a.uai", "b.uai", "kind=FACTOR"), "takes kind=BAYES or kind=MARKOV"),
    "no such file": (("none.uai", "b.uai"), "could not be read"),
    "no such ending": (("a.uai", "b.net"), "should end in .bif or .uai"),
    "no such start": (("a.net", "b.uai"), "should end in .bif or .uai"),
    "itself": (("a.uai", "a.uai"), "are one file"),
    "no such folder": (("a.uai", "none/b.uai"), "could not be written"),
    "broken": (("broken.uai", "b.uai"), "broken.uai, line 2: "),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_it_refuses(name, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.uai").write_text(UAI["markov"])
    (tmp_path / "broken.uai").write_text("MARKOV\nmany")
    words, complaint = REFUSED[name]
    code, _, err = run(capsys, "convert", *words)
    assert code == 2
    assert err.startswith("graft: ") and complaint in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.uai", "broken.uai"]
