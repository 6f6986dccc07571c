"""A 4x4 grid of binary elements: the tables of another `tests/testfast.fg` of libDAI than `approximate.torus` has.

Under the BSD 2-clause licence, as that one. Six digits each, as its file prints them.
"""

from __future__ import annotations

import torch
from tests.reference.approximate import Net
from torch import Tensor

import graft

#: Elements of a pair, then what equal and what different states weigh.
PAIRS = """
0 4 1.74044 0.574568; 0 1 1.00967 0.990419; 1 5 2.06716 0.483756; 1 2 0.855759 1.16855; 2 6 1.5204 0.657723;
2 3 1.17526 0.850878; 3 7 0.5063 1.97511; 4 8 2.83744 0.35243; 4 5 0.750941 1.33166; 5 9 1.59629 0.626452;
5 6 3.13359 0.319123; 6 10 1.10899 0.901722; 6 7 0.610292 1.63856; 7 11 0.649694 1.53919; 8 12 1.50625 0.663902;
8 9 0.327755 3.05105; 9 13 1.25915 0.794186; 9 10 0.640488 1.56131; 10 14 0.622234 1.60711; 10 11 2.57318 0.388624;
11 15 0.612672 1.6322; 12 13 0.871424 1.14755; 13 14 0.753476 1.32718; 14 15 0.715729 1.39718
"""
SINGLE = """
0.738853 1.35345; 1.28984 0.775292; 1.03823 0.963178; 0.540428 1.85038; 1.33662 0.748158; 1.0813 0.924814;
0.986246 1.01395; 0.979006 1.02144; 0.658588 1.5184; 1.17918 0.848044; 1.19753 0.835053; 1.23618 0.808943;
0.896788 1.11509; 3.32484 0.300767; 0.669159 1.49441; 1.56734 0.638025
"""


def grid() -> tuple[dict[str, Tensor], graft.Model]:
    """The log-tables, and a model that reads them."""
    names = [f"x{i}" for i in range(16)]
    pairs = [line.split() for line in PAIRS.split(";")]
    scopes = [(names[int(a)], names[int(b)]) for a, b, _, _ in pairs] + [(name,) for name in names]
    tables = [[[[float(one), float(other)], [float(other), float(one)]]] for _, _, one, other in pairs]
    tables += [[[float(weight) for weight in line.split()]] for line in SINGLE.split(";")]
    values = {f"w{i}": torch.tensor(table, dtype=torch.float64).log() for i, table in enumerate(tables)}
    return values, Net(tuple(scopes), dict.fromkeys(names, 2)).model()
