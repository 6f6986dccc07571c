"""A run that was killed and resumed, however often and whenever, leaves what an uninterrupted one leaves."""

import json
import subprocess
import sys

from tests.reference.training_kills import CALLS, RANDOM


def test_killed_runs_end_as_one_that_was_left_alone(tmp_path):
    command = [sys.executable, "-m", "tests.reference.training_kills", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == RANDOM + len(CALLS)
    assert [name for name, _, same in found if not same] == []
    assert all(kills == 1 for name, kills, _ in found if name.startswith("call"))
    # a moment lies inside a run with probability near 1; that 20 runs all escape is out of the question
    assert sum(kills for name, kills, _ in found if name.startswith("random")) > 10
