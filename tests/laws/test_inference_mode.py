"""Queries that are gradients themselves, in inference mode, of potentials that require a gradient."""

from __future__ import annotations

import pytest
import torch

from graft.structured.linear_chain import LinearChain
from graft.structured.spanning_tree import SpanningTree


@pytest.mark.parametrize("table", [(3, 3), (2, 3, 3, 3)])
@pytest.mark.parametrize("leaf", [0, 1])
def test_counts_in_inference_mode_of_what_requires_a_gradient(leaf, table):
    torch.manual_seed(0)
    parts = [torch.randn(2, 4, 3), torch.randn(table)]
    want = LinearChain(*parts).expected_counts
    parts[leaf].requires_grad_()
    with torch.inference_mode():
        got = LinearChain(*parts).expected_counts
    torch.testing.assert_close(got, want)
    assert not got.requires_grad


@pytest.mark.parametrize("leaf", [0, 1])
def test_draws_in_inference_mode_of_what_requires_a_gradient(leaf):
    parts = [torch.randn(2, 4, 4), torch.randn(2, 4)]
    want = SpanningTree(*parts).sample(3, torch.Generator().manual_seed(0))
    parts[leaf].requires_grad_()
    with torch.inference_mode():
        assert torch.equal(SpanningTree(*parts).sample(3, torch.Generator().manual_seed(0)), want)
