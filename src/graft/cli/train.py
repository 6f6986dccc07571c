"""`graft train SYSTEM [key=value ...]`: run the recipe of a system and write what it found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from types import MappingProxyType

from graft.cli.recipes import experiments
from graft.errors import GraftError

#: Where the recipes unlike the others are: a module with `main(words) -> exit code`, imported only when asked for.
RECIPES = MappingProxyType({"nn_hmm": "graft.cli.recipes.nn_hmm", "crf_tagger": "graft.cli.recipes.crf_tagger"})


def train(words: Sequence[str]) -> int:
    """Train a system.

    Args:
        words: the system, then settings.

    Raises:
        GraftError: no such system, or wrong settings.
    """
    known = f"there are: {', '.join([*RECIPES, *experiments.EXPERIMENTS])}"
    if not words:
        raise GraftError(f"say which system to train; {known}")
    system, *settings = words
    recipe: Callable[[Sequence[str]], int]
    if system in experiments.EXPERIMENTS:
        recipe = partial(experiments.main, system)
    elif system in RECIPES:
        recipe = import_module(RECIPES[system]).main
    else:
        raise GraftError(f"no system {system!r} to train; {known}")
    return recipe(settings)
