"""Rotation, shear and translation against plain numpy, and the boxes against the picture."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rectangles import draw_sample, extent, find_in_image, noise_sample

from lightning_st.transforms import affine
from lightning_st.transforms.affine import GREY_LEVEL, move, move_boxes, move_pixels

AT_FULL_SIZE = (1.0, 1.0)
GREY = (GREY_LEVEL,) * 3


def maps(height, width):
    yield "rotation", affine.rotation(23.0, height, width, AT_FULL_SIZE)
    yield "rotation back", affine.rotation(-30.0, height, width, AT_FULL_SIZE)
    yield "shear_x", affine.shear_x(0.3, height, width, AT_FULL_SIZE)
    yield "shear_y", affine.shear_y(-0.17, height, width, AT_FULL_SIZE)
    yield "translation_x", affine.translation_x(21.4, height, width, AT_FULL_SIZE)
    yield "translation_y", affine.translation_y(-13.0, height, width, AT_FULL_SIZE)


MAPS = dict(maps(60, 90))


def moved_by_hand(image, place, colour):
    """For each pixel of the output, where its middle comes from, and the pixel there."""
    height, width = image.shape[:2]
    y, x = np.mgrid[:height, :width] + 0.5
    inverse = np.linalg.inv(np.vstack([place, [0, 0, 1]]))
    from_x, from_y = (row[0] * x + row[1] * y + row[2] for row in inverse[:2])
    inside = (from_x >= 0) & (from_x < width) & (from_y >= 0) & (from_y < height)
    moved = np.empty_like(image)
    moved[:] = colour
    moved[inside] = image[from_y[inside].astype(int), from_x[inside].astype(int)]
    return moved


@pytest.mark.parametrize("place", MAPS.values(), ids=MAPS)
def test_pixels_come_from_where_the_map_says(place):
    image = noise_sample(60, 90, []).image
    expected = moved_by_hand(image, place, GREY)
    moved = move_pixels(image, place, GREY)
    differing = (moved != expected).any(axis=-1)
    assert differing.mean() < 0.01  # where the place is on the edge between two pixels, either may be taken


@pytest.mark.parametrize("place", MAPS.values(), ids=MAPS)
def test_mask_moves_with_the_image(place):
    sample = noise_sample(60, 90, [])
    sample.mask = np.ascontiguousarray(sample.image[..., 0]) % 7
    moved = move(sample, place)
    inside = move_pixels(np.ones((60, 90), np.uint8), place, (0,)) == 1
    assert not inside.all()
    np.testing.assert_array_equal(moved.mask[inside], moved.image[..., 0][inside] % 7)
    assert (moved.mask[~inside] == 255).all()
    assert (moved.image[~inside] == 128).all()


@given(st.sampled_from(sorted(MAPS)), st.integers(60, 110), st.integers(50, 80), st.integers(8, 30), st.integers(8, 30))
@settings(max_examples=100, deadline=None)
def test_box_is_where_its_rectangle_is_found(name, left, top, width, height):
    sample = draw_sample(160, 200, [(left, top, left + width, top + height)])
    moved = move(sample, dict(maps(160, 200))[name])
    np.testing.assert_allclose(find_in_image(moved.image, 0), moved.boxes[0], atol=1.5)
    np.testing.assert_array_equal(extent(moved.mask == 1), find_in_image(moved.image, 0))


@given(st.sampled_from(sorted(MAPS)), st.integers(0, 80), st.integers(0, 50), st.integers(1, 90), st.integers(1, 60))
@settings(max_examples=100, deadline=None)
def test_nothing_of_a_rectangle_is_outside_of_its_box(name, left, top, width, height):
    moved = move(draw_sample(60, 90, [(left, top, min(90, left + width), min(60, top + height))]), MAPS[name])
    found = find_in_image(moved.image, 0)
    if found is not None:
        assert (found[:2] >= moved.boxes[0, :2] - 1).all()
        assert (found[2:] <= moved.boxes[0, 2:] + 1).all()


@pytest.mark.parametrize("place", MAPS.values(), ids=MAPS)
def test_boxes_are_the_hulls_of_their_corners(place):
    generator = np.random.default_rng(0)
    low = generator.uniform(0, (70, 40), (50, 2))
    boxes = np.concatenate([low, low + generator.uniform(5, 20, (50, 2))], axis=1).astype(np.float32)
    moved = move_boxes(boxes, place, 60, 90)
    for (left, top, right, bottom), box in zip(boxes.tolist(), moved, strict=True):
        corners = [place @ (x, y, 1) for x in (left, right) for y in (top, bottom)]
        xs, ys = np.clip([x for x, _ in corners], 0, 90), np.clip([y for _, y in corners], 0, 60)
        if np.ptp(xs) > 0 and np.ptp(ys) > 0:
            np.testing.assert_allclose(box, [min(xs), min(ys), max(xs), max(ys)], atol=1e-4)


def test_a_box_that_leaves_stays_at_the_border():
    boxes = np.array([[0, 10, 20, 30], [70, 10, 90, 30], [0, 0, 90, 60]], np.float32)
    left = move_boxes(boxes, affine.translation_x(25.0, 60, 90, AT_FULL_SIZE), 60, 90)
    np.testing.assert_allclose(left, [[0, 10, 4.5, 30], [45, 10, 65, 30], [0, 0, 65, 60]])
    down = move_boxes(boxes, affine.translation_y(-55.0, 60, 90, AT_FULL_SIZE), 60, 90)
    np.testing.assert_allclose(down, [[0, 57, 20, 60], [70, 57, 90, 60], [0, 55, 90, 60]])


def test_directions():
    corner = np.zeros((5, 9), np.uint8)
    corner[0, 0] = 1

    def moved_to(place):
        return tuple(np.argwhere(move_pixels(corner, place, (0,)) == 1)[0].tolist())

    assert moved_to(affine.translation_x(-3, 5, 9, AT_FULL_SIZE)) == (0, 3)  # (row, column): by the argument's negative
    assert moved_to(affine.translation_y(-2, 5, 9, AT_FULL_SIZE)) == (2, 0)
    assert moved_to(affine.rotation(180, 5, 9, AT_FULL_SIZE)) == (4, 8)  # about the centre
    assert moved_to(affine.shear_x(0.3, 5, 9, AT_FULL_SIZE)) == (0, 0)  # about the top left
    np.testing.assert_allclose(affine.shear_x(0.3, 5, 9, AT_FULL_SIZE) @ (8, 4, 1), [6.8, 4])
    np.testing.assert_allclose(affine.shear_y(0.3, 5, 9, AT_FULL_SIZE) @ (8, 4, 1), [8, 1.6])


def test_translation_is_in_pixels_of_the_original_image():
    assert affine.translation_x(250, 240, 320, (0.5, 0.25))[0, 2] == -125
    assert affine.translation_y(250, 240, 320, (0.5, 0.25))[1, 2] == -62


@pytest.mark.parametrize("pixels", [-90.0, 90.0, 5000.0])
def test_a_shift_out_of_the_image_leaves_grey(pixels):
    sample = draw_sample(60, 90, [(10, 10, 20, 20)])
    moved = move(sample, affine.translation_x(pixels, 60, 90, AT_FULL_SIZE))
    assert (moved.image == 128).all()
    assert (moved.mask == 255).all()
    assert moved.boxes.shape == (1, 4)


@pytest.mark.parametrize("place", MAPS.values(), ids=MAPS)
def test_no_boxes(place):
    moved = move(noise_sample(60, 90, []), place)
    assert moved.boxes.shape == (0, 4)
    assert moved.boxes.dtype == np.float32
