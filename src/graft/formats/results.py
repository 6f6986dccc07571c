"""UAI result files: what a solver found, and what reference solutions say."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from graft.errors import FormatError
from graft.formats.decimals import shown
from graft.formats.names import order
from graft.formats.source import File, opened
from graft.formats.tabulate import states
from graft.formats.words import Words
from graft.formats.writing import put
from graft.model import Model


@dataclass(frozen=True, eq=False)
class Result:
    r"""The answer to one query; what it does not tell is None.

    Attributes:
        log_partition: $\log Z$, or $\log p(\text{evidence})$ of a directed model, in nats (PR).
        marginals: probabilities (states,) by variable (MAR).
        mode: the most probable joint state, by variable (MAP, MPE).
    """

    log_partition: Tensor | None = None
    marginals: Mapping[str, Tensor] | None = None
    mode: Mapping[str, Tensor] | None = None


def read_result(source: File, model: Model) -> Result:
    """A UAI result file of one sample: PR, MAR, MAP or MPE, which its first word says.

    Files give logarithms to base ten; here they are natural, as everywhere.

    Args:
        source: a path or an open file.
        model: whose variables are meant, counted in the order of its file.

    Returns:
        float64 and int64 tensors.

    Raises:
        FormatError: the file is wrong or of another model; with the line.

    Example:
        >>> import io
        >>> from graft.factors import Table
        >>> read_result(io.StringIO("MAR 2 2 0.25 0.75 2 1 0"), Model({"x0, x1": Table(2, 2)})).marginals["x0"]
        tensor([0.2500, 0.7500], dtype=torch.float64)
    """
    words = Words(opened(source))
    kind = words.next("PR, MAR, MAP or MPE")
    if kind == "PR":
        found = Result(log_partition=_log(words))
    elif kind == "MAR":
        found = Result(marginals=_marginals(words, model))
    elif kind in ("MAP", "MPE"):
        found = Result(mode=_mode(words, model))
    else:
        raise words.error(f"PR, MAR, MAP or MPE is expected, not {shown(kind)}")
    words.end()
    return found


def _log(words: Words) -> Tensor:
    word = words.next("a logarithm to base ten")
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if math.isnan(value) or value == math.inf or "_" in word:
        raise words.error(f"a logarithm to base ten is expected, not {shown(word)}")
    return torch.tensor(value * math.log(10), dtype=torch.float64)


def _counted(words: Words, model: Model) -> tuple[str, ...]:
    names = order(model)
    if (count := words.whole("the number of variables")) != len(names):
        raise words.error(f"the model has {len(names)} variables, the result {count}")
    return names


def _marginals(words: Words, model: Model) -> dict[str, Tensor]:
    found = {}
    for name in _counted(words, model):
        size, what = states(model.graph.variables[name]), f"the number of states of {name}"
        if (count := words.whole(what)) != size:
            raise words.error(f"{what} is {size}, not {count}")
        found[name] = torch.tensor(words.numbers(size, name), dtype=torch.float64)
    return found


def _mode(words: Words, model: Model) -> dict[str, Tensor]:
    return {
        name: torch.tensor(words.whole(f"the state of {name}", below=states(model.graph.variables[name])))
        for name in _counted(words, model)
    }


def write_result(result: Result, path: str | os.PathLike[str], model: Model) -> Path:
    """Write a UAI result file of one sample; what the result tells says which.

    Args:
        result: with one of its three answers.
        path: of the file, possibly ending in .gz.
        model: whose variables are meant; every one needs an answer.

    Returns:
        The path.

    Raises:
        FormatError: the result tells none or several answers, something else than tensors, or has another shape than
            the model.
        GraftError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> from graft.factors import Table
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     mode = Result(mode={"x0": torch.tensor(1)})
        ...     print(write_result(mode, Path(folder, "a.MAP"), Model({"x0": Table(2)})).read_text(), end="")
        MAP
        1 1
    """
    path = Path(path)
    told = {name: value for name, value in vars(result).items() if value is not None}
    if len(told) != 1:
        raise FormatError(f"a result file has one answer, not {len(told)}", path.name)
    ((what, value),) = told.items()
    if what == "log_partition":
        value = _real(value, what, path.name)
        if value.numel() != 1 or not float(value) < math.inf:
            raise FormatError(f"one log_partition is expected, not {value.tolist()}", path.name)
        return put(path, f"PR\n{float(value.double()) / math.log(10)!r}\n")
    if not isinstance(value, Mapping):
        raise FormatError(f"{what}: a dict of tensors by variable is expected, not {type(value).__name__}", path.name)
    lines = [_line(what, name, value, model, path.name) for name in order(model)]
    return put(path, f"{'MAR' if what == 'marginals' else 'MAP'}\n{len(lines)} {' '.join(lines)}\n")


def _line(what: str, name: str, answers: Mapping[str, object], model: Model, file: str) -> str:
    """One variable's answer as words."""
    if name not in answers:
        raise FormatError(f"{name} has no answer", file)
    size, value = states(model.graph.variables[name]), _real(answers[name], f"{what} of {name}", file)
    if what == "mode":
        if value.dim() or not 0 <= float(value) < size or int(value) != float(value):
            raise FormatError(f"a state of {name} is expected, from 0 to {size - 1}, not {value.tolist()}", file)
        return str(int(value))
    if tuple(value.shape) != (size,) or not bool((value.isfinite() & (value >= 0)).all()):
        raise FormatError(f"{size} probabilities of {name} are expected, not {value.tolist()}", file)
    return " ".join((str(size), *map(repr, value.double().tolist())))


def _real(value: object, what: str, file: str) -> Tensor:
    """A tensor, or the error that says what it is instead."""
    if not isinstance(value, Tensor) or value.is_complex():
        found = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise FormatError(f"{what}: a tensor of real numbers is expected, not {found}", file)
    return value
