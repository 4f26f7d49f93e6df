"""Masks: what the index keeps of them, roots of PASCAL VOC, and what is refused."""

import numpy as np
import pytest
from PIL import Image
from source_makers import write_image

from lightning_st.data.image_file import ImageFile
from lightning_st.errors import AnnotationError, ConfigError, ImageError
from lightning_st.index import (
    AnnotationIndex,
    IndexWriter,
    ReaderOptions,
    build_index,
    encode_mask,
    merge_indexes,
    segments_of,
    threshold_steps,
    to_hundredths,
)

VALUES = np.array([[0, 0, 1, 255], [0, 2, 2, 255]], np.uint8)


def write_mask(path, values, palette=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values)
    if palette is not None:
        image = Image.fromarray(values, mode="P")
        image.putpalette(palette + [0] * (768 - len(palette)))  # a short one saves so few bits that 255 becomes 3
    image.save(path)
    return path


@pytest.fixture
def folder(tmp_path):
    """Two images of 4 x 2 pixels with masks, one of which has a palette, and three class names."""
    for stem in ("a", "b"):
        write_image(tmp_path / "images" / f"{stem}.jpg", 4, 2)
    write_mask(tmp_path / "masks" / "a.png", VALUES, [0, 0, 0, 9, 9, 9, 5, 0, 0])
    write_mask(tmp_path / "masks" / "b.png", np.minimum(VALUES, 1))
    (tmp_path / "classes.txt").write_text("background\ncat\ndog\n")
    return tmp_path


def index_of(folder, classes=True, **options):
    chosen = ReaderOptions(folder / "classes.txt" if classes else None, **options)
    return build_index(folder / "images", folder / "masks", "masks", options=chosen)


def test_masks_are_kept_in_the_index(folder):
    index = index_of(folder)
    assert (index.classes, index.has_masks, index.is_labeled) == (("background", "cat", "dog"), True, True)
    np.testing.assert_array_equal(index.mask(0), VALUES)
    assert index.confidence(0) is None
    for path in (folder / "masks").iterdir():
        path.unlink()
    np.testing.assert_array_equal(AnnotationIndex.open(index.path).mask(1), np.minimum(VALUES, 1))


def test_a_segment_is_a_row(folder):
    found = index_of(folder).annotations(0)
    assert found.labels.tolist() == [0, 1, 2]
    assert found.areas.tolist() == [3, 1, 2]
    assert found.boxes.tolist() == [[0, 0, 2, 2], [2, 0, 3, 1], [1, 1, 3, 2]]
    assert found.scores.tolist() == [1, 1, 1]


def test_what_is_ignored_besides_255(folder):
    index = index_of(folder, ignore_index=(0, 2))
    assert index.mask(0).tolist() == [[255, 255, 1, 255], [255, 255, 255, 255]]
    assert index.annotations(0).labels.tolist() == [1]


def test_without_names_there_are_as_many_classes_as_values(folder):
    """Also where a list leaves the image with the highest value out: two lists of one folder agree."""
    assert index_of(folder, classes=False).classes == ("class 0", "class 1", "class 2")
    (folder / "list").write_text("b")
    chosen = build_index(folder / "images", folder / "masks", "masks", folder / "list")
    assert (list(chosen.iterate_names()), chosen.classes) == (["b.jpg"], ("class 0", "class 1", "class 2"))


def test_an_image_may_lie_on_its_side(folder):
    """Masks are drawn on what people see, or on the image as it lies in its file; EXIF turns one of them."""
    for stem, size in (("c", (2, 4)), ("d", (4, 2))):
        write_image(folder / "images" / f"{stem}.jpg", 4, 2, orientation=6)
        write_mask(folder / "masks" / f"{stem}.png", np.ones(size[::-1], np.uint8))
    index = index_of(folder)
    sides = [(record.width, record.height) for record in map(index.image, range(4))]
    assert sides == [(4, 2), (4, 2), (2, 4), (4, 2)]


def test_images_without_mask_are_left_out_and_masks_without_image_counted(folder):
    write_image(folder / "images" / "c.jpg", 4, 2)
    write_mask(folder / "masks" / "z.png", VALUES)
    index = index_of(folder)
    assert list(index.iterate_names()) == ["a.jpg", "b.jpg"]
    assert index.problems["missing_image"]["count"] == 1


def test_a_mask_that_cannot_be_read_costs_its_image(folder):
    path = folder / "masks" / "b.png"
    path.write_bytes(path.read_bytes()[:50])
    index = index_of(folder)
    assert list(index.iterate_names()) == ["a.jpg"]
    assert index.bad_box_count == 1
    assert str(path) in index.bad_box_examples[0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (VALUES[:, :3], r"b\.png: the mask is 3 x 2 pixels, its image b\.jpg is 4 x 2\. A mask has a pixel for each"),
        (VALUES + 5, r"b\.png: pixel x=0, y=0: expected a class index from 0 to 2, got 5\. .*classes\.txt names 3"),
        (np.zeros((2, 4, 3), np.uint8), r"b\.png: expected class indices, in a palette image or in grey levels; got"),
        (VALUES.astype(np.int32) - 1, r"b\.png: expected class indices, got -1 to 254"),
    ],
    ids=["size", "class index", "colours", "negative"],
)
def test_a_wrong_mask_is_refused(folder, values, message):
    path = folder / "masks" / "b.png"
    if values.dtype == np.int32:
        path.unlink()
        path = path.with_suffix(".tif")
        message = message.replace("png", "tif")
    write_mask(path, values)
    with pytest.raises(AnnotationError, match=message):
        index_of(folder)


def test_mixed_palettes_are_refused(folder):
    """A value that two masks colour differently means two classes; values that are not used may differ."""
    write_mask(folder / "masks" / "b.png", np.minimum(VALUES, 1), [0, 0, 0, 9, 9, 9, 7, 7, 7])
    assert len(index_of(folder)) == 2
    write_mask(folder / "masks" / "b.png", np.minimum(VALUES, 1), [0, 0, 0, 8, 9, 9])
    message = r"b\.png: its palette gives the class index 1 the colour \(8, 9, 9\), that of .*a\.png \(9, 9, 9\)"
    with pytest.raises(AnnotationError, match=message):
        index_of(folder)


def test_masks_of_0_and_255_alone_hold_no_class(folder):
    for stem in ("a", "b"):
        write_mask(folder / "masks" / f"{stem}.png", np.where(VALUES > 0, 255, 0).astype(np.uint8))
    with pytest.raises(AnnotationError, match="none of 2 masks holds another class index than 0"):
        index_of(folder, classes=False)


def test_a_list_that_names_an_image_without_mask_is_refused(folder):
    write_image(folder / "images" / "c.jpg", 4, 2)
    (folder / "list").write_text("a\nc\n")
    with pytest.raises(AnnotationError, match=r"list: 1 images of the list have no mask in .*masks, such as 'c\.jpg'"):
        build_index(folder / "images", folder / "masks", "masks", folder / "list")


def test_a_folder_of_pictures_is_no_annotations(folder):
    with pytest.raises(ConfigError, match=r"a folder with only \.png \(masks go with data\.\*\.masks\) files"):
        build_index(folder / "images", folder / "masks")


def test_a_root_of_pascal_voc_says_where_its_masks_and_lists_are(tmp_path):
    root = tmp_path / "VOCdevkit" / "VOC2012"
    for stem in ("a", "b"):
        write_image(root / "JPEGImages" / f"{stem}.jpg", 4, 2)
        write_mask(root / "SegmentationClass" / f"{stem}.png", VALUES)
    (root / "ImageSets" / "Segmentation").mkdir(parents=True)
    (root / "ImageSets" / "Segmentation" / "train.txt").write_text("b\n")
    index = build_index(tmp_path / "VOCdevkit", format="masks", list_file="train")
    assert list(index.iterate_names()) == ["b.jpg"]
    assert (index.classes[0], index.classes[20], len(index.classes)) == ("background", "tvmonitor", 21)
    unlabeled = build_index(tmp_path / "VOCdevkit", labeled=False)  # the masks are no images
    assert list(unlabeled.iterate_names()) == ["a.jpg", "b.jpg"]


def test_confidences_lie_beside_a_mask_and_are_merged(tmp_path):
    confidence = np.array([[10, 99, 50, 0], [100, 49, 51, 7]], np.uint8)
    for number, mask in enumerate([VALUES, VALUES[::-1]]):
        with IndexWriter(tmp_path / f"{number}.index", ["x", "y", "z"], source={"root": "/"}) as writer:
            writer.add("n", 4, 2)
            writer.add("m", 4, 2, mask=encode_mask(mask, confidence), **segments_of(mask, confidence))
    index = merge_indexes([tmp_path / "0.index", tmp_path / "1.index"], tmp_path / "all.index")
    index.verify()
    assert [index.mask(row) is None for row in range(4)] == [True, False, True, False]
    np.testing.assert_array_equal(index.mask(3), VALUES[::-1])
    np.testing.assert_array_equal(index.confidence(3), confidence)
    assert index.annotations(1).scores.tolist() == np.array([1, 0.5, 0.51], np.float32).tolist()
    assert index.has_scores


def test_a_threshold_in_hundredths_is_exact():
    grid = np.arange(101) / 100
    steps = to_hundredths(grid.astype(np.float32))
    assert steps.tolist() == list(range(101))
    assert threshold_steps(grid.astype(np.float32)).tolist() == list(range(101))
    below = to_hundredths(np.nextafter(grid[1:] - 1e-5, 0).astype(np.float32))
    assert (below < steps[1:]).all()


def test_only_masks_of_one_shape_are_encoded():
    for mask, confidence in [(VALUES, VALUES[:1]), (VALUES[None], None), (VALUES.astype(int), None)]:
        with pytest.raises(ValueError, match=r"Expected uint8 \[H, W\], both alike"):
            encode_mask(mask, confidence)


def test_an_unreadable_image_is_left_to_be_refused_when_it_is_loaded(folder):
    (folder / "images" / "b.jpg").write_bytes(b"no image")
    index = index_of(folder)
    assert index.problems["unreadable_image"]["count"] == 1
    assert len(index) == 2
    with pytest.raises(ImageError):
        ImageFile.open(index.image(1), is_labeled=True)
