"""Contact sheets: what is drawn where, nothing that a name can break, and a folder that holds nothing else."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightning_st.errors import ConfigError, DataError, ImageError, StageError
from lightning_st.index import AnnotationIndex, IndexWriter
from lightning_st.reports.choice import choose
from lightning_st.reports.outlines import class_colour, draw_outlines
from lightning_st.reports.own_folder import MARK
from lightning_st.reports.sheet import Sheet, Unreadable, write_sheet
from lightning_st.reports.tiles import TILE_SIDE, Tile, at_tile_size, box_tile, mask_tile
from lightning_st.types import BoxKind

HOSTILE = '<script>alert("x")</script>&.jpg'
SHEET = Sheet("Labels", "data.labeled", ["One sentence."], ("cat", "dog"))


def grey(width=64, height=48):
    return Image.new("RGB", (width, height), (90, 90, 90))


def coloured(image, label):
    """Return where an image has the colour of a class, bool [H, W]."""
    wanted = np.array([int(class_colour(label)[i : i + 2], 16) for i in (1, 3, 5)])
    return np.abs(np.asarray(image).astype(int) - wanted).max(axis=2) < 60


def pixels_of(path):
    with Image.open(path) as image:
        return np.asarray(image)


def tile(title="a.jpg"):
    return Tile(title, grey(), "3 labels", [("cat 3", class_colour(0)), ("and 2 more", None)])


@pytest.mark.parametrize("scale", [0.37, 1.0, 2.6])
def test_boxes_stand_where_they_are_at_any_scale(scale):
    image = grey(*(round(side * scale) for side in (200, 150)))
    draw_outlines(image, [[20, 30, 120, 110]], [1], [BoxKind.OBJECT], scale)
    rows, columns = np.nonzero(coloured(image, 1))
    wanted = np.array([20, 30, 120, 110]) * scale
    assert (columns.min(), rows.min(), columns.max(), rows.max()) == pytest.approx(wanted, abs=3)


def test_a_crowd_is_hatched_a_thick_box_is_thick_and_padding_is_not_drawn():
    image = grey(300, 100)
    boxes = [[5, 5, 85, 95], [105, 5, 185, 95], [205, 5, 285, 95]]
    draw_outlines(image, boxes, [0, 0, 0], [BoxKind.CROWD, BoxKind.OBJECT, BoxKind.PADDING], 1.0)
    found = coloured(image, 0)
    assert 0.03 < found[15:85, 15:75].mean() < 0.5
    assert not found[15:85, 115:175].any()
    assert not found[:, 195:].any()
    thick = grey(300, 100)
    draw_outlines(thick, boxes, [0, 0, 0], [BoxKind.CROWD, BoxKind.OBJECT, BoxKind.PADDING], 1.0, {1, 2})
    assert coloured(thick, 0)[50, 90:150].sum() > found[50, 90:150].sum()
    assert coloured(thick, 0)[:, 195:].any()


def test_a_caption_counts_objects_and_names_other_kinds():
    kinds = np.array([BoxKind.OBJECT, BoxKind.OBJECT, BoxKind.UNSURE, BoxKind.PADDING], np.uint8)
    found = box_tile("a", grey(), np.zeros((4, 4)), np.array([1, 1, 0, 0]), kinds, ("cat", "dog"), 1.0, note="chosen")
    assert found.keys == [("dog 2", class_colour(1))]
    assert found.note == "chosen, 1 ignored, 1 dropped"
    nothing = np.zeros(0, np.int64)
    assert box_tile("a", grey(), [], nothing, nothing.astype(np.uint8), ("cat",), 1.0).note == "no labels"


def test_a_mask_is_coloured_but_its_background_and_hatched_where_ignored():
    mask = np.zeros((48, 64), np.uint8)
    mask[:, 20:40], mask[:, 50:] = 1, 255
    found = mask_tile("a", grey(), mask, ("background", "cat"))
    pixels = np.asarray(found.image).astype(int)
    assert (pixels[:, :20] == 90).all()
    assert (np.abs(pixels[:, 20:40] - (np.array([0x1E, 0x90, 0xFF]) + 90) / 2) <= 1).all()
    assert 0 < (pixels[:, 50:] < 90).mean() < 1
    assert found.keys == [("cat 31%", class_colour(1))]
    assert found.note == "22% ignored"
    mask[:], mask[0, 0] = 0, 1
    assert mask_tile("a", grey(), mask, ("background", "cat")).keys == [("cat under 1%", class_colour(1))]


def test_pictures_are_of_one_size_but_tiny_ones():
    assert at_tile_size(grey(2000, 1000)).size == (TILE_SIDE, TILE_SIDE // 2)
    assert at_tile_size(grey(50, 100)).size == (200, 400)


class Tags(HTMLParser):
    """Collects tags, and every address."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.addresses = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href")]


def test_a_page_is_one_file_without_script_that_no_name_breaks(tmp_path):
    sheet = Sheet(HOSTILE, HOSTILE, [HOSTILE], (HOSTILE, "dog"))
    unreadable = Unreadable([HOSTILE])
    count = write_sheet(sheet, [(HOSTILE, tile(HOSTILE)), ("", tile())], tmp_path / "out", unreadable)
    text = (tmp_path / "out" / "index.html").read_text()
    page = Tags(text)
    assert count == 2
    assert {"script", "link", "iframe"}.isdisjoint(page.tags)
    assert page.addresses == ["sheet.png", *2 * ["pictures/000.jpg"], *2 * ["pictures/001.jpg"]]
    assert all((tmp_path / "out" / address).is_file() for address in page.addresses)
    assert not re.search(r"https?://|@import|url\(", text)
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text


def test_the_png_holds_every_picture(tmp_path):
    write_sheet(SHEET, [("", tile(str(number))) for number in range(5)], tmp_path / "four")
    write_sheet(Sheet("a", "b", [], (), in_rows=True), [(f"row {n // 2}", tile()) for n in range(4)], tmp_path / "two")
    four, two = (pixels_of(tmp_path / name / "sheet.png") for name in ("four", "two"))
    assert four.shape[1] == 2 * two.shape[1] - 12
    # Grey pixels of letters count a little, too.
    assert (four == 90).all(axis=2).sum() == pytest.approx(5 * 64 * 48, rel=0.05)


def test_a_second_run_replaces_the_first_and_leaves_nothing_beside(tmp_path):
    out = tmp_path / "a" / "out"
    write_sheet(SHEET, [("", tile()), ("", tile())], out)
    (out / ".lightning_st-cut").mkdir()  # of a run that was killed
    write_sheet(SHEET, [("", tile())], out)
    assert sorted(path.name for path in out.iterdir()) == ["index.html", "pictures", MARK, "sheet.png"]
    assert [path.name for path in (out / "pictures").iterdir()] == ["000.jpg"]
    assert sorted(path.name for path in tmp_path.rglob("*") if path.parent != out) == ["000.jpg", "a", "out"]


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path):
    out = tmp_path / "out"
    write_sheet(SHEET, [("", tile())], out)
    (out / "pictures" / "mine.jpg").write_text("mine")
    with pytest.raises(StageError, match=r"out holds 'pictures/mine\.jpg', which this command did not write"):
        write_sheet(SHEET, [("", tile())], out)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "index.html").write_text("mine")
    with pytest.raises(StageError, match=r"foreign holds 'index\.html'.*Use another --output\.$"):
        write_sheet(SHEET, [("", tile())], foreign)
    with pytest.raises(StageError, match="is a file, not a folder"):
        write_sheet(SHEET, [("", tile())], foreign / "index.html")
    assert (foreign / "index.html").read_text() == "mine"


@pytest.mark.parametrize("mark", ["", "[]", '{"schema": 1, "files": "index.html"}', '{"schema": 9, "files": ["x"]}'])
def test_a_mark_that_is_none_protects_the_folder(tmp_path, mark):
    (tmp_path / MARK).write_text(mark)
    (tmp_path / "x").write_text("mine")
    with pytest.raises(StageError, match="holds 'x'"):
        write_sheet(SHEET, [("", tile())], tmp_path)


def test_a_failure_leaves_the_sheet_before(tmp_path):
    def tiles():
        yield "", tile()
        raise OSError("the disk is full")

    write_sheet(SHEET, [("", tile("before"))], tmp_path / "out")
    with pytest.raises(OSError, match="full"):
        write_sheet(SHEET, tiles(), tmp_path / "out")
    assert "before" in (tmp_path / "out" / "index.html").read_text()
    assert json.loads((tmp_path / "out" / MARK).read_text())["files"] == ["index.html", "pictures/000.jpg", "sheet.png"]


def test_nothing_to_show_is_said_with_a_reason(tmp_path):
    unreadable = Unreadable()

    def tiles():
        with unreadable.noted():
            raise ImageError("a.jpg", "cut short")
        yield from ()

    with pytest.raises(DataError, match=r"data\.labeled: there is nothing to show; a\.jpg: cut short\.$"):
        write_sheet(SHEET, tiles(), tmp_path / "out", unreadable)


@pytest.fixture
def index(tmp_path: Path) -> AnnotationIndex:
    """Five images with 0, 3, 1, 2 and 1 boxes; the only dog is in the last."""
    with IndexWriter(tmp_path / "x.index", ("cat", "dog"), source={}) as writer:
        for number, labels in enumerate([[], [0, 0, 0], [0], [0, 0], [1]]):
            boxes = [[0, 0, 5, 5]] * len(labels)
            scores = [0.1 + 0.2 * number + 0.01 * i for i in range(len(labels))]
            writer.add(f"{number}.jpg", 9, 9, boxes=boxes, labels=labels, scores=scores)
    return AnnotationIndex.open(tmp_path / "x.index")


def rows(index, order, count=9, class_name=None, shown=None):
    is_shown = np.ones(len(index.boxes), bool) if shown is None else np.array(shown)
    return [chosen.row for chosen in choose(index, np.arange(len(index)), is_shown, order, count, class_name)]


def test_the_orders_of_a_sheet(index):
    assert rows(index, "most") == [1, 3, 2, 4, 0]
    assert rows(index, "fewest", 3) == [0, 2, 4]
    assert rows(index, "most", class_name="dog") == [4]
    assert 4 in rows(index, "class", 2)
    assert sorted(rows(index, "class")) == [1, 2, 3, 4]
    assert rows(index, "random") == rows(index, "random")
    assert sorted(rows(index, "random")) == [0, 1, 2, 3, 4]
    assert rows(index, "most", shown=[False] * 3 + [True] * 4)[0] == 3
    with pytest.raises(ConfigError, match=r"Unknown class 'dgo'\. Did you mean 'dog'\?"):
        rows(index, "most", class_name="dgo")


def test_bands_fall_and_name_the_box_they_were_chosen_for(index):
    chosen = choose(index, np.arange(5), np.ones(7, bool), "bands", 9)
    assert [(c.row, c.group) for c in chosen] == [
        (4, "Scores 0.80 to 1.00"),
        (3, "Scores 0.65 to 0.80"),
        (2, "Scores 0.50 to 0.65"),
        (1, "Scores 0.20 to 0.35"),
    ]
    assert all(0 <= c.box < len(index.annotations(c.row).labels) for c in chosen)
    assert [c.row for c in choose(index, np.array([1, 2]), np.ones(7, bool), "bands", 9)] == [2, 1]
