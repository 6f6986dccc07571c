"""Settings from the command line: `key=value` words into a dataclass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from types import MappingProxyType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from graft.errors import GraftError

Config = TypeVar("Config")

_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def read(words: Iterable[str], config: type[Config]) -> Config:
    """Build a dataclass of settings from words such as `epochs=3`.

    Args:
        words: of the form key=value; a tuple is written `600,200,200`, one of any length alike.
        config: the dataclass, whose fields are int, float, bool, str, `Literal` or tuples of these.

    Raises:
        GraftError: a word is not key=value, a key is unknown or given twice, or a value has the wrong type.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass
        ... class Small:
        ...     epochs: int = 1
        ...     rate: float = 0.1
        ...     layers: tuple[int, ...] = (20,)
        >>> read(["epochs=3", "layers=200,100"], Small)
        Small(epochs=3, rate=0.1, layers=(200, 100))
        >>> read(["epochs=many"], Small)
        Traceback (most recent call last):
        graft.errors.GraftError: epochs must be a whole number, not 'many'
    """
    types = {field.name: get_type_hints(config)[field.name] for field in fields(config)}  # type: ignore[arg-type]
    found: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise GraftError(f"settings are key=value, not {word!r}; there are: {', '.join(types)}")
        if key not in types:
            raise GraftError(f"unknown setting {key!r}; there are: {', '.join(types)}")
        if key in found:
            raise GraftError(f"{key} is given twice")
        found[key] = _parsed(key, value, types[key])
    return config(**found)


def wants_help(words: Sequence[str]) -> bool:
    """Whether somebody asks what there is to say.

    Example:
        >>> wants_help(["runs/mine", "--help"])
        True
    """
    return any(word in ("-h", "--help") for word in words)


def choices(config: type) -> str:
    """What can be set, with types and defaults: a line each."""
    types = get_type_hints(config)
    lines = [f"{f.name}={_written(f.default)}" for f in fields(config)]
    width = max(map(len, lines))
    return "\n".join(
        f"  {line:<{width}}  {described(types[f.name])}" for line, f in zip(lines, fields(config), strict=True)
    )


def _written(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _parsed(key: str, value: str, wanted: Any) -> Any:
    try:
        return _converted(value, wanted)
    except (ValueError, KeyError) as error:
        raise GraftError(f"{key} must be {described(wanted)}, not {value!r}") from error


def _converted(value: str, wanted: Any) -> Any:
    """The value as the type, or ValueError or KeyError."""
    if get_origin(wanted) is Literal:
        return {str(choice): choice for choice in get_args(wanted)}[value]
    if get_origin(wanted) is tuple:
        inner = get_args(wanted)
        if inner[-1] is Ellipsis:
            return tuple(_converted(part, inner[0]) for part in value.split(","))
        return tuple(_converted(part, each) for part, each in zip(value.split(","), inner, strict=True))
    return _PLAIN[wanted](value)


_PLAIN: MappingProxyType[type, Callable[[str], Any]] = MappingProxyType(
    {int: int, float: float, str: str, bool: lambda value: _TRUTH[value.lower()]}
)


def described(wanted: Any) -> str:
    """A type in words.

    Example:
        >>> described(tuple[int, int]), described(Literal["a", "b"])
        ('2 whole numbers with commas between', 'a or b')
        >>> described(tuple[int, ...])
        'whole numbers with commas between'
    """
    if get_origin(wanted) is Literal:
        return " or ".join(map(str, get_args(wanted)))
    if get_origin(wanted) is tuple:
        inner = get_args(wanted)
        count = "" if inner[-1] is Ellipsis else f"{len(inner)} "
        return f"{count}{_WORDS[inner[0]].split(' ', 1)[1]}s with commas between"
    return _WORDS[wanted]


_WORDS = MappingProxyType({int: "a whole number", float: "a number", str: "a text", bool: "true or false"})
