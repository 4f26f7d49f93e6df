"""Any Compose of albumentations as a policy."""

import pickle

import albumentations as A  # noqa: N812
import numpy as np
import pytest
from albumentations.pytorch import ToTensorV2
from rectangles import draw_sample, extent, find_in_image, noise_sample

from lightning_st.errors import ConfigError
from lightning_st.transforms import make_policy
from lightning_st.types import PADDING_COLOUR, BoxKind

BOXES = [(10, 20, 60, 70), (80, 30, 110, 90), (120, 5, 150, 60)]


def apply(compose, sample, image_size=(100, 160), seed=0):
    policy = make_policy(compose, image_size)
    drawn = policy.draw(np.random.default_rng(seed), *sample.image.shape[:2])
    assert drawn.reduction == 1
    return policy.apply(sample, drawn)


COMPOSES = {
    "flip": A.Compose([A.HorizontalFlip(p=0.5)]),
    "crop": A.Compose([A.RandomCrop(60, 70, p=1)]),
    "scale": A.Compose([A.RandomScale((-0.3, 0.5), p=1)]),
    "turn": A.Compose([A.RandomRotate90(p=1)]),
    "shift": A.Compose([A.Affine(translate_percent=(-0.4, 0.4), fill_mask=255, p=1)]),
    "nested": A.Compose([A.OneOf([A.HorizontalFlip(p=1), A.VerticalFlip(p=1)], p=1), A.Transpose(p=0.5)]),
    "coco boxes": A.Compose([A.VerticalFlip(p=0.5)], bbox_params=A.BboxParams("coco", label_fields=["class_labels"])),
    "sometimes": A.Compose([A.HorizontalFlip(p=1)], p=0.5),
    "nothing": A.Compose([]),
}


@pytest.mark.parametrize("name", COMPOSES)
def test_picture_boxes_and_mask_agree(name):
    sample, found_count = draw_sample(100, 160, BOXES), 0
    for seed in range(20):
        moved = apply(COMPOSES[name], sample, seed=seed)
        assert moved.image.shape == (100, 160, 3)
        assert moved.boxes.dtype == np.float32
        for box, row in zip(moved.boxes, moved.labels, strict=True):
            if min(box[2:] - box[:2]) >= 4:
                np.testing.assert_allclose(find_in_image(moved.image, row), box, atol=1.5)
                np.testing.assert_allclose(extent(moved.mask == row + 1), box, atol=2)
                found_count += 1
    assert found_count >= 15


def test_labels_and_kinds_stay_with_their_boxes():
    kinds = [BoxKind.CROWD, BoxKind.OBJECT, BoxKind.UNSURE]
    sample = noise_sample(100, 160, BOXES, kinds)
    moved = apply(A.Compose([A.Crop(70, 0, 160, 100, p=1)]), sample, image_size=(100, 90))
    np.testing.assert_array_equal(moved.labels, [1, 2])
    np.testing.assert_array_equal(moved.kinds, [BoxKind.OBJECT, BoxKind.UNSURE])
    np.testing.assert_allclose(moved.boxes, [[10, 30, 40, 90], [50, 5, 80, 60]], atol=1e-3)


def test_filters_of_the_users_box_parameters_are_kept():
    parameters = A.BboxParams("yolo", min_visibility=0.5)
    crop = A.Compose([A.Crop(40, 0, 160, 100, p=1)], bbox_params=parameters)  # two fifths of the first box remain
    np.testing.assert_array_equal(apply(crop, noise_sample(100, 160, BOXES)).labels, [1, 2])
    crop = A.Compose([A.Crop(40, 0, 160, 100, p=1)])
    np.testing.assert_array_equal(apply(crop, noise_sample(100, 160, BOXES)).labels, [0, 1, 2])


@pytest.mark.parametrize(
    "leave",
    [A.Crop(0, 0, 65, 100), A.Affine(translate_px={"x": 95, "y": 0}, p=1), A.Affine(scale=9, p=1), A.CenterCrop(9, 9)],
)
def test_boxes_that_leave_are_gone(leave):
    sample = noise_sample(100, 160, [(70, 20, 160, 30), (66, 5, 99, 10)])
    assert len(apply(A.Compose([leave]), sample).boxes) == 0


def test_boxes_outside_are_clipped_or_gone():
    sample = noise_sample(100, 160, [(-5, 10, 30, 20), (150, 90, 170, 130), (-9, -9, -1, -1), (5, 5, 5, 9)])
    moved = apply(A.Compose([A.HorizontalFlip(p=1)]), sample)
    np.testing.assert_array_equal(moved.labels, [0, 1])
    np.testing.assert_allclose(moved.boxes, [[130, 10, 160, 20], [0, 90, 10, 100]], atol=1e-3)


@pytest.mark.parametrize("name", COMPOSES)
def test_no_boxes_and_no_mask(name):
    moved = apply(COMPOSES[name], draw_sample(100, 160, [], with_mask=False))
    assert moved.boxes.shape == (0, 4)
    assert len(moved.labels) == len(moved.kinds) == 0
    assert moved.mask is None


def test_a_compose_that_records_what_it_does():
    policy = make_policy(A.ReplayCompose([A.HorizontalFlip(p=1)]), (60, 80))
    sample = noise_sample(60, 80, [(10, 20, 30, 40)])
    assert np.array_equal(policy.apply(sample, policy.draw(np.random.default_rng(0), 60, 80)).boxes, [[50, 20, 70, 40]])


def test_another_size_is_fitted():
    moved = apply(A.Compose([A.Resize(50, 40, p=1)]), draw_sample(100, 160, BOXES), image_size=(100, 100))
    assert (moved.image[:, 80:] == PADDING_COLOUR).all()
    assert (moved.mask[:, 80:] == 255).all()
    np.testing.assert_allclose(moved.boxes, np.array(BOXES) * [0.5, 1, 0.5, 1], atol=1e-3)


def test_same_draw_same_bytes():
    compose = A.Compose([A.RandomResizedCrop((80, 80), p=1), A.ColorJitter(p=1), A.GaussNoise(p=1), A.HorizontalFlip()])
    sample = noise_sample(100, 160, BOXES)
    policy, other = make_policy(compose, (96, 96)), make_policy(compose, (96, 96))
    generator = np.random.default_rng(0)
    drawn = [policy.draw(generator, 100, 160) for _ in range(10)]
    first = [policy.apply(sample, each) for each in drawn]
    again = [pickle.loads(pickle.dumps(other)).apply(sample, each) for each in reversed(drawn)][::-1]
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.image, two.image)
        np.testing.assert_array_equal(one.boxes, two.boxes)
    assert len({each.image.tobytes() for each in first}) == 10


def test_transforms_are_drawn_independently():
    """With one seed for all of them, as ``Compose.set_random_seed`` has it, both flips would always come together."""
    image = draw_sample(8, 8, [(0, 0, 1, 1)])
    compose = A.Compose([A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.5)])
    corners = [tuple(apply(compose, image, (8, 8), seed).boxes[0, :2].round().tolist()) for seed in range(200)]
    assert {corner: 30 < corners.count(corner) < 70 for corner in corners} == {
        (0, 0): True,
        (0, 7): True,
        (7, 0): True,
        (7, 7): True,
    }


def test_the_users_compose_stays_as_it_is():
    compose = A.Compose([A.RandomBrightnessContrast(p=1)])
    apply(compose, noise_sample(100, 160, BOXES))
    assert "bboxes" not in compose.processors
    sample = noise_sample(10, 10, [])
    first, second = (A.Compose([A.GaussNoise(p=1)], seed=1) for _ in range(2))
    apply(first, sample)  # draws from a copy, not from the user's own stream
    np.testing.assert_array_equal(first(image=sample.image)["image"], second(image=sample.image)["image"])
    assert compose(image=noise_sample(10, 10, []).image).keys() == {"image"}


@pytest.mark.parametrize("last", [A.Normalize(p=1), A.ToFloat(p=1), A.ToGray(num_output_channels=1, p=1), ToTensorV2()])
def test_refuses_what_is_not_uint8(last):
    with pytest.raises(
        ConfigError, match=r"Expected the Compose given as augment to return uint8 \[H, W, 3\], got .*Normalize"
    ):
        apply(A.Compose([last]), noise_sample(100, 160, []))


@pytest.mark.parametrize("augment", [A.HorizontalFlip(), A.OneOf([A.HorizontalFlip()])])
def test_refuses_what_is_no_compose(augment):
    with pytest.raises(ConfigError, match=r"the name of a policy, an albumentations\.Compose or a"):
        make_policy(augment, (64, 64))


def test_refuses_our_options():
    with pytest.raises(ConfigError, match="Expected no scale_jitter for a Compose"):
        make_policy(A.Compose([]), (64, 64), scale_jitter=(0.5, 1.0))
