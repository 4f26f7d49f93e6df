"""From what the user names to the sources of one index: the format, and where images, labels and list are."""

import os
from pathlib import Path

from lightning_st.errors import AnnotationError, ConfigError
from lightning_st.index.names import hint_of_case
from lightning_st.index.readers import READERS, ReaderOptions, Sources, reader_of, traits_of
from lightning_st.index.readers.sources import begins_json
from lightning_st.index.roots import Root, find_root, find_root_of, yaml_root

_KNOWN = ", ".join(name for name in READERS if name not in ("classes", "results"))
_SUFFIXES = (".xml", ".txt", ".csv", ".json")


def recognise_sources(
    images: str | Path,
    annotations: str | Path | None,
    format: str | None,
    list_file: str | Path | None,
    labeled: bool | None,
    options: ReaderOptions,
) -> tuple[Sources, str]:
    """Return the sources with the name of their format; see `build_index` for the arguments.

    Raises:
        AnnotationError: If a path is missing.
        ConfigError: If the format is unknown, cannot be recognised, or does not go with the rest.
    """
    if format is not None:
        reader_of(format)  # refuses what is none
    folder = _existing(images, "images")
    labels = None if annotations is None else _existing(annotations, "annotations")
    if labeled is None:
        labeled = labels is not None if format is None else traits_of(format).is_labeled
    root = _root(folder, labels, format, labeled or list_file is not None)
    if root is not None:
        folder, labels = root.images, (labels or root.annotations) if labeled else None
    list_path = None
    if list_file is not None:
        folder, list_path = _find_list(list_file, folder, root)
    name = format or _recognise(folder, labels, root if labeled else None)
    _refuse_unfit(name, folder, labels, labeled)
    options.refuse_others(traits_of(name).options, name)
    return Sources(folder, labels, list_path, options=options), name


def says_labels(images: str | Path, format: str | None) -> bool:
    """Say whether the folder `images` shows itself where its labels are, or the format leaves no doubt."""
    return format in ("yolo", "classes") or _root(_without_links(images), None, format) is not None


def _existing(path: str | Path, what: str) -> Path:
    """Return a path without links, so that one folder has one name."""
    resolved = _without_links(path)
    if os.path.islink(resolved):
        raise AnnotationError(resolved, f"this link leads nowhere ({what})")
    if not os.path.exists(resolved):
        above = next((parent for parent in resolved.parents if os.path.isdir(parent)), None)
        hint = "" if above is None else hint_of_case(above, resolved.relative_to(above).as_posix())
        raise AnnotationError(resolved, f"there is no such file or folder ({what})", advice=hint.strip())
    if not (os.path.isfile(resolved) or os.path.isdir(resolved)):  # reading a pipe would wait for ever
        raise AnnotationError(resolved, f"expected a file or a folder ({what}), this is a pipe or a device")
    return resolved


def _without_links(path: str | Path) -> Path:
    """Return a path without links. Path.resolve raises for those that lead in a circle, and both for a NUL."""
    return Path(path) if "\0" in str(path) else Path(os.path.realpath(path))


def _root(images: Path, annotations: Path | None, format_name: str | None, has_more_to_say: bool = True) -> Root | None:
    """Return what the images are the root of.

    Args:
        images: The folder that the user named.
        annotations: The labels that the user named.
        format_name: The format that the user named.
        has_more_to_say: Whether it is asked for more than where the images are: for labels or lists. A data.yaml in a
            folder of unlabelled images is not looked into otherwise; it may be anything.
    """
    if annotations is not None and annotations.suffix in (".yaml", ".yml"):
        return yaml_root(images, annotations)
    is_folder = annotations is None or annotations.is_dir()
    if format_name is None and is_folder:
        return find_root(images) if annotations is None and has_more_to_say else find_root_of(images, "voc")
    return find_root_of(images, format_name) if format_name is not None and is_folder else None


def _find_list(list_file: str | Path, images: Path, root: Root | None) -> tuple[Path, Path | None]:
    """Return the folder of the images and the list: the file of that name, or what the root says of such a split."""
    if not Path(list_file).is_file() and root is not None:
        found = root.split(str(list_file))
        if found is not None:
            return found
        if root.splits and not Path(list_file).exists():
            problem = f"there is no such file (list), nor such a split of {root.images}"
            raise AnnotationError(list_file, problem, advice=f"Its splits: {', '.join(root.splits)}.")
    return images, _existing(list_file, "list")


def _recognise(images: Path, labels: Path | None, root: Root | None) -> str:
    """Return the format of what lies there.

    Raises:
        ConfigError: If it cannot be told; it says what was seen.
    """
    if root is not None:
        return root.format
    if labels is None:
        return "folder" if images.is_dir() else "tar"
    name, seen = _look_into(labels) if labels.is_dir() else _look_at(labels)
    if name is None:
        raise ConfigError(f"{labels}: the annotations are {seen}: cannot tell their format. Known: {_KNOWN}.")
    return name


def _look_into(folder: Path) -> tuple[str | None, str]:
    """Return the format of a folder of label files, and what was seen."""
    counts = {suffix: sum(1 for _ in folder.rglob(f"[!.]*{suffix}")) for suffix in _SUFFIXES}
    seen = ", ".join(f"{count} {suffix}" for suffix, count in counts.items() if count) or "no label"
    is_voc, is_yolo = (counts[suffix] > 0 and counts[suffix] == sum(counts.values()) for suffix in (".xml", ".txt"))
    if seen == "no label" and any(folder.rglob("[!.]*.png")):
        seen = "only .png (masks go with data.*.masks)"
    return "voc" if is_voc else "yolo" if is_yolo else None, f"a folder with {seen} files"


def _look_at(path: Path) -> tuple[str | None, str]:
    """Return the format of a file of labels, and what was seen."""
    if path.suffix == ".json" or begins_json(path):
        return "coco", "JSON"
    if path.suffix in (".yaml", ".yml"):
        return "yolo", "YAML"
    with path.open("rb") as file:
        first = file.readline(1000).decode("utf-8-sig", "replace").strip()
    if path.suffix == ".xml" or first.startswith("<"):
        return "voc", "XML"
    is_openimages = {"ImageID", "LabelName"} <= set(first.split(","))
    return "openimages" if is_openimages else None, f"a file that is no JSON and begins with {first[:60]!r}"


def _refuse_unfit(name: str, images: Path, labels: Path | None, labeled: bool) -> None:
    """Refuse a format that does not go with the sources."""
    # Each label file has its place beside its image, or the image's own folder is its label.
    is_beside = name in ("yolo", "classes")
    if labels is None and traits_of(name).is_labeled and not (labeled and is_beside):
        allowed = "the file of the labels" if labeled else "given: the format reads labels"
        raise ConfigError.expected(f"annotations, for the format {name!r},", allowed, None)
    if labels is not None and (name == "classes" or not traits_of(name).is_labeled):
        why = "the folders of the images are their classes" if name == "classes" else "it holds images without labels"
        raise ConfigError.expected(f"annotations, for the format {name!r},", f"left out: {why}", str(labels))
    if name == "folder" and not images.is_dir():
        raise ConfigError.expected("images", "a folder", str(images), "For a tar archive the format is 'tar'.")
    if name == "yolo" and not images.is_dir():
        raise ConfigError.expected("images, for the format 'yolo',", "a folder", str(images))
    if name == "tar" and images.is_dir():
        raise ConfigError.expected("images", "a tar archive", str(images), "For a folder it is 'folder'.")
