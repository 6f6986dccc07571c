"""UAI evidence files: which variables are known to be in which states."""

from __future__ import annotations

import torch
from torch import Tensor

from graft.distributions.supports import Finite
from graft.errors import FormatError
from graft.formats.names import order
from graft.formats.source import File, Source, opened
from graft.formats.words import Words
from graft.inference.evidence import Partial
from graft.model import Model

Sample = dict[int, int]


def read_evidence(source: File, model: Model, *, samples: bool | None = None) -> dict[str, Tensor | Partial]:
    """Evidence from a UAI file (.evid), ready for `model.given`.

    Some files begin with a count of samples, others have one sample and no count. Where both readings fit, the
    first number is a count if what would be samples begin on lines of their own. Variables are counted in the order of
    the model's file.

    Args:
        source: a path or an open file.
        model: whose variables are meant.
        samples: whether the file begins with a count of samples, where it should not be guessed.

    Returns:
        States by name: shape () for one sample, (samples,) for several, -1 where a sample does not tell.

    Raises:
        FormatError: the file is wrong, or can be read both ways; with the line.

    Example:
        >>> import io
        >>> from graft.factors import Table
        >>> model = Model({"x0, x1": Table(2, 3)})
        >>> read_evidence(io.StringIO("1 1 2"), model)
        {'x1': tensor(2)}
        >>> read_evidence(io.StringIO("2\\n1 1 2\\n2 0 1 1 0"), model)
        {'x0': tensor([-1,  1]), 'x1': tensor([2, 0])}
    """
    text = opened(source)
    sizes = [model.graph.variables[name].support for name in order(model)]
    counts = [1 if size is None or size.states is None else size.states for size in sizes]
    found = _read(text, counts, samples)
    return _by_name(found, model)


def _read(text: Source, sizes: list[int], samples: bool | None) -> list[Sample]:
    if samples is not None:
        return _parse(text, sizes, samples)[0]
    readings, errors = [], []
    for counted in (False, True):
        try:
            readings.append(_parse(text, sizes, counted))
        except FormatError as error:
            errors.append(error)
    if not readings:
        # a number alone on the first line counts samples
        raise errors[len(text.text.split("\n", 1)[0].split()) == 1]
    if len(readings) == 1 or readings[0][0] == readings[1][0]:
        return readings[0][0]
    if len(text.text.split()) == len(text.text.strip().splitlines()):
        raise text.error("the first number may count samples or known variables: say samples=True or False", 0)
    (plain, _), (several, on_lines) = readings
    return several if on_lines else plain


def _parse(text: Source, sizes: list[int], counted: bool) -> tuple[list[Sample], bool]:
    """The samples of one reading, and whether each begins on a line of its own."""
    words = Words(text)
    count = min(1, len(words.words))
    if counted:
        count = words.whole("the number of samples")
        if count > words.left:
            raise words.error(f"{count:,} samples are announced, but only {words.left:,} words follow")
    found, on_lines = [], True
    for _ in range(count):
        on_lines = on_lines and words.begins_line(words.at)
        found.append(_sample(words, sizes))
    words.end()
    return found or [{}], on_lines


def _sample(words: Words, sizes: list[int]) -> Sample:
    known = words.whole("the number of known variables")
    if 2 * known > words.left:
        raise words.error(f"{known:,} variables are announced as known, but only {words.left:,} words follow")
    found: Sample = {}
    for _ in range(known):
        place = words.whole("the number of a variable", below=len(sizes))
        if place in found:
            raise words.error(f"variable {place} is told twice")
        found[place] = words.whole(f"the state of variable {place}", below=sizes[place])
    return found


def _by_name(samples: list[Sample], model: Model) -> dict[str, Tensor | Partial]:
    found: dict[str, Tensor | Partial] = {}
    for place, name in enumerate(order(model)):
        states = [sample.get(place, -1) for sample in samples]
        if any(state >= 0 for state in states):
            found[name] = _value(torch.tensor(states if len(states) > 1 else states[0]), model, name)
    if not found and len(samples) > 1:
        # samples that tell nothing are a batch all the same
        name = next(iter(order(model)))
        found[name] = _value(torch.full((len(samples),), -1), model, name)
    return found


def _value(states: Tensor, model: Model, name: str) -> Tensor | Partial:
    """The states as the variable's values; only `Finite` ones can say -1 for what is not known."""
    support = model.graph.variables[name].support
    assert support is not None and support.states is not None
    if isinstance(support, Finite):
        return states
    if bool((states >= 0).all()):
        return support.decode(states)
    unknown = (states < 0).unsqueeze(-1)
    return Partial(unknown | (states.unsqueeze(-1) == torch.arange(support.states)))
