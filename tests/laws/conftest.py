"""What the laws of exact inference share: their families of models, and one thread (two cores run two workers)."""

from __future__ import annotations

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
