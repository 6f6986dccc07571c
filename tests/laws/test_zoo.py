"""Every recipe on images runs in small, leaves what it says, and can be measured again."""

import json
import math

import pytest

from graft.cli.main import main
from graft.cli.recipes.experiments import EXPERIMENTS, experiment
from graft.evaluation.trials import FIGURES, place
from graft.zoo.experiment.experiment import WEIGHTS

#: Enough to run everything, too little to learn anything.
SMALL = ("epochs=1", "batch=300", "rows=12", "draws=20", "seeds=1", "jobs=1")
RECIPES = pytest.mark.parametrize("name", EXPERIMENTS)


def arms_of(name):
    """All that the recipe can compare."""
    return experiment(name).arms


@pytest.fixture(scope="module", params=EXPERIMENTS)
def trained(request, tmp_path_factory):
    """A recipe's name, its folder, and what it printed."""
    name = request.param
    folder = tmp_path_factory.mktemp(name)
    assert main(["train", name, *SMALL, f"arms={','.join(arms_of(name))}", f"run={folder}"]) == 0
    return name, folder


def test_a_run_leaves_a_table_figures_weights_and_pictures(trained):
    name, folder = trained
    recipe, arms = experiment(name), arms_of(name)
    table = (folder / "table.md").read_text()
    assert all(f"| {arm} |" in table for arm in arms) and (folder / "metrics.csv").exists()
    assert list(folder.glob("*.png")) and any(path.stat().st_size > 1000 for path in folder.glob("*model.png"))
    for arm in arms:
        figures = json.loads((place(folder, arm, 0) / FIGURES).read_text())
        assert all(math.isfinite(value) for value in figures.values())
        assert {"epochs", "seconds"} < set(figures) and (place(folder, arm, 0) / WEIGHTS).exists()
        assert recipe.budget is None or recipe.budget in figures


def test_what_was_saved_measures_the_same(trained):
    name, folder = trained
    recipe = experiment(name)
    page = json.loads((folder / "config.json").read_text())["settings"]
    told = recipe.settings(**{key: tuple(v) if isinstance(v, list) else v for key, v in page.items()})
    data = told.images()
    for arm in arms_of(name):
        before = json.loads((place(folder, arm, 0) / FIGURES).read_text())
        again = recipe.figures(told, arm, recipe.restored(told, arm, data, place(folder, arm, 0) / WEIGHTS), data)
        assert again == {key: pytest.approx(before[key], rel=1e-5, abs=1e-5) for key in again}


def test_a_run_is_not_made_twice_and_is_evaluated(trained, capsys):
    name, folder = trained
    written = {path: path.stat().st_mtime_ns for path in folder.glob(f"*/seed-*/{WEIGHTS}")}
    assert main(["train", name, *SMALL, f"arms={','.join(arms_of(name))}", f"run={folder}"]) == 0
    assert written == {path: path.stat().st_mtime_ns for path in folder.glob(f"*/seed-*/{WEIGHTS}")}
    assert main(["evaluate", str(folder), "rows=5", "draws=10"]) == 0
    assert arms_of(name)[0] in capsys.readouterr().out


def test_another_run_does_not_go_into_its_folder(trained, capsys):
    name, folder = trained
    assert main(["train", name, *SMALL[1:], "epochs=2", f"run={folder}"]) != 0
    assert "other settings" in capsys.readouterr().err


WRONG = {
    "arms=none": "'none'",
    "epochs=0": "epochs must be at least 1",
    "data=mnist": "folder=",
    "draws=1": "draws must be at least 2",
    "rate=-1": "rate must be positive",
    "colour=red": "unknown setting 'colour'",
}


@RECIPES
def test_help_and_wrong_settings(name, capsys):
    assert main(["train", name, "--help"]) == 0
    assert "epochs=" in capsys.readouterr().out
    for word, message in WRONG.items():
        assert main(["train", name, word]) != 0
        assert message in capsys.readouterr().err
