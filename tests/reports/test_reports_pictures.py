"""The pictures: spread over scores and classes, the right boxes at the right place, and no image that can stop them."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightning_st.index import AnnotationIndex, Annotations, IndexWriter, encode_mask, segments_of
from lightning_st.reports.outlines import class_colour
from lightning_st.reports.pictures import (
    BANDS,
    PICTURE_COUNT,
    band_of,
    candidates,
    draw_boxes,
    draw_gallery,
    load_thumbnail,
)
from lightning_st.types import ScoreThresholds

THRESHOLDS = ScoreThresholds.uniform(2, keep=0.5, ignore=0.3)


def make_store(folder: Path, images: list[tuple[str, list[tuple[float, int]]]], size=(64, 48)) -> AnnotationIndex:
    """Write grey images and an index; an image is (name, [(score, label) of each box])."""
    with IndexWriter(folder / "labels.index", ("cat", "dog"), source={"root": str(folder)}) as writer:
        for name, found in images:
            if not (folder / name).exists():
                Image.new("RGB", size, (90, 90, 90)).save(folder / name)
            boxes = [[8, 8, 40, 32]] * len(found)
            writer.add(
                name, *size, boxes=boxes, labels=[label for _, label in found], scores=[score for score, _ in found]
            )
    return AnnotationIndex.open(folder / "labels.index")


def near(pixel, colour: str) -> bool:
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    return bool(np.abs(np.array(pixel, int) - wanted).max() < 60)


def test_twenty_four_pictures_spread_over_the_bands_and_classes(tmp_path):
    generator = np.random.default_rng(0)
    # Far more low scores than high ones, and few dogs, as a teacher makes them.
    found = [
        [(0.05 + 0.95 * float(generator.beta(0.5, 2)), int(generator.random() < 0.1)) for _ in range(9)]
        for _ in range(99)
    ]
    index = make_store(tmp_path, [(f"{number:02d}.png", boxes) for number, boxes in enumerate(found)])
    gallery = draw_gallery(index, THRESHOLDS, tmp_path / "report")
    assert len(gallery.pictures) == PICTURE_COUNT == 24
    assert gallery.unreadable == []
    bands = Counter(int(band_of(picture.score)) for picture in gallery.pictures)
    assert bands == dict.fromkeys(range(len(BANDS) - 1), 4)
    assert len({picture.image for picture in gallery.pictures}) == 24
    assert Counter(picture.class_name for picture in gallery.pictures)["dog"] >= 8
    scores = [picture.score for picture in gallery.pictures]
    assert scores == sorted(scores, reverse=True)
    assert sorted(path.name for path in (tmp_path / "report" / "pictures").iterdir()) == [
        f"{n:02d}.jpg" for n in range(24)
    ]


def test_bands_without_boxes_leave_their_place_to_others(tmp_path):
    index = make_store(tmp_path, [(f"{number:02d}.png", [(0.9, 0)]) for number in range(30)])
    assert len(draw_gallery(index, THRESHOLDS, tmp_path / "report").pictures) == 24


def test_an_image_is_shown_once_though_it_has_boxes_in_every_band():
    scores = np.array([0.1, 0.3, 0.6, 0.9, 0.95], np.float32)
    chosen = list(candidates(scores, np.zeros(5, np.int32), np.array([0, 3, 3, 5])))
    assert sorted(row for row, _ in chosen) == [0, 2]
    assert all(box in {0: (0, 1, 2), 2: (3, 4)}[row] for row, box in chosen)


def test_a_store_without_boxes_has_no_pictures(tmp_path):
    index = make_store(tmp_path, [("a.png", [])])
    assert draw_gallery(index, THRESHOLDS, tmp_path / "report").pictures == []


@pytest.mark.parametrize(("score", "fate"), [(0.5, "kept"), (0.3, "ignored"), (0.1, "dropped")])
def test_the_chosen_box_is_drawn_where_it_stands_whatever_its_fate(tmp_path, score, fate):
    index = make_store(tmp_path, [("a.png", [(score, 1)])])
    (picture,) = draw_gallery(index, THRESHOLDS, tmp_path / "report").pictures
    assert (picture.class_name, picture.fate, picture.colour) == ("dog", fate, class_colour(1))
    assert picture.score == pytest.approx(score)
    image = np.asarray(Image.open(tmp_path / "report" / picture.file))
    coloured = np.array([[near(pixel, class_colour(1)) for pixel in row] for row in image])
    rows, columns = np.nonzero(coloured)
    assert (columns.min(), rows.min(), columns.max(), rows.max()) == pytest.approx((8, 8, 40, 32), abs=3)
    # Solid edges are filled with colour, dashed and dotted ones about half.
    share = coloured[7:10, 12:36].any(axis=0).mean()
    assert share > 0.95 if fate == "kept" else 0.2 < share < 0.9
    assert not coloured[14:26, 14:34].any()


def test_other_boxes_are_drawn_unless_they_are_dropped():
    boxes = np.array([[2, 2, 12, 44], [20, 2, 30, 44], [38, 2, 48, 44], [54, 2, 62, 44]], np.float32)
    labels, scores = np.array([0, 1, 1, 1], np.int32), np.array([0.9, 0.8, 0.4, 0.2], np.float32)
    image = Image.new("RGB", (64, 48), (90, 90, 90))
    draw_boxes(image, Annotations(boxes, labels, np.zeros(4, bool), scores, scores), THRESHOLDS, chosen=0, scale=1.0)
    inked = [np.mean([near(image.getpixel((x, y)), class_colour(1)) for y in range(4, 42)]) for x in (20, 38, 54)]
    assert inked[0] == 1  # kept: solid
    assert 0.3 < inked[1] < 0.7  # ignored: dashed
    assert inked[2] == 0  # dropped


def test_a_large_image_is_shown_small_with_its_boxes_scaled(tmp_path):
    index = make_store(tmp_path, [("a.jpg", [(0.9, 0)])], size=(1280, 960))
    (picture,) = draw_gallery(index, THRESHOLDS, tmp_path / "report").pictures
    assert picture.size == (320, 240)
    image = Image.open(tmp_path / "report" / picture.file)
    assert near(image.getpixel((2, 5)), class_colour(0))
    assert not near(image.getpixel((20, 20)), class_colour(0))


def test_an_image_is_turned_as_its_exif_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (1280, 960)).save(tmp_path / "a.jpg", exif=exif)
    image, size = load_thumbnail(make_store(tmp_path, [("a.jpg", [])]).image(0))
    assert (image.size, size) == ((240, 320), (960, 1280))


def test_an_image_inside_an_archive_is_read_from_its_place(tmp_path):
    Image.new("RGB", (30, 20), (200, 30, 30)).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "all.tar").write_bytes(b"x" * 512 + content + b"y" * 512)
    with IndexWriter(tmp_path / "labels.index", ("cat",), source={"root": str(tmp_path / "all.tar")}) as writer:
        writer.add("a.png", 30, 20, offset=512, length=len(content), boxes=[[1, 1, 9, 9]], labels=[0], scores=[0.9])
    image, size = load_thumbnail(AnnotationIndex.open(tmp_path / "labels.index").image(0))
    assert (size, image.getpixel((15, 10))) == ((30, 20), (200, 30, 30))


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    name = "a.jpg" if mode == "CMYK" else "a.png"
    Image.new(mode, (30, 20)).save(tmp_path / name)
    assert load_thumbnail(make_store(tmp_path, [(name, [])]).image(0))[0].mode == "RGB"


def test_sixteen_bits_and_transparency_look_as_the_model_sees_them(tmp_path):
    Image.fromarray(np.full((20, 30), 32768, np.uint16)).save(tmp_path / "deep.png")
    Image.new("RGBA", (30, 20), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    index = make_store(tmp_path, [("deep.png", []), ("clear.png", [])])
    pixels = [load_thumbnail(index.image(row))[0].getpixel((15, 10)) for row in range(2)]
    assert pixels == [(128, 128, 128), (255, 255, 255)]


def test_images_that_cannot_be_read_are_named_and_skipped(tmp_path):
    (tmp_path / "text.jpg").write_text("no image")
    Image.new("RGB", (640, 480)).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:-40])
    index = make_store(tmp_path, [(name, [(0.9, 0)]) for name in ("text.jpg", "cut.png", "gone.png", "good.png")])
    (tmp_path / "gone.png").unlink()
    gallery = draw_gallery(index, THRESHOLDS, tmp_path / "report")
    assert [picture.image for picture in gallery.pictures] == ["good.png"]
    assert sorted(line.partition(":")[0] for line in gallery.unreadable) == ["cut.png", "gone.png", "text.jpg"]


def test_a_million_missing_images_are_not_all_tried(tmp_path):
    index = make_store(tmp_path, [(f"{number:03d}.png", [(0.9, 0)]) for number in range(100)])
    for path in tmp_path.glob("*.png"):
        path.unlink()
    gallery = draw_gallery(index, THRESHOLDS, tmp_path / "report")
    assert (gallery.pictures, len(gallery.unreadable)) == ([], 24)


def mask_store(folder: Path, count: int = 3) -> AnnotationIndex:
    """Write grey images of 64 x 48; on the left of each a cat, of which the upper half is sure."""
    mask = np.zeros((48, 64), np.uint8)
    mask[:, :32] = 1
    confidence = np.full((48, 64), 90, np.uint8)
    confidence[24:, :32] = 20
    with IndexWriter(folder / "labels.index", ("background", "cat"), source={"root": str(folder)}) as writer:
        for number in range(count):
            Image.new("RGB", (64, 48), (90, 90, 90)).save(folder / f"{number}.png")
            segments = segments_of(mask, confidence)
            writer.add(f"{number}.png", 64, 48, mask=encode_mask(mask, confidence), **segments)
    return AnnotationIndex.open(folder / "labels.index")


def test_masks_lie_over_their_images(tmp_path):
    gallery = draw_gallery(mask_store(tmp_path), THRESHOLDS, tmp_path / "report")
    assert len(gallery.pictures) == 3
    assert {(picture.class_name, picture.fate, round(picture.score, 2)) for picture in gallery.pictures} == {
        ("cat", "kept", 0.9)
    }
    picture = np.asarray(Image.open(tmp_path / "report" / gallery.pictures[0].file)).astype(int)
    colour = np.array([int(class_colour(1)[i : i + 2], 16) for i in (1, 3, 5)])
    assert np.abs(picture[4:20, 4:28] - (0.25 * 90 + 0.75 * colour)).max() < 25  # sure: tinted
    assert np.abs(picture[4:44, 40:60] - 90).max() < 25  # the background stays
    unsure = picture[28:44, 4:28].mean(axis=2)
    assert unsure.max() > 70  # hatched
    assert unsure.min() < 50


def test_of_masks_no_picture_is_chosen_for_the_background(tmp_path):
    with IndexWriter(tmp_path / "labels.index", ("background", "cat"), source={"root": str(tmp_path)}) as writer:
        Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
        empty, sure = np.zeros((4, 4), np.uint8), np.full((4, 4), 100, np.uint8)
        writer.add("a.png", 4, 4, mask=encode_mask(empty, sure), **segments_of(empty, sure))
    index = AnnotationIndex.open(tmp_path / "labels.index")
    assert draw_gallery(index, THRESHOLDS, tmp_path / "report").pictures == []
