"""SAM's networks, from the `segment-anything` package, without torchvision.

`segment_anything/__init__.py` imports torchvision for its predictor, which is not used here;
`segment_anything.modeling` needs only torch. The package's module is therefore created from its spec
without being executed while `modeling` is imported, and taken out again, so that a program's own
`import segment_anything` still gets the real package.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any

PACKAGE = "segment_anything"


def _import_modeling() -> ModuleType:
    if PACKAGE in sys.modules:
        return importlib.import_module(f"{PACKAGE}.modeling")
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None:
        raise ImportError("glesam needs the segment-anything package: pip install 'glesam[train]'")
    sys.modules[PACKAGE] = importlib.util.module_from_spec(spec)
    try:
        return importlib.import_module(f"{PACKAGE}.modeling")
    finally:
        del sys.modules[PACKAGE]


_modeling = _import_modeling()

# segment-anything carries no type information.
ImageEncoderViT: Any = _modeling.ImageEncoderViT
MaskDecoder: Any = _modeling.MaskDecoder
PromptEncoder: Any = _modeling.PromptEncoder
TwoWayTransformer: Any = _modeling.TwoWayTransformer
Attention: Any = sys.modules[f"{PACKAGE}.modeling.transformer"].Attention
MLP: Any = sys.modules[f"{PACKAGE}.modeling.mask_decoder"].MLP
MLPBlock: Any = sys.modules[f"{PACKAGE}.modeling.common"].MLPBlock
LayerNorm2d: Any = sys.modules[f"{PACKAGE}.modeling.common"].LayerNorm2d
_encoder = sys.modules[f"{PACKAGE}.modeling.image_encoder"]
ViTBlock: Any = _encoder.Block
relative_positions: Any = _encoder.get_rel_pos
"""(side of the queries, side of the keys, table [L, C]) -> embeddings [side, side, C]."""
