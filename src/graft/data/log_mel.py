r"""Log-mel features of speech.

The spectrum of each window is weighed by triangles that are equally wide on the mel scale
$m(f) = 2595 \log_{10}(1 + f / 700)$, after S. Davis, P. Mermelstein, Comparison of parametric representations
for monosyllabic word recognition, IEEE Trans. ASSP 28(4), 1980.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from graft.errors import DataError

FLOOR = 1e-6  # keeps digital silence finite; about the noise of a 16-bit recording


def log_mel(
    signal: Float[Tensor, " samples"],
    *,
    rate: int = 8000,
    bands: int = 20,
    window: float = 0.025,
    hop: float = 0.01,
) -> Float[Tensor, "frames bands"]:
    """The logarithm of the energy in each mel band, one frame every `hop` seconds.

    Args:
        signal: between -1 and 1; one that is shorter than a window is filled up with zeros.
        rate: samples a second.
        bands: how many mel bands between 0 and rate / 2.
        window: length of a (Hann) window in seconds.
        hop: from one window to the next, in seconds.

    Raises:
        DataError: the signal is empty.

    Example:
        >>> tone = torch.sin(2 * torch.pi * 1000 * torch.arange(4000) / 8000)
        >>> log_mel(tone).shape, int(log_mel(tone)[20].argmax())  # the band around 1000 Hz
        (torch.Size([48, 20]), 9)
    """
    if len(signal) == 0:
        raise DataError("the signal is empty")
    width, step = round(window * rate), round(hop * rate)
    missing = max(0, width - len(signal))
    frames = torch.nn.functional.pad(signal, (0, missing)).unfold(0, width, step)
    size = 1 << (width - 1).bit_length()
    spectrum = torch.fft.rfft(frames * torch.hann_window(width, dtype=signal.dtype), n=size).abs().square()
    return (spectrum @ mel_triangles(bands, size, rate).to(signal.dtype) / width + FLOOR).log()


@lru_cache
def mel_triangles(bands: int, size: int, rate: int) -> Float[Tensor, "bins bands"]:
    """The weight of each bin of a Fourier transform of `size` samples in each mel band.

    Example:
        >>> mel_triangles(20, 256, 8000).shape
        torch.Size([129, 20])
    """
    top = 2595 * torch.log10(torch.tensor(1 + rate / 2 / 700, dtype=torch.float64))
    edges = 700 * (10 ** (torch.linspace(0, 1, bands + 2, dtype=torch.float64) * top / 2595) - 1)
    bins = torch.arange(size // 2 + 1, dtype=torch.float64).unsqueeze(-1) * rate / size
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (bins - low) / (centre - low), (high - bins) / (high - centre)
    return torch.minimum(rising, falling).clamp_min(0)
