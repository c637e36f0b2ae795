"""Arrays of numpy and torch alike; torch's own methods convert them, so that torch is never imported."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


class HostArray(np.ndarray[Any, np.dtype[Any]]):
    """A numpy array with the three methods by which programs bring a torch tensor to numpy."""

    def cpu(self) -> HostArray:
        return self

    def detach(self) -> HostArray:
        return self

    def numpy(self) -> npt.NDArray[Any]:
        return self.view(np.ndarray)


def is_tensor(value: object) -> bool:
    """Returns whether `value` is a tensor of torch."""
    return all(hasattr(value, name) for name in ("detach", "new_tensor", "cpu"))


def as_array(value: Any, dtype: Any = None) -> npt.NDArray[Any]:  # noqa: ANN401
    """Returns numpy's copy or view of an array of numpy, of torch, or of a nested list."""
    array = value.detach().cpu().numpy() if is_tensor(value) else value
    return np.asarray(array, dtype)


def like(example: Any, array: npt.NDArray[Any]) -> Any:  # noqa: ANN401
    """Returns `array`, bool or float32, as a tensor on the device of `example` where that is one."""
    if not is_tensor(example):
        return array
    tensor = example.float().new_tensor(array)  # which takes the dtype of the tensor it is called on
    return tensor.bool() if array.dtype == np.bool_ else tensor
