"""Every system of the table, by name: what tests, docs and `graft list` read.

Example:
    >>> print(SYSTEMS["vrnn"].model().graph.nodes[0])
    z[t] | h[t-1]
"""

from __future__ import annotations

from graft.zoo.system import System
from graft.zoo.systems.adversarial import ADVERSARIAL
from graft.zoo.systems.directed import DIRECTED
from graft.zoo.systems.plates import PLATES
from graft.zoo.systems.recurrent import RECURRENT
from graft.zoo.systems.sequences import SEQUENCES
from graft.zoo.systems.text import TEXT
from graft.zoo.systems.undirected import UNDIRECTED

SYSTEMS: dict[str, System] = {
    system.name: system for system in (*DIRECTED, *SEQUENCES, *UNDIRECTED, *PLATES, *RECURRENT, *TEXT, *ADVERSARIAL)
}
