"""Lets the attacks use the tiny bundle and the C++ library of the runtime's tests."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "runtime"))  # tiny_bundle, native
