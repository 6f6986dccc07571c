"""Where data sets are that no test downloads: a folder beside the repository's, or the one that GRAFT_DATA names."""

import os
from pathlib import Path

BESIDE = Path(__file__).resolve().parents[3] / "shared" / "data"
WHERE = Path(os.environ.get("GRAFT_DATA", BESIDE))
ABSENT = "the data folder is not here; GRAFT_DATA tells where"


def real(name):
    """The folder of a data set; it may not be there."""
    return WHERE / name
