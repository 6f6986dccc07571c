"""Laws of downloads of plain files: mirrors in turn, digests, nothing half-written; no network is used."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest
from tests.reference.data_folder import ABSENT, real

from graft.data import fetch, mnist
from graft.data.download import sha256
from graft.data.plain_files import PlainFiles
from graft.errors import DataError

FIRST, SECOND = "https://first.example/set/", "https://second.example/"
FILES = {f"part-{k}.gz": gzip.compress(bytes([k]) * 50) for k in range(4)}


@pytest.fixture(autouse=True)
def source(monkeypatch):
    small = PlainFiles((FIRST, SECOND), {name: sha256(content) for name, content in FILES.items()})
    monkeypatch.setitem(fetch.SOURCES, "mnist", small)
    return small


@pytest.fixture
def serve(monkeypatch):
    """Let the downloader find these contents by address; the list tells which were asked for.

    As pooch does, a file that is already in the folder is taken if its digest is right, and a download whose digest is
    wrong is a ValueError that leaves nothing.
    """

    def serve(contents):
        asked = []

        def retrieve(url, known_hash, fname, path):
            asked.append(url)
            there, wanted = Path(path) / fname, known_hash.removeprefix("sha256:")
            if not (there.exists() and sha256(there.read_bytes()) == wanted):
                if url not in contents:
                    raise ConnectionError(f"404 Client Error: {url}")
                if sha256(contents[url]) != wanted:
                    raise ValueError(f"SHA256 hash of downloaded file ({fname}) does not match the known hash")
                there.write_bytes(contents[url])
            return str(there)

        monkeypatch.setattr("pooch.retrieve", retrieve)
        return asked

    return serve


def at(mirror, names=FILES):
    return {mirror + name: FILES[name] for name in names}


def written(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_all_files_come_from_the_first_mirror_that_has_them(serve, tmp_path):
    asked = serve(at(FIRST) | at(SECOND))
    folder = tmp_path / "new" / "data"
    assert fetch.fetch("mnist", str(folder)) == folder
    assert written(folder) == FILES
    assert asked == list(at(FIRST))


def test_what_is_there_is_not_fetched_again(serve, tmp_path):
    asked = serve(at(FIRST))
    fetch.fetch("mnist", tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    del asked[:]
    fetch.fetch("mnist", tmp_path)
    assert asked == []
    assert written(tmp_path) == FILES | {"notes.txt": b"mine"}


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_bytes(b"other")], ids=["missing", "altered"])
def test_what_is_missing_or_altered_alone_is_fetched(spoil, serve, tmp_path):
    asked = serve(at(FIRST))
    fetch.fetch("mnist", tmp_path)
    spoil(tmp_path / "part-2.gz")
    del asked[:]
    fetch.fetch("mnist", tmp_path)
    assert asked == [FIRST + "part-2.gz"]
    assert written(tmp_path) == FILES


FAILURES = {"dead": {}, "altered": {FIRST + name: b"<html>moved</html>" for name in FILES}}


@pytest.mark.parametrize("first", FAILURES.values(), ids=FAILURES)
def test_a_mirror_that_fails_falls_to_the_next(first, serve, tmp_path):
    asked = serve(first | at(SECOND))
    fetch.fetch("mnist", tmp_path)
    assert written(tmp_path) == FILES
    assert asked == [mirror + name for name in FILES for mirror in (FIRST, SECOND)]


@pytest.mark.parametrize("first", FAILURES.values(), ids=FAILURES)
def test_nothing_is_written_if_one_file_fails_and_each_mirror_is_told(first, serve, tmp_path):
    *most, last = FILES
    serve(first | at(SECOND, most))
    with pytest.raises(DataError) as caught:
        fetch.fetch("mnist", tmp_path / "data")
    assert not (tmp_path / "data").exists()
    told = str(caught.value)
    assert f"no mirror has {last}" in told
    assert all(f"{mirror}{last} could not be downloaded: " in told for mirror in (FIRST, SECOND))
    assert "404 Client Error" in told
    assert ("does not match the known hash" in told) == bool(first)


def test_a_failure_leaves_the_users_files_alone(serve, tmp_path):
    (tmp_path / "part-0.gz").write_bytes(b"mine")
    serve({})
    with pytest.raises(DataError, match="no mirror has part-0"):
        fetch.fetch("mnist", tmp_path)
    assert written(tmp_path) == {"part-0.gz": b"mine"}


def test_a_folder_that_cannot_be_written_is_named(serve, tmp_path):
    serve(at(FIRST))
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(DataError, match="file cannot be written"):
        fetch.fetch("mnist", tmp_path / "file")
    assert written(tmp_path) == {"file": b"mine"}


def test_the_reader_says_how_to_fetch_in_words_that_run(serve, tmp_path):
    serve(at(FIRST))
    folder = tmp_path / "with 'quotes' and \\"
    with pytest.raises(DataError) as caught:
        mnist.load(folder)
    command = re.search(r"from graft.*", str(caught.value))[0]
    exec(command, {})
    assert written(folder) == FILES


@pytest.mark.skipif(not real("mnist").is_dir(), reason=ABSENT)
def test_the_real_files_are_those_of_the_digests(monkeypatch):
    monkeypatch.undo()
    assert fetch.SOURCES["mnist"].missing(real("mnist")) == []
