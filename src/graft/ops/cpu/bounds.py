"""When a sum of products in linear space is proven: what may be lost, and what may be missing."""

#: The smallest normal number: what a product or an exponential may lose.
TINY = 2.3e-308
#: What may be missing of a sum, or of a derivative by a logarithm, relative to 1.
PROVEN = 1e-13
#: Tables are scaled when their greatest entry leaves this range.
LOW, HIGH = 1e-20, 1e20
