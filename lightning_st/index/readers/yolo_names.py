"""The files of class names beside YOLO labels: data.yaml, or a name a line."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from lightning_st.errors import AnnotationError, quoted
from lightning_st.index.readers.class_files import read_class_names, read_text, refuse_wrong_names
from lightning_st.index.readers.sources import Sources

logger = logging.getLogger(__name__)

YAML_NAMES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
TEXT_NAMES = ("classes.txt", "obj.names")
_LEVELS = 4  # folders above the labels and the images that are looked into: dataset/images/train/part


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a data.yaml.

    Raises:
        AnnotationError: If it is no YAML, or holds no names.
    """
    try:
        # Every scalar as the text that stands there: a class may be called "no" or "1.0".
        content = yaml.BaseLoader(read_text(path)).get_single_data()
    except RecursionError as error:
        raise AnnotationError(path, "no valid YAML: lists and mappings stand in one another too deep") from error
    except yaml.YAMLError as error:
        problem = str(getattr(error, "problem", None) or "it cannot be parsed")
        mark = getattr(error, "problem_mark", None)
        raise AnnotationError(path, f"no valid YAML: {problem}", f"line {mark.line + 1}" if mark else "") from error
    if not isinstance(content, dict) or "names" not in content:
        raise AnnotationError(path, "the field 'names' is missing", advice="It lists the classes by their index.")
    return content


def read_names(path: Path) -> list[str]:
    """Return the class names of a data.yaml, or of a file with a name a line or a JSON list.

    Raises:
        AnnotationError: If it cannot be read, or its names are not those of the indices 0, 1, 2 ...
    """
    if path.suffix not in (".yaml", ".yml"):
        return read_class_names(path)
    names = read_yaml(path)["names"]
    if isinstance(names, dict):
        if names.keys() != {str(index) for index in range(len(names))}:
            raise AnnotationError(path, f"expected names of the indices 0 to {len(names) - 1}", record="names")
        names = [names[str(index)] for index in range(len(names))]
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise AnnotationError(path, f"expected a list of class names, got {quoted(names)}", record="names")
    refuse_wrong_names(path, names, record="names")
    return names


def names_file(sources: Sources) -> Path:
    """Return the file of the class names: the user's, or the nearest above the labels and the images.

    Raises:
        AnnotationError: If there is none.
    """
    labels = sources.annotations
    if sources.options.classes is not None:
        return sources.options.classes
    if labels is not None and labels.is_file():
        return labels
    begin = sources.images if labels is None else labels
    for folder in (*_upwards(begin), *_upwards(sources.images)):
        for name in (*YAML_NAMES, *TEXT_NAMES):
            if (folder / name).is_file():
                return folder / name
    looked = ", ".join((*YAML_NAMES[:1], *TEXT_NAMES))
    advice = f"Looked for {looked} there and above it; name the file as classes."
    raise AnnotationError(begin, "there is no file of the class names", advice=advice)


def split_of(path: Path, name: str) -> tuple[Path, Path | None] | None:
    """Return what a data.yaml says of a split such as "train": the folder of its images, and the list of them.

    Returns:
        The folder and None; or the folder of the data set and a text file of names; or None for no such split.

    Raises:
        AnnotationError: If it names something that is not there, or several.
    """
    content = read_yaml(path)
    said = content.get(name)
    if not said or name in ("names", "path", "nc"):
        return None
    if not isinstance(said, str):
        advice = "Give one folder, or one text file that lists the images."
        raise AnnotationError(path, f"expected a folder or a file, got {quoted(said)}", record=name, advice=advice)
    root = dataset_root(path, content)
    for candidate in _candidates(path, root, said):
        # Not Path.is_dir: it raises for names that are too long.
        is_folder = os.path.isdir(candidate)
        if is_folder or os.path.isfile(candidate):
            found = Path(os.path.realpath(candidate))
            if not found.is_relative_to(path.resolve().parent):  # as many do; what is opened there is said
                logger.info("%s: its %s lies elsewhere: %s.", path, name, found)
            return (found, None) if is_folder else (root, found)
    raise AnnotationError(path, f"there is no folder or file {quoted(said)} below {root}", record=name)


def dataset_root(path: Path, content: dict[str, Any]) -> Path:
    """Return the folder that a data.yaml speaks of: its `path` where that is there, else its own folder.

    `path` is written for the machine of whoever made the file, so it is often another.
    """
    said = content.get("path")
    root = path.parent / said if isinstance(said, str) else path.parent
    return Path(os.path.realpath(root if os.path.isdir(root) else path.parent))


def _candidates(path: Path, root: Path, said: str) -> Iterator[Path]:
    """Yield where a split may lie; Roboflow's files say ../train/images and mean train/images."""
    yield root / said
    yield path.parent / said
    if said.startswith("../"):
        yield root / said[3:]


def _upwards(path: Path) -> list[Path]:
    folder = path if path.is_dir() else path.parent
    return [folder, *folder.parents][:_LEVELS]


def label_path(image: str) -> str:
    """Return where the labels of an image lie: the last folder `images` is `labels` there; else beside the image.

    Example:
        >>> label_path("/coco8/images/train/1.jpg")
        '/coco8/labels/train/1.txt'
    """
    before, found, behind = image.rpartition("/images/")
    moved = f"{before}/labels/{behind}" if found else image
    return os.path.splitext(moved)[0] + ".txt"
