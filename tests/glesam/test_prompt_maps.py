"""A drawn prompt against brute force, position by position."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from glesam.nano.prompt_maps import FAR, MAPS, SIGMAS_PX, STRIDE, PromptMaps

HEIGHT, WIDTH = 5, 7
PADDING, BACKGROUND, FOREGROUND, TOP_LEFT, BOTTOM_RIGHT = -1, 0, 1, 2, 3
Points = list[tuple[float, float, int]]
PROMPTS: dict[str, Points] = {
    "box": [(7.0, 12.0, TOP_LEFT), (37.5, 30.0, BOTTOM_RIGHT)],
    "box and points": [
        (20.0, 20.0, FOREGROUND), (30.0, 4.0, BACKGROUND), (7.0, 12.0, TOP_LEFT), (37.5, 30.0, BOTTOM_RIGHT),
    ],
    "points": [(20.0, 20.0, FOREGROUND), (45.0, 33.0, FOREGROUND), (3.0, 4.0, BACKGROUND), (0.0, 0.0, -1)],
    "padding alone": [(0.0, 0.0, PADDING)],
    "box without an area": [(24.0, 16.0, TOP_LEFT), (24.0, 16.0, BOTTOM_RIGHT)],
    "box outside": [(-90.0, 200.0, TOP_LEFT), (-50.0, 230.0, BOTTOM_RIGHT)],
    "corners in the wrong order": [(40.0, 30.0, TOP_LEFT), (10.0, 10.0, BOTTOM_RIGHT)],
    "points outside": [(-500.0, 9000.0, FOREGROUND), (1e6, -1e6, BACKGROUND)],
}  # fmt: skip


def drawn(*prompts: Points) -> Tensor:
    table = torch.tensor(prompts, dtype=torch.float64)
    return PromptMaps()(table[..., :2], table[..., 2].to(torch.int32), HEIGHT, WIDTH)


def brute_force(points: Points) -> Tensor:
    """Every map at every position, from its definition."""
    maps = torch.zeros(MAPS - 1, HEIGHT, WIDTH, dtype=torch.float64)
    corners = [[x + 0.5, y + 0.5] for k in (TOP_LEFT, BOTTOM_RIGHT) for x, y, label in points if label == k]
    for row in range(HEIGHT):
        for column in range(WIDTH):
            centre = (STRIDE * (column + 0.5), STRIDE * (row + 0.5))
            if corners:
                shares, distances = zip(
                    *(along(centre[axis], corners[0][axis], corners[1][axis]) for axis in (0, 1)), strict=True
                )
                maps[:3, row, column] = torch.tensor([math.prod(shares), *distances], dtype=torch.float64)
            for i, (label, sigma) in enumerate((n, s) for n in (FOREGROUND, BACKGROUND) for s in SIGMAS_PX):
                heights = [
                    math.exp(-(math.dist(centre, (x + 0.5, y + 0.5)) ** 2) / (2 * sigma**2))
                    for x, y, own in points
                    if own == label
                ]
                maps[3 + i, row, column] = max(heights, default=0)
    return maps


def along(centre: float, start: float, end: float) -> tuple[float, float]:
    """Fraction of a position that the box covers along one axis, and the distance from the box's centre."""
    covered = min(centre + STRIDE / 2, end) - max(centre - STRIDE / 2, start)
    distance = abs(centre - (start + end) / 2) / max((end - start) / 2, 1)
    return max(covered, 0) / STRIDE, min(distance, FAR)


@pytest.mark.parametrize("kind", PROMPTS)
def test_every_map_is_what_its_definition_says(kind: str) -> None:
    actual = drawn(PROMPTS[kind])[0]
    assert actual.isfinite().all()
    torch.testing.assert_close(actual, brute_force(PROMPTS[kind]), rtol=1e-12, atol=1e-15)


def test_prompts_of_a_batch_do_not_meet() -> None:
    kinds = ["box", "points outside", "corners in the wrong order"]
    together = drawn(*(PROMPTS[kind] for kind in kinds))
    for i, kind in enumerate(kinds):
        assert torch.equal(together[i], drawn(PROMPTS[kind])[0])


@pytest.mark.parametrize("kind", PROMPTS)
def test_padding_points_and_the_order_of_points_change_nothing(kind: str) -> None:
    points = PROMPTS[kind]
    padding = (13.0, 17.0, PADDING)
    assert torch.equal(drawn([padding, *reversed(points), padding]), drawn(points))


def test_a_mask_is_drawn_only_where_it_counts() -> None:
    torch.manual_seed(0)
    maps, logits = (
        drawn(PROMPTS["box"], PROMPTS["box"]),
        5 * torch.randn(2, 1, 2 * HEIGHT, 2 * WIDTH).double(),
    )
    with_masks = PromptMaps.with_masks(maps, logits, torch.tensor([1.0, 0.0]).double())
    assert with_masks.shape == (2, MAPS, HEIGHT, WIDTH)
    assert torch.equal(with_masks[:, :-1], maps)
    assert (with_masks[1, -1] == 0).all()
    mean = logits.sigmoid()[0, 0, 4:6, 6:8].mean()
    torch.testing.assert_close(with_masks[0, -1, 2, 3], 2 * mean - 1)
