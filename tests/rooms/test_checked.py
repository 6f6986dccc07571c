"""Annotations are checked in tests: shapes among each other, everything else by itself."""

from dataclasses import dataclass

import pytest
import torch
from beartype.roar import BeartypeCallHintViolation
from jaxtyping import Float, TypeCheckError
from tests.reference.checked import checked
from torch import Tensor

from graft.inference.how_many import at_most
from graft.ops.logspace import logsumexp

Rows = Float[Tensor, "rows columns"]


def typed(function):
    from beartype import beartype

    return checked(function, typechecker=beartype)


@typed
def named(x: "Rows", y: "Float[Tensor, ' columns']") -> "Float[Tensor, ' rows']":
    return x @ y if len(y) > 1 else y


@typed
def plain(x: "list[int]", y: "Later | None" = None) -> "str":
    return "".join(map(str, x)) or 0


@typed
@dataclass
class Later:
    one: "int"


WRONG = {
    "sizes disagree": (lambda: named(torch.ones(2, 3), torch.ones(4)), TypeCheckError),
    "result disagrees": (lambda: named(torch.ones(2, 1), torch.ones(1)), TypeCheckError),
    "no list": (lambda: plain(3), BeartypeCallHintViolation),
    "a list of others": (lambda: plain(["a"]), BeartypeCallHintViolation),
    "result": (lambda: plain([]), BeartypeCallHintViolation),
    "a field": (lambda: Later("a"), BeartypeCallHintViolation),
    "the package's shapes": (lambda: logsumexp([0.0], 0), TypeCheckError),
    "the package's types": (lambda: at_most("three", []), BeartypeCallHintViolation),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_breaks_an_annotation_is_refused(name):
    call, kind = WRONG[name]
    with pytest.raises(kind):
        call()


def test_what_keeps_annotations_goes_through():
    assert named(torch.eye(2), torch.tensor([1.0, 2.0])).tolist() == [1, 2]
    assert plain([1, 2]) == "12" and plain([1], Later(1)) == "1"
