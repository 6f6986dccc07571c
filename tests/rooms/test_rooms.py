"""Rooms import only rooms above them; no cycles; importing graft loads no picture library and changes no default."""

import ast
import subprocess
import sys
from pathlib import Path

import networkx as nx
import pytest

SOURCE = Path(__file__).parents[2] / "src" / "graft"

#: From the top down; a room imports only rooms on earlier lines (rooms on one line never each other).
ROOMS = [
    {"errors"},
    {"ops"},
    {"data"},
    {"distributions"},
    {"factors"},
    {"structured"},
    {"graph"},
    {"inference"},
    {"plots"},
    {"posterior", "approximate_posterior"},
    {"gaussian_posterior"},
    {"model"},
    {"formats"},
    {"objectives"},
    {"evaluation"},
    {"training"},
    {"sklearn"},
    {"zoo"},
    {"cli"},
]
LEVEL = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}
FILES = sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


def name_of(path):
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path):
    """Every graft module a file imports, at the top or inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "graft")
        elif isinstance(node, ast.ImportFrom) and node.level:
            yield "relative"
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "graft":
            yield node.module


def room(module):
    return module.split(".")[1] if "." in module else ""


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_only_rooms_above(path):
    here = room(name_of(path))
    for module in imports(path):
        assert module != "relative", "imports are absolute"
        assert module != "graft", "no submodule imports the package's own __init__"
        there = room(module)
        assert there == here or LEVEL[there] < LEVEL[here], f"{here} imports {there}"


def test_every_room_is_listed():
    assert {room(name_of(path)) for path in FILES} <= LEVEL.keys()


def test_no_import_cycles():
    graph = nx.DiGraph()
    for path in FILES:
        graph.add_edges_from((name_of(path), module) for module in imports(path))
    assert list(nx.simple_cycles(graph)) == []


def test_import_is_light_and_changes_nothing():
    code = (
        "import sys, torch; before = (torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled(),"
        " torch.distributions.Distribution._validate_args)\n"
        "import graft\n"
        "assert before == (torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled(),"
        " torch.distributions.Distribution._validate_args)\n"
        "assert 'matplotlib' not in sys.modules and 'sklearn' not in sys.modules and 'pooch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
