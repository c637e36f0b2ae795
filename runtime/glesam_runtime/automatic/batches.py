"""How many points one call of the decoder is asked for: bounded by memory."""

from __future__ import annotations

# What one prompt takes in SAM's decoder, as float32 maps of S/4 x S/4: 37 MiB = 148 x 256 KiB at S = 1024 in
# ONNX Runtime, 49 in OpenVINO, in fp16 and fp32; nano's takes 82 at most. The four masks that come out are 4
# of them; candidates are resized to the picture one at a time and in its window, and add the picture's size
# [bytes] once, not per prompt.
_MAPS_PER_PROMPT = 200
# SAM's points_per_batch. More prompts are hardly faster per prompt, and engines are built for no more.
_MAX_PROMPTS_PER_CALL = 64


def prompts_per_call(image_size: int, memory_mib: int) -> int:
    """1 to 64 prompts: as many as fit into `memory_mib`, at an input of S = `image_size` pixels."""
    bytes_per_prompt = _MAPS_PER_PROMPT * (image_size // 4) ** 2 * 4
    return min(max(1, (memory_mib << 20) // bytes_per_prompt), _MAX_PROMPTS_PER_CALL)
