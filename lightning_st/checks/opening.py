"""The sets of a config, opened to be checked: what a training would refuse is to be found, not to end the check."""

from lightning_st.data import SelfTrainingDataModule, Split
from lightning_st.errors import ConfigError


def open_splits(data: SelfTrainingDataModule) -> dict[str, Split]:
    """Return the sets of a DataModule by name, however many of their boxes cannot be used, and whatever they share.

    Raises:
        ConfigError: If no set is given.
        DataError: If one cannot be opened.
        StageError: If a store of pseudo-labels is not complete.
    """
    splits = data.open_sources(max_bad_fraction=1.0)
    if not splits:
        raise ConfigError.expected("data.labeled.images (or unlabeled, val, test)", "given", None)
    if data.pseudo_labels is not None:
        splits["pseudo"] = data.open_pseudo_labels(splits, max_bad_fraction=1.0)
        splits["pseudo"].index.verify()
    return splits
