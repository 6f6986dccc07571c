"""A fitted `CRF` in a folder: weights as safetensors, all else as JSON; nothing in it is ever run."""

from __future__ import annotations

import json
from collections.abc import Hashable
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from graft.errors import DataError, GraftError
from graft.sklearn.array_reader import ArrayReader
from graft.sklearn.attribute_reader import AttributeReader
from graft.sklearn.fitted import Fitted
from graft.sklearn.structure import build, rules

FORMAT, VERSION = "graft.sklearn.CRF", 1
SETTINGS, WEIGHTS = "crf.json", "weights.safetensors"


def write(folder: Path, fitted: Fitted, settings: dict[str, Any], iterations: int) -> None:
    """Write all of it; the folder is made if it is not there.

    Raises:
        GraftError: a label, a token or a setting is nothing that JSON can hold.
    """
    reader = fitted.reader
    named = reader.state()
    told = {
        "format": FORMAT,
        "version": VERSION,
        "settings": {name: _packed(_listed(value)) for name, value in settings.items()},
        "classes": [_packed(label) for label in fitted.classes],
        "inputs": {"kind": reader.kind, "names": _packed(named)},
        "iterations": iterations,
    }
    text = json.dumps(told, ensure_ascii=False, allow_nan=False)
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().contiguous() for name, value in fitted.parts.model.state_dict().items()}
    save_file(state, folder / WEIGHTS)
    (folder / SETTINGS).write_text(text + "\n", encoding="utf-8")


def read(folder: Path) -> tuple[Fitted, dict[str, Any], int]:
    """The fitted model, its settings, and the iterations it took.

    Raises:
        DataError: a file is missing, or not what `write` makes.
    """
    try:
        told = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        weights = load_file(folder / WEIGHTS)
    except (OSError, ValueError, SafetensorError) as error:
        raise DataError(f"{folder} holds no saved CRF: {error}") from error
    if not isinstance(told, dict) or (told.get("format"), told.get("version")) != (FORMAT, VERSION):
        raise DataError(f"{folder / SETTINGS} is no {FORMAT} of version {VERSION}")
    try:
        settings = {name: _unpacked(value) for name, value in told["settings"].items()}
        fitted = _rebuilt(told, settings)
        fitted.parts.model.load_state_dict(weights)
        return fitted, settings, int(told["iterations"])
    except (KeyError, TypeError, AttributeError, RuntimeError, ValueError) as error:
        raise DataError(f"{folder}: settings and weights do not fit: {error}") from error


def _rebuilt(told: dict[str, Any], settings: dict[str, Any]) -> Fitted:
    kinds = {one.kind: one for one in (AttributeReader, ArrayReader)}
    reader = kinds[told["inputs"]["kind"]](_unpacked(told["inputs"]["names"]))
    classes = [_unpacked(label) for label in told["classes"]]
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
