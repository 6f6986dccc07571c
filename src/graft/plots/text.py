"""How large a text will be."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

#: Points: of the names of variables, and of all other texts.
NAME, SMALL = 12.0, 8.5


@lru_cache(maxsize=1)
def _parser() -> Any:
    from matplotlib.mathtext import MathTextParser

    return MathTextParser("path")


@lru_cache(maxsize=4096)
def half_size(text: str, points: float) -> tuple[float, float]:
    """Half the width and height of a text, in inches."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    prop = FontProperties(size=points)
    rows = text.split("\n")
    width = max(text_to_path.get_text_width_height_descent(row, prop, ismath="$" in row)[0] for row in rows)
    return width / 144, len(rows) * points * 1.25 / 144


def math(text: str) -> str:
    """LaTeX as matplotlib wants it."""
    return f"${text}$".replace("\\&", "&")
