"""The two-dimensional Fourier transform of real features, for one size, as matrix products.

Runtimes differ in ONNX's DFT, and TensorRT has none. A real image's spectrum mirrors itself, so W/2 + 1 of
its W columns are enough. Both directions are scaled by 1 / sqrt(H W): the sum over a whole image, which would
overflow in a lower precision, becomes of the size of its largest part.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from glesam_export.rewrites.static_gle import constant


class HalfSpectrum(nn.Module):
    """`torch.fft.rfft2` and `irfft2` with norm="ortho", of [..., H, W] with even W."""

    def __init__(self, height: int, width: int, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        kept = width // 2 + 1
        # Columns but the first and the last stand for their mirror image too.
        counts = torch.full((kept,), 2.0, dtype=torch.float64)
        counts[0] = counts[-1] = 1
        cos, sin = _waves(width)
        self.row_cos, self.row_sin = (constant(wave[:, :kept].to(dtype)) for wave in (cos, sin))
        self.back_cos, self.back_sin = (
            constant((counts.unsqueeze(1) * wave[:kept]).to(dtype)) for wave in (cos, sin)
        )
        self.column_cos, self.column_sin = (constant(wave.to(dtype)) for wave in _waves(height))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[..., H, W] -> real and imaginary part, [..., H, W/2 + 1] each."""
        real, negative = x @ self.row_cos, x @ self.row_sin
        cos, sin = self.column_cos, self.column_sin
        return cos @ real - sin @ negative, -(cos @ negative + sin @ real)

    def inverse(self, real: Tensor, imaginary: Tensor) -> Tensor:
        """Real and imaginary part -> [..., H, W]."""
        cos, sin = self.column_cos, self.column_sin
        rows, rows_imaginary = cos @ real - sin @ imaginary, cos @ imaginary + sin @ real
        return rows @ self.back_cos - rows_imaginary @ self.back_sin


def _waves(size: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines of 2 pi j k / size, divided by sqrt(size), [size, size], in float64."""
    index = torch.arange(size)
    turns = torch.outer(index, index) % size  # exact, where the product times 2 pi would be rounded
    angles = turns.double() * (2 * math.pi / size)
    return angles.cos() / math.sqrt(size), angles.sin() / math.sqrt(size)
