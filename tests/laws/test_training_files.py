"""Files of a run: whole or not there, read without running anything, and errors that name the file."""

import errno
import json
import os
import pickle
import resource
import shutil
import zipfile

import pytest
import torch
from tests.reference.training_run import Noisy, X, left, train
from torch import nn

from graft.errors import GraftError
from graft.training import state_file
from graft.training.checkpoint import ABOUT, STATE, WEIGHTS, found
from graft.training.load import load
from graft.training.stopping import EarlyStopping
from graft.training.weights import load_weights, save_weights


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    train(folder, epochs=2)
    return folder


@pytest.fixture
def run(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


class Bomb:
    """Runs a command when unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


def replaced(name, content):
    def spoil(folder, mark):
        for path in found(folder / "checkpoints"):
            (path / name).write_bytes(content(mark) if callable(content) else content)

    return spoil


def cut_short(name):
    def spoil(folder, mark):
        for path in found(folder / "checkpoints"):
            whole = (path / name).read_bytes()
            (path / name).write_bytes(whole[: len(whole) // 2])

    return spoil


def as_archive(folder, mark):
    """A pickle of the bomb in an archive as PyTorch writes them."""
    for path in found(folder / "checkpoints"):
        with zipfile.ZipFile(path / STATE, "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps(Bomb(mark), 2))
            archive.writestr("archive/version", "3\n")


def packed(folder, mark):
    for path in found(folder / "checkpoints"):
        with zipfile.ZipFile(path / STATE, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("archive/data.pkl", bytes(10**7))


def linked(name):
    def spoil(folder, mark):
        for path in found(folder / "checkpoints"):
            outside = folder.parent / f"{path.name} {name}"
            shutil.move(path / name, outside)
            (path / name).symlink_to(outside)

    return spoil


def without(name):
    return lambda folder, mark: [(path / name).unlink() for path in found(folder / "checkpoints")]


SPOILT = {
    "state: a pickle": replaced(STATE, lambda mark: pickle.dumps(Bomb(mark))),
    "state: an archive with a pickle": as_archive,
    "state: packed": packed,
    "state: half": cut_short(STATE),
    "state: a link": linked(STATE),
    "state: another": replaced(STATE, state_file.encoded({"epoch": 1})),
    "weights: a pickle": replaced(WEIGHTS, lambda mark: pickle.dumps(Bomb(mark))),
    "weights: a huge header": replaced(WEIGHTS, (2**62).to_bytes(8, "little") + b"{}"),
    "weights: half": cut_short(WEIGHTS),
    "weights: a link": linked(WEIGHTS),
    "weights: gone": without(WEIGHTS),
    "about: no JSON": replaced(ABOUT, b"\x80\x04."),
    "about: deep": replaced(ABOUT, b"[" * 10**6),
    "about: a way out": replaced(ABOUT, json.dumps({"format": 1, "epoch": 1, "step": 1, "best": "../../x"}).encode()),
}


@pytest.mark.parametrize("case", SPOILT)
def test_spoilt_files_are_refused_and_nothing_runs(run, tmp_path, case):
    mark = tmp_path / "mark"
    SPOILT[case](run, mark)
    with pytest.raises(GraftError, match="checkpoints"):
        train(run, epochs=2)
    if not case.startswith("state"):
        with pytest.raises(GraftError, match="checkpoints"):
            load(Noisy(), run)
    assert not mark.exists()


def test_a_good_checkpoint_is_used_if_a_newer_one_is_spoilt(run):
    newest = found(run / "checkpoints")[0]
    shutil.copytree(newest, run / "checkpoints" / "00009-000000099")
    (run / "checkpoints" / "00009-000000099" / STATE).write_bytes(b"")
    with pytest.warns(UserWarning, match=f"going on from {newest.name}"):
        assert len(train(run, epochs=3).history) == 3


def test_leftovers_are_removed_and_do_not_count(run):
    shutil.copytree(found(run / "checkpoints")[0], run / "checkpoints" / ".00009-000000099.writing")
    train(run, epochs=2)
    assert sorted(p.name for p in (run / "checkpoints").iterdir()) == sorted(p.name for p in found(run / "checkpoints"))


def test_a_run_goes_on_to_more_epochs_as_if_it_had_never_ended(tmp_path):
    # only files, without figures from Python's generator: the checks of types in these tests draw from it too
    for folder in (part := tmp_path / "part", whole := tmp_path / "whole"):
        for epochs in (2, 4) if folder == part else (4,):
            train(folder, epochs=epochs, watch=None)
    assert left(part)[0] == left(whole)[0]


def test_loading_gives_the_weights(finished):
    module, other = Noisy(), Noisy()
    load(module, finished)
    load(other, found(finished / "checkpoints")[0])
    assert all(
        torch.equal(a, b) for a, b in zip(module.state_dict().values(), other.state_dict().values(), strict=True)
    )
    assert load(module, finished, "best").parent == finished / "checkpoints"


DIFFERING = {
    "seed": ({"seed": 4}, "seed was 3 and is now 4"),
    "batch": ({"batch_size": 4}, "batch_size was 5 and is now 4"),
    "stopping": ({"stopping": EarlyStopping(patience=9)}, "stopping was"),
    "new": ({"resume": False}, "already holds log.csv"),
}


@pytest.mark.parametrize("case", DIFFERING)
def test_a_run_does_not_go_on_otherwise(run, case):
    options, message = DIFFERING[case]
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(GraftError, match=message):
        train(run, **options)
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(GraftError, match="file could not be written"):
        train(tmp_path / "file")


class Full:
    """A disk on which one of the calls that change it fails."""

    def __init__(self, call):
        self.left = call

    def failing(self, real):
        def one(*arguments, **options):
            self.left -= 1
            if self.left == -1:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*arguments, **options)

        return one


@pytest.mark.parametrize("call", range(1, 26, 2))
def test_a_full_disk_at_one_call_after_another(run, monkeypatch, call):
    """What stood in the folder before can be read afterwards, and the run goes on once there is room."""
    disk = Full(call)
    with monkeypatch.context() as patched:
        for name in ("fsync", "rename", "replace", "mkdir"):
            patched.setattr(os, name, disk.failing(getattr(os, name)))
        with pytest.raises(GraftError, match=rf"{run}.* could not be written: No space left on device"):
            train(run, epochs=3)
    load(Noisy(), run)
    assert len(train(run, epochs=3).history) == 3


def test_a_limit_of_the_kernel_on_the_size_of_files(run):
    child = os.fork()
    if not child:
        code = 1
        try:
            torch.set_num_threads(1)
            resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
            try:
                train(run, epochs=3)
            except GraftError as error:
                code = 0 if "File too large" in str(error) and "checkpoints" in str(error) else 2
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    load(Noisy(), run)


class Odd(nn.Module):
    """Tied, strided, scalar and empty tensors, and state that is no tensor."""

    def __init__(self, value=0.0):
        super().__init__()
        self.a, self.b = nn.Linear(2, 2), nn.Linear(2, 2)
        self.b.weight = self.a.weight
        self.register_buffer("strided", torch.arange(6.0).reshape(2, 3).T + value)
        self.register_buffer("scalar", torch.zeros(()))
        self.register_buffer("empty", torch.zeros(0, 3))
        self.settings = {"value": value}

    def get_extra_state(self):
        return self.settings

    def set_extra_state(self, state):
        self.settings = state


def test_weights_of_odd_kinds_come_back(tmp_path):
    one, other = Odd(2.0), Odd()
    load_weights(other, save_weights(one, tmp_path / "w.safetensors"))
    assert other.settings == {"value": 2.0} and other.a.weight is other.b.weight
    for name, value in one.state_dict().items():
        assert not isinstance(value, torch.Tensor) or torch.equal(value, other.state_dict()[name])


UNFIT = {
    "missing": (nn.Linear(2, 1, bias=False), nn.Linear(2, 1), "bias is missing"),
    "unexpected": (nn.Linear(2, 1), nn.Linear(2, 1, bias=False), "bias is unexpected"),
    "shape": (nn.Linear(2, 1), nn.Linear(3, 1), r"weight is float32 \(1, 2\) in the file and float32 \(1, 3\) here"),
    "type": (nn.Linear(2, 1), nn.Linear(2, 1).double(), "bias is float32 .* float64"),
}


@pytest.mark.parametrize("case", UNFIT)
def test_weights_that_do_not_fit(tmp_path, case):
    one, other, message = UNFIT[case]
    with pytest.raises(GraftError, match=message):
        load_weights(other, save_weights(one, tmp_path / "w.safetensors"))


def test_what_cannot_be_saved_is_named(tmp_path):
    with pytest.raises(GraftError, match="_extra_state is a dict that JSON does not give back"):
        save_weights(Odd(torch.tensor(1.0)), tmp_path / "w.safetensors")
    with pytest.raises(GraftError, match=r"schedule\.rule is a function"):
        state_file.encoded({"schedule": {"rule": lambda: X}})
