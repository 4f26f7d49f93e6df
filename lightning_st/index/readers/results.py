"""COCO results JSON: boxes with scores, made by any detector, as pseudo-labels."""

from dataclasses import replace
from tempfile import TemporaryFile

from lightning_st.errors import ConfigError
from lightning_st.index.readers.coco import write_records
from lightning_st.index.readers.coco_records import read_records, read_result_boxes
from lightning_st.index.readers.sources import Sources, begins_json, ignore_progress
from lightning_st.index.writer import IndexWriter


def read_results(sources: Sources, writer: IndexWriter) -> None:
    """Stream the images of a COCO JSON, in its order, with the boxes that a list of results gives them.

    The images' ids come from the JSON that `list_file` names (its annotations are not read), the classes from the
    option `categories`.

    Raises:
        AnnotationError: If a file, a record or a field is not as it should be.
        ConfigError: If there is no JSON of the images, or no class.
    """
    images = sources.list_file
    if images is None or not begins_json(images):
        advice = "It says which image each image_id of the results is."
        raise ConfigError.expected("list", "the COCO JSON of the images", str(images), advice)
    if not sources.options.categories:
        raise ConfigError.expected("categories", "the (id, name) of each class", ())
    with TemporaryFile(dir=writer.path.parent) as segmentations:
        said = read_records(images, segmentations, ignore_progress, parts=["images"])
        boxes = read_result_boxes(sources.label_path, segmentations, sources.advance)
        categories = list(sources.options.categories)
        records = replace(said, path=sources.label_path, boxes=boxes, categories=categories, part="")
        write_records(replace(sources, list_file=None), writer, records)
