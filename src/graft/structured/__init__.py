"""Distributions over whole structures, usable alone as a layer."""

from graft.structured.linear_chain import LinearChain as LinearChain

__all__ = ["LinearChain"]
