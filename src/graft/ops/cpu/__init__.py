"""Kernels compiled for the processor at hand; nothing is imported until it is needed, as numba is slow to import."""
