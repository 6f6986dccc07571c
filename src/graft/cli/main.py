"""The command line: a table of commands."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import MappingProxyType

from graft.cli.command import Command
from graft.cli.convert import convert
from graft.cli.runs import evaluate, sample, tag
from graft.cli.systems import explain, list_systems, show
from graft.cli.train import train
from graft.errors import GraftError

COMMANDS = MappingProxyType(
    {
        "list": Command(list_systems, "", "name the systems that come with graft"),
        "show": Command(show, "SYSTEM [path=FILE]", "formulas, shapes, plan and diagram of a system"),
        "explain": Command(explain, "SYSTEM", "the plan of a system alone"),
        "convert": Command(convert, "FROM TO [kind=MARKOV]", "write a .bif or .uai network in the other format"),
        "train": Command(train, "SYSTEM [key=value ...]", "run the recipe of a system"),
        "evaluate": Command(evaluate, "RUN [key=value ...]", "measure the saved arms of a run again"),
        "sample": Command(sample, "RUN [folder=RECORDINGS] [count=5]", "draw label strings from a run's posterior"),
        "tag": Command(tag, 'RUN "a sentence" [best=3]', "tag a sentence, with confidences and the best sequences"),
    }
)


def main(words: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        words: what stands after `graft`; from the command line if not given.

    Returns:
        The exit code: 0 if all went well, 2 if the input is wrong (the reason stands on stderr).

    Example:
        >>> main(["--help"])
        graft: neural networks and graphical models, joined
        ...
        0
    """
    words = sys.argv[1:] if words is None else words
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if words else 2
    try:
        return _run(*words)
    except GraftError as error:
        print(f"graft: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # the reader, such as `head`, has seen enough; what is still buffered has nowhere to go
        sys.stdout = None
        return 0


def usage() -> str:
    """What there is to say after `graft`."""
    calls = {f"graft {name} {command.usage}": command.help for name, command in COMMANDS.items()}
    width = max(map(len, calls))
    lines = [f"  {call:<{width}}  {what}" for call, what in calls.items()]
    return "\n".join(["graft: neural networks and graphical models, joined", "", *lines])


def _run(name: str, *words: str) -> int:
    if name not in COMMANDS:
        raise GraftError(f"no command {name!r}; there are: {', '.join(COMMANDS)}")
    return COMMANDS[name].run(words)
