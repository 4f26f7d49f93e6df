"""What a teacher's pixels are worth: each one compared with the human masks of val, in numpy."""

import numpy as np

from lightning_st.errors import StageError
from lightning_st.index import CONFIDENCE_STEPS, AnnotationIndex, pixel_histogram
from lightning_st.selftrain.matching import Matched, paired_rows
from lightning_st.types import IGNORE_INDEX


def match_pixels(predictions: AnnotationIndex, truths: AnnotationIndex) -> Matched:
    """Compare a teacher's masks with those of people; images and classes are found by their names.

    Pixels that people ignored do not count, nor images that ``predictions`` lacks: they could not be read.

    Args:
        predictions: Masks with confidences, such as a pseudo-label store's index made on the val images.
        truths: The masks of people; their classes may stand in another order, and some may be missing.

    Returns:
        A row for all pixels of a class, a confidence and right or wrong; labels as in ``predictions``.

    Raises:
        StageError: If ``truths`` has a class that ``predictions`` lacks, the other way round an image, or a mask of
            another size.
    """
    class_map, pairs = paired_rows(predictions, truths)
    class_count = len(predictions.classes)
    table = np.full(IGNORE_INDEX + 1, IGNORE_INDEX, np.uint8)
    table[: len(class_map)] = class_map
    found_counts = np.zeros((2, class_count, CONFIDENCE_STEPS + 1), np.int64)  # wrong, right
    truth_counts = np.zeros(class_count, np.int64)
    for row, truth_row in pairs:
        found, confidence, truth = predictions.mask(row), predictions.confidence(row), truths.mask(truth_row)
        if found is None or confidence is None or truth is None:
            continue
        if found.shape != truth.shape:
            sizes = f"{found.shape[1]} x {found.shape[0]} pixels, labelled {truth.shape[1]} x {truth.shape[0]}"
            raise StageError(f"{predictions.name(row)}: predicted {sizes}.")
        truth = table[truth]
        counted = truth != IGNORE_INDEX
        is_right = found[counted] == truth[counted]
        for side in (0, 1):
            part = is_right == side
            found_counts[side] += pixel_histogram(found[counted][part], confidence[counted][part], class_count)
        truth_counts += np.bincount(truth[counted], minlength=class_count)[:class_count]
    sides, labels, steps = np.nonzero(found_counts)
    scores = (steps / CONFIDENCE_STEPS).astype(np.float32)
    return Matched(labels, scores, np.equal(sides, 1), truth_counts, found_counts[sides, labels, steps])
