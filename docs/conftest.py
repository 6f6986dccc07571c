"""Pages that need an optional library are not run without it."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("zuko") else ["flows.md"]
