"""How many points one call of the decoder is asked for: bounded by memory."""

from __future__ import annotations

# What one prompt takes in nano's decoder in fp16, as float32 maps of S/4 x S/4: 34 MiB = 544 x 64 KiB in
# ONNX Runtime with 16 and 64 prompts, 26 in OpenVINO. SAM's own decoder has the same layers, so at S = 1024
# it is 136 MiB. The four masks that come out are 4 of the 544; candidates are resized to the picture one at
# a time and in its window, and add the picture's size [bytes] once, not per prompt.
_MAPS_PER_PROMPT = 544
# SAM's points_per_batch. More prompts are no faster per prompt, and engines are built for no more.
_MAX_PROMPTS_PER_CALL = 64


def prompts_per_call(image_size: int, memory_mib: int) -> int:
    """1 to 64 prompts: as many as fit into `memory_mib`, at an input of S = `image_size` pixels."""
    bytes_per_prompt = _MAPS_PER_PROMPT * (image_size // 4) ** 2 * 4
    return min(max(1, (memory_mib << 20) // bytes_per_prompt), _MAX_PROMPTS_PER_CALL)
