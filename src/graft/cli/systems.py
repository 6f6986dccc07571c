"""`graft list`, `graft show SYSTEM`, `graft explain SYSTEM`: the systems of the zoo on a terminal."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from difflib import get_close_matches

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from graft.cli.plans import plan
from graft.errors import GraftError
from graft.model import Model
from graft.zoo.formulas import SYSTEMS
from graft.zoo.system import System

#: The batch shape that shapes and plans are shown for.
BATCH = (2,)

_LIST = "graft list: names the systems that come with graft, each with its usual name and what it is"
_SHOW = """graft show SYSTEM [path=FILE]: prints formulas, LaTeX, shapes and plan of a system

  SYSTEM     a name from `graft list`
  path=FILE  writes the diagram to FILE (.png, .svg or .pdf), the guide dashed"""
_EXPLAIN = """graft explain SYSTEM: prints how each variable of a system is dealt with, at what cost, or why that
cannot be done exactly

  SYSTEM     a name from `graft list`"""


def list_systems(words: Sequence[str]) -> int:
    """Print a table of all systems.

    Args:
        words: what stands after the command: nothing.

    Raises:
        GraftError: something does.
    """
    if _helped(words, _LIST):
        return 0
    _no_more(words, "graft list")
    table = Table("name", "title", "what it is")
    for system in SYSTEMS.values():
        table.add_row(escape(system.name), escape(system.title), escape(system.row))
    Console(width=shutil.get_terminal_size((120, 24)).columns).print(table)
    print(f"{len(SYSTEMS)} systems; `graft show NAME` shows one")
    return 0


def show(words: Sequence[str]) -> int:
    """Print a system's formulas, LaTeX, shapes and plan; write its diagram if a path is given.

    Args:
        words: the system, then possibly path=FILE.

    Raises:
        GraftError: no such system, a word that is not path=FILE, or a file that cannot be written.
    """
    if _helped(words, _SHOW):
        return 0
    system, rest = _chosen(words, "graft show SYSTEM [path=FILE]")
    path = _path(rest)
    model, guide = system.model(), system.guide() if system.guide else None
    print(f"{system.name}: {system.title}\n{system.row}")
    _section("formulas", _formulas(model))
    if guide is not None:
        _section("guide", _formulas(guide))
    _section("LaTeX", model.latex())
    inputs = system.inputs(BATCH)
    batch = f", for a batch of {BATCH[0]}" if inputs else ""
    _section(f"shapes{batch}", str(model.shapes(sizes=system.sizes, **inputs)))
    _plan(system)
    if path is not None:
        model.draw(guide, path)
        print(f"\nwrote {path}")
    return 0


def explain(words: Sequence[str]) -> int:
    """Print the plan of a system, given what is usually observed of it.

    Args:
        words: the system.

    Raises:
        GraftError: no such system.
    """
    if _helped(words, _EXPLAIN):
        return 0
    system, rest = _chosen(words, "graft explain SYSTEM")
    _no_more(rest, "graft explain SYSTEM")
    print(f"{system.name}: {system.title}")
    _section("formulas", _formulas(system.model()))
    _plan(system)
    return 0


def _helped(words: Sequence[str], text: str) -> bool:
    """Print the help if it is asked for."""
    asked = "-h" in words or "--help" in words
    if asked:
        print(text)
    return asked


def _plan(system: System) -> None:
    names, text = plan(system, BATCH)
    given = ", ".join((*system.inputs(BATCH), *names)) or "nothing"
    _section(f"plan, given {given}", text)


def _section(title: str, text: str) -> None:
    print(f"\n{title}\n")
    print("\n".join(f"  {line}".rstrip() for line in text.splitlines()))


def _formulas(model: Model) -> str:
    """A factor a line, with what computes it."""
    nodes = model.graph.nodes
    width = max(len(node.formula.text) for node in nodes)
    return "\n".join(f"{node.formula.text:<{width}}  {_called(node.module)}" for node in nodes)


def _called(module: object) -> str:
    name = getattr(module, "__name__", type(module).__name__)
    return "a function" if name == "<lambda>" else name


def _chosen(words: Sequence[str], usage: str) -> tuple[System, Sequence[str]]:
    """The system that the first word names, and the other words.

    Raises:
        GraftError: no such system; the message lists near matches.
    """
    if not words:
        raise GraftError(f"say which system: {usage}; `graft list` names them")
    name, *rest = words
    if name not in SYSTEMS:
        raise GraftError(f"no system {name!r}; {_near(name)}`graft list` names all")
    return SYSTEMS[name], rest


def _near(name: str) -> str:
    """Systems of nearly this name, or whose title has it."""
    wanted = name.lower()
    named = [s.name for s in SYSTEMS.values() if wanted in s.name or wanted in s.title.lower()]
    found = list(dict.fromkeys([*get_close_matches(wanted, SYSTEMS, n=3, cutoff=0.5), *named[:3]]))
    return f"did you mean {', '.join(found)}? " if found else ""


def _path(words: Sequence[str]) -> str | None:
    if not words:
        return None
    key, equals, path = words[0].partition("=")
    if len(words) > 1 or key != "path" or not equals or not path:
        raise GraftError(f"graft show takes path=FILE after the system, not {' '.join(words)!r}")
    return path


def _no_more(words: Sequence[str], usage: str) -> None:
    if words:
        raise GraftError(f"{words[0]!r} is one word too many: {usage}")
