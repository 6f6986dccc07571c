"""A fitted `CRF` in a folder: weights as safetensors, all else as JSON; nothing in it is ever run."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from graft.errors import DataError, GraftError
from graft.sklearn.array_reader import ArrayReader
from graft.sklearn.attribute_reader import AttributeReader
from graft.sklearn.fitted import Fitted
from graft.sklearn.labels import classes_of
from graft.sklearn.settings import checked
from graft.sklearn.structure import build, rules
from graft.training.durable import named, put_folder

FORMAT, VERSION = "graft.sklearn.CRF", 1
SETTINGS, WEIGHTS = "crf.json", "weights.safetensors"


def write(folder: Path, fitted: Fitted, settings: dict[str, Any], iterations: int) -> None:
    """Write all of it or nothing; the folder is made if it is not there, and replaced if it holds such a model.

    Raises:
        GraftError: a label, a token or a setting is nothing that JSON can hold, the folder holds something else, or
            cannot be written.
    """
    reader = fitted.reader
    told = {
        "format": FORMAT,
        "version": VERSION,
        "settings": {name: _packed(_listed(value)) for name, value in settings.items()},
        "classes": [_packed(label) for label in fitted.classes],
        "inputs": {"kind": reader.kind, "names": _packed(reader.state())},
        "iterations": iterations,
    }
    text = json.dumps(told, ensure_ascii=False, allow_nan=False)
    try:
        content = (text + "\n").encode()
    except UnicodeEncodeError as error:
        raise GraftError(f"{error.object[error.start]!r} cannot be saved: half of a surrogate pair") from error
    state = {name: value.detach().contiguous() for name, value in fitted.parts.model.state_dict().items()}
    with named(folder):
        folder = folder.resolve()
        others = [one.name for one in folder.iterdir()] if folder.exists() else []
        folder.parent.mkdir(parents=True, exist_ok=True)
    if strange := sorted(set(others) - {SETTINGS, WEIGHTS}):
        raise GraftError(f"{folder} holds {strange[0]!r}, which is not of a CRF: save to a folder of its own")
    put_folder(folder, {WEIGHTS: save(state), SETTINGS: content})


def read(folder: Path, names: Iterable[str]) -> tuple[Fitted, dict[str, Any], int]:
    """The fitted model, its settings, and the iterations it took.

    Args:
        folder: that `write` has written.
        names: of all settings.

    Raises:
        DataError: a file is missing, or not what `write` makes.
    """
    try:
        told = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        weights = load_file(folder / WEIGHTS)
    except (OSError, ValueError, RecursionError, SafetensorError) as error:
        raise DataError(f"{folder} holds no saved CRF: {error}") from error
    if not isinstance(told, dict) or (told.get("format"), told.get("version")) != (FORMAT, VERSION):
        raise DataError(f"{folder / SETTINGS} is no {FORMAT} of version {VERSION}")
    try:
        settings, iterations = _settings(told, names), told["iterations"]
        if not isinstance(iterations, int) or isinstance(iterations, bool) or iterations < 0:
            raise GraftError(f"iterations are a whole number, not {iterations!r}")
        fitted = _rebuilt(told, settings)
        _refuse_weights(weights, fitted.parts.model.state_dict())
        fitted.parts.model.load_state_dict(weights)
        return fitted, settings, iterations
    except (KeyError, TypeError, AttributeError, RuntimeError, ValueError) as error:
        raise DataError(f"{folder}: settings and weights do not fit: {error}") from error


def _settings(told: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    found = {name: _unpacked(value) for name, value in told["settings"].items()}
    if wrong := set(found) ^ set(names):
        raise GraftError(f"the setting {min(wrong)!r} is {'unknown' if min(wrong) in found else 'missing'}")
    checked(found)
    return found


def _refuse_weights(weights: dict[str, Tensor], like: dict[str, Tensor]) -> None:
    """Weights are finite, but for minus infinity where the rules forbid; names and shapes torch compares."""
    for name in weights.keys() & like.keys():
        found, wanted = weights[name], like[name]
        if found.dtype != wanted.dtype:
            raise GraftError(f"{name} is of {found.dtype}, not {wanted.dtype}")
        forbidden = wanted == -torch.inf
        if found.shape == wanted.shape and not bool(
            torch.where(forbidden, found == -torch.inf, torch.isfinite(found)).all()
        ):
            raise GraftError(f"{name} is not finite, or finite where the constraints forbid")


def _reader(inputs: dict[str, Any]) -> AttributeReader | ArrayReader:
    names = _unpacked(inputs["names"])
    if inputs["kind"] == ArrayReader.kind:
        if not isinstance(names, int) or isinstance(names, bool) or names < 1:
            raise GraftError(f"the number of dimensions is positive, not {names!r}")
        return ArrayReader(names)
    if inputs["kind"] != AttributeReader.kind:
        raise GraftError(f"no inputs are {inputs['kind']!r}")
    if not isinstance(names, list) or len(set(names)) < len(names):
        raise GraftError("the names of attributes are a list without repeats")
    return AttributeReader(names)


def _rebuilt(told: dict[str, Any], settings: dict[str, Any]) -> Fitted:
    reader = _reader(told["inputs"])
    classes = classes_of([], [_unpacked(label) for label in told["classes"]], settings["ignore"])
    rule = rules(settings["constraints"], classes)
    dtypes = {"float64": torch.float64, "float32": torch.float32}
    parts = build(reader, classes, rule, ends=settings["ends"], dtype=dtypes[settings["dtype"]])
    return Fitted(reader, classes, parts)


def _listed(value: Any) -> Any:
    """Arrays and tensors as nested lists."""
    return value.tolist() if hasattr(value, "tolist") else value


def _packed(value: Any) -> Any:
    """A value as JSON holds it; a tuple as `{"tuple": [...]}`."""
    if isinstance(value, tuple):
        return {"tuple": [_packed(one) for one in value]}
    if isinstance(value, list):
        return [_packed(one) for one in value]
    if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and isfinite(value)):
        return value
    raise GraftError(f"{value!r} cannot be saved: labels and tokens are strings, numbers, truth values or tuples")


def _unpacked(value: Any) -> Any:
    if isinstance(value, dict):
        return _tuple(value)
    return [_unpacked(one) for one in value] if isinstance(value, list) else value


def _tuple(value: dict[str, Any]) -> tuple[Hashable, ...]:
    return tuple(_unpacked(one) for one in value["tuple"])
