"""The exponential moving average of a run's weights, which lacks the noise of the last steps."""

from __future__ import annotations

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def averaged_weights(module: nn.Module, decay: float) -> AveragedModel:
    """A copy of `module` that follows it, running statistics included, one `update_parameters` a step."""

    def average(own: Tensor, current: Tensor, updates: Tensor | int) -> Tensor:
        if not own.is_floating_point():  # a counter
            return current
        return own.lerp(current, 1 - decay_after(int(updates), decay))

    return AveragedModel(module, avg_fn=average, use_buffers=True)


def decay_after(updates: int, decay: float) -> float:
    """Young averages forget faster, or a short run would end near its first step.

    (1 + t) / (10 + t), as TensorFlow's ExponentialMovingAverage has it: about the last ninth of the run.
    """
    return min(decay, (1 + updates) / (10 + updates))
