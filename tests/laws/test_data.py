"""Laws of the readers and makers of data: shapes, determinism, splits that share nothing, refusals."""

from __future__ import annotations

import math
import struct
import wave
import zipfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.reference.data_folder import ABSENT, real

from graft.data import batches, digit_strings, download, fetch, spoken_digits, wave_files
from graft.data.batches import SequenceData, minibatches
from graft.data.grammar import DIGITS, Grammar
from graft.data.log_mel import log_mel, mel_triangles
from graft.errors import DataError

ALL_SPEAKERS = [speaker for part in spoken_digits.SPEAKERS.values() for speaker in part]
NAMES = tuple("0123456789")


# ---- making things


def write_wave(path, samples, *, rate=8000, width=2, channels=1):
    with wave.open(str(path), "wb") as file:
        file.setframerate(rate), file.setsampwidth(width), file.setnchannels(channels)
        file.writeframes(struct.pack(f"<{len(samples)}h", *samples) if width == 2 else bytes(samples))


def tone(digit, speaker, index, seconds=0.15):
    time = np.arange(int(seconds * 8000)) / 8000
    pitch = 250 + 300 * digit + 20 * ALL_SPEAKERS.index(speaker) + index
    return (8000 * np.sin(2 * np.pi * pitch * time)).astype(int).tolist()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny data set in the format of the real one: six speakers, recordings 0, 5 and 10 of each digit."""
    inner = tmp_path_factory.mktemp("fsdd") / "recordings"
    inner.mkdir()
    for digit in range(10):
        for speaker in ALL_SPEAKERS:
            for index in (0, 5, 10):
                write_wave(inner / f"{digit}_{speaker}_{index}.wav", tone(digit, speaker, index))
    return inner.parent


def sequences(*durations, dim=2):
    rows = [[(torch.randn(d, dim), k % 10) for k, d in enumerate(row)] for row in durations]
    return SequenceData.from_segments(rows, names=NAMES)


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.tensors().values(), b.tensors().values(), strict=True))


@pytest.fixture(scope="module")
def digits():
    return digit_strings.load((30, 20, 20))


MAKERS = {
    "digits": lambda folder, **options: digit_strings.load((12, 6, 6), **options),
    "official": lambda folder, **options: spoken_digits.load(folder, sequences=(12, 6, 6), **options),
    "speakers": lambda folder, **options: spoken_digits.load(folder, split="speakers", sequences=(12, 6, 6), **options),
}
maker = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


# ---- what every maker of sequences keeps


@maker
def test_the_same_seed_gives_the_same_data_and_another_seed_does_not(make, folder):
    one, two, other = make(folder), make(folder), make(folder, seed=1)
    assert all(same(a, b) for a, b in zip(one, two, strict=True))
    assert not any(same(a, b) for a, b in zip(one, other, strict=True))


@maker
def test_global_random_states_are_left_alone(make, folder):
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    make(folder)
    assert torch.equal(before, torch.get_rng_state())
    assert (numpy_before == np.random.get_state()[1]).all()


@maker
def test_sizes_types_and_padding(make, folder):
    splits = make(folder)
    assert [len(part) for part in splits] == [12, 6, 6]
    for part in splits:
        assert part.frames.dtype == torch.float32
        assert part.labels.dtype == part.lengths.dtype == torch.long
        assert int(part.lengths.max()) == part.frames.shape[1]
        assert (part.frames[~part.mask] == 0).all()
        assert (part.labels[~part.mask] == batches.PAD_LABEL).all()


@maker
def test_strings_follow_the_grammar_and_have_the_wanted_number_of_digits(make, folder):
    for part in make(folder, digits=(2, 4)):
        for string in part.strings:
            assert 2 <= len(string) <= 4
            assert all(DIGITS.transition[a, b] > 0 for a, b in pairwise(string))


WRONG_OPTIONS = [{"digits": (0, 3)}, {"digits": (4, 3)}]


@maker
@pytest.mark.parametrize("options", WRONG_OPTIONS, ids=str)
def test_wrong_ranges_are_refused(make, options, folder):
    with pytest.raises(DataError, match="digits must be a range"):
        make(folder, **options)


# ---- grammar


def test_the_grammar_is_sparse_and_repeats_labels():
    assert ((DIGITS.transition > 0).sum(-1) == 4).all()
    assert (DIGITS.transition.diagonal() > 0).all()


def test_drawn_transitions_have_the_probabilities_of_the_grammar():
    string = DIGITS.draw(20_000, np.random.default_rng(0))
    counts = torch.zeros(10, 10, dtype=torch.float64)
    for a, b in pairwise(string):
        counts[a, b] += 1
    # 100 cells of about 2000 draws a row: 6 standard errors, so a failure by chance in 1e7 seeds
    assert (counts / counts.sum(-1, keepdim=True) - DIGITS.transition).abs().max() < 6 * 0.5 / math.sqrt(1800)


def test_a_grammar_that_is_no_distribution_is_refused():
    with pytest.raises(DataError, match="probability distribution"):
        Grammar(initial=torch.full((2,), 0.5), transition=torch.ones(2, 2))


# ---- handwritten digits


def test_splits_cover_the_images_and_share_none():
    used = [set(range(1797)[split]) for split in digit_strings.SPLITS]
    assert sum(map(len, used)) == len(set.union(*used)) == 1797


def test_frames_without_noise_add_up_to_images_of_their_own_split():
    clear = digit_strings.Difficulty(blur=0.0, noise=0.0, window=1e6)  # a window this wide lets all through
    images, labels = digit_strings._images(0.0)
    for part, split in zip(digit_strings.load((5, 5, 5), difficulty=clear), digit_strings.SPLITS, strict=True):
        own = torch.from_numpy(images[split].reshape(-1, 64)).float()
        distance = torch.cdist(part.frames[part.mask], own)
        assert distance.min(-1).values.max() < 1e-3
        assert (torch.from_numpy(labels[split])[distance.argmin(-1)] == part.labels[part.mask]).all()


def test_noise_has_the_stated_strength():
    a, b = (digit_strings.Difficulty(blur=0.5, noise=noise) for noise in (0.0, 0.3))
    quiet, noisy = (digit_strings.load((200, 1, 1), difficulty=d).train for d in (a, b))
    assert quiet.strings == noisy.strings
    assert (noisy.frames - quiet.frames)[quiet.mask].std() == pytest.approx(0.3, rel=0.02)


def test_durations_stay_in_their_range(digits):
    for row, start, length in zip(digits.train.labels, digits.train.starts, digits.train.lengths, strict=True):
        at = [*start.nonzero().flatten().tolist(), int(length)]
        assert all(2 <= b - a <= 6 for a, b in pairwise(at))
        assert row[0] >= 0


def test_some_neighbouring_segments_have_the_same_label(digits):
    assert any(a == b for s in digits.train.strings for a, b in pairwise(s))


@pytest.mark.parametrize("wrong", [{"blur": -1.0}, {"noise": -0.1}, {"window": 0.0}, {"noise": math.nan}], ids=str)
def test_wrong_difficulties_are_refused(wrong):
    with pytest.raises(DataError, match="but got"):
        digit_strings.Difficulty(**wrong)


def test_empty_splits_are_refused(folder):
    for load in (digit_strings.load, lambda sequences: spoken_digits.load(folder, sequences=sequences)):
        with pytest.raises(DataError, match="at least one sequence"):
            load((3, 0, 3))


# ---- batches


def test_a_batch_holds_the_rows_asked_for_and_no_more_padding_than_needed(digits):
    data = digits.train
    batch = data.batch([3, 0, 7])
    assert batch.frames.shape[1] == int(data.lengths[[3, 0, 7]].max())
    assert batch.strings == [data.strings[k] for k in (3, 0, 7)]
    assert same(data.batch(torch.arange(len(data))), data)


@pytest.mark.parametrize("size", [1, 7, 30, 100])
@pytest.mark.parametrize("by_length", [False, True])
@pytest.mark.parametrize("shuffled", [False, True])
def test_a_pass_meets_every_sequence_once(digits, size, by_length, shuffled):
    generator = torch.Generator().manual_seed(0) if shuffled else None
    found = list(minibatches(digits.train, size, generator=generator, by_length=by_length))
    assert all(len(batch) <= size for batch in found)
    assert len(found) == math.ceil(30 / size)
    assert sorted(s for b in found for s in b.strings) == sorted(digits.train.strings)


def test_shuffles_repeat_with_their_generator_and_leave_the_global_one(digits):
    before = torch.get_rng_state()
    orders = [
        [b.strings for b in minibatches(digits.train, 4, generator=torch.Generator().manual_seed(seed))]
        for seed in (0, 0, 1)
    ]
    assert orders[0] == orders[1] != orders[2]
    assert torch.equal(before, torch.get_rng_state())


def test_grouping_by_length_pads_less(digits):
    def padded(**options):
        generator = torch.Generator().manual_seed(0)
        return sum(b.mask.numel() for b in minibatches(digits.train, 5, generator=generator, **options))

    assert padded(by_length=True) < padded()


def test_moving_keeps_the_data(digits):
    assert same(digits.train.to("cpu"), digits.train)


def changed(name, change):
    data = sequences((2, 3), (1,))
    value = getattr(data, name).clone()
    return replace(data, **{name: change(value)})


def put(index, value):
    def change(tensor):
        tensor[index] = value
        return tensor

    return change


WRONG_DATA = {
    "label too large": ("labels", put((0, 1), 10), r"labels\[0, 1\] is 10; expected 0 to 9"),
    "label missing": ("labels", put((0, 1), -1), r"labels\[0, 1\] is -1"),
    "label after the end": ("labels", put((1, 3), 0), r"labels\[1, 3\] is 0; .* -1 after it"),
    "NaN": ("frames", put((1, 0, 0), math.nan), r"not finite in sequences \[1\]"),
    "no length": ("lengths", put((1,), 0), "between 1 and 5"),
    "too long": ("lengths", put((1,), 6), "between 1 and 5"),
    "start missing": ("starts", put((0, 2), False), "starts must be True"),
    "start after the end": ("starts", put((1, 2), True), "starts must be True"),
    "no rows": ("frames", lambda x: x[:0], "not empty"),
    "integer frames": ("frames", lambda x: x.long(), "frames must be floats"),
    "float labels": ("labels", lambda x: x.float(), "labels integers"),
    "two rows less": ("labels", lambda x: x[:1], r"labels must have shape \(2, 5\)"),
}


@pytest.mark.parametrize(("name", "change", "message"), WRONG_DATA.values(), ids=WRONG_DATA)
def test_wrong_data_are_refused_by_name(name, change, message):
    with pytest.raises(DataError, match=message):
        changed(name, change)


EMPTY = {
    "no rows": lambda: SequenceData.from_segments([], names=NAMES),
    "no segments": lambda: SequenceData.from_segments([[]], names=NAMES),
    "no tensors": lambda: batches.pad([]),
    "no indices": lambda: sequences((1,)).batch([]),
    "no size": lambda: minibatches(sequences((1,)), 0),
}


@pytest.mark.parametrize("call", EMPTY.values(), ids=EMPTY)
def test_empty_data_are_refused(call):
    with pytest.raises(DataError, match=r"empty|at least one"):
        call()


def test_padding_that_is_not_finite_is_no_error():
    changed("frames", put((1, 4), math.nan))


# ---- speech


def test_no_recording_is_in_two_splits(folder):
    spoken = spoken_digits.utterances(folder)
    for split in ("official", "speakers"):
        parts = spoken_digits._divide(spoken, split)
        paths = [{recording.path for recording, _ in part} for part in parts.values()]
        assert sum(map(len, paths)) == len(set.union(*paths)) == 180


def test_the_splits_are_what_they_say(folder):
    spoken = spoken_digits.utterances(folder)
    official, speakers = (spoken_digits._divide(spoken, split) for split in ("official", "speakers"))
    assert [{r.index for r, _ in part} for part in official.values()] == [{10}, {5}, {0}]
    assert [len({r.speaker for r, _ in part}) for part in speakers.values()] == [3, 1, 2]


def test_training_data_do_not_depend_on_held_out_recordings(folder, tmp_path):
    for path in (folder / "recordings").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    for digit in range(10):
        write_wave(tmp_path / f"{digit}_theo_0.wav", tone(9 - digit, "theo", 0, seconds=0.4))
    one, two = (spoken_digits.load(f, sequences=(5, 5, 5)) for f in (folder, tmp_path))
    assert same(one.train, two.train)


def test_quiet_edges_are_cut_to_a_margin():
    signal = torch.cat([torch.zeros(4000), torch.sin(torch.arange(2000) * 0.5), torch.zeros(8000)])
    # 25 frames of sound and up to 2 that overlap it at each end, 5 of margin at each end
    assert 35 <= len(spoken_digits._trim(log_mel(signal))) <= 39


@pytest.mark.parametrize("frequency", [300, 700, 1500, 3000])
def test_a_tone_is_loudest_in_its_mel_band(frequency):
    frames = log_mel(torch.sin(2 * math.pi * frequency * torch.arange(4000) / 8000))
    weight = mel_triangles(20, 256, 8000)[round(frequency / 8000 * 256)]
    assert (frames.argmax(-1) == weight.argmax()).all()


def test_mel_triangles_share_out_every_bin_between_the_outer_centres():
    total = mel_triangles(20, 256, 8000).sum(-1)
    assert torch.allclose(total[4:110], torch.ones(106, dtype=torch.float64))


@pytest.mark.parametrize("samples", [1, 199, 200, 279, 280, 1000])
def test_there_is_one_frame_a_hop_and_silence_is_finite(samples):
    frames = log_mel(torch.zeros(samples))
    assert len(frames) == 1 + max(0, samples - 200) // 80
    assert frames.isfinite().all()


def test_an_empty_signal_is_refused():
    with pytest.raises(DataError, match="empty"):
        log_mel(torch.zeros(0))


def test_waves_are_read_as_written(tmp_path):
    write_wave(tmp_path / "a.wav", [0, 16384, -32768])
    assert wave_files.read(tmp_path / "a.wav").tolist() == [0.0, 0.5, -1.0]


def cut(path):
    write_wave(path, list(range(2000)))
    path.write_bytes(path.read_bytes()[:1000])


BROKEN = {
    "no wave": (lambda path: path.write_bytes(b"not a wave file"), "cannot be read"),
    "empty file": (lambda path: path.write_bytes(b""), "cannot be read"),
    "cut short": (cut, "cut short"),
    "no samples": (lambda path: write_wave(path, []), "cut short"),
    "rate": (lambda path: write_wave(path, [0] * 99, rate=16000), "has 16000 Hz"),
    "8 bit": (lambda path: write_wave(path, [0] * 99, width=1), "8 bit"),
    "stereo": (lambda path: write_wave(path, [0] * 98, channels=2), "2 channels"),
    "too short": (lambda path: write_wave(path, [0] * 99), "too short"),
}


@pytest.mark.parametrize(("spoil", "message"), BROKEN.values(), ids=BROKEN)
def test_a_malformed_wave_is_named(spoil, message, tmp_path):
    spoil(tmp_path / "3_theo_7.wav")
    with pytest.raises(DataError, match=rf"3_theo_7\.wav.*{message}"):
        spoken_digits.load(tmp_path)


def only(*names):
    def fill(path):
        for name in names:
            digit, speaker, index = Path(name).stem.split("_")
            write_wave(path / name, tone(int(digit), speaker, int(index)))

    return fill


def add_stranger(path):
    write_wave(path / "3_nobody_0.wav", tone(3, "theo", 0))


FOLDERS = {
    "empty": (lambda path: None, "official", "holds no recordings: expected files named"),
    "name": (lambda path: write_wave(path / "three.wav", [0]), "official", "three.wav is not named"),
    "no training": (only("1_theo_0.wav", "1_theo_5.wav"), "official", "train part .* is empty"),
    "no digit": (only("1_theo_0.wav", "1_theo_5.wav", "1_theo_9.wav", "1_theo_10.wav"), "official",
                 r"no recordings of the digits \[0, 2, 3, .*\] by theo"),
    "stranger": (add_stranger, "speakers", "does not know the speaker 'nobody'"),
    "split": (only("1_theo_0.wav"), "random", "unknown split 'random'"),
}  # fmt: skip


@pytest.mark.parametrize(("fill", "split", "message"), FOLDERS.values(), ids=FOLDERS)
def test_what_a_folder_lacks_is_named(fill, split, message, tmp_path):
    fill(tmp_path)
    with pytest.raises(DataError, match=message):
        spoken_digits.load(tmp_path, split=split)


def test_a_missing_folder_says_what_was_expected_and_how_to_get_it(tmp_path):
    with pytest.raises(DataError, match=r"no data folder .*none: expected files named .*fetch\(.fsdd."):
        spoken_digits.load(tmp_path / "none")


# ---- the real recordings, where they are


@pytest.mark.skipif(not real("fsdd").is_dir(), reason=ABSENT)
def test_the_real_recordings(tmp_path):
    folder = real("fsdd") / "recordings"
    assert fetch.SOURCES["fsdd"].is_complete(folder.parent)
    # a quarter of them will do, for the sake of time
    for path in (recording.path for recording in wave_files.find(folder) if recording.index % 4 == 0):
        (tmp_path / path.name).symlink_to(path)
    splits = spoken_digits.load(tmp_path, split="speakers", sequences=(100, 30, 30))
    assert splits.train.frames.shape[1] < 150
    assert splits.train.frames[splits.train.mask].std() == pytest.approx(1, abs=0.2)


# ---- downloads of archives; of plain files: test_fetch.py


def pack(path, members):
    with zipfile.ZipFile(path, "w") as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return path


MEMBERS = {f"fsdd-26eb9aa/recordings/{digit}_theo_0.wav": bytes([digit]) * 9 for digit in range(3)}
HOSTILE = {
    "../evil.wav": b"x",
    "/tmp/evil.wav": b"x",
    "fsdd-26eb9aa/recordings/../../evil.wav": b"x",
    "fsdd-26eb9aa/recordings/sub/1_theo_0.wav": b"x",
    "fsdd-26eb9aa/recordings/run.py": b"x",
    "fsdd-26eb9aa/README.md": b"x",
}


@pytest.fixture
def source(monkeypatch):
    hashes = {Path(name).name: download.sha256(content) for name, content in MEMBERS.items()}
    small = replace(fetch.SOURCES["fsdd"], files=3, digest=download.digest(hashes))
    monkeypatch.setitem(fetch.SOURCES, "fsdd", small)
    return small


@pytest.fixture
def serve(monkeypatch, tmp_path):
    """Let the downloader find these members; the list tells which addresses were asked for."""

    def serve(members):
        asked = []

        def retrieve(url, **options):
            asked.append(url)
            return str(pack(tmp_path / "served.zip", members))

        monkeypatch.setattr("pooch.retrieve", retrieve)
        return asked

    return serve


def test_a_download_puts_the_recordings_and_nothing_else(source, serve, tmp_path):
    asked = serve(MEMBERS | HOSTILE)
    target = fetch.fetch("fsdd", tmp_path / "new" / "data")
    assert {p.name for p in target.rglob("*") if p.is_file()} == {f"{d}_theo_0.wav" for d in range(3)}
    assert (target / "recordings" / "2_theo_0.wav").read_bytes() == bytes([2]) * 9
    assert not list(tmp_path.rglob("evil.wav"))
    assert asked == [source.url]


def test_what_is_there_is_not_fetched_again_but_what_is_altered_is(source, serve, tmp_path):
    asked = serve(MEMBERS)
    fetch.fetch("fsdd", tmp_path / "data"), fetch.fetch("fsdd", tmp_path / "data")
    assert len(asked) == 1
    altered = tmp_path / "data" / "recordings" / "1_theo_0.wav"
    altered.write_bytes(b"other")
    fetch.fetch("fsdd", tmp_path / "data")
    assert len(asked) == 2
    assert altered.read_bytes() == bytes([1]) * 9


first, *rest = MEMBERS.items()
WRONG_ARCHIVES = {
    "altered": (dict([(first[0], b"other"), *rest]), "digest differs"),
    "incomplete": (dict(rest), "holds 2 files of the data set; expected 3"),
    "too large": (dict([(first[0], bytes(fetch.SOURCES["fsdd"].largest + 1)), *rest]), "too large"),
}


@pytest.mark.parametrize(("members", "message"), WRONG_ARCHIVES.values(), ids=WRONG_ARCHIVES)
def test_a_wrong_archive_is_refused_before_anything_is_written(members, message, source, serve, tmp_path):
    serve(members)
    with pytest.raises(DataError, match=message):
        fetch.fetch("fsdd", tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_broken_archive_and_a_dead_line_are_told(source, monkeypatch, tmp_path):
    (tmp_path / "broken.zip").write_bytes(b"<html>not found</html>")
    monkeypatch.setattr("pooch.retrieve", lambda *args, **options: str(tmp_path / "broken.zip"))
    with pytest.raises(DataError, match="not a zip archive"):
        fetch.fetch("fsdd", tmp_path)

    def dead(*args, **options):
        raise ConnectionError("no route to host")

    monkeypatch.setattr("pooch.retrieve", dead)
    with pytest.raises(DataError, match=r"could not be downloaded: no route"):
        fetch.fetch("fsdd", tmp_path)
