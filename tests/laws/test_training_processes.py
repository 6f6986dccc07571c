"""Two processes learn what one learns from the same batches: the mean is over rows, wherever they are."""

import csv
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from tests.reference.training_processes import FORMS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("processes")
    command = [sys.executable, "-W", "ignore", "-m", "tests.reference.training_processes", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return place


def rows(path):
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.mark.parametrize("form", FORMS)
def test_parameters_are_those_of_one_process(folder, form):
    one, two = (load_file(folder / f"{form} {world}.safetensors") for world in (1, 2))
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-6, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("form", FORMS)
def test_the_log_is_over_all_rows(folder, form):
    one, two = (rows(folder / f"{form} {world}" / "log.csv") for world in (1, 2))
    assert len(one) == len(two) == 2
    for a, b in zip(one, two, strict=True):
        assert a.keys() == b.keys() and a["step"] == b["step"]
        assert float(a["loss"]) == pytest.approx(float(b["loss"]), abs=1e-6)
        assert float(a["valid"]) == pytest.approx(float(b["valid"]), abs=1e-6)


FAILURES = {"nan": "the loss is nan", "raises": "the loss cannot be had"}


@pytest.mark.parametrize("way", FAILURES)
def test_all_processes_stop_if_one_fails(folder, way):
    for rank in (0, 1):
        told = (folder / f"{way} {rank}.txt").read_text()
        assert FAILURES[way] in told and ("process 1 stopped" in told) == (rank == 0)
