"""RobustSAM's official files, `robustsam_checkpoint_{b,l,h}.pth`: SAM's tensors and more of the decoder."""

from __future__ import annotations

from pathlib import Path

import torch

from glesam.config import RobustSamConfig, official_sam, robust_sam
from glesam.official.sam import PATCH_EMBEDDING, ROBUST_TOKEN, SAM_TYPES, read_sam
from glesam.official.tensor_files import check_fit, put
from glesam.restorers.robust_sam import RobustSam
from glesam_runtime.errors import CheckpointError


def load_robust_sam(path: str | Path, config: RobustSamConfig | None = None) -> RobustSam:
    """Loads a RobustSAM, float32 on the CPU, in eval mode.

    Args:
        config: by default the official size of the file's image encoder.

    Raises:
        CheckpointError: the file is unreadable, a plain SAM, or does not hold exactly the model's tensors.
    """
    loaded = read_sam(path)
    if ROBUST_TOKEN not in loaded:
        raise CheckpointError(
            f"{path} has no {ROBUST_TOKEN}: it is a plain SAM, expected a RobustSAM, such as "
            "robustsam_checkpoint_b.pth"
        )
    width = int(loaded[PATCH_EMBEDDING].shape[0])
    if config is None and width not in SAM_TYPES:
        raise CheckpointError(
            f"{path} has an image encoder of width {width}; "
            "expected 768 (vit_b), 1024 (vit_l) or 1280 (vit_h)"
        )
    with torch.device("meta"):
        model = RobustSam(config or robust_sam(official_sam(SAM_TYPES[width])))
    check_fit(path, loaded, model.state_dict())
    put(model, loaded)
    return model.eval()
