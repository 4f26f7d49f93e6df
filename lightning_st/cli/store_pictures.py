"""Pictures of a store's labels for a contact sheet; loads no torch."""

from collections.abc import Iterator, Sequence

from lightning_st.errors import ConfigError, ImageError
from lightning_st.index import AnnotationIndex, ignore_unsure
from lightning_st.reports.choice import Chosen
from lightning_st.reports.pictures import load_thumbnail
from lightning_st.reports.sheet import Unreadable
from lightning_st.reports.tiles import TILE_SIDE, Tile, at_tile_size, box_tile, mask_tile
from lightning_st.types import ScoreThresholds

MOST_PICTURES = 500
"""Of a page."""


def require_count(count: int) -> None:
    """Refuse a number of pictures that no page can hold.

    Raises:
        ConfigError: If it is not from 1 to ``MOST_PICTURES``.
    """
    if not 1 <= count <= MOST_PICTURES:
        raise ConfigError.expected("count", f"from 1 to {MOST_PICTURES}", count)


def store_tiles(
    index: AnnotationIndex, thresholds: ScoreThresholds, chosen: Sequence[Chosen], unreadable: Unreadable
) -> Iterator[tuple[str, Tile]]:
    """Draw images of a store with the labels that a student is shown, each below the title of its group.

    Args:
        index: The store's, of boxes or masks.
        thresholds: Kept boxes are drawn solid, ignored ones dashed, dropped ones only where chosen; less sure pixels
            are hatched.
        chosen: The images.
        unreadable: Gets a line for each image that cannot be read.
    """
    for row, box, group in chosen:
        record = index.image(row)
        try:
            image, (width, _) = load_thumbnail(record, TILE_SIDE)
        except ImageError as error:
            unreadable.lines.append(str(error))
            continue
        image = at_tile_size(image)
        found, note = index.annotations(row), ""
        if box is not None:
            note = f"chosen for {index.classes[found.labels[box]]} {found.scores[box]:.2f}"
        mask = index.mask(row)
        if index.has_masks and mask is not None:
            shown = ignore_unsure(mask, index.confidence(row), thresholds.keep)
            label = None if box is None else int(found.labels[box])
            yield group, mask_tile(record.name, image, shown, index.classes, label, note)
        else:
            kinds = thresholds.kinds(found.labels, found.scores)
            scale, picked = image.width / width, [] if box is None else [box]
            yield (
                group,
                box_tile(record.name, image, found.boxes, found.labels, kinds, index.classes, scale, picked, note),
            )


def sentences_on_stores(index: AnnotationIndex, is_by_box: bool) -> list[str]:
    """Return how to read pictures of pseudo-labels."""
    if index.has_masks:
        return ["Classes in colour; hatched is what is not sure enough for its threshold. A background has no colour."]
    chosen = ", and the one that its picture was chosen for is thick, dotted where it is dropped" if is_by_box else ""
    return [f"Solid boxes are kept, dashed ones are ignored, dropped ones are not drawn{chosen}."]
