"""What every manifest of one export says alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from glesam.config import GleSamConfig
from glesam_runtime import Bundle
from glesam_runtime.bundle.writer import GraphRecord, Json, write_manifest

Records = dict[str, GraphRecord]


@dataclass(frozen=True)
class Assembly:
    """The model's config, whether its mask heads live, and the files it came from."""

    config: GleSamConfig
    multimask: bool
    origin: Json

    def write(self, folder: Path, precision: str, records: Records, parity: Mapping[str, object]) -> Bundle:
        """bundle.json for what lies in `folder`; opens it with the reader that will open it at the target."""
        write_manifest(folder, self.config, self.multimask, precision, records, self.origin, dict(parity))
        return Bundle.open(folder)
