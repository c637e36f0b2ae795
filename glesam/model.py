"""GleSAM: SAM with GLE between its image encoder and its mask decoder."""

from __future__ import annotations

import copy
import os
import shutil
import tempfile
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from glesam.config import GleSamConfig
from glesam.gle import Gle
from glesam.sam import build_image_encoder, build_mask_decoder, build_prompt_encoder, decode
from glesam.tensor_output import refused_writes
from glesam_runtime.errors import CheckpointError, InputError, first_line

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"


def shipped_checkpoint() -> Path:
    """The folder of `nano`, the trained model inside the package.

    Raises:
        CheckpointError: this installation has none.
    """
    folder = Path(str(files("glesam") / "models" / "nano"))
    if not (folder / WEIGHTS_FILE).is_file():
        raise CheckpointError(f"this installation has no shipped model ({folder} is missing)")
    return folder


def checkpoint_files(folder: Path) -> dict[str, Path]:
    """The two files of a checkpoint, by name."""
    return {name: folder / name for name in (CONFIG_FILE, WEIGHTS_FILE)}


class GleSam(nn.Module):
    """Image -> encode -> enhance -> decode.

    The four parts are used one after the other by training, evaluation and export; `forward` exists
    for those who want the whole chain in one call.
    """

    def __init__(self, config: GleSamConfig) -> None:
        super().__init__()
        self.config = config
        self.image_encoder = build_image_encoder(config.sam.encoder, config.sam.image_size)
        self.gle = Gle(config.gle)
        self.prompt_encoder = build_prompt_encoder(config.sam)
        self.mask_decoder = build_mask_decoder(config.sam)

    def normalize(self, image: Tensor) -> Tensor:
        """RGB in [0, 255], [B, 3, S, S] -> SAM's normalized input."""
        mean = image.new_tensor(self.config.sam.pixel_mean).reshape(3, 1, 1)
        std = image.new_tensor(self.config.sam.pixel_std).reshape(3, 1, 1)
        return (image - mean) / std

    def encode(self, image: Tensor) -> Tensor:
        """Normalized image [B, 3, S, S] -> image embeddings [B, 256, S/16, S/16]."""
        embeddings: Tensor = self.image_encoder(image)
        return embeddings

    def enhance(self, image_embeddings: Tensor) -> Tensor:
        """GLE: [B, 256, S/16, S/16] in and out."""
        enhanced: Tensor = self.gle(image_embeddings)
        return enhanced

    def decode(
        self,
        image_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
        refinements: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """See `glesam.sam.decode`; `refinements`: None for the model's own, 0 while it is trained."""
        return decode(
            self.prompt_encoder,
            self.mask_decoder,
            image_embeddings,
            point_coords,
            point_labels,
            mask_input,
            has_mask_input,
            self.config.sam.refinements if refinements is None else refinements,
        )

    def forward(
        self,
        image: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """One normalized image [1, 3, S, S] and N prompts -> low_res_masks, iou_predictions."""
        embeddings = self.enhance(self.encode(image))
        return self.decode(embeddings, point_coords, point_labels, mask_input, has_mask_input)

    def with_refinements(self, refinements: int) -> GleSam:
        """This model, sharing everything, but its decoder is asked again so often (see `SamConfig`)."""
        other = copy.copy(self)
        other.config = replace(self.config, sam=replace(self.config.sam, refinements=refinements))
        return other

    def save_pretrained(self, folder: str | Path, dtype: torch.dtype = torch.float32) -> None:
        """Writes `config.json` and `model.safetensors`.

        Each file is replaced whole, and both only once both are complete.

        Args:
            folder: created where missing; only these two files in it are replaced.
            dtype: of the floating-point tensors on disk.

        Raises:
            InputError: a finite tensor would overflow `dtype`.
            OSError: a file cannot be written.
        """
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        tensors = {
            name: tensor.to(dtype).contiguous() if tensor.is_floating_point() else tensor
            for name, tensor in self.state_dict().items()
        }
        for name, tensor in tensors.items():
            if tensor.is_floating_point() and not tensor.isfinite().all():
                raise InputError(f"{name} is not finite in {dtype}; save it with a wider dtype")
        partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=target))
        try:
            with refused_writes(target / WEIGHTS_FILE):
                save_file(tensors, partial / WEIGHTS_FILE, metadata={"format": "pt"})
            (partial / CONFIG_FILE).write_text(self.config.to_json())
            shutil.copymode(partial / CONFIG_FILE, partial / WEIGHTS_FILE)  # safetensors writes 0600
            for name in (WEIGHTS_FILE, CONFIG_FILE):
                os.replace(partial / name, target / name)
        finally:
            shutil.rmtree(partial)

    @classmethod
    def from_pretrained(cls, folder_or_hub_id: str | Path) -> GleSam:
        """Reads what `save_pretrained` wrote; weights become float32, the model is in eval mode.

        float32 weights stay mapped from the file, so that a full-size model is not held twice.

        Args:
            folder_or_hub_id: a folder, or the id of a Hugging Face Hub repository.

        Raises:
            CheckpointError: files are missing or unreadable, or tensors do not fit the config.
        """
        folder = cls.resolve(folder_or_hub_id)
        try:
            with torch.device("meta"):  # no weight is drawn at random, and none is held twice
                model = cls(GleSamConfig.from_json((folder / CONFIG_FILE).read_text()))
            tensors = load_file(folder / WEIGHTS_FILE)
        except Exception as error:  # safetensors raises its own, json and the OS theirs
            raise CheckpointError(f"cannot read a GleSAM checkpoint from {folder}: {error}") from error
        model.load_tensors(tensors, str(folder / WEIGHTS_FILE))
        return model.eval()

    def load_tensors(self, tensors: dict[str, Tensor], source: str) -> None:
        """Loads a whole state dict; `source` names it in the message of a CheckpointError."""
        own = self.state_dict()
        missing, unknown = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
        wrong = [k for k in own.keys() & tensors.keys() if own[k].shape != tensors[k].shape]
        for what, names in (("missing", missing), ("unknown", unknown), ("misshapen", wrong)):
            if names:
                raise CheckpointError(
                    f"{source}: {len(names)} {what} tensors, first {names[0]!r}; expected the tensors "
                    f"of the {self.config.name!r} configuration beside it"
                )
        like = {name: tensor.to(own[name].dtype) for name, tensor in tensors.items()}
        self.load_state_dict(like, assign=all(tensor.is_meta for tensor in own.values()))

    @staticmethod
    def resolve(folder_or_hub_id: str | Path) -> Path:
        """The local folder of a checkpoint; a hub id is downloaded first."""
        folder = Path(folder_or_hub_id)
        if folder.is_dir():
            return folder
        if isinstance(folder_or_hub_id, Path) or folder.is_absolute() or str(folder).count("/") != 1:
            raise CheckpointError(
                f"no folder {folder}; expected one with {CONFIG_FILE} and {WEIGHTS_FILE}, "
                "or a hub id such as owner/model"
            )
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError

        try:
            return Path(snapshot_download(str(folder), allow_patterns=[CONFIG_FILE, WEIGHTS_FILE]))
        except (HfHubHTTPError, HFValidationError, OSError) as error:
            raise CheckpointError(
                f"no folder {folder}, and the hub has no such model: {first_line(error)}"
            ) from error
