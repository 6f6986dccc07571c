"""Kernels in Triton for CUDA devices; nothing is imported until it is needed.

Tried by Triton's interpreter against torch and against sums over every sequence, and compiled to machine code for
compute capabilities 8.0 and 9.0, the type and alignment of every argument as a launch would have them. Not yet run on a
device, and so neither timed nor tuned there: numbers of warps are estimates.
"""
