"""A run that was killed and resumed, however often and whenever, leaves what an uninterrupted one leaves."""

import json
import subprocess
import sys

import pytest


@pytest.mark.parametrize(("random", "calls"), [(6, 4), pytest.param(20, 12, marks=pytest.mark.slow)])
def test_killed_runs_end_as_one_that_was_left_alone(random, calls, tmp_path):
    command = [sys.executable, "-m", "tests.reference.training_kills", str(tmp_path), str(random), str(calls)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == random + calls
    assert [name for name, _, same in found if not same] == []
    assert all(kills == 1 for name, kills, _ in found if name.startswith("call"))
    # three moments a run, each inside it with probability near 1: that half of the runs escape is out of the question
    assert sum(kills for name, kills, _ in found if name.startswith("random")) > random // 2
