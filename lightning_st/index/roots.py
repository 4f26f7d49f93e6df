"""Folders that hold a whole data set: PASCAL VOC's and YOLO's. They say where images, labels and lists are."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lightning_st.errors import ConfigError
from lightning_st.index.readers.masks import VOC_FOLDER
from lightning_st.index.readers.yolo_names import YAML_NAMES, dataset_root, label_path, read_yaml, split_of

_SPLITS = ("train", "val", "trainval", "test")


@dataclass(frozen=True, slots=True)
class Root:
    """What a folder of a whole data set says.

    Attributes:
        format: "voc", "masks" or "yolo".
        images: The folder of its images.
        annotations: Its labels.
        split: Returns the folder of the images of a split such as "train", and their list or None; None for no such
            split.
        splits: The names of some splits, for a message.
    """

    format: str
    images: Path
    annotations: Path | None
    split: Callable[[str], tuple[Path, Path | None] | None]
    splits: tuple[str, ...]


def find_root(folder: Path) -> Root | None:
    """Return what a folder is the root of; None where it is no root.

    Raises:
        ConfigError: If it could be several.
    """
    if not folder.is_dir():
        return None
    roots = [root for root in (_voc_root(folder), _yolo_root(folder)) if root is not None]
    if len(roots) > 1:
        seen = "Annotations/ and JPEGImages/ of PASCAL VOC, and data.yaml or labels/ of YOLO"
        raise ConfigError(f"{folder}: the folder holds {seen}: cannot tell which is meant. Set format to voc or yolo.")
    return roots[0] if roots else None


def find_root_of(folder: Path, format_name: str) -> Root | None:
    """Return what a folder is the root of in a given format."""
    find = {"voc": _voc_root, "masks": _mask_root, "yolo": _yolo_root}.get(format_name)
    return find(folder) if find is not None and folder.is_dir() else None


def yaml_root(images: Path, path: Path) -> Root:
    """Return what a data.yaml says of the images."""
    content = read_yaml(path)
    return Root("yolo", images, path, partial(split_of, path), tuple(name for name in _SPLITS if content.get(name)))


def _voc_root(folder: Path) -> Root | None:
    """Recognise VOC2012, or a VOCdevkit that holds one year; one with masks alone shows where its images are."""
    year = _voc_year(folder)
    if year is None:
        return None
    labels = year / "Annotations"
    return _voc_parts("voc", year, labels if labels.is_dir() else None, "Main")


def _mask_root(folder: Path) -> Root | None:
    """Recognise the same for its masks."""
    year = _voc_year(folder)
    if year is None or not (year / VOC_FOLDER).is_dir():
        return None
    return _voc_parts("masks", year, year / VOC_FOLDER, "Segmentation")


def _voc_parts(format_name: str, year: Path, labels: Path | None, task: str) -> Root:
    lists = year / "ImageSets" / task

    def split(name: str) -> tuple[Path, Path | None] | None:
        path = lists / f"{name.removesuffix('.txt')}.txt"
        return (year / "JPEGImages", path) if path.is_file() else None

    splits = tuple(name for name in _SPLITS if split(name))
    return Root(format_name, year / "JPEGImages", labels, split, splits)


def _voc_year(folder: Path) -> Path | None:
    """Return the folder of one year: ``folder`` itself, or the only one in it."""

    def is_year(path: Path) -> bool:
        return (path / "JPEGImages").is_dir() and any((path / name).is_dir() for name in ("Annotations", VOC_FOLDER))

    if is_year(folder):
        return folder
    years = sorted(path for path in folder.glob("VOC2[0-9]*") if (path / "JPEGImages").is_dir())
    if len(years) > 1:
        names = ", ".join(path.name for path in years)
        advice = "Name one, or for unlabelled images set format to folder."
        raise ConfigError(f"{folder}: the folder holds {names}: cannot tell which is meant. {advice}")
    return years[0] if years and is_year(years[0]) else None


def _yolo_root(folder: Path) -> Root | None:
    """Recognise a folder with a data.yaml, or with images/ and labels/, or one of images whose labels lie beside."""
    for name in YAML_NAMES:
        path = folder / name
        if path.is_file():
            return yaml_root(dataset_root(path, read_yaml(path)), path)
    if (folder / "labels").is_dir() and (folder / "images").is_dir():
        names = tuple(name for name in _SPLITS if _folder_split(folder, name))
        return Root("yolo", folder / "images", None, partial(_folder_split, folder), names)
    labels = Path(label_path(f"{folder}/x.jpg")).parent
    if labels != folder and labels.is_dir():
        return Root("yolo", folder, None, lambda name: None, ())
    return None


def _folder_split(folder: Path, name: str) -> tuple[Path, Path | None] | None:
    images = folder / "images" / name
    return (images, None) if images.is_dir() else None
