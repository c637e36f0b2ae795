"""An object of one picture pasted into another: new objects, new backgrounds, exact masks."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from glesam.data.augmentation import Image, View, Window, jitter_colours, random_turn, warp_image
from glesam.data.label_maps import mask_box
from glesam.data.masks import Mask
from glesam.data.sample import Sample

LARGEST_SHARE = 0.5
"""Largest share of its picture that an object covers; what covers more is a background."""
SIDE = (0.2, 0.7)
"""Longest side of a pasted object, relative to the shortest side of the view it comes into."""
MAX_ENLARGEMENT = 2.0
"""Largest enlargement of an object; beyond it blur would give the object away."""
FEATHER_PX = 0.8
"""Standard deviation of the edge's softness, in px of the view."""
MARGIN = 2
"""Background around a cut-out in px, so that an enlarged object's edge is equally soft on every side."""


def paste_object(view: View, donor: Sample, min_px: int, rng: np.random.Generator) -> View:
    """Pastes one random object of `donor` at a random place, size and angle.

    The pixels it covers are removed from the masks beneath, and the object gets a mask of its own, the last
    one. The view is returned unchanged where the donor has no object that fits, or where fewer than `min_px`
    px of it would be visible.
    """
    mask = random_object(donor, rng)
    if mask is None:
        return view
    colours, cut_out = cut(donor.image, mask)
    height, width = view.image.shape[:2]
    window = random_place(cut_out, (width, height), rng)
    opacity = warp_image(cut_out, window, cv2.BORDER_CONSTANT)  # nothing past the cut-out's edge
    pasted: Mask = opacity >= 128
    if int(pasted.sum()) < max(1, min_px):
        return view
    blended = blend(view.image, warp_image(jitter_colours(colours, rng), window), opacity)
    return View(blended, view.masks.cut(pasted).with_mask(pasted), view.scale)


def random_object(donor: Sample, rng: np.random.Generator) -> Mask | None:
    """A random mask of `donor` that is no background; None where there is none."""
    largest = LARGEST_SHARE * donor.image.shape[0] * donor.image.shape[1]
    for i in rng.permutation(len(donor.masks)):
        mask: Mask = donor.masks[int(i)]
        if mask.sum() <= largest:
            return mask
    return None


def cut(image: Image, mask: Mask) -> tuple[Image, Image]:
    """Cuts out the object's box and a margin: colours uint8 [h, w, 3], opacity uint8 [h, w] of 0 or 255."""
    x0, y0, x1, y1 = mask_box(mask)
    around = (MARGIN, MARGIN)
    colours = np.pad(image[y0:y1, x0:x1], (around, around, (0, 0)), mode="edge")
    opacity = np.pad(mask[y0:y1, x0:x1].astype(np.uint8) * np.uint8(255), (around, around))
    return colours, opacity


def random_place(cut_out: Image, view: tuple[int, int], rng: np.random.Generator) -> Window:
    """A window that puts the cut-out's centre at a random place in a view of (w, h) px."""
    extent = np.array(cut_out.shape[1::-1], float)
    factor = min(MAX_ENLARGEMENT, rng.uniform(*SIDE) * min(view) / extent.max())
    linear = random_turn(rng, affine_share=1.0) * factor
    from_centre = rng.uniform(-0.5, 0.5, 2) * view
    return Window(linear, extent / 2 - np.linalg.solve(linear, from_centre), view)


def blend(below: Image, above: Image, opacity: NDArray[np.uint8]) -> Image:
    """Blends `above` over `below`; the opacity is softened by a pixel, as edges in photographs are."""
    soft = cv2.GaussianBlur(opacity, (0, 0), FEATHER_PX)
    x0, y0, x1, y1 = mask_box(soft > 0)
    window = slice(y0, y1), slice(x0, x1)
    weight = soft[window][..., None].astype(np.float32) / 255
    mixed = below[window] + weight * (above[window].astype(np.float32) - below[window])
    image: Image = below.copy()
    image[window] = np.round(mixed)
    return image
