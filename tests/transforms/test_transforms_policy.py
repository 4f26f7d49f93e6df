"""The policies as a whole: what they draw, and what comes out (paper.md, sections 2 and 8)."""

import pickle
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import albumentations
import cv2
import numpy as np
import pytest
from rectangles import draw_sample, find_in_image, noise_sample

from lightning_st.errors import ConfigError
from lightning_st.transforms import fit, make_policy
from lightning_st.transforms.auto_augment_policies import AUTO_AUGMENT, RAND_AUGMENT
from lightning_st.transforms.geometry import Geometry, apply_geometry, fitting_scale
from lightning_st.transforms.operations import OPERATIONS
from lightning_st.types import PADDING_COLOUR, BoxKind

NAMES = ("none", "S1", "S2", "S3", "S4")
BOXES = [[20, 30, 70, 80], [100, 10, 180.5, 60.25], [0, 90, 30, 150], [150, 100, 200, 150]]


def draws(policy, count=500, size=(480, 640), seed=0):
    generator = np.random.default_rng(seed)
    return [policy.draw(generator, *size) for _ in range(count)]


@pytest.mark.parametrize(("version", "count"), [("v0", 5), ("v1", 20), ("v2", 15), ("v3", 15)])
def test_sub_policies(version, count):
    sub_policies = AUTO_AUGMENT[version]
    assert len(sub_policies) == count
    for sub_policy in sub_policies:
        assert len(sub_policy) in ((2, 3) if version == "v2" else (2,))
        for name, probability, level in sub_policy:
            assert name in OPERATIONS
            assert round(probability * 5, 9) in range(6)  # multiples of 0.2
            assert level in range(0, 11, 2)


def test_v1_begins_with_v0():
    assert AUTO_AUGMENT["v1"][:5] == AUTO_AUGMENT["v0"]


@pytest.mark.parametrize(("target", "count"), [("detection", 10), ("classification", 16)])
def test_rand_augment_has_so_many_operations(target, count):
    assert len(set(RAND_AUGMENT[target])) == len(RAND_AUGMENT[target]) == count


def test_masks_have_the_operations_of_classification_unless_others_are_asked_for():
    assert make_policy("S4", (64, 64), "masks").augmentation.operations == "classification"
    assert make_policy("S4", (64, 64), "masks", operations="detection").augmentation.operations == "detection"
    with pytest.raises(ConfigError, match="Expected operations to be detection or classification, got 'all'"):
        make_policy("S4", (64, 64), operations="all")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(150, 200), (1, 1), (1, 2000), (700, 90)], ids=str)
@pytest.mark.parametrize("boxes", [BOXES, []], ids=["boxes", "no boxes"])
def test_output_is_a_batch_row(name, size, boxes):
    policy = make_policy(name, image_size=(96, 128))
    height, width = size
    kinds = [BoxKind.OBJECT, BoxKind.CROWD, BoxKind.UNSURE, BoxKind.OBJECT][: len(boxes)]
    sample = noise_sample(height, width, np.minimum(np.reshape(boxes, (-1, 4)), [width, height] * 2), kinds)
    sample.mask = np.zeros(size, np.uint8)
    for drawn in draws(policy, 25, size):
        moved = policy.apply(sample, drawn)
        assert moved.image.shape == (96, 128, 3)
        assert moved.mask.shape == (96, 128)
        assert [a.dtype for a in (moved.image, moved.boxes, moved.labels, moved.kinds)] == [
            np.uint8,
            np.float32,
            np.int64,
            np.uint8,
        ]
        assert moved.image.flags.c_contiguous
        assert (moved.boxes >= 0).all()
        assert (moved.boxes <= [128, 96, 128, 96]).all()
        assert (moved.boxes[:, 2:] > moved.boxes[:, :2]).all()
        np.testing.assert_array_equal(moved.kinds, np.array(kinds, np.uint8)[moved.labels])


@pytest.mark.parametrize("name", NAMES)
def test_same_generator_same_bytes(name):
    policy = make_policy(name, image_size=(96, 128))
    sample = noise_sample(150, 200, BOXES)
    first, second = draws(policy, 20, (150, 200), seed=7), draws(policy, 20, (150, 200), seed=7)
    assert first == second
    for one, other in zip(first, second, strict=True):
        one, other = policy.apply(sample, one), policy.apply(sample, other)
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.boxes, other.boxes)
    if name != "none":
        assert first != draws(policy, 20, (150, 200), seed=8)


def test_threads_do_not_change_a_picture():
    policy = make_policy("S4", image_size=(320, 320))
    sample = noise_sample(500, 700, BOXES)
    threads = cv2.getNumThreads()
    pictures = []
    for count in (1, 4):
        cv2.setNumThreads(count)
        pictures.append([policy.apply(sample, drawn).image for drawn in draws(policy, 30, (500, 700))])
    cv2.setNumThreads(threads)
    np.testing.assert_array_equal(*pictures)


def test_draws_and_policies_are_plain_values():
    policy = make_policy("S3", image_size=(96, 128), auto_augment="v2")
    drawn = draws(policy, 1)[0]
    assert pickle.loads(pickle.dumps(policy)) == policy
    assert pickle.loads(pickle.dumps(drawn)) == drawn


def test_none_is_the_geometry_of_evaluation():
    sample = noise_sample(150, 200, BOXES)
    policy = make_policy("none", image_size=(96, 128))
    drawn = draws(policy, 10, (150, 200))
    moved = policy.apply(sample, drawn[0])
    fitted, (scale_x, scale_y) = fit(sample.image, (96, 128))
    assert drawn[0].operations == ()
    np.testing.assert_array_equal(moved.image, fitted)
    np.testing.assert_allclose(moved.boxes, sample.boxes * [scale_x, scale_y, scale_x, scale_y], rtol=1e-6)
    for each in drawn:
        np.testing.assert_array_equal(policy.apply(sample, each).image, fitted)


@pytest.mark.parametrize(
    ("name", "low", "high"), [("S1", 0.8, 1.2), ("S2", 0.8, 1.2), ("S3", 0.5, 2.0), ("S4", 0.5, 2.0)]
)
def test_jitter_and_flip(name, low, high):
    drawn = draws(make_policy(name, image_size=(640, 640)), 2000)
    scales = [each.geometry.scale for each in drawn]  # an image of 480 x 640 fits at 1
    assert low - 0.001 <= min(scales) < low + 0.02
    assert high - 0.02 < max(scales) <= high + 0.001
    assert np.mean([each.geometry.flip for each in drawn]) == pytest.approx(0.5, abs=0.04)


def test_jitter_and_flip_can_be_chosen():
    policy = make_policy("S1", image_size=(640, 640), scale_jitter=(0.1, 0.3), flip_probability=1.0)
    drawn = draws(policy)
    assert all(each.geometry.flip for each in drawn)
    assert max(each.geometry.scale for each in drawn) <= 0.301
    assert {each.reduction for each in drawn} == {2, 4, 8}


def test_reduction_follows_the_drawn_scale():
    for each in draws(make_policy("S4", image_size=(320, 320))):
        assert each.reduction == max(times for times in (1, 2, 4, 8) if times == 1 or times * each.geometry.scale <= 1)


def test_s4_draws_each_operation_alike_at_level_10():
    drawn = draws(make_policy("S4", image_size=(64, 64)), 5000)
    assert all(len(each.operations) == 1 for each in drawn)
    counts = Counter(each.operations[0].name for each in drawn)
    assert set(counts) == set(RAND_AUGMENT["detection"])
    assert min(counts.values()) > 400
    assert {abs(o.argument) for each in drawn for o in each.operations if o.name == "Rotate_BBox"} == {30}


def test_s4_with_two_layers_and_another_magnitude():
    drawn = draws(make_policy("S4", image_size=(64, 64), layers=2, magnitude=5))
    assert all(len(each.operations) == 2 for each in drawn)
    assert {abs(o.argument) for each in drawn for o in each.operations if o.name == "Rotate_BBox"} == {15}


@pytest.mark.parametrize("name", ["S2", "S3"])
def test_auto_augment_draws_sub_policies_alike(name):
    """In v0, TranslateX_BBox comes only in one of five, with .6; Color in another, always; Sharpness with 0."""
    drawn = draws(make_policy(name, image_size=(64, 64)), 5000)
    share = Counter(operation.name for each in drawn for operation in each.operations)
    expected = {"TranslateX_BBox": 0.12, "Equalize": 0.16, "Cutout": 0.16, "ShearX_BBox": 0.08, "ShearY_BBox": 0.2}
    expected |= {"Rotate_BBox": 0.12, "Color": 0.2, "TranslateY_Only_BBoxes": 0.4}  # the last is decided box by box
    assert set(share) == set(expected)
    for operation, probability in expected.items():
        assert share[operation] / 5000 == pytest.approx(probability, abs=0.03), operation
    in_boxes = {o.box_probability for each in drawn for o in each.operations if o.name == "TranslateY_Only_BBoxes"}
    assert sorted(in_boxes) == pytest.approx([0.2 / 3, 0.6 / 3])


@pytest.mark.parametrize("version", AUTO_AUGMENT)
def test_version_is_what_is_drawn(version):
    drawn = draws(make_policy("S2", image_size=(64, 64), auto_augment=version), 2000)
    possible = {name for sub_policy in AUTO_AUGMENT[version] for name, probability, _ in sub_policy if probability > 0}
    in_boxes = {
        name for sub_policy in AUTO_AUGMENT[version] for name, _, _ in sub_policy if OPERATIONS[name].is_per_box
    }
    assert {operation.name for each in drawn for operation in each.operations} == possible | in_boxes


@pytest.mark.parametrize("name", ["S1", "S2", "S3", "S4"])
def test_a_lone_rectangle_is_found_in_its_box(name):
    """Through everything that a policy does, where no colour or cutout hides the rectangle."""
    hiding = {"Cutout", "SolarizeAdd", "Equalize", "Color", "TranslateY_Only_BBoxes"}
    policy, image_size, checked = make_policy(name, image_size=(256, 300)), (300, 256, 300, 256), 0
    sample = draw_sample(240, 320, [(120, 80, 220, 170)])
    for drawn in draws(policy, 300, (240, 320)):
        moved = policy.apply(sample, drawn)
        found = find_in_image(moved.image, 0)
        if hiding & {operation.name for operation in drawn.operations} or found is None:
            continue
        # A pixel for the resampling, and one of the decoded image for the operation's nearest pixel.
        slack, box = 1 + drawn.geometry.scale, moved.boxes[0]
        assert (found[:2] >= box[:2] - slack).all()
        assert (found[2:] <= box[2:] + slack).all()
        is_inside = (box[:2] > 0).all() and (box[2:] < image_size[:2]).all()  # else the window cuts a slanted edge
        if is_inside:
            np.testing.assert_allclose(found, box, atol=slack)
            checked += 1
    assert checked >= 40


def test_operations_come_before_the_geometry():
    """What a rotation uncovers is grey and lies inside; what the crop adds is the padding colour and lies outside."""
    policy = make_policy("S4", image_size=(200, 200), scale_jitter=(0.5, 0.5), flip_probability=0.0)
    drawn = next(each for each in draws(policy, size=(200, 200)) if each.operations[0].name == "Rotate_BBox")
    moved = policy.apply(noise_sample(200, 200, []), drawn)
    assert (moved.image[0, 0] == 128).all()
    assert (moved.image[-1, -1] == PADDING_COLOUR).all()
    assert (moved.image[150, 50] == PADDING_COLOUR).all()


def test_a_reduced_image_is_augmented_alike():
    """Shifts and cutouts are in pixels of the original image, whatever the decoder did."""
    policy = make_policy("S4", image_size=(128, 128), scale_jitter=(0.5, 1.0))
    whole = draw_sample(512, 640, [(240, 200, 400, 360)])
    reduced = replace(whole, image=whole.image[::2, ::2], boxes=whole.boxes / 2, mask=whole.mask[::2, ::2])
    for drawn in draws(policy, 60, (512, 640)):
        assert drawn.reduction >= 2
        one, other = policy.apply(whole, drawn), policy.apply(reduced, drawn)
        np.testing.assert_array_equal(one.labels, other.labels)
        np.testing.assert_allclose(one.boxes, other.boxes, atol=1)
        assert (one.mask != other.mask).mean() < 0.02
        assert np.abs(one.image.astype(int) - other.image).mean() < 6


class Mirror:
    """An own policy: no draw, and the geometry of evaluation, mirrored."""

    def __init__(self, image_size):
        self.image_size = image_size

    def draw(self, generator, height, width):
        return Geometry(fitting_scale((height, width), self.image_size), flip=True)

    def apply(self, sample, drawn):
        return apply_geometry(sample, drawn, sample.image.shape[:2], self.image_size)


def test_an_import_path_makes_a_policy_of_the_size_and_its_options():
    path = "lightning_st.transforms.PaperPolicy"
    policy = make_policy(path, (20, 30), scale_jitter=(1, 1), flip_probability=0.5)
    assert (policy.image_size, policy.flip_probability) == ((20, 30), 0.5)


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("lightning_st.transforms.PaperPolcy", {}, "augment to be the import path of a class or function"),
        (
            "lightning_st.transforms.PaperPolicy",
            {"scale_jiter": 1},
            "cannot be made with augment_options .*scale_jiter",
        ),
    ],
)
def test_an_import_path_that_makes_none_is_refused(path, options, message):
    with pytest.raises(ConfigError, match=message):
        make_policy(path, (20, 30), **options)


def test_an_own_policy_is_taken_as_it_is():
    own = Mirror((64, 64))
    assert make_policy(own, (64, 64)) is own
    with pytest.raises(ConfigError, match=r"the policy's image_size to be that of the batches, \[32, 64\]"):
        make_policy(own, (32, 64))
    with pytest.raises(ConfigError, match="Expected no layers for a Mirror, got 2"):
        make_policy(own, (64, 64), layers=2)


@pytest.mark.parametrize(
    ("augment", "options", "message"),
    [
        ("s4", {}, r"Unknown augment 's4'\. Did you mean 'S4'\? Known: none, S1, S2, S3, S4, "),
        ("S9", {}, "Unknown augment 'S9'"),
        (4, {}, r"the name of a policy, an albumentations\.Compose or a .*Policy, got 4"),
        (None, {}, "Expected augment to be the name of a policy"),
        ("S1", {"magnitude": 5}, "Expected no magnitude for the policy 'S1', got 5"),
        ("S4", {"auto_augment": "v1"}, "Expected no auto_augment for the policy 'S4', got 'v1'"),
        ("none", {"flip_probability": 0.0}, "Expected no flip_probability for the policy 'none'"),
        ("S2", {"layers": 2}, "Expected no layers for the policy 'S2'"),
        ("S2", {"auto_augment": "v4"}, "Expected auto_augment to be v0, v1, v2 or v3, got 'v4'"),
        ("S4", {"magnitud": 5}, r"Unknown option of augment 'magnitud'\. Did you mean 'magnitude'"),
        ("S4", {"magnitude": "ten"}, "Expected magnitude to be 0 to 10, got 'ten'"),
        ("S4", {"layers": 1.5}, "Expected layers to be a whole number, at least 1, got 1.5"),
        ("S1", {"scale_jitter": 2.0}, "Expected scale_jitter to be two scales"),
        ("S1", {"scale_jitter": (0.5, float("inf"))}, "Expected scale_jitter to be two scales"),
        ("S4", {"magnitude": 11}, "Expected magnitude to be 0 to 10, got 11"),
        ("S4", {"layers": 0}, "Expected layers to be a whole number, at least 1, got 0"),
        ("S1", {"flip_probability": 1.5}, "Expected flip_probability to be 0 to 1, got 1.5"),
        ("S1", {"scale_jitter": (2.0, 0.5)}, "Expected scale_jitter to be two scales"),
        ("S1", {"scale_jitter": (0.0, 0.5)}, "Expected scale_jitter to be two scales"),
        ("S1", {"image_size": (0, 640)}, r"Expected image_size to be \(height, width\)"),
        ("S1", {"image_size": (640,)}, r"Expected image_size to be \(height, width\)"),
    ],
)
def test_refusals(augment, options, message):
    with pytest.raises(ConfigError, match=message):
        make_policy(augment, **{"image_size": (64, 64), **options})


def test_albumentations_is_imported_only_where_it_is_used():
    code = "import sys; from lightning_st.transforms import make_policy; make_policy('S4', (64, 64)); "
    code += "sys.exit('albumentations' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", [*NAMES, "a Compose"])
def test_weights_stay_with_the_boxes_and_pixels_that_they_are_of(name):
    """A weight is a function of the label here, so wherever a label went its weight must be."""
    compose = albumentations.Compose([albumentations.Affine(rotate=30, fill_mask=255), albumentations.HorizontalFlip()])
    policy = make_policy(compose if name == "a Compose" else name, (120, 160), "masks")
    sample = draw_sample(150, 200, [[20, 30, 70, 80], [100, 10, 180, 60], [0, 90, 30, 150]])
    mask_weights = (50 * sample.mask).astype(np.uint8)
    mask_weights.flags.writeable = False
    sample = replace(sample, weights=np.array([0.1, 0.2, 0.3], np.float32), mask_weights=mask_weights)
    for drawn in draws(policy, 60, (150, 200)):
        seen = policy.apply(sample, drawn)
        assert seen.weights == pytest.approx(0.1 * (seen.labels + 1))
        is_known = seen.mask != 255
        assert (seen.mask_weights[is_known] == 50 * seen.mask[is_known]).all()
