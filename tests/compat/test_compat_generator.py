"""SamAutomaticMaskGenerator gives segment-anything's records, in its order."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

from glesam_runtime import PromptError
from glesam_runtime.automatic.rle import Rle, mask_from_rle
from glesam_runtime.compat import Sam, SamAutomaticMaskGenerator

Records = list[dict[str, Any]]
EVERYTHING = {"points_per_side": 4, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0}
GRIDS = [np.array([[0.2, 0.4], [0.61, 0.5], [0.9, 0.9]])]
SETTINGS: dict[str, dict[str, Any]] = {
    "everything": EVERYTHING | {"box_nms_thresh": 1.0},
    "distinct": EVERYTHING,
    "small batches": EVERYTHING | {"points_per_batch": 3},
    "strict": EVERYTHING | {"box_nms_thresh": 0.4, "stability_score_offset": 0.02},
    "crops": EVERYTHING | {"crop_n_layers": 1, "crop_n_points_downscale_factor": 2, "box_nms_thresh": 0.9},
    "cleaned": EVERYTHING | {"min_mask_region_area": 40},
    "own points": {**EVERYTHING, "points_per_side": None, "point_grids": GRIDS},
}


ODD_PIXELS = 2
"""Most pixels in which two masks differ."""


def records(generator: Any, image: np.ndarray) -> Records:  # noqa: ANN401
    found: Records = generator.generate(image)
    return found


def check_same(theirs: Records, ours: Records) -> None:
    """The same records, but for pixels whose logits torch and ONNX Runtime round across a threshold."""
    assert len(ours) == len(theirs)
    for expected, actual in zip(theirs, ours, strict=True):
        assert list(actual) == list(expected)
        assert [type(value) for value in actual.values()] == [type(value) for value in expected.values()]
        assert actual["crop_box"] == expected["crop_box"]
        np.testing.assert_allclose(actual["bbox"], expected["bbox"], atol=1)
        assert actual["area"] == pytest.approx(expected["area"], abs=ODD_PIXELS)
        assert actual["predicted_iou"] == pytest.approx(expected["predicted_iou"], abs=2e-5, nan_ok=True)
        odd_share = ODD_PIXELS / max(1, expected["area"])
        assert actual["stability_score"] == pytest.approx(
            expected["stability_score"], abs=odd_share, nan_ok=True
        )
        np.testing.assert_allclose(actual["point_coords"], expected["point_coords"], atol=1e-9)
        masks = [mask_of(record["segmentation"]) for record in (expected, actual)]
        assert masks[0].dtype == masks[1].dtype
        assert np.count_nonzero(masks[0] != masks[1]) <= ODD_PIXELS


def mask_of(segmentation: Any) -> np.ndarray:  # noqa: ANN401
    """The mask [H,W] of a record in any of the three forms."""
    if not isinstance(segmentation, dict):
        return np.asarray(segmentation)
    if isinstance(segmentation["counts"], str):
        return mask_from_rle(Rle(size=segmentation["size"], counts=segmentation["counts"]))
    height, width = segmentation["size"]
    values = np.arange(len(segmentation["counts"])) % 2 == 1
    return np.repeat(values, segmentation["counts"]).reshape(width, height).T


@pytest.fixture
def both(original: ModuleType, torch_sam: Any, bundle_sam: Sam, image: np.ndarray) -> Any:  # noqa: ANN401
    """A function from settings to segment-anything's records and ours."""

    def run(**settings: object) -> tuple[Records, Records]:
        theirs = original.SamAutomaticMaskGenerator(torch_sam, **settings)
        ours = SamAutomaticMaskGenerator(bundle_sam, **settings)  # type: ignore[arg-type]
        return records(theirs, image), records(ours, image)

    return run


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_the_records_are_segment_anythings(both: Any, settings: dict[str, Any]) -> None:  # noqa: ANN401
    theirs, ours = both(**settings)
    assert theirs
    check_same(theirs, ours)


@pytest.mark.parametrize(
    ("name", "key"),
    [("pred_iou_thresh", "predicted_iou"), ("stability_score_thresh", "stability_score")],
)
def test_thresholds_drop_the_same_masks(both: Any, name: str, key: str) -> None:  # noqa: ANN401
    settings = EVERYTHING | {"box_nms_thresh": 1.0, "stability_score_offset": 0.02}
    everything, _ = both(**settings)
    values = np.unique([record[key] for record in everything if 0 < record[key] < 1])
    middle = len(values) // 2
    assert middle > 0
    theirs, ours = both(**settings | {name: float(values[middle - 1 : middle + 1].mean())})
    assert 0 < len(theirs) < len(everything)
    check_same(theirs, ours)


@pytest.mark.parametrize("mode", ["uncompressed_rle", "coco_rle"])
def test_masks_come_as_rle(both: Any, mode: str) -> None:  # noqa: ANN401
    check_same(*both(**EVERYTHING, output_mode=mode))


@pytest.mark.parametrize(
    "settings",
    [{"points_per_side": None}, {"point_grids": GRIDS}, {"output_mode": "png"}],
    ids=["no points", "two grids", "mode"],
)
def test_mistakes_are_assertion_errors_in_both(
    original: ModuleType,
    torch_sam: Any,  # noqa: ANN401
    bundle_sam: Sam,
    settings: dict[str, Any],
) -> None:
    for generator, model in (
        (original.SamAutomaticMaskGenerator, torch_sam),
        (SamAutomaticMaskGenerator, bundle_sam),
    ):
        with pytest.raises(AssertionError):
            generator(model, **settings)
    with pytest.raises(PromptError, match=r"provided|expected binary_mask"):
        SamAutomaticMaskGenerator(bundle_sam, **settings)


@pytest.mark.parametrize("name", ["points_per_batch", "points_per_side"])
def test_no_points_at_all_are_refused(bundle_sam: Sam, name: str) -> None:
    with pytest.raises(PromptError, match=f"{name}: expected .*, found 0"):
        SamAutomaticMaskGenerator(bundle_sam, **{name: 0})


def test_supervision_reads_the_records(bundle_sam: Sam, image: np.ndarray) -> None:
    import supervision

    found = records(SamAutomaticMaskGenerator(bundle_sam, **EVERYTHING), image)
    detections = supervision.Detections.from_sam(sam_result=found)
    by_area = sorted(found, key=lambda record: -record["area"])
    np.testing.assert_array_equal(detections.mask, [record["segmentation"] for record in by_area])
    corners = [[x, y, x + w, y + h] for x, y, w, h in (record["bbox"] for record in by_area)]
    np.testing.assert_array_equal(detections.xyxy, corners)
