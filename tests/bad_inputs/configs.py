"""Configs of `self_train`: keys, values, combinations, and the YAML itself; and what a stage would refuse later."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from bad_inputs.case import Bad, Case, Refused


def data(**keys: Any) -> Callable[[Case], None]:
    return lambda case: case.set(data=keys)


def section(**sections: dict[str, Any]) -> Callable[[Case], None]:
    return lambda case: case.set(**sections)


def model(**arguments: Any) -> Callable[[Case], None]:
    return lambda case: case.recipe["model"]["init_args"].update(arguments)


def labeled(**keys: Any) -> Callable[[Case], None]:
    return lambda case: case.source(**keys)


def text(change: Callable[[str], str | bytes]) -> Callable[[Case], None]:
    """Add a config of this text, behind the one that is good."""

    def spoil(case: Case) -> None:
        changed = change(yaml.safe_dump(case.recipe))
        case.write({"second.yaml": changed})
        case.words += ["--config", str(case.folder / "second.yaml")]

    return spoil


def foreign_output(case: Case) -> None:
    case.write({"out/round_0/teacher/notes.txt": "mine"})


def empty_folder(case: Case) -> None:
    shutil.rmtree(case.images("unlabeled"))
    case.images("unlabeled").mkdir()


def truncate_all(case: Case) -> None:
    for path in case.images().iterdir():
        path.write_bytes(path.read_bytes()[:300])


def other_size(case: Case) -> None:
    for path in case.images().iterdir():
        Image.open(path).resize((50, 50)).save(path)


def bad_boxes(box: list[float]) -> Callable[[Case], None]:
    """Spoil more boxes than are allowed."""

    def change(content: dict[str, Any]) -> None:
        for annotation in content["annotations"][:2]:
            annotation["bbox"] = box

    return lambda case: case.edit(change)


def cache_is_a_file(case: Case) -> None:
    case.write({"cache": ""})
    case.set(data={"cache_folder": str(case.folder / "cache")})


def leak(case: Case) -> None:
    case.set(data={"unlabeled": {"images": str(case.images("val"))}})


def other_classes(case: Case) -> None:
    case.edit(lambda content: content["categories"][0].update(name="cube"), "val")


def no_boxes(case: Case) -> None:
    case.edit(lambda content: content.update(annotations=[]))


def without(*keys: str) -> Callable[[Case], None]:
    def spoil(case: Case) -> None:
        for key in keys:
            del case.recipe["data"][key]

    return spoil


def fit_config(case: Case) -> None:
    case.recipe["model"] = {"class_path": "TeacherModule", "init_args": {"task": case.recipe["model"]}}


NAN = float("nan")
SECOND = r"second\.yaml"
SIZE = "annotations say 80 x 64, the file is 50 x 50"
OVER = r"\d+ of \d+ boxes cannot be used, more than data\.max_bad_fraction=0\.01 allows: .*annotations\[0\]"
KEYS = [
    ("a typo in a key", data(augmnt="S1"), r"'data\.augment'"),
    ("a typo in a set", labeled(imges="x"), r"Unknown key data\.labeled\.imges\. Did you mean 'images'"),
    ("a typo in a section", text(lambda t: "teachr: {max_steps: 1}"), "Did you mean .*teacher"),
    ("a key of another command", fit_config, r"recipe\.yaml, line \d+: a TeacherModule makes this a config of fit"),
    ("a word as number", section(teacher={"max_steps": "many"}), r"Expected teacher\.max_steps to be a whole number.*'many'"),
    ("a list as number", data(batch_size=[1, 2]), r"data\.batch_size"),
    ("a word as yes or no", text(lambda t: "control: perhaps"), "control"),
    ("null as number", section(teacher={"max_steps": None}), "Expected teacher.max_steps to be given, got None. Leave it out for its default, 1000"),
    ("a number as group", text(lambda t: "data: 5"), SECOND + ", line 1: expected data to be a group of keys, got '5'"),
    ("a list as group", text(lambda t: "teacher: [1]"), SECOND + ", line 1: expected teacher to be a group of keys, got a"),
    ("no step", section(teacher={"max_steps": 0}), r"teacher\.max_steps"),
    ("a batch of none", data(batch_size=0), r"Expected data\.batch_size to be at least 1, got 0"),
    ("a ratio below 0", data(pseudo_ratio=-1), r"data\.pseudo_ratio"),
    ("a ratio that is NaN", data(pseudo_ratio=NAN), r"data\.pseudo_ratio"),
    ("an infinite ratio", data(pseudo_ratio=float("inf")), r"data\.pseudo_ratio"),
    ("a ratio of no whole number", data(pseudo_ratio=0.3), r"data\.pseudo_ratio"),
    ("an image size of 0", data(image_size=0), r"data\.image_size"),
    ("an image size of three", data(image_size=[1, 2, 3]), r"data\.image_size"),
    ("a fraction above 1", labeled(fraction=2.0), r"data\.labeled\.fraction.*above 0 and at most 1, got 2"),
    ("a fraction that is NaN", labeled(fraction=NAN), r"data\.labeled\.fraction.*above 0 and at most 1, got nan"),
    ("a bad fraction of 2", data(max_bad_fraction=2), r"data\.max_bad_fraction to be from 0 to 1, got 2"),
    ("a bad fraction of NaN", data(max_bad_fraction=NAN), r"data\.max_bad_fraction to be from 0 to 1, got nan"),
    ("a threshold above 1", section(pseudo_label={"score_threshold": 1.5}), r"pseudo_label\.score_threshold"),
    ("a threshold that is NaN", section(pseudo_label={"score_threshold": NAN}), r"pseudo_label\.score_threshold"),
    ("a learning rate below 0", section(teacher={"lr": -1.0}), r"Expected (teacher\.)?lr to be above 0, got -1"),
    ("a learning rate of NaN", section(teacher={"lr": NAN}), r"Expected (teacher\.)?lr to be above 0, got nan"),
    ("no round", text(lambda t: "rounds: 0"), "rounds"),
    ("an unknown policy", data(augment="S5"), "Unknown .*'S5'.* Known: "),
    ("an unknown backbone", model(backbone="resnett50"), "resnett50"),
    ("an unknown class", lambda c: c.recipe["model"].update(class_path="lightning_st.RetinaNett"), "RetinaNet"),
    ("an unknown format", labeled(format="cocoo"), r"data\.labeled\.format 'cocoo'\. Did you mean 'coco'"),
    ("a missing student.init", section(student={"init": "nowhere.ckpt"}), r"nowhere\.ckpt"),
]  # fmt: skip
COMBINATIONS = [
    ("masks and boxes", labeled(masks="{}/data"), r"data\.labeled\.masks"),
    ("masks for a detector", lambda c: c.only(images="{}/data", masks="{}/data"), r"data\.labeled\.masks"),
    ("a fold without a file", labeled(fold=3), r"data\.labeled\.fold to be left out without data\.labeled\.split_file"),
    ("a hierarchy for COCO", labeled(hierarchy="{}/recipe.yaml"), r"hierarchy to be left out: the format 'coco' does not"),
    ("first_pixel for COCO", labeled(first_pixel=1), r"first_pixel to be left out: the format 'coco' does not take it"),
    ("COCO as a tar", labeled(format="tar"), r"annotations, for the format 'tar'"),
    ("annotations of unlabelled images", lambda c: c.recipe["data"]["unlabeled"].update(annotations=str(c.annotations)),
     r"data\.unlabeled\.annotations to be left out"),
    ("nothing unlabelled", without("unlabeled"), r"data\.unlabeled"),
    ("nothing labelled", without("labeled"), r"data\.labeled"),
    ("images of val in the pool", leak, r"images of data\.unlabeled are also in data\.val"),
    ("other classes in val", other_classes, r"data\.val has classes that data\.labeled does not have: cube"),
    ("no labelled box", no_boxes, r"data\.labeled"),
    ("an empty folder", empty_folder, r"unlabeled/images: the folder holds no image. Looked for \.jpg"),
    ("boxes that are no numbers", bad_boxes([NAN, 1, 5, 5]), OVER),
    ("inverted boxes", bad_boxes([9, 9, -4, -4]), OVER),
    ("boxes outside", bad_boxes([500, 500, 5, 5]), OVER),
    ("all images truncated", truncate_all, r"image_\d+\.jpg: cannot be decoded: Truncated File Read"),
    ("images of another size", other_size, SIZE),
    ("a cache that is a file", cache_is_a_file, "cache: the folder of cached indexes cannot be written"),
    ("a foreign output folder", foreign_output, r"round_0/teacher is not empty and holds no manifest.json, but 'notes\.txt'"),
]  # fmt: skip
YAML = [
    ("no such config", lambda c: c.words.extend(["--config", "nowhere.yaml"]), r"nowhere\.yaml"),
    ("a folder as config", lambda c: c.words.extend(["--config", str(Path(c.folder))]), "."),
    ("an empty config", text(lambda t: ""), SECOND + ": expected keys and values in YAML, such as 'seed_everything: 0', got n"),
    ("a list as config", text(lambda t: "- 1"), SECOND + ": expected keys and values in YAML, .* got a list"),
    ("a tab", text(lambda t: "data:\n\taugment: S1"), SECOND + ", line 2: no YAML .*Indent with spaces: YAML takes no tabs"),
    ("a quote that stays open", text(lambda t: 'data: {augment: "S1}'), SECOND + r", line \d: no YAML"),
    ("one key twice", text(lambda t: "rounds: 1\nrounds: 2"), SECOND + ", line 2: the key rounds is already in line 1. Leave one"),
    ("a config in UTF-16", text(lambda t: t.encode("utf-16")), SECOND + ": no text in UTF-8, so no config in YAML"),
    ("a picture as config", text(lambda t: b"\xff\xd8\xff\xe0"), SECOND + ": no text in UTF-8, so no config in YAML"),
    ("NUL in a config", text(lambda t: "rounds: 1\0"), SECOND + r".*: no YAML"),
    ("a config in itself", text(lambda t: "data: &a\n  labeled: *a"), SECOND + ", line 1: .*stands in itself"),
    ("a config that unfolds", text(lambda t: "a0: &a0 [x]\n" + "".join(f"a{n + 1}: &a{n + 1} [{f'*a{n}, ' * 9}]\n" for n in range(9))
     ), SECOND + ".*"),
    ("a deep config", text(lambda t: "data: " + "[" * 5000), SECOND + ".*too deep"),
    ("an alias of nothing", text(lambda t: "data: *a"), SECOND + ", line 1: no YAML .found undefined alias"),
    ("a tag that makes things", text(lambda t: "rounds: !!python/object/apply:os.getpid []"), SECOND + ", line 1: the tag .* is not read"),
]  # fmt: skip
TABLES = {
    name: [Bad(row, spoil, Refused(sentence), "self_train") for row, spoil, sentence in rows]
    for name, rows in {"keys": KEYS, "combinations": COMBINATIONS, "YAML": YAML}.items()
}
