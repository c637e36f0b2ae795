"""Prompts of a user, checked and encoded as the decoder's inputs.

encoding    one Prompt for each object, and the tensors that they become
arrays      the arrays of other libraries, `boxes`, `point_coords` and `point_labels`, as Prompts
"""

from .arrays import gathered_prompts
from .encoding import (
    BACKGROUND,
    BOX_BOTTOM_RIGHT,
    BOX_TOP_LEFT,
    FOREGROUND,
    PADDING,
    Box,
    Points,
    Prompt,
    PromptTensors,
    box_array,
    checked_logits,
    encode_prompts,
    ends_with_padding,
    limit_logits,
    logits_from_mask,
    one_or_several,
    points_array,
)

__all__ = [
    "BACKGROUND",
    "BOX_BOTTOM_RIGHT",
    "BOX_TOP_LEFT",
    "FOREGROUND",
    "PADDING",
    "Box",
    "Points",
    "Prompt",
    "PromptTensors",
    "box_array",
    "checked_logits",
    "encode_prompts",
    "ends_with_padding",
    "gathered_prompts",
    "limit_logits",
    "logits_from_mask",
    "one_or_several",
    "points_array",
]
