"""The operations by name: their arguments, and what they leave alone (paper.md, section 8)."""

from dataclasses import replace

import numpy as np
import pytest
from rectangles import noise_sample

from lightning_st.transforms.auto_augment_policies import AUTO_AUGMENT, RAND_AUGMENT
from lightning_st.transforms.operations import OPERATIONS, DrawnOperation, apply_operation, draw_operation
from lightning_st.types import BoxKind

COLOUR = {
    "AutoContrast",
    "Equalize",
    "Invert",
    "Posterize",
    "Solarize",
    "SolarizeAdd",
    "Color",
    "Contrast",
    "Brightness",
    "Sharpness",
}
MOVES = {"Rotate", "TranslateX", "TranslateY", "ShearX", "ShearY"}
GEOMETRIC = MOVES | {f"{name}_BBox" for name in MOVES}
IN_BOXES = {name for name in OPERATIONS if name.endswith("_Only_BBoxes")}
BOXES = [[20, 30, 70, 80], [100, 10, 180.5, 60.25], [0, 90, 30, 150], [150, 100, 200, 150]]


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("Rotate_BBox", 30),
        ("ShearX_BBox", 0.3),
        ("ShearY_BBox", 0.3),
        ("TranslateX_BBox", 250),
        ("TranslateY_BBox", 250),
        ("TranslateX", 100),
        ("Rotate", 30),
        ("ShearY", 0.3),
        ("Cutout_40", 40),
        ("TranslateX_Only_BBoxes", 120),
        ("TranslateY_Only_BBoxes", 120),
        ("Rotate_Only_BBoxes", 30),
        ("Color", 1.9),
        ("Contrast", 1.9),
        ("Brightness", 1.9),
        ("Sharpness", 1.9),
        ("Posterize", 4),
        ("Solarize", 256),
        ("SolarizeAdd", 110),
        ("Cutout", 100),
        ("Cutout_Only_BBoxes", 50),
        ("BBox_Cutout", 0.75),
    ],
)
def test_argument_at_level_10(name, argument):
    assert OPERATIONS[name].argument(10) == pytest.approx(argument)


@pytest.mark.parametrize(
    ("name", "level", "argument"),
    [
        ("Posterize", 2, 1),  # the released code keeps no bit and turns the image black
        ("Posterize", 8, 3),
        ("Solarize", 4, 102),
        ("SolarizeAdd", 4, 44),
        ("Color", 0, 0.1),
        ("Color", 6, 1.18),
        ("Cutout", 8, 80),
        ("Rotate_BBox", 6, 18),
        ("TranslateX_BBox", 4, 100),
    ],
)
def test_argument_at_other_levels(name, level, argument):
    assert OPERATIONS[name].argument(level) == pytest.approx(argument)


def test_sign_is_flipped_half_of_the_time():
    generator = np.random.default_rng(0)
    for name, operation in OPERATIONS.items():
        signs = np.sign([draw_operation(generator, name, 10).argument for _ in range(400)])
        expected = 0.5 if name.startswith(("Rotate", "Shear", "Translate")) else 0
        assert (signs < 0).mean() == pytest.approx(expected, abs=0.1), name
        assert operation.is_signed == (expected > 0)


def test_an_operation_happens_with_its_probability():
    generator = np.random.default_rng(0)
    drawn = [draw_operation(generator, "Equalize", 4, 0.3) for _ in range(3000)]
    assert np.mean([operation is not None for operation in drawn]) == pytest.approx(0.3, abs=0.03)
    assert all(draw_operation(generator, "Equalize", 4, 1.0) for _ in range(100))
    assert not any(draw_operation(generator, "Equalize", 4, 0.0) for _ in range(100))


def test_every_policy_names_operations_that_there_are():
    named = {name for policy in AUTO_AUGMENT.values() for sub_policy in policy for name, _, _ in sub_policy}
    assert named.union(*RAND_AUGMENT.values()) <= set(OPERATIONS)


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("boxes", [BOXES, []], ids=["boxes", "no boxes"])
@pytest.mark.parametrize("size", [(150, 200), (1, 1), (2, 300)], ids=str)
def test_size_and_box_count_stay(name, boxes, size):
    sample = noise_sample(*size, np.minimum(np.reshape(boxes, (-1, 4)), [size[1], size[0]] * 2))
    sample.mask = np.zeros(size, np.uint8)
    sample.mask.flags.writeable = False
    for seed in range(10):
        changed = apply_operation(sample, draw_operation(np.random.default_rng(seed), name, 10))
        assert changed.image.shape == (*size, 3)
        assert changed.image.dtype == changed.mask.dtype == np.uint8
        assert changed.mask.shape == size
        assert changed.boxes.shape == sample.boxes.shape
        assert (changed.boxes >= 0).all()
        assert (changed.boxes <= [size[1], size[0]] * 2).all()
        np.testing.assert_array_equal(changed.labels, sample.labels)
        np.testing.assert_array_equal(changed.kinds, sample.kinds)


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_box_without_area_does_no_harm(name):
    sample = noise_sample(150, 200, [[5, 5, 5, 9], [7, 7, 7, 7], [200, 150, 200, 150]])
    drawn = replace(draw_operation(np.random.default_rng(1), name, 5), box_probability=1.0)
    assert apply_operation(sample, drawn).boxes.shape == (3, 4)


@pytest.mark.parametrize("name", sorted(set(OPERATIONS) - GEOMETRIC))
def test_boxes_do_not_move(name):
    sample = noise_sample(150, 200, BOXES)
    changed = apply_operation(sample, draw_operation(np.random.default_rng(1), name, 5))
    np.testing.assert_array_equal(changed.boxes, sample.boxes)


@pytest.mark.parametrize("name", sorted(set(OPERATIONS) - {"Solarize", "Solarize_Only_BBoxes"}))
def test_the_picture_changes(name):
    sample = noise_sample(150, 200, BOXES)
    sample = replace(sample, image=sample.image // 2 + 30)
    drawn = replace(draw_operation(np.random.default_rng(1), name, 4), box_probability=1.0)
    assert (apply_operation(sample, drawn).image != sample.image).any(axis=-1).sum() > 50


def test_solarize_at_level_10_is_nothing():
    sample = noise_sample(150, 200, BOXES)
    for level, changes in ((10, False), (5, True)):
        changed = apply_operation(sample, draw_operation(np.random.default_rng(1), "Solarize", level))
        assert (changed.image != sample.image).any() == changes


@pytest.mark.parametrize("name", sorted(IN_BOXES))
def test_inside_boxes_of_objects_only(name):
    kinds = [BoxKind.OBJECT, BoxKind.CROWD, BoxKind.UNSURE, BoxKind.OBJECT]
    sample = noise_sample(150, 200, BOXES, kinds)
    drawn = replace(draw_operation(np.random.default_rng(2), name, 6), box_probability=1.0)
    changed = (apply_operation(sample, drawn).image != sample.image).any(axis=-1)
    objects = np.zeros((150, 200), bool)
    objects[30:80, 20:70] = objects[100:150, 150:200] = True
    assert changed[30:80, 20:70].any()
    assert changed[100:150, 150:200].any()
    assert not changed[~objects].any()


@pytest.mark.parametrize("name", sorted(IN_BOXES))
def test_inside_a_box_it_is_the_operation_on_a_picture_of_the_box(name):
    sample = noise_sample(150, 200, [BOXES[0]])
    sample.mask = np.ascontiguousarray(sample.image[..., 0])
    drawn = replace(draw_operation(np.random.default_rng(2), name, 6), box_probability=1.0)
    changed = apply_operation(sample, drawn)
    alone = noise_sample(50, 50, [])
    alone = replace(alone, image=sample.image[30:80, 20:70], mask=sample.mask[30:80, 20:70])
    expected = {"Flip": lambda s: (s.image[:, ::-1], s.mask[:, ::-1])}
    whole = {"Rotate": "Rotate_BBox", "TranslateX": "TranslateX_BBox", "TranslateY": "TranslateY_BBox"}
    whole |= {"ShearX": "ShearX_BBox", "ShearY": "ShearY_BBox", "Equalize": "Equalize", "Solarize": "Solarize"}
    kind = name.removesuffix("_Only_BBoxes")
    if kind == "Cutout":
        hidden = (changed.image[30:80, 20:70] != alone.image).any(axis=-1)
        assert (changed.image[30:80, 20:70][hidden] == 128).all()
        return
    if kind == "Flip":
        image, mask = expected[kind](alone)
    else:
        on_its_own = apply_operation(alone, DrawnOperation(whole[kind], drawn.argument))
        image, mask = on_its_own.image, on_its_own.mask
    np.testing.assert_array_equal(changed.image[30:80, 20:70], image)
    np.testing.assert_array_equal(changed.mask[30:80, 20:70], mask)


def test_a_third_of_the_boxes():
    boxes = [[x, y, x + 5, y + 5] for x in range(0, 200, 5) for y in range(0, 150, 5)]
    sample = noise_sample(150, 200, boxes)
    changed = apply_operation(sample, draw_operation(np.random.default_rng(0), "Flip_Only_BBoxes", 5, 0.6))
    in_box = (changed.image != sample.image).any(axis=-1).reshape(30, 5, 40, 5).any(axis=(1, 3))
    assert in_box.mean() == pytest.approx(0.2, abs=0.03)


def hidden(sample, drawn, pixel_scale=(1.0, 1.0)):
    """Where an operation has put grey, as a box, and how many pixels."""
    changed = (apply_operation(sample, drawn, pixel_scale).image != sample.image).any(axis=-1)
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    return (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1), (columns[-1] + 1 - columns[0], rows[-1] + 1 - rows[0])


@pytest.mark.parametrize(("pixel_scale", "side"), [((1.0, 1.0), (200, 200)), ((0.5, 0.25), (100, 50))])
def test_cutout_hides_a_square_of_the_original_image(pixel_scale, side):
    sample = noise_sample(600, 700, [])
    sides = [
        hidden(sample, draw_operation(np.random.default_rng(seed), "Cutout", 10), pixel_scale)[1] for seed in range(30)
    ]
    assert np.max(sides, axis=0).tolist() == list(side)  # less where the border of the image cuts it
    assert np.min(sides) >= min(side) // 2


def test_bbox_cutout_hides_a_part_of_one_box():
    sample = noise_sample(150, 200, BOXES)
    chosen = set()
    for seed in range(40):
        (left, top, right, bottom), (width, height) = hidden(
            sample, draw_operation(np.random.default_rng(seed), "BBox_Cutout", 10)
        )
        centre_x, centre_y = (left + right) / 2, (top + bottom) / 2
        near = [
            row
            for row, (x1, y1, x2, y2) in enumerate(BOXES)
            if x1 - 1 <= centre_x <= x2 + 1
            and y1 - 1 <= centre_y <= y2 + 1
            and width <= 0.75 * (x2 - x1) + 1
            and height <= 0.75 * (y2 - y1) + 1
        ]
        assert near
        chosen.update(near)
    assert chosen == {0, 1, 2, 3}


def test_the_same_draw_does_the_same():
    sample = noise_sample(150, 200, BOXES)
    for name in OPERATIONS:
        drawn = draw_operation(np.random.default_rng(3), name, 7)
        assert drawn == draw_operation(np.random.default_rng(3), name, 7)
        first, second = apply_operation(sample, drawn), apply_operation(sample, drawn)
        np.testing.assert_array_equal(first.image, second.image)
        np.testing.assert_array_equal(first.boxes, second.boxes)
