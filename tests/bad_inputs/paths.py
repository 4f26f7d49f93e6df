"""Paths and names: what a file system, a link or another operating system makes of them."""

import os
import shutil
from collections.abc import Callable

from bad_inputs.case import Bad, Case, Refused, Skipped, Used
from bad_inputs.coco import BOXES, START, field, place

LONG = "x" * 251 + ".jpg"  # 255 bytes, the most that a file system takes
NO_UTF8 = os.fsdecode(b"caf\xe9.jpg")


def unlabeled(name: str) -> Callable[[Case], None]:
    """Give the first unlabelled image another name."""

    def spoil(case: Case) -> None:
        first = case.first_image("unlabeled")
        first.rename(first.with_name(name))

    return spoil


def broken(name: str) -> Callable[[Case], None]:
    """The same, and spoil it besides, so that it has to be named."""

    def spoil(case: Case) -> None:
        case.first_image("unlabeled").write_bytes(b"no picture")
        unlabeled(name)(case)

    return spoil


def renamed(name: str) -> Callable[[Case], None]:
    """Give the labelled image a.jpg another name, on the disk and in its COCO JSON."""

    def spoil(case: Case) -> None:
        field("images", 0, "file_name", name)(case)
        (case.folder / "set/images/a.jpg").rename(case.folder / "set/images" / name)

    return spoil


def in_place_of_first(make: Callable[[str], object]) -> Callable[[Case], None]:
    """Put something else in the place of the first unlabelled image."""

    def spoil(case: Case) -> None:
        path = case.first_image("unlabeled")
        path.unlink()
        make(str(path))

    return spoil


def loop_of_images(case: Case) -> None:
    folder = case.images("unlabeled")
    shutil.rmtree(folder)
    folder.symlink_to(folder)


def loop_within(case: Case) -> None:
    place(case, START)
    (case.folder / "set/images/more").symlink_to(case.folder / "set/images")


def labeled_pipe(case: Case) -> None:
    place(case, START)
    (case.folder / "set/images/a.jpg").unlink()
    os.mkfifo(case.folder / "set/images/a.jpg")


def pipe_of_annotations(case: Case) -> None:
    case.annotations.unlink()
    os.mkfifo(case.annotations)


def folder_in_another_case(case: Case) -> None:
    case.source(images=str(case.images()).replace("/labeled/", "/Labeled/"))


def names_in_another_case(case: Case) -> None:
    field("images", 0, "file_name", "A.JPG")(case)
    (case.folder / "set/images/b.jpg").unlink()


def absolute(case: Case) -> None:
    field("images", 0, "file_name", str(case.folder / "set/images/a.jpg"))(case)


def long_folder(case: Case) -> None:
    place(case, START)
    (case.folder / "set/images").rename(case.folder / "set" / ("y" * 255))
    case.source(images="{}/set/" + "y" * 255)


def leaving_link(case: Case) -> None:
    """Links that lead out are followed: data sets are often made of them."""
    place(case, START)
    (case.folder / "set/images/a.jpg").rename(case.folder / "elsewhere.jpg")
    (case.folder / "set/images/a.jpg").symlink_to(case.folder / "elsewhere.jpg")


NAME = r"boxes\.json: images\[0\]\.file_name: "
LEAVES = NAME + r"'.*' is not a path below the folder of the images"
TABLE = [
    Bad("a missing folder", lambda c: shutil.rmtree(c.images("unlabeled")), Refused(r"unlabeled/images: there is no such")),
    Bad("a missing file", lambda c: c.annotations.unlink(), Refused(r"labeled/annotations\.json: there is no such file or")),
    Bad("a folder in another case", folder_in_another_case, Refused(r"Labeled/images: there is .*Did you mean '.*labeled/images'\?")),
    Bad("a file in another case", lambda c: c.source(annotations=str(c.annotations.with_name("Annotations.json"))),
        Refused(r"there is no such file or folder \(annotations\)\. Did you mean '.*labeled/annotations\.json'\?")),
    Bad("images in another case", names_in_another_case, Refused(r"none of its first .*A\.JPG.*Did you mean '.*/a\.jpg'\?")),
    Bad("an absolute name", absolute, Refused(LEAVES)),
    Bad("a name that leaves", field("images", 0, "file_name", "../a.jpg"), Refused(LEAVES)),
    Bad("a name that leaves later", field("images", 0, "file_name", "x/../../a.jpg"), Refused(LEAVES)),
    Bad("a name with NUL", field("images", 0, "file_name", "a\0.jpg"), Refused(LEAVES)),
    Bad("a name that is a dot", field("images", 0, "file_name", "."), Refused(LEAVES)),
    Bad("half a letter in a name", field("images", 0, "file_name", "\ud800.jpg"), Refused(LEAVES)),
    Bad("dots that stay inside", field("images", 0, "file_name", "./x/../a.jpg"), Used({"boxes": BOXES})),
    Bad("a name of 256 bytes", field("images", 0, "file_name", "x" * 256), Skipped(r"1 image \(50 %\) cannot be read")),
    Bad("a name of 255 bytes", renamed(LONG), Used({"boxes": BOXES})),
    Bad("a name that is no UTF-8", renamed(NO_UTF8), Used({"boxes": BOXES})),
    Bad("a broken image of 255 bytes", broken(LONG), Skipped(r"1 image .*cannot be read(?s:.*)x{251}\.jpg: not an image")),
    Bad("a broken image of no UTF-8", broken(NO_UTF8), Skipped(r"1 image .*cannot be read(?s:.*)caf.*\.jpg: not an image")),
    Bad("a folder of 255 bytes", long_folder, Used({"boxes": BOXES})),
    Bad("a link in a circle", loop_of_images, Refused(r"unlabeled/images: this link leads nowhere \(images\)")),
    Bad("a folder in itself", loop_within, Used({"boxes": BOXES})),
    Bad("a link to nowhere", in_place_of_first(lambda p: os.symlink("nowhere", p)), Used(said=r"unlabeled +9 ")),
    Bad("a folder called jpg", in_place_of_first(os.mkdir), Used(said=r"unlabeled +9 ")),
    Bad("a pipe called jpg", in_place_of_first(os.mkfifo), Used(said=r"unlabeled +9 ")),
    Bad("a pipe that is annotated", labeled_pipe, Skipped(r"1 image .*cannot be read(?s:.*)a\.jpg: not a regular file")),
    Bad("a pipe of annotations", pipe_of_annotations, Refused(r"annotations\.json: expected a file or a folder")),
    Bad("a link that leads out", leaving_link, Used({"boxes": BOXES})),
    Bad("an image that is gone", lambda c: [place(c, START), (c.folder / "set/images/a.jpg").unlink()],
        Skipped(r"1 image .*cannot be read(?s:.*)a\.jpg: no such file or directory")),
    Bad("NUL in a path", lambda c: c.source(images="a\0b"), Refused("there is no such file or folder|null byte|NUL")),
    Bad("a path of 300 bytes", lambda c: c.source(images="z" * 300), Refused(r"z{300}: .*")),
]  # fmt: skip
