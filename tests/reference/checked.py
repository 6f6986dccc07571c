"""Annotations checked at every call: shapes by jaxtyping where a function names any, everything else by beartype.

jaxtyping's import hook (`--jaxtyping-packages` in pyproject.toml) binds each call of each function and checks it twice,
so that shapes agree among arguments and result. A function without shapes has nothing to agree: beartype alone asks the
same of it, at a small part of the time.
"""

import dataclasses
import functools
import inspect
import sys
from typing import Any

import jaxtyping
from beartype import beartype

_shaped = jaxtyping.jaxtyped


def resolved(hint, known):
    """The type that an annotation names; what cannot be had yet (a class inside itself) is not checked."""
    try:
        return eval(hint, known) if isinstance(hint, str) else hint
    except NameError:
        return Any


def checked(function=None, *, typechecker):
    """What stands for `jaxtyping.jaxtyped` in modules under the hook."""
    if function is None:
        return functools.partial(checked, typechecker=typechecker)
    if inspect.isclass(function):
        if dataclasses.is_dataclass(function) and "__init__" in vars(function):
            function.__init__ = checked(function.__init__, typechecker=typechecker)
        return function
    hints = {name: resolved(hint, function.__globals__) for name, hint in function.__annotations__.items()}
    # of the types and not of their names: a shape may have another name
    if "jaxtyping" in repr(hints):
        return _shaped(function, typechecker=typechecker)
    function.__annotations__ = hints
    return beartype(function)


def install():
    """Must come before the package is imported."""
    assert "graft" not in sys.modules
    jaxtyping.jaxtyped = checked
