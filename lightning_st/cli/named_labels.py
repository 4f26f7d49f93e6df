"""Labels that a command line names: a store of pseudo-labels, or an index file; loads no torch."""

from pathlib import Path

from lightning_st.errors import ConfigError
from lightning_st.index import AnnotationIndex, store_thresholds
from lightning_st.types import ScoreThresholds


def open_labels(path: Path) -> AnnotationIndex:
    """Open what somebody names; it may come from elsewhere, so the whole file is looked at.

    Args:
        path: A store's folder, or an index file.

    Raises:
        IndexFileError: If it cannot be read, or is damaged.
    """
    index = AnnotationIndex.open(path / "labels.index" if path.is_dir() else path)
    index.verify()
    return index


def thresholds_of(path: Path, class_count: int, score_threshold: float | None = None) -> ScoreThresholds | None:
    """Return which labels are kept: all, where None.

    Args:
        path: A store's folder, or an index file.
        class_count: Of the classes.
        score_threshold: Keep labels from this score (0-1) on, instead of the store's own thresholds.

    Raises:
        ConfigError: If ``score_threshold`` is out of range.
        StageError: If the folder is no store, or the store not complete.
    """
    if score_threshold is not None:
        if not 0 <= score_threshold <= 1:
            raise ConfigError.expected("score_threshold", "from 0 to 1", score_threshold)
        return ScoreThresholds.uniform(class_count, score_threshold)
    return store_thresholds(path, class_count) if path.is_dir() else None
