"""The fused geometry: the picture, the boxes and the mask go to the same place."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rectangles import draw_sample, extent, find_in_image, noise_sample

from lightning_st.transforms import fit
from lightning_st.transforms.geometry import Geometry, apply_geometry, draw_geometry, fitting_scale
from lightning_st.types import PADDING_COLOUR, BoxKind

fractions = st.floats(0, 1, exclude_max=True)
geometries = st.builds(
    lambda scale, y, x, flip: Geometry(scale, (y, x), flip), st.floats(0.15, 6), fractions, fractions, st.booleans()
)


@st.composite
def samples(draw):
    height, width = draw(st.integers(30, 250)), draw(st.integers(30, 250))
    # Three boxes in three columns, so that none hides another.
    edges = sorted(draw(st.lists(st.integers(0, width), min_size=6, max_size=6, unique=True)))
    tops = [draw(st.integers(0, height - 12)) for _ in range(3)]
    bottoms = [draw(st.integers(top + 10, height)) for top in tops]
    boxes = zip(edges[::2], tops, edges[1::2], bottoms, strict=True)
    return draw_sample(height, width, list(boxes))


@given(samples(), geometries)
@settings(max_examples=150, deadline=None)
def test_picture_boxes_and_mask_agree(sample, geometry):
    size, image_size = sample.image.shape[:2], (160, 200)
    moved = apply_geometry(sample, geometry, size, image_size)
    assert moved.image.shape == (*image_size, 3)
    assert moved.mask.shape == image_size
    for box, row in zip(moved.boxes, moved.labels, strict=True):
        if min(box[2:] - box[:2]) >= 3:  # below, a blurred rectangle need not keep half of its brightness
            np.testing.assert_allclose(find_in_image(moved.image, row), box, atol=1)
            np.testing.assert_allclose(extent(moved.mask == row + 1), box, atol=1)
    for row in set(range(3)) - set(moved.labels.tolist()):
        assert find_in_image(moved.image, row) is None


@given(samples(), geometries)
@settings(max_examples=50, deadline=None)
def test_boxes_are_where_the_paper_puts_them(sample, geometry):
    """Against the formula of the released code, with the slack of a window in whole pixels of the image."""
    (height, width), output = sample.image.shape[:2], (160, 200)
    scaled = [round(height * geometry.scale), round(width * geometry.scale)]
    offsets = [int(u * max(0, s - o)) for u, s, o in zip(geometry.offset, scaled, output, strict=True)]
    expected = []
    for left, top, right, bottom in sample.boxes.tolist():
        if geometry.flip:
            left, right = width - right, width - left
        xs = [np.clip(x * scaled[1] / width - offsets[1], 0, min(output[1], scaled[1])) for x in (left, right)]
        ys = [np.clip(y * scaled[0] / height - offsets[0], 0, min(output[0], scaled[0])) for y in (top, bottom)]
        expected.append([xs[0], ys[0], xs[1], ys[1]])
    moved = apply_geometry(sample, geometry, (height, width), output)
    slack = 1 + geometry.scale
    np.testing.assert_allclose(moved.boxes, np.array(expected)[moved.labels], atol=slack)
    gone = np.delete(np.array(expected), moved.labels, axis=0)
    assert ((gone[:, 2:] - gone[:, :2]).min(axis=1, initial=np.inf) <= slack).all()


def test_without_crop_boxes_are_exact():
    sample = noise_sample(300, 400, [[10, 20, 30.5, 40.25], [0, 0, 400, 300]])
    moved = apply_geometry(sample, Geometry(0.5), (300, 400), (256, 256))
    np.testing.assert_array_equal(moved.boxes, sample.boxes / 2)


def test_crop_at_full_size_copies_pixels():
    sample = noise_sample(300, 400, [])
    moved = apply_geometry(sample, Geometry(1.0, (0.5, 0.25)), (300, 400), (100, 200))
    np.testing.assert_array_equal(moved.image, sample.image[100:200, 50:250])


def test_flip_mirrors_image_boxes_and_mask():
    sample = draw_sample(40, 60, [(5, 10, 20, 30), (30, 0, 60, 15)])
    moved = apply_geometry(sample, Geometry(1.0, flip=True), (40, 60), (40, 60))
    np.testing.assert_array_equal(moved.image, sample.image[:, ::-1])
    np.testing.assert_array_equal(moved.mask, sample.mask[:, ::-1])
    np.testing.assert_array_equal(moved.boxes, [[40, 10, 55, 30], [0, 0, 30, 15]])


def test_two_flips_are_none():
    sample = draw_sample(41, 60, [(5, 10, 20, 30), (30, 0, 60, 15)])
    twice = sample
    for _ in range(2):
        twice = apply_geometry(twice, Geometry(1.0, flip=True), (41, 60), (41, 60))
    np.testing.assert_array_equal(twice.image, sample.image)
    np.testing.assert_array_equal(twice.boxes, sample.boxes)
    np.testing.assert_array_equal(twice.mask, sample.mask)


def test_a_flip_shows_the_mirrored_crop():
    """The crop is drawn on the flipped image, so that the offset counts from the right of the original."""
    sample = noise_sample(100, 400, [])
    moved = apply_geometry(sample, Geometry(1.0, (0.0, 0.25), flip=True), (100, 400), (100, 200))
    np.testing.assert_array_equal(moved.image, sample.image[:, 150:350][:, ::-1])


def test_mask_takes_the_pixel_in_the_middle():
    sample = noise_sample(30, 60, [])
    sample.mask = np.ascontiguousarray(sample.image[..., 0])
    moved = apply_geometry(sample, Geometry(1 / 3), (30, 60), (10, 20))
    np.testing.assert_array_equal(moved.mask, sample.mask[1::3, 1::3])


def test_outside_of_the_image_is_padding():
    moved = apply_geometry(draw_sample(50, 100, []), Geometry(0.5), (50, 100), (64, 64))
    assert (moved.image[25:] == PADDING_COLOUR).all()
    assert (moved.image[:, 50:] == PADDING_COLOUR).all()
    assert (moved.image[:25, :50] == 0).all()
    assert (moved.mask[25:] == 255).all()
    assert (moved.mask[:, 50:] == 255).all()
    assert (moved.mask[:25, :50] == 0).all()


def test_per_box_arrays_are_filtered_together():
    boxes = [[0, 0, 10, 10], [150, 20, 190, 60], [5, 5, 5, 9], [60, 60, 140, 90], [180, 0, 199, 199]]
    kinds = [BoxKind.OBJECT, BoxKind.CROWD, BoxKind.OBJECT, BoxKind.UNSURE, BoxKind.OBJECT]
    sample = noise_sample(200, 200, boxes, kinds)
    moved = apply_geometry(sample, Geometry(1.0), (200, 200), (100, 160))
    np.testing.assert_array_equal(moved.boxes, [[0, 0, 10, 10], [150, 20, 160, 60], [60, 60, 140, 90]])
    np.testing.assert_array_equal(moved.labels, [0, 1, 3])
    np.testing.assert_array_equal(moved.kinds, [BoxKind.OBJECT, BoxKind.CROWD, BoxKind.UNSURE])


def test_what_rounding_leaves_of_a_box_is_no_box():
    sample = noise_sample(100, 300, [[10, 10, 100.001, 50], [10, 10, 101, 50]])
    moved = apply_geometry(sample, Geometry(1.0, (0.0, 0.5)), (100, 300), (100, 100))
    np.testing.assert_array_equal(moved.labels, [1])


@pytest.mark.parametrize("size", [(1, 1), (1, 2000), (2000, 1), (2, 3), (1, 40000)])
@pytest.mark.parametrize("scale", [0.001, 0.3, 1.0, 7.7, 640.0])
def test_any_shape_of_image_fills_the_output(size, scale):
    height, width = size
    sample = noise_sample(height, width, [[0, 0, width, height]])
    moved = apply_geometry(sample, Geometry(scale, (0.9, 0.9), flip=True), size, (48, 64))
    covered = min(64, max(1, round(width * scale))), min(48, max(1, round(height * scale)))
    assert moved.image.shape == (48, 64, 3)
    np.testing.assert_array_equal(moved.boxes, [[0, 0, *covered]])


@pytest.mark.parametrize(
    ("scale", "reduction"),
    [(2.0, 1), (1.0, 1), (0.51, 1), (0.5, 2), (0.26, 2), (0.25, 4), (0.13, 4), (0.125, 8), (0.001, 8)],
)
def test_reduction_never_goes_below_what_the_output_shows(scale, reduction):
    assert Geometry(scale).reduction == reduction


@given(st.integers(60, 900), st.integers(60, 900), st.floats(0.05, 0.5), fractions, fractions, st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_reduced_image_lands_in_the_same_place(height, width, scale, y, x, flip):
    geometry = Geometry(scale, (y, x), flip)
    times = geometry.reduction
    left, top = width // 4 // times * times, height // 4 // times * times
    sample = draw_sample(height, width, [(left, top, left + width // 2, top + height // 2)], with_mask=False)
    reduced_size = -(-height // times), -(-width // times)  # JPEG decoders round up
    ratio = np.array([reduced_size[1] / width, reduced_size[0] / height] * 2, np.float32)
    image = cv2.resize(sample.image, reduced_size[::-1], interpolation=cv2.INTER_AREA)
    reduced = replace(sample, image=image, boxes=sample.boxes * ratio)
    whole = apply_geometry(sample, geometry, (height, width), (96, 96))
    moved = apply_geometry(reduced, geometry, (height, width), (96, 96))
    np.testing.assert_array_equal(moved.labels, whole.labels)
    np.testing.assert_allclose(moved.boxes, whole.boxes, atol=1)


def test_a_reduced_jpeg_looks_like_the_whole_one():
    smooth = cv2.GaussianBlur(noise_sample(480, 640, []).image, (0, 0), 6)
    smooth = cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX)
    _, encoded = cv2.imencode(".jpg", smooth, [cv2.IMWRITE_JPEG_QUALITY, 95])
    sample = noise_sample(480, 640, [[64, 48, 320, 240]])
    geometry = Geometry(0.4, (0.3, 0.7), flip=True)
    assert geometry.reduction == 2
    whole = apply_geometry(
        replace(sample, image=cv2.imdecode(encoded, cv2.IMREAD_COLOR)), geometry, (480, 640), (160, 192)
    )
    image = cv2.imdecode(encoded, cv2.IMREAD_REDUCED_COLOR_2)
    reduced = apply_geometry(replace(sample, image=image, boxes=sample.boxes / 2), geometry, (480, 640), (160, 192))
    np.testing.assert_allclose(reduced.boxes, whole.boxes, atol=0.5)
    assert np.abs(reduced.image.astype(int) - whole.image).mean() < 2.5


@pytest.mark.parametrize("scale_jitter", [(0.8, 1.2), (0.5, 2.0)])
def test_drawn_scale_fills_its_range(scale_jitter):
    generator = np.random.default_rng(0)
    drawn = [draw_geometry(generator, (480, 640), (640, 640), scale_jitter, 0.5) for _ in range(2000)]
    scales = np.array([geometry.scale for geometry in drawn])  # the image fits at 1
    low, high = scale_jitter
    assert low - 0.001 <= scales.min() < low + 0.02
    assert high - 0.02 < scales.max() <= high + 0.001
    assert scales.mean() == pytest.approx((low + high) / 2, abs=0.03)
    assert np.mean([geometry.flip for geometry in drawn]) == pytest.approx(0.5, abs=0.04)
    assert np.ptp([geometry.offset for geometry in drawn], axis=0) == pytest.approx(1, abs=0.01)


def test_scale_fits_the_narrower_side_of_a_whole_number_of_pixels():
    assert fitting_scale((480, 640), (640, 640)) == 1.0
    assert fitting_scale((480, 640), (240, 640)) == 0.5
    assert fitting_scale((100, 100), (33, 64), 0.5) == 0.16  # round(16.5) is 16, as TensorFlow rounds


@pytest.mark.parametrize("size", [(48, 64), (64, 48), (1, 1), (1, 2000), (2000, 3), (500, 500)])
def test_fit_keeps_the_aspect_and_pads_at_the_bottom_and_right(size):
    height, width = size
    image = draw_sample(height, width, [(0, 0, width, height)]).image
    fitted, (scale_x, scale_y) = fit(image, (96, 128))
    assert fitted.shape == (96, 128, 3)
    right, bottom = width * scale_x, height * scale_y
    np.testing.assert_allclose(find_in_image(fitted, 0), [0, 0, right, bottom], atol=1e-6)
    assert right == pytest.approx(128) or bottom == pytest.approx(96)
    np.testing.assert_allclose(
        [right, bottom], np.maximum(1, np.array([width, height]) * min(96 / height, 128 / width)), atol=0.5
    )
    assert (fitted[round(bottom) :] == PADDING_COLOUR).all()
    assert (fitted[:, round(right) :] == PADDING_COLOUR).all()


def test_fit_at_the_same_size_is_a_copy():
    image = noise_sample(64, 64, []).image
    fitted, scales = fit(image, (64, 64))
    assert scales == (1.0, 1.0)
    np.testing.assert_array_equal(fitted, image)
    assert not np.shares_memory(fitted, image)
