"""What can be done with a folder that `graft train` wrote: `graft evaluate`, `graft sample`, `graft tag`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import MappingProxyType

from graft.cli.recipes.experiments import EXPERIMENTS
from graft.cli.settings import wants_help
from graft.errors import GraftError

#: By command, where each system does it: a module with a function of the command's name.
DOES = MappingProxyType(
    {
        "evaluate": {"nn_hmm": "graft.cli.recipes.nn_hmm_runs", "crf_tagger": "graft.cli.recipes.crf_tagger_runs"}
        | dict.fromkeys(EXPERIMENTS, "graft.cli.recipes.experiments"),
        "sample": {"nn_hmm": "graft.cli.recipes.nn_hmm_runs"},
        "tag": {"crf_tagger": "graft.cli.recipes.crf_tagger_runs"},
    }
)


def evaluate(words: Sequence[str]) -> int:
    """Measure the saved arms of a run on its test data again, and print the table.

    Args:
        words: the run's folder, then what its system asks for: folder=RECORDINGS (nn_hmm), data=TREEBANK (crf_tagger).

    Raises:
        GraftError: no such run.
    """
    return _done("evaluate", words)


def sample(words: Sequence[str]) -> int:
    """Draw from the posterior of a run.

    Args:
        words: the run's folder, then possibly folder=RECORDINGS and count=NUMBER.

    Raises:
        GraftError: no such run, or one of a system with nothing to draw.
    """
    return _done("sample", words)


def tag(words: Sequence[str]) -> int:
    """Tag a sentence with a run of the tagger.

    Args:
        words: the run's folder, the sentence, then possibly arm=, seed= and best=.

    Raises:
        GraftError: no such run, or one of another system.
    """
    return _done("tag", words)


_HELP = MappingProxyType(
    {
        "evaluate": "graft evaluate RUN: measures the saved arms of a run on its test data again\n\n"
        "  folder=RECORDINGS  where the recordings are (a run of nn_hmm on speech)\n"
        "  data=TREEBANK      folder of the treebank (a run of crf_tagger)\n"
        "  folder=, rows=, draws=  where the images are, how many are measured, by how many draws (other runs)",
        "sample": "graft sample RUN [folder=RECORDINGS] [count=5]: draws label strings from the posterior of a run",
        "tag": 'graft tag RUN "a sentence": tags a sentence with a run of crf_tagger\n\n'
        "  arm=NAME  one of the run's arms, a CRF with neural scores if not told\n"
        "  seed=0    of the arm\n"
        "  best=3    how many sequences to print",
    }
)


def _done(command: str, words: Sequence[str]) -> int:
    if wants_help(words):
        print(_HELP[command])
        return 0
    if not words or "=" in words[0]:
        raise GraftError(f"say which run: graft {command} RUN, the folder that `graft train` wrote")
    system, known = _system(Path(words[0])), DOES[command]
    if system not in known:
        raise GraftError(f"graft {command} is for runs of {' and '.join(known)}; {words[0]} is one of {system}")
    found: int = getattr(import_module(known[system]), command)(words)
    return found


def _system(folder: Path) -> str:
    """Which system a run is of."""
    if not folder.is_dir():
        raise GraftError(f"{folder} is not there, or is no folder")
    path = folder / "config.json"
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["system"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GraftError(f"{path} does not hold the settings of a run: {error}") from error
