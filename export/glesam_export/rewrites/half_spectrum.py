"""The two-dimensional Fourier transform of real features, for one size, as matrix products.

Runtimes differ in ONNX's DFT, and TensorRT has none. A real image's spectrum mirrors itself, so W/2 + 1 of
its W columns are enough. Both directions are scaled by 1 / sqrt(H W): the sum over a whole image, which would
overflow in a lower precision, becomes of the size of its largest part.

Each axis takes one step of the fast transform before its products, a row in halves and a column in quarters.
That leaves a third of the operations, and the frequencies in an order of their own.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from glesam_export.rewrites.static_gle import constant

Complex = tuple[Tensor, Tensor]
"""Real and imaginary part."""


class HalfSpectrum(nn.Module):
    """`torch.fft.rfft2` and `irfft2` with norm="ortho", of [..., H, W]; H and W are multiples of 4.

    Attributes:
        row_order, column_order: the frequency of each column and each row of the spectrum.
    """

    def __init__(self, height: int, width: int, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        half, quarter = width // 2, height // 4
        even, odd = torch.arange(0, half + 1, 2), torch.arange(1, half, 2)
        columns = torch.arange(height).reshape(quarter, 4).T  # each row: frequencies of one remainder by 4
        self.row_order, self.column_order = torch.cat([even, odd]).tolist(), columns.flatten().tolist()
        self.even, self.odd = _Rows(width, even, dtype), _Rows(width, odd, dtype)
        cos, sin = (wave[columns, :quarter].to(dtype) for wave in _waves(height))
        self.column_cos, self.column_sin = constant(cos), constant(sin)

    def forward(self, x: Tensor) -> Complex:
        """[..., H, W] -> real and imaginary part, [..., H, W/2 + 1] each."""
        left, right = x.chunk(2, dim=-1)
        even, odd = self.even(left + right), self.odd(left - right)
        real, imaginary = (torch.cat(parts, dim=-1) for parts in zip(even, odd, strict=True))
        real, imaginary = (torch.stack(parts, dim=-3) for parts in _combined(real, imaginary, sign=-1))
        cos, sin = self.column_cos, self.column_sin
        return (cos @ real + sin @ imaginary).flatten(-3, -2), (cos @ imaginary - sin @ real).flatten(-3, -2)

    def inverse(self, real: Tensor, imaginary: Tensor) -> Tensor:
        """Real and imaginary part -> [..., H, W]."""
        quarters = (part.reshape(*part.shape[:-2], 4, -1, part.shape[-1]) for part in (real, imaginary))
        real, imaginary = quarters
        cos, sin = self.column_cos.transpose(1, 2), self.column_sin.transpose(1, 2)
        turned = cos @ real - sin @ imaginary, cos @ imaginary + sin @ real
        real, imaginary = (part.flatten(-3, -2) for part in turned)
        real, imaginary = (torch.cat(parts, dim=-2) for parts in _combined(real, imaginary, sign=1))
        count = self.even.count
        even = self.even.inverse(real[..., :count], imaginary[..., :count])
        odd = self.odd.inverse(real[..., count:], imaginary[..., count:])
        return torch.cat([even + odd, even - odd], dim=-1)


class _Rows(nn.Module):
    """Some frequencies of the rows, from the sum or the difference of a row's halves."""

    def __init__(self, width: int, frequencies: Tensor, dtype: torch.dtype) -> None:
        super().__init__()
        self.count = len(frequencies)
        cos, sin = (wave[: width // 2, frequencies] for wave in _waves(width))
        self.cos, self.sin = constant(cos.to(dtype)), constant(-sin.to(dtype))
        # All but the first and the last of the half stand for their mirror image too.
        counts = 2.0 - (frequencies % (width // 2) == 0).double()
        self.back_cos, self.back_sin = (constant((counts * wave).T.to(dtype)) for wave in (cos, sin))

    def forward(self, x: Tensor) -> Complex:
        return x @ self.cos, x @ self.sin

    def inverse(self, real: Tensor, imaginary: Tensor) -> Tensor:
        return real @ self.back_cos - imaginary @ self.back_sin


def _combined(real: Tensor, imaginary: Tensor, sign: int) -> tuple[list[Tensor], list[Tensor]]:
    """Transforms of four points each, one of every quarter of the second last axis.

    sign: -1 forward, 1 for the inverse.

    Returns:
        Real and imaginary parts of the four frequencies.
    """
    a, b, c, d = real.chunk(4, dim=-2)
    e, f, g, h = imaginary.chunk(4, dim=-2)
    # the difference of the second and the fourth, times i or -i
    turned, turned_imaginary = (h - f, b - d) if sign > 0 else (f - h, d - b)
    sums, others, differences = (a + c, e + g), (b + d, f + h), (a - c, e - g)
    reals = [sums[0] + others[0], differences[0] + turned, sums[0] - others[0], differences[0] - turned]
    imaginaries = [
        sums[1] + others[1],
        differences[1] + turned_imaginary,
        sums[1] - others[1],
        differences[1] - turned_imaginary,
    ]
    return reals, imaginaries


def _waves(size: int) -> Complex:
    """Cosines and sines of 2 pi j k / size, divided by sqrt(size), [size, size], in float64."""
    index = torch.arange(size)
    turns = torch.outer(index, index) % size  # exact, where the product times 2 pi would be rounded
    angles = turns.double() * (2 * math.pi / size)
    return angles.cos() / math.sqrt(size), angles.sin() / math.sqrt(size)
