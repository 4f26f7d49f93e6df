"""The sets that a run trains on, as the streams of its batches."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lightning_st.data.labels import TrainingSet, whole_image_labels
from lightning_st.data.sampling import Stream, StreamName
from lightning_st.data.split import Split
from lightning_st.errors import DataError
from lightning_st.index import same_image_rows

_THINGS = {"boxes": "object", "masks": "pixel", "classes": "class"}


def training_sets(splits: Mapping[str, Split], names: Sequence[StreamName], seed: int) -> dict[StreamName, TrainingSet]:
    """Return the set of each stream, in the order in which a batch holds them.

    Where there are pseudo-labels and a set of joint training, images that stand in both have the class of the one
    beside the boxes of the other (paper.md, section 3.5: "+ both").

    Args:
        splits: What is opened, by name.
        names: The streams: that of the labelled images, or of the unlabelled ones for views, and a second one.
        seed: Of the run.

    Raises:
        DataError: If no labelled image has a label, or none of the pseudo-labelled ones has a class where some should.
    """
    first = splits[names[0]]
    if names[0] == "labeled" and not first.label_counts()[first.rows].any():
        raise DataError(f"data.labeled: none of {len(first)} images has a labelled {_THINGS[first.target]}.")
    joint = splits.get("joint")
    return {
        name: TrainingSet(
            Stream(name, splits[name].rows, seed),
            splits[name].index,
            splits[name].thresholds,
            splits[name].target,
            _image_labels(splits[name], joint if name == "pseudo" else None),
        )
        for name in names
    }


def _image_labels(split: Split, joint: Split | None) -> NDArray[np.int64] | None:
    """Return the class of each image of a set as a whole; None where it has none."""
    if split.target == "classes":
        return whole_image_labels(split.index)
    if joint is None:
        return None
    rows = same_image_rows(split.index, joint.index)
    in_joint = np.isin(rows, joint.rows)
    if not in_joint[split.rows].any():
        raise DataError(
            f"None of {len(split)} pseudo-labelled images is also in data.joint, which would say its class. Let "
            "data.joint.images be the folder or archive that was labelled."
        )
    return np.where(in_joint, whole_image_labels(joint.index)[rows], -1)
