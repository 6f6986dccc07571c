"""What a run leaves in its folder, pictures apart."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict
from pathlib import Path

import torch
from rich.console import Console

from graft.training.weights import save_weights
from graft.zoo.nn_hmm.recipe import HistoryRow, Outcome

TITLE = "nn_hmm: figures on the test data"
WIDTH = 144  # characters of a line in which no number is broken


def write(outcome: Outcome, folder: Path, seconds: float) -> list[Path]:
    """Write tables, figures, settings and weights.

    Args:
        outcome: of the runs.
        folder: where to; it is there.
        seconds: that the runs took.

    Returns:
        What was written: `table.txt`, `table.md`, `metrics.csv` (test data), `history.csv` (validation data, epoch by
        epoch), `config.json`, and the weights of the first seed's arms.
    """
    comparison = outcome.comparison
    return [
        _text(folder / "table.txt", text(outcome)),
        _text(folder / "table.md", comparison.markdown() + "\n" + comparison.markdown(against="separate")),
        comparison.write_csv(folder / "metrics.csv"),
        _history(folder / "history.csv", outcome.history),
        _text(folder / "config.json", settings(outcome, seconds)),
        *(save_weights(one.module, folder / f"{arm}.safetensors") for arm, one in outcome.trained.items()),
    ]


def text(outcome: Outcome, width: int = WIDTH) -> str:
    """The figures of the arms, and their paired differences from the chain trained separately."""
    console = Console(width=width, no_color=True)
    with console.capture() as captured:
        console.print(outcome.comparison.table(TITLE))
        console.print(outcome.comparison.table("the same, as differences", against="separate"))
    return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"


def settings(outcome: Outcome, seconds: float) -> str:
    """Settings, kept epochs and versions as JSON; without the data folder, which is this machine's affair."""
    found = {key: value for key, value in asdict(outcome.config).items() if key not in ("folder", "run")}
    told = {"system": "nn_hmm", "settings": found, "kept epochs": outcome.kept}
    return json.dumps({**told, "seconds": round(seconds, 1), "torch": torch.__version__}, indent=2) + "\n"


def _text(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


def _history(path: Path, rows: list[HistoryRow]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        lines = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        lines.writeheader()
        lines.writerows(rows)
    return path
