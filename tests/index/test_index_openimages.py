"""Open Images: the boxes CSV, class descriptions, hierarchy, image-level labels, and what is refused."""

import json

import pytest
from source_makers import tar_bytes, write_image
from test_index_voc import compare_with_json

from lightning_st.errors import AnnotationError
from lightning_st.index import ReaderOptions, build_index, read_image_labels

HEADER = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside"
ROWS = [
    "aa,xclick,/m/dog,1,0.1,0.5,0.2,0.8,0,0,0,0,0",
    "aa,xclick,/m/cat,1,0,1,0,1,0,0,1,0,0",
    "bb,xclick,/m/cat,1,0.25,0.75,0.5,1,0,0,-1,0,0",
    "elsewhere,xclick,/m/cat,1,0,1,0,1,0,0,0,0,0",
]
DESCRIPTIONS = '/m/dog,Dog\n/m/cat,"Cat, tame"\n/m/animal,Animal\n'
HIERARCHY = {
    "LabelName": "/m/root",
    "Subcategory": [
        {
            "LabelName": "/m/animal",
            "Subcategory": [{"LabelName": "/m/dog", "Part": [{"LabelName": "/m/cat"}]}, {"LabelName": "/m/cat"}],
        }
    ],
}


@pytest.fixture
def build(tmp_path):
    """Return a function that writes the files and builds the index."""
    write_image(tmp_path / "images" / "train" / "aa.jpg")
    write_image(tmp_path / "images" / "bb.jpg", 40, 80, orientation=6)
    (tmp_path / "class-descriptions-boxable.csv").write_text(DESCRIPTIONS)

    def build(rows=ROWS, header=HEADER, **arguments):
        (tmp_path / "boxes.csv").write_text("\n".join([header, *rows, ""]))
        options = {key: arguments.pop(key) for key in ("classes", "hierarchy") if key in arguments}
        return build_index(tmp_path / "images", tmp_path / "boxes.csv", options=ReaderOptions(**options), **arguments)

    return build


def names_of(index):
    return list(index.iterate_names())


def test_boxes_are_fractions_of_the_upright_image(build):
    index = build()
    assert (index.classes, index.source["format"]) == (("Dog", "Cat, tame", "Animal"), "openimages")
    assert names_of(index) == ["train/aa.jpg", "bb.jpg"]
    assert index.annotations(0).boxes.tolist() == [[10, 10, 50, 40], [0, 0, 100, 50]]
    assert index.annotations(0).labels.tolist() == [0, 1]
    assert (index.image(1).width, index.image(1).height) == (80, 40)
    assert index.annotations(1).boxes.tolist() == [[20, 20, 60, 40]]


def test_groups_are_crowd_and_unknown_is_not(build):
    assert build().crowd.tolist() == [False, True, False]


def test_columns_go_by_their_names(build):
    header = "LabelName,YMax,YMin,XMax,XMin,IsGroupOf,Confidence,ImageID"
    assert build(["/m/dog,0.8,0.2,0.5,0.1,0,1,aa"], header).boxes.tolist() == [[10, 10, 50, 40]]


def test_a_class_that_is_verified_to_be_absent_is_no_box(build):
    index = build([ROWS[0], "aa,v,/m/cat,0,0,1,0,1,0,0,0,0,0"])
    assert index.labels.tolist() == [0]


def test_the_hierarchy_adds_the_classes_above(build, tmp_path):
    (tmp_path / "tree.json").write_text(json.dumps(HIERARCHY))
    index = build(hierarchy=tmp_path / "tree.json")
    assert index.annotations(0).labels.tolist() == [0, 2, 1, 2]
    assert index.annotations(0).crowd.tolist() == [False, False, True, True]
    assert index.annotations(0).boxes[:2].tolist() == [[10, 10, 50, 40]] * 2


@pytest.mark.parametrize("wanted", ["Dog\n", "/m/dog\n", '["Dog"]', "/m/dog,Dog\n", "id,name\n/m/dog,Dog\n"])
def test_only_the_wanted_classes_and_the_images_that_have_them(build, tmp_path, wanted):
    (tmp_path / "wanted").write_text(wanted)
    index = build(classes=tmp_path / "wanted")
    assert (index.classes, names_of(index), index.labels.tolist()) == (("Dog",), ["train/aa.jpg"], [0])


def test_a_class_above_is_wanted_without_those_below(build, tmp_path):
    (tmp_path / "tree.json").write_text(json.dumps(HIERARCHY))
    (tmp_path / "wanted").write_text("Animal")
    index = build(classes=tmp_path / "wanted", hierarchy=tmp_path / "tree.json")
    assert (index.classes, index.labels.tolist()) == (("Animal",), [0, 0, 0])


def test_a_list_of_image_ids_chooses(build, tmp_path):
    (tmp_path / "list").write_text("bb\n")
    assert names_of(build(list_file=tmp_path / "list")) == ["bb.jpg"]


def test_images_may_lie_in_an_archive(build, tmp_path):
    files = sorted((tmp_path / "images").rglob("*.jpg"))
    members = {path.relative_to(tmp_path / "images").as_posix(): path.read_bytes() for path in files}
    (tmp_path / "images.tar").write_bytes(tar_bytes(members))
    plain = build()
    assert build_index(tmp_path / "images.tar", tmp_path / "boxes.csv").fingerprint == plain.fingerprint


def test_an_image_that_cannot_be_read_is_counted_and_stays(build, tmp_path):
    (tmp_path / "images" / "bb.jpg").write_bytes(b"no image")
    index = build()
    assert index.problems["unreadable_image"]["count"] == 1
    assert (index.image(1).name, index.image(1).width, len(index.annotations(1).boxes)) == ("bb.jpg", 0, 0)


def test_images_that_come_later_make_another_index(build, tmp_path):
    before = build()
    write_image(tmp_path / "images" / "elsewhere.jpg")
    assert len(build()) == len(before) + 1


def with_field(number, value):
    fields = ROWS[0].split(",")
    fields[number] = value
    return [",".join(fields)]


REFUSALS = {
    "empty": ([], "", r"boxes\.csv: line 1: the column 'ImageID' is missing. It has none: it is empty"),
    "no XMax": (
        ROWS,
        HEADER.replace("XMax,", ""),
        r"boxes\.csv: line 1: the column 'XMax' is missing. It has \['ImageID",
    ),
    "no IsGroupOf": (ROWS, HEADER.replace("IsGroupOf", "x"), "the column 'IsGroupOf' is missing"),
    "short line": ([ROWS[0], "bb,x"], HEADER, r"boxes\.csv: line 3: the line has 2 fields, the header has 13"),
    "unknown class": (
        with_field(2, "/m/x"),
        HEADER,
        r"line 2: LabelName: the class '/m/x' is not described in class-descriptions-boxable\.csv",
    ),
    "no number": (with_field(5, "wide"), HEADER, "line 2: XMax: expected a number, got 'wide'"),
    "pixels": (
        with_field(5, "320"),
        HEADER,
        "line 2: XMax: expected a fraction of .* from 0 to 1, got 320",
    ),
    "nan": (with_field(6, "nan"), HEADER, "line 2: YMin: expected a fraction of the image's side from 0 to 1, got nan"),
    "not together": ([*ROWS[:3], ROWS[0]], HEADER, "line 5: rows of the image 'aa' also stand further above. Sort"),
    "no image": (ROWS[3:], HEADER, "no image with a box of a wanted class is in .*images. It has 1 images"),
}


@pytest.mark.parametrize(("rows", "header", "message"), REFUSALS.values(), ids=REFUSALS)
def test_a_wrong_csv_is_refused_in_one_sentence(build, rows, header, message):
    with pytest.raises(AnnotationError, match=message) as refusal:
        build(rows, header, format="openimages")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "boxes.csv: there are no class descriptions beside the file. Put class-descriptions-boxable.csv there"),
        ("", "the file describes no class"),
        ("/m/dog\n", r"line 1: expected two fields, got \['/m/dog'\]"),
        (DESCRIPTIONS + "/m/dog,Hound\n", "line 4: LabelName: '/m/dog' stands there twice"),
        (DESCRIPTIONS + "/m/hound,Dog\n", "the class 'Dog' stands there twice"),
    ],
)
def test_wrong_descriptions_are_refused(build, tmp_path, content, message):
    path = tmp_path / "class-descriptions-boxable.csv"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(AnnotationError, match=message):
        build()


def test_a_wanted_class_that_is_not_described_is_refused(build, tmp_path):
    (tmp_path / "wanted").write_text("Dog\nDogg\n")
    with pytest.raises(AnnotationError, match=r"wanted: the class 'Dogg' is not described in class-desc"):
        build(classes=tmp_path / "wanted")


CYCLE = [{"LabelName": "a", "Subcategory": [{"LabelName": "b", "Subcategory": [{"LabelName": "a"}]}]}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"tree\.json: no valid JSON"),
        ("[]", r"tree\.json: the root: the field 'LabelName' is missing"),
        ('{"LabelName": "r", "Subcategory": [{}]}', "a class below 'r': the field 'LabelName' is missing"),
        ('{"LabelName": "r", "Subcategory": {}}', r"'r'\.Subcategory: expected a list"),
        (json.dumps({"LabelName": "r", "Subcategory": CYCLE}), "the class '[ab]' stands below itself"),
    ],
)
def test_a_wrong_hierarchy_is_refused(build, tmp_path, content, message):
    (tmp_path / "tree.json").write_text(content)
    with pytest.raises(AnnotationError, match=message):
        build(hierarchy=tmp_path / "tree.json")


def test_what_is_said_of_whole_images_is_kept_apart(build, tmp_path):
    rows = ["aa,v,/m/dog,1", "aa,v,/m/animal,0", "aa,v,/m/other,1", "bb,v,/m/cat,0", "cc,v,/m/cat,1"]
    (tmp_path / "labels.csv").write_text("\n".join(["ImageID,Source,LabelName,Confidence", *rows]))
    labels = read_image_labels(tmp_path / "labels.csv", tmp_path / "class-descriptions-boxable.csv", build())
    assert labels.rows.tolist() == [0, 0, 1]
    assert labels.labels.tolist() == [0, 2, 1]
    assert labels.is_present.tolist() == [True, False, False]


@pytest.mark.data
@pytest.mark.parametrize("split", ["train", "validation"])
def test_real_boxes_say_what_the_json_beside_them_says(shared_data, split):
    folder = shared_data / "oid_format"
    index = build_index(folder / "images", folder / "csv" / f"{split}-annotations-bbox.csv")
    reference = json.loads((folder / "annotations" / f"{split}.json").read_text())
    compare_with_json(index, reference, tolerance=1e-3)  # six decimals of a side of 640 pixels
    labels = read_image_labels(
        folder / "csv" / f"{split}-annotations-human-imagelabels-boxable.csv",
        folder / "csv" / "class-descriptions-boxable.csv",
        index,
    )
    present = {(row, label) for row in range(len(index)) for label in index.annotations(row).labels.tolist()}
    said = zip(labels.rows.tolist(), labels.labels.tolist(), strict=True)
    assert {pair for pair, is_there in zip(said, labels.is_present, strict=True) if is_there} == present
