"""The sets of a config, opened to be checked: what a training would refuse is to be found, not to end the check."""

from pathlib import Path

from lightning_st.data import SelfTrainingDataModule, Source, Split
from lightning_st.data.example import fetch_trees
from lightning_st.data.pseudo_labels import open_pseudo_labels, open_results
from lightning_st.data.split import class_source
from lightning_st.errors import ConfigError


def open_splits(data: SelfTrainingDataModule) -> dict[str, Split]:
    """Return the sets of a DataModule by name, however many of their boxes cannot be used, and whatever they share.

    Raises:
        ConfigError: If no set is given.
        DataError: If one cannot be opened.
        StageError: If a store of pseudo-labels is not complete.
    """
    sources = {name: source for name, source in data.sources.items() if source is not None}
    if data.example is not None:
        sources = {name: Source(**fields) for name, fields in fetch_trees(data.cache_folder).items()} | sources
    if not sources:
        raise ConfigError.expected("data.labeled.images (or unlabeled, val, test)", "given", None)
    where = data.seed, data.cache_folder, 1.0, data.target
    splits = {name: Split.open(name, source, *where) for name, source in sources.items()}
    if data.pseudo_labels is not None:
        splits["pseudo"] = _pseudo_labels(data, data.pseudo_labels, splits)
    return splits


def _pseudo_labels(data: SelfTrainingDataModule, path: str, splits: dict[str, Split]) -> Split:
    index = class_source(splits).index
    shown = data.score_threshold, data.keep_empty_pseudo
    if Path(path).is_file():
        return open_results(path, data.sources["unlabeled"], index, *shown, data.cache_folder)
    return open_pseudo_labels(path, index.classes, *shown, data.target)
