"""Trials and calibration: the tools that recipes share."""

import json
from pathlib import Path

import pytest
import torch

from graft.errors import GraftError
from graft.evaluation.arms import Kind
from graft.evaluation.calibration import reliability
from graft.evaluation.trials import place, run_trials


def counted(arm: str, seed: int, folder: Path) -> dict[str, float]:
    """A trial that leaves a mark each time it is run."""
    mark = folder / "runs"
    mark.write_text(mark.read_text() + "x" if mark.exists() else "x")
    return {"score": {"a": 1.0, "b": 3.0}[arm] + 10 * seed, "updates": 5.0}


def broken(arm: str, seed: int, folder: Path) -> dict[str, float]:
    raise GraftError(f"{arm} cannot be run")


@pytest.mark.parametrize("jobs", [1, 2])
def test_trials_are_compared_and_not_run_twice(tmp_path, jobs):
    for now in (jobs, 1):  # starting processes is most of the time
        found = run_trials(counted, ["a", "b"], [0, 1], tmp_path, jobs=now, budget="updates")
    assert found.summary("a", "score").mean == 6 and found.difference("b", "a", "score").mean == 2
    for arm in "ab":
        for seed in (0, 1):
            assert (place(tmp_path, arm, seed) / "runs").read_text() == "x"


def test_what_was_cut_off_goes_on(tmp_path):
    run_trials(counted, ["a"], [0], tmp_path)
    run_trials(counted, ["a", "b"], [0, 1], tmp_path)
    assert sorted(path.parent.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("runs")) == [
        "a/seed-0",
        "a/seed-1",
        "b/seed-0",
        "b/seed-1",
    ]
    assert (place(tmp_path, "a", 0) / "runs").read_text() == "x"


def test_the_table_keeps_the_order_asked_for_and_the_kinds(tmp_path):
    found = run_trials(counted, ["b", "a"], [1, 0], tmp_path, kinds={"score": Kind.ESTIMATE})
    assert found.arms == ("b", "a") and found.figures == ("score", "updates")
    assert found.kinds["score"] is Kind.ESTIMATE and found.kinds["updates"] is Kind.EXACT


def test_an_unequal_budget_is_told(tmp_path):
    run_trials(counted, ["a", "b"], [0], tmp_path)
    path = place(tmp_path, "b", 0) / "figures.json"
    path.write_text(json.dumps({"score": 1.0, "updates": 6.0}))
    with pytest.raises(GraftError, match=r"'updates'.*a with seed 0 5, b with seed 0 6"):
        run_trials(counted, ["a", "b"], [0], tmp_path, budget="updates")
    with pytest.raises(GraftError, match="'steps'"):
        run_trials(counted, ["a"], [0], tmp_path, budget="steps")


@pytest.mark.parametrize("content", ["", "[1]", '{"score": "x"}', '{"score": [1]}'])
def test_a_damaged_record_is_told(tmp_path, content):
    run_trials(counted, ["a"], [0], tmp_path)
    (place(tmp_path, "a", 0) / "figures.json").write_text(content)
    with pytest.raises(GraftError, match=r"figures\.json"):
        run_trials(counted, ["a"], [0], tmp_path)


@pytest.mark.parametrize("arm", ["", "a/b", "..", "a b"])
def test_an_arm_that_names_no_folder_is_told(tmp_path, arm):
    with pytest.raises(GraftError, match="names a folder"):
        run_trials(counted, [arm], [0], tmp_path)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_trial_that_fails_says_why(tmp_path, jobs):
    with pytest.raises(GraftError, match="b cannot be run"):
        run_trials(broken, ["b"], [0], tmp_path, jobs=jobs)


@pytest.mark.parametrize("bins", [1, 2, 7, 15])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_reliability_is_what_plain_loops_say(bins, dtype):
    torch.manual_seed(bins)
    confidence, right = torch.rand(200, dtype=dtype), torch.rand(200) < 0.6
    confidence[:3] = torch.tensor([0.0, 1.0, 0.5])
    found, error = reliability(confidence, right, bins), 0.0
    for b in range(bins):
        own = [k for k, c in enumerate(confidence.tolist()) if min(int(c * bins), bins - 1) == b]
        assert int(found.counts[b]) == len(own)
        if own:
            gap = sum(float(right[k]) for k in own) - sum(float(confidence[k]) for k in own)
            error += abs(gap) / 200
    assert found.error == pytest.approx(error, abs=1e-6)


@pytest.mark.parametrize("confidence", [[], [1.5], [-0.1], [float("nan")]])
def test_what_is_no_confidence_is_told(confidence):
    with pytest.raises(GraftError):
        reliability(torch.tensor(confidence), torch.tensor([True] * len(confidence), dtype=torch.bool))
