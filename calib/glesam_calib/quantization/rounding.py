"""Rounds the kernels of convolutions to whole steps so that their sums hold.

Neighbouring pixels are alike: on even ground a convolution answers the sum of its kernel times one value.
Elements rounded one by one shift that sum by several steps where large weights of both signs cancel, as in
the filters of a first layer. Here the elements that moved furthest the wrong way are rounded the other way,
first in every kernel, then in every filter. A filter's sum is then off by half a step at most; that of one of
its kernels may be off by a step more. The idea is SQuant's (Guo et al., ICLR 2022).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


def rounded(steps: Floats) -> Floats:
    """Rounds the weights [O, I, ...] of a convolution, which are counted in quantization steps.

    A matrix [O, I], or a kernel of a single element, is rounded to the nearest: its inputs are no neighbours.
    """
    whole = np.round(steps)
    if steps.ndim < 3 or np.prod(steps.shape[2:]) == 1:
        return whole
    for rows in ((-1, int(np.prod(steps.shape[2:]))), (len(steps), -1)):
        whole = _keep_sums(whole.reshape(rows), steps.reshape(rows)).reshape(steps.shape)
    return whole


def _keep_sums(whole: Floats, steps: Floats) -> Floats:
    """Returns the whole numbers [R, N] with as many changed by 1 as each row's sum is off."""
    errors = whole - steps
    excess = np.round(errors.sum(1, keepdims=True))
    sign = np.sign(excess)
    place = np.argsort(np.argsort(-sign * errors, axis=1, kind="stable"), axis=1)
    changed: Floats = whole - sign * (place < np.abs(excess))
    return changed
