"""Prefix products along time in logarithmic depth, and the two products that make a filter and a smoother.

Source: S. Sarkka and A. F. Garcia-Fernandez, Temporal parallelization of Bayesian smoothers, IEEE Transactions on
Automatic Control 66 (2021), sections III and IV.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from graft.ops.kalman_system import apply, symmetric

Element = tuple[Tensor, ...]


def scan(product: Callable[[Element, Element], Element], elements: Element) -> Element:
    """All prefix products $e_0$, $e_0 e_1$, ... along dimension 1, by an associative product.

    Args:
        product: of two elements, the earlier first; works on any number of them along dimension 1.
        elements: tensors (b, T, ...).

    Example:
        >>> scan(lambda a, b: (a[0] + b[0],), (torch.arange(6)[None],))
        (tensor([[ 0,  1,  3,  6, 10, 15]]),)
    """
    size = elements[0].shape[1]
    if size < 2:
        return elements
    pairs = product(tuple(x[:, : size - 1 : 2] for x in elements), tuple(x[:, 1::2] for x in elements))
    odd = scan(product, pairs)
    before = tuple(x[:, : (size - 1) // 2] for x in odd)
    even = product(before, tuple(x[:, 2::2] for x in elements)) if size > 2 else tuple(x[:, :0] for x in odd)
    return tuple(_woven(x[:, :1], e, o) for x, e, o in zip(elements, even, odd, strict=True))


def _woven(first: Tensor, even: Tensor, odd: Tensor) -> Tensor:
    """The first element, then odd and even ones in turn."""
    even = torch.cat([first.expand(odd.shape[0], *first.shape[1:]), even], 1)
    size = odd.shape[1]
    both = torch.stack([even[:, :size], odd], 2).flatten(1, 2)
    return torch.cat([both, even[:, size:]], 1)


def filtering_product(early: Element, late: Element) -> Element:
    r"""Compose steps $p(z', \text{evidence} \mid z) \propto \mathcal{N}(z'; A z + b, C) \,
    e^{\eta^\top z - \frac12 z^\top J z}$, elements (A, b, C, η, J)."""
    a1, b1, c1, h1, j1 = early
    a2, b2, c2, h2, j2 = late
    eye = torch.eye(a1.shape[-1], dtype=a1.dtype, device=a1.device)
    keep = torch.linalg.inv(eye + c1 @ j2)
    onward, through = a2 @ keep, keep @ a1
    return (
        a2 @ through,
        apply(onward, b1 + apply(c1, h2)) + b2,
        symmetric(onward @ c1 @ a2.mT) + c2,
        apply(through.mT, h2 - apply(j2, b1)) + h1,
        symmetric(through.mT @ j2 @ a1) + j1,
    )


def affine_product(late: Element, early: Element) -> Element:
    r"""Compose backward steps $z \mid z' \sim \mathcal{N}(G z' + c, L)$, elements (G, c, L), in reversed time."""
    g2, c2, l2 = late
    g1, c1, l1 = early
    return g1 @ g2, apply(g1, c2) + c1, symmetric(g1 @ l2 @ g1.mT) + l1
