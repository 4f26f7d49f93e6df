"""Which images there are and whose labels they carry: one memory-mapped table, and a reader for each format.

`build_index` finds the reader, builds the table once and keeps it in a cache; `AnnotationIndex` is the table. A new
format is one function in a module of its own in `readers/`, named in the dict `READERS` there; or in a module of the
user's, whose import path is then the name of the format.
"""

from lightning_st.index.build import build_index
from lightning_st.index.cache import default_cache_folder
from lightning_st.index.exclude import excluded_rows, write_exclusions, write_names
from lightning_st.index.export import export_coco
from lightning_st.index.export_masks import export_masks
from lightning_st.index.export_results import export_results
from lightning_st.index.export_yolo import export_yolo
from lightning_st.index.folds import fold_rows
from lightning_st.index.image_bytes import read_part
from lightning_st.index.image_labels import VerifiedLabels, read_image_labels
from lightning_st.index.image_size import plain_jpeg_frame
from lightning_st.index.masks import (
    CONFIDENCE_STEPS,
    encode_mask,
    ignore_unsure,
    pixel_histogram,
    threshold_steps,
    to_hundredths,
)
from lightning_st.index.merge import merge_indexes
from lightning_st.index.numbering import class_ids_in, numbered_as
from lightning_st.index.picture_file import open_picture, orientation_of
from lightning_st.index.readers import (
    READERS,
    ImagePlaces,
    RawBoxes,
    ReaderOptions,
    Sources,
    Traits,
    add_image,
    add_measured_image,
)
from lightning_st.index.recognise import says_labels
from lightning_st.index.segments import segments_of
from lightning_st.index.stores import read_store_manifest, store_thresholds
from lightning_st.index.subset import common_images, nested_subset, same_image_rows
from lightning_st.index.table import AnnotationIndex, Annotations, ImageRecord
from lightning_st.index.writer import IndexWriter

__all__ = [
    "CONFIDENCE_STEPS",
    "READERS",
    "AnnotationIndex",
    "Annotations",
    "ImagePlaces",
    "ImageRecord",
    "IndexWriter",
    "RawBoxes",
    "ReaderOptions",
    "Sources",
    "Traits",
    "VerifiedLabels",
    "add_image",
    "add_measured_image",
    "build_index",
    "class_ids_in",
    "common_images",
    "default_cache_folder",
    "encode_mask",
    "excluded_rows",
    "export_coco",
    "export_masks",
    "export_results",
    "export_yolo",
    "fold_rows",
    "ignore_unsure",
    "merge_indexes",
    "nested_subset",
    "numbered_as",
    "open_picture",
    "orientation_of",
    "pixel_histogram",
    "plain_jpeg_frame",
    "read_image_labels",
    "read_part",
    "read_store_manifest",
    "same_image_rows",
    "says_labels",
    "segments_of",
    "store_thresholds",
    "threshold_steps",
    "to_hundredths",
    "write_exclusions",
    "write_names",
]
