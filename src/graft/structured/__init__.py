"""Distributions over whole structures, usable alone as a layer."""

from graft.structured.gaussian_parameters import Dynamics as Dynamics
from graft.structured.gaussian_parameters import Emission as Emission
from graft.structured.gaussian_parameters import GaussianEvidence as GaussianEvidence
from graft.structured.hidden_semi_markov import HiddenSemiMarkov as HiddenSemiMarkov
from graft.structured.linear_chain import LinearChain as LinearChain
from graft.structured.linear_gaussian_chain import LinearGaussianChain as LinearGaussianChain
from graft.structured.segmentation import Segmentation as Segmentation
from graft.structured.semi_markov import SemiMarkov as SemiMarkov
from graft.structured.spanning_tree import SpanningTree as SpanningTree
from graft.structured.tree import Tree as Tree

__all__ = [
    "Dynamics",
    "Emission",
    "GaussianEvidence",
    "HiddenSemiMarkov",
    "LinearChain",
    "LinearGaussianChain",
    "Segmentation",
    "SemiMarkov",
    "SpanningTree",
    "Tree",
]
