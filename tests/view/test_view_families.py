"""The page on bundles of SAM 2 and RobustSAM; the latter does not run without GLE's place in the chain."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import onnx
import pytest
from starlette.testclient import TestClient
from view_page import BOX, Page, mask_in

from glesam_runtime import Predictor
from glesam_runtime.bundle.spec import Family
from glesam_runtime.preprocess import Pixels
from glesam_runtime.tools.run.session import Model
from glesam_runtime.view.app import opened_app
from glesam_runtime.view.guard import Rules
from glesam_runtime.view.library import Library

sys.path.append(str(Path(__file__).parents[1] / "runtime"))  # tiny_bundle
REFUSAL = "sides: model 'tiny' does not run without GLE; expected gle, found plain"


@pytest.fixture
def page_of(tmp_path: Path, folder: Path) -> Iterator[Callable[[Family], tuple[Page, Path]]]:
    """A function that opens the page on a family's bundle and shows a.png."""
    from tiny_bundle import write_bundle

    with ExitStack() as stack:

        def opened(family: Family) -> tuple[Page, Path]:
            bundle = write_bundle(tmp_path / family, family)
            model = Model(bundle, "onnxruntime", threads=1)
            app = stack.enter_context(opened_app(model, Library.of(folder), Rules()))
            page = Page(TestClient(app, base_url="http://localhost:8765"))
            page.open("a.png")
            return page, bundle

        yield opened


@pytest.mark.parametrize(("family", "sides"), [("sam2", ["gle", "plain"]), ("robustsam", ["gle"])])
def test_masks_are_the_predictors(
    page_of: Callable[[Family], tuple[Page, Path]], image: Pixels, family: Family, sides: list[str]
) -> None:
    page, bundle = page_of(family)
    (each,) = page.masks({"box": BOX}, sides=sides)["objects"]
    for side in sides:
        with Predictor.from_bundle(bundle, "onnxruntime", side == "gle") as predictor:
            predictor.set_image(image)
            expected = predictor.predict(box=(24, 16, 104, 80))
        np.testing.assert_array_equal(mask_in(each[side]["masks"][0]), expected.masks[0])
        np.testing.assert_allclose(each[side]["scores"], expected.iou_predictions, atol=1e-4)


def test_the_page_tells_the_level_that_gle_sees(tmp_path: Path, folder: Path, image: Pixels) -> None:
    """The key is there for a bundle that predicts it and for no other."""
    from test_degradation_level import LEVEL, LEVELLED, listing
    from tiny_bundle import model_of, write_bundle, write_manifest

    bundle = write_bundle(tmp_path / "levelled")
    seen = []
    for _ in range(2):
        with opened_app(Model(bundle, "onnxruntime", threads=1), Library.of(folder), Rules()) as app:
            page = Page(TestClient(app, base_url="http://localhost:8765"))
            page.open("a.png")
            seen.append(page.post("encode", {}).json().get("degradation_level"))
        onnx.save(model_of(LEVELLED), bundle / "gle.onnx")
        write_manifest(bundle, listing(bundle, LEVEL))
    with Predictor.from_bundle(bundle, "onnxruntime") as predictor:
        predictor.set_image(image)
        level = predictor.degradation_level
    assert level is not None and level > 0
    assert seen == [None, pytest.approx(level, abs=1e-3)]


def test_the_page_knows_which_models_need_gle(page_of: Callable[[Family], tuple[Page, Path]]) -> None:
    needs = {}
    for family in ("sam2", "robustsam"):
        page, _ = page_of(family)
        needs[family] = page.client.get("/api/start").json()["model"]["needs_gle"]
    assert needs == {"sam2": False, "robustsam": True}


@pytest.mark.parametrize("sides", [["plain"], ["gle", "plain"]])
def test_masks_without_gle_are_refused_in_one_line(
    page_of: Callable[[Family], tuple[Page, Path]], sides: list[str]
) -> None:
    page, _ = page_of("robustsam")
    for action, further in (("masks", {}), ("save", {"format": "png"}), ("calls", {})):
        answer = page.post(action, page.request({"box": BOX}, sides=sides, **further))
        assert (answer.status_code, answer.json()) == (422, {"error": REFUSAL}), action
    assert page.masks({"box": BOX})["objects"], "the tab still answers"
