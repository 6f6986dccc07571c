"""What the laws of exact inference share: their families of models, and one thread (two cores run two workers)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from tests.reference.random_models import FAMILIES


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    """A family of random models; laws of one family run together and share its cases."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield request.param
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def data_folder():
    """The folder of data sets; what needs it is skipped where it is not."""
    folder = Path(os.environ.get("GRAFT_DATA", Path(__file__).resolve().parents[2].parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("the data folder is not here; GRAFT_DATA tells where")
    return folder
