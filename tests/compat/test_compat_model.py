"""The registry opens bundles, and says how to get one where it is given something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from glesam_runtime import BackendError, BundleError
from glesam_runtime.bundle.reader import Bundle
from glesam_runtime.compat import Sam, SamPredictor, sam_model_registry


def test_the_shipped_model_needs_no_checkpoint() -> None:
    for name in ("default", "nano"):
        sam = sam_model_registry[name]()
        assert sam.predictor.manifest.name == "nano"
        assert (sam.image_encoder.img_size, sam.image_format, sam.mask_threshold) == (512, "RGB", 0)


def test_a_bundle_takes_the_checkpoints_place(fp32_bundle: Path) -> None:
    for checkpoint in (fp32_bundle, str(fp32_bundle), Bundle.open(fp32_bundle)):
        sam = sam_model_registry["default"](checkpoint=checkpoint)
        assert sam.predictor.manifest.sam_type == "tiny"


def test_another_type_than_asked_for_is_refused(fp32_bundle: Path) -> None:
    with pytest.raises(BundleError, match="expected a model of type vit_b, found tiny"):
        sam_model_registry["vit_b"](checkpoint=fp32_bundle)


def test_weights_of_torch_are_refused_with_the_way_to_a_bundle(tmp_path: Path) -> None:
    weights = tmp_path / "sam_vit_b_01ec64.pth"
    weights.write_bytes(b"weights")
    with pytest.raises(BundleError, match=r"found a file; convert it with glesam-convert"):
        sam_model_registry["vit_b"](checkpoint=str(weights))
    with pytest.raises(BundleError, match=r"vit_h: expected checkpoint=PATH, a bundle, found none"):
        sam_model_registry["vit_h"]()


def test_a_device_is_the_backends_or_an_error(bundle_sam: Sam) -> None:
    assert bundle_sam.to("cpu") is bundle_sam.to(device="cpu").eval() is bundle_sam
    for device in ("cuda", "cuda:0"):
        with pytest.raises(
            BackendError, match="device 'cuda': this model runs on 'cpu', by backend onnxruntime"
        ):
            bundle_sam.to(device=device)
    with pytest.raises(BackendError, match="device 'cuda'"):
        bundle_sam.cuda()


def test_only_a_model_makes_a_predictor() -> None:
    with pytest.raises(
        BundleError, match=r"expected a Sam of glesam_runtime\.compat or a Predictor, found str"
    ):
        SamPredictor("nano")  # type: ignore[arg-type]
