"""Prompts are checked against the picture and encoded with SAM's labels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from glesam_runtime import Prompt, PromptError, logits_from_mask
from glesam_runtime.preprocess import longest_side
from glesam_runtime.prompts import encode_prompts

GEOMETRY = longest_side((96, 128), 64)  # half the size, 48 rows used of 64


def test_a_box_carries_two_corners_and_no_padding() -> None:
    tensors = encode_prompts([Prompt(box=(20, 10, 60, 50))], GEOMETRY)
    np.testing.assert_array_equal(tensors.point_coords, [[[10, 5], [30, 25]]])
    np.testing.assert_array_equal(tensors.point_labels, [[2, 3]])
    assert tensors.point_labels.dtype == np.int32
    assert tensors.point_coords.dtype == np.float32


def test_points_without_a_box_end_in_one_padding_point() -> None:
    prompt = Prompt(points=[(20, 10)], background_points=[(40, 80), (2, 2)])
    tensors = encode_prompts([prompt], GEOMETRY)
    np.testing.assert_array_equal(tensors.point_coords, [[[10, 5], [20, 40], [1, 1], [0, 0]]])
    np.testing.assert_array_equal(tensors.point_labels, [[1, 0, 0, -1]])


def test_points_come_before_the_corners_of_their_box() -> None:
    tensors = encode_prompts([Prompt((0, 0, 128, 96), [(64, 48)])], GEOMETRY)
    np.testing.assert_array_equal(tensors.point_labels, [[1, 2, 3]])


def test_a_shorter_prompt_is_padded_to_its_neighbours() -> None:
    long = Prompt(points=[(1, 1), (2, 2), (3, 3)])
    tensors = encode_prompts([Prompt(box=(0, 0, 9, 9)), long], GEOMETRY)
    np.testing.assert_array_equal(tensors.point_labels, [[2, 3, -1, -1], [1, 1, 1, -1]])
    np.testing.assert_array_equal(tensors.point_coords[0, 2:], 0)


def test_only_the_prompts_with_a_mask_say_so() -> None:
    mask = np.full((16, 16), 3, np.float32)
    tensors = encode_prompts([Prompt(mask_input=mask), Prompt(points=[(5, 5)])], GEOMETRY)
    np.testing.assert_array_equal(tensors.has_mask_input, [1, 0])
    np.testing.assert_array_equal(tensors.mask_input[:, 0].max(axis=(1, 2)), [3, 0])
    np.testing.assert_array_equal(tensors.point_labels, [[-1, -1], [1, -1]])


@pytest.mark.parametrize(
    "prompt",
    [
        Prompt(box=(-1.5, 0, 10, 10)),
        Prompt(box=(0, 0, 130, 10)),
        Prompt(box=(0, 0, 10, 97.5)),
        Prompt(box=(10, 10, 5, 20)),
        Prompt(box=(10, 10, 10, 20)),
        Prompt(box=(0, 0, float("nan"), 10)),
        Prompt(box=(0, 0, float("inf"), 10)),
        Prompt(box=(0, 0, 1e39, 10)),
        Prompt(box=(0, 0, 10)),  # type: ignore[arg-type]
        Prompt(box="abcd"),  # type: ignore[arg-type]
        Prompt(points=[(129.1, 0)]),
        Prompt(points=[(0, -1.1)]),
        Prompt(points=[(float("nan"), 0)]),
        Prompt(points=[1, 2]),  # type: ignore[list-item]
        Prompt(points=[(1, 2, 3)]),  # type: ignore[list-item]
        Prompt(background_points=[(0, 98)]),
        Prompt(mask_input=np.zeros((15, 16), np.float32)),
        Prompt(mask_input=np.full((16, 16), np.nan, np.float32)),
        Prompt(),
    ],
)
def test_a_prompt_that_does_not_fit_is_refused_in_one_line(prompt: Prompt) -> None:
    with pytest.raises(PromptError) as caught:
        encode_prompts([prompt], GEOMETRY)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("box", "inside"),
    [
        ((-0.4, 20, 128.3, 80), (0, 20, 128, 80)),
        ((-1, -1, 129, 97), (0, 0, 128, 96)),
        ((3, 4, 5, 96.9), (3, 4, 5, 96)),
    ],
)
def test_a_box_up_to_a_pixel_outside_is_clipped(box: tuple[float, ...], inside: tuple[float, ...]) -> None:
    clipped = encode_prompts([Prompt(box=box)], GEOMETRY)  # type: ignore[arg-type]
    expected = encode_prompts([Prompt(box=inside)], GEOMETRY)  # type: ignore[arg-type]
    np.testing.assert_array_equal(clipped.point_coords, expected.point_coords)


def test_a_point_up_to_a_pixel_outside_is_on_the_border_pixel() -> None:
    outside, border = [(-0.5, 10), (128, 96.7), (127.5, -1)], [(0, 10), (127, 95), (127.5, 0)]
    clipped = encode_prompts([Prompt(points=outside)], GEOMETRY)
    expected = encode_prompts([Prompt(points=border)], GEOMETRY)
    np.testing.assert_array_equal(clipped.point_coords, expected.point_coords)


@pytest.mark.parametrize(
    "box", [(0.1, 0.2, 0.5, 0.9), (0, 0, 1, 1), (0.25, 0, 0.75, 1), (-0.01, 0.1, 1.004, 0.9)]
)
def test_a_normalised_box_is_refused_as_one(box: tuple[float, float, float, float]) -> None:
    with pytest.raises(
        PromptError, match=r"found numbers from 0 to 1, as of a normalised box; multiply X by"
    ):
        encode_prompts([Prompt(box=box)], GEOMETRY)


def test_a_refusal_names_the_limits_of_the_picture() -> None:
    with pytest.raises(PromptError, match=r"box 0 0 200 10: expected 0 <= X0 < X1 <= 128 and"):
        encode_prompts([Prompt(box=(0, 0, 200, 10))], GEOMETRY)


def test_other_types_and_a_bool_mask_for_logits_are_refused() -> None:
    with pytest.raises(PromptError, match="prompts: expected Prompt, found tuple; write prompts="):
        encode_prompts([(0, 0, 5, 5)], GEOMETRY)  # type: ignore[list-item]
    mask = np.ones((16, 16), bool)
    with pytest.raises(PromptError, match="found a bool mask; logits_from_mask"):
        encode_prompts([Prompt(mask_input=mask)], GEOMETRY)  # type: ignore[arg-type]


def test_no_prompts_at_all_are_refused() -> None:
    with pytest.raises(PromptError, match="no prompt"):
        encode_prompts([], GEOMETRY)


def test_a_mask_picture_becomes_logits_where_it_lies_in_the_input() -> None:
    mask = np.zeros((96, 128), np.uint8)
    mask[:, 64:] = 255
    logits = logits_from_mask(mask, GEOMETRY)
    assert logits.dtype == np.float32
    assert logits.shape == (16, 16)
    assert (logits[:12, 9:] > 5).all()
    assert (logits[:, :7] < -5).all()
    assert (logits[12:] < -5).all()  # the padding is background


def test_a_bool_mask_means_the_same_as_its_picture() -> None:
    mask = np.zeros((96, 128), bool)
    mask[:, 64:] = True
    expected = logits_from_mask(np.where(mask, np.uint8(255), np.uint8(0)), GEOMETRY)
    np.testing.assert_array_equal(logits_from_mask(mask, GEOMETRY), expected)


@pytest.mark.parametrize(
    ("dtype", "content"), [(np.uint8, "values of 0 and 1"), (np.float32, "float32"), (np.int64, "int64")]
)
def test_a_mask_of_another_type_or_of_0_and_1_is_refused(dtype: npt.DTypeLike, content: str) -> None:
    with pytest.raises(PromptError, match=f"white .255. = object, or bool, found {content}; convert it"):
        logits_from_mask(np.ones((96, 128), dtype), GEOMETRY)  # type: ignore[arg-type]


def test_a_mask_picture_of_another_size_is_refused() -> None:
    with pytest.raises(PromptError, match="expected 128 x 96 pixels like the picture, found 96 x"):
        logits_from_mask(np.zeros((128, 96), np.uint8), GEOMETRY)
