"""What one process decides for all of them."""

from __future__ import annotations

from collections.abc import Callable

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from glesam_runtime.errors import CheckpointError


def on_the_main_process(accelerator: Accelerator, work: Callable[[], None]) -> None:
    """`work` there alone; where it refuses, all processes do, and none waits for the others in vain.

    Raises:
        CheckpointError: work raised it, ValueError or OSError; with the same words.
    """
    refusal: list[str | None] = [None]
    if accelerator.is_main_process:
        try:
            work()
        except (OSError, ValueError) as error:
            refusal = [str(error)]
    broadcast_object_list(refusal)
    if refusal[0] is not None:
        raise CheckpointError(refusal[0])
