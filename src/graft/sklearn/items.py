"""The elements of sequences as named attributes with values, by the rules of python-crfsuite."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from math import isfinite
from numbers import Real
from typing import Any

import numpy as np

from graft.errors import GraftError


def attributes(item: Any, where: str) -> dict[Hashable, float]:
    """What is known of one element, as values by name.

    A dict gives its numbers and truth values under their keys, a string as `"key:string"` with value 1, and what is
    nested under `"key:"`. A list or a set of strings gives each of them value 1. Anything else that is hashable (a
    string, a number, a tuple) is one attribute with value 1: itself. What is named twice adds up.

    Args:
        item: the element.
        where: it stands, for messages.

    Raises:
        GraftError: a name is no string, a value no finite number, or the element is none of these kinds.

    Example:
        >>> attributes({"word": "time", "digit": False, "near": {"next": ["flies", "fly"]}}, "X[0][0]")
        {'word:time': 1.0, 'digit': 0.0, 'near:next:flies': 1.0, 'near:next:fly': 1.0}
        >>> attributes("time", "X[0][0]")
        {'time': 1.0}
    """
    item = plain(item)
    if not isinstance(item, Mapping | list | set):
        return {_token(item, where): 1.0}
    found: dict[Hashable, float] = {}
    try:
        for name, value in _named(item, "", where):
            found[name] = found.get(name, 0.0) + value
    except RecursionError as error:
        raise GraftError(f"{where} is nested too deeply, or in itself") from error
    return found


def hashable(value: Any) -> bool:
    """Whether a value can be looked up: a tuple can only if all that is in it can.

    Example:
        >>> hashable(("a", 1)), hashable(("a", [1]))
        (True, False)
    """
    try:
        hash(value)
    except (TypeError, RecursionError):
        return False
    return True


def shown(value: Any) -> str:
    """A value in a message, in one short line.

    Example:
        >>> shown("x"), shown(10**5000)
        ("'x'", 'int too long to show')
    """
    try:
        return repr(value)[:80]
    except ValueError:  # Python writes no whole number of more than some thousand digits
        return f"{type(value).__name__} too long to show"


def plain(value: Any) -> Any:
    """A number or string of numpy as one of Python; anything else unchanged.

    Example:
        >>> plain(np.int64(3)), plain("x")
        (3, 'x')
    """
    return value.item() if isinstance(value, np.generic) else value


def _named(item: Any, prefix: str, where: str) -> Iterator[tuple[str, float]]:
    if not isinstance(item, Mapping):
        # the order of a set changes from run to run
        for name in sorted(item, key=str) if isinstance(item, set) else item:
            yield prefix + _name(name, where), 1.0
        return
    for key, value in item.items():
        name = prefix + _name(key, where)
        if isinstance(value, Mapping | list | set):
            yield from _named(value, f"{name}:", where)
        elif isinstance(value, str):
            yield f"{name}:{value}", 1.0
        else:
            yield name, _number(value, name, where)


def _name(name: Any, where: str) -> str:
    if not isinstance(name, str):
        raise GraftError(f"{where}: names of attributes are strings, not {name!r}")
    return name


def _number(value: Any, name: str, where: str) -> float:
    try:
        number = float(value) if isinstance(value, Real | np.bool_) else float("nan")
    except OverflowError:  # a whole number of hundreds of digits
        number = float("inf")
    if not isfinite(number):
        raise GraftError(
            f"{where}: attribute {name!r} has the value {shown(value)}; values are finite numbers or strings"
        )
    return number


def _token(item: Any, where: str) -> Hashable:
    if item is None or not hashable(item) or item != item:
        raise GraftError(f"{where} is {item!r}: an element is a dict, a list of names, or a hashable token")
    return item
