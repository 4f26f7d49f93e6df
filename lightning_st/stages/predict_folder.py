"""A checkpoint applied to any folder of images: the labelling stage, all that it needs taken from the checkpoint."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning_st.selftrain import PseudoLabels
from lightning_st.stages.building import import_name
from lightning_st.stages.pseudo_label import pseudo_label
from lightning_st.stages.recipe import Recipe
from lightning_st.stages.trained_model import TrainedModel

DEFAULT_THRESHOLD = 0.3
"""Of boxes. Of masks every pixel is shown: one class or another is there."""

_EVERY_PIXEL = 0.01


@dataclass(frozen=True)
class PredictSettings:
    """How a folder is predicted.

    Attributes:
        image_size: (height, width) of a batch, or one number for both; None for that of the training.
        batch_size: Images in a batch.
        num_workers: Worker processes that decode.
        score_threshold: Boxes, or pixels, from this score (0-1) on; None for ``DEFAULT_THRESHOLD``, or every pixel.
        flip: Average with the predictions on the mirrored images.
        scales: Join the predictions on the images at these sizes; 1 is that of the batches.
        max_bad_fraction: Stop when more than this part (0-1) of the images cannot be read.
        trainer: Arguments of Lightning's Trainer, such as "accelerator" and "precision".
    """

    image_size: int | tuple[int, int] | None = None
    batch_size: int = 8
    num_workers: int = 2
    score_threshold: float | None = None
    flip: bool = False
    scales: Sequence[float] = (1.0,)
    max_bad_fraction: float = 0.01
    trainer: Mapping[str, Any] = field(default_factory=dict)


def predict_folder(
    checkpoint: Path,
    images: str,
    store: Path,
    settings: PredictSettings,
    image_list: str | None = None,
    model: Mapping[str, Any] | None = None,
    restart: bool = False,
) -> PseudoLabels:
    """Predict a folder or tar of images, or go on with a prediction that was cut.

    Args:
        checkpoint: Of a teacher or a student.
        images: The folder or tar.
        store: The folder for the predictions, at all scores: a store of pseudo-labels as any other.
        settings: How.
        image_list: Only these images; a name a line, or a COCO JSON.
        model: The task by ``class_path`` and ``init_args``; None for what the checkpoint says.
        restart: Predict anew where the inputs have changed, instead of refusing.

    Raises:
        CheckpointError: If the checkpoint cannot be read, or does not say what its model is.
        ConfigError: If the size of the images is not known.
        StageError: If the store was made from other inputs.
    """
    trained = TrainedModel.describe(checkpoint, model, settings.image_size)
    holds_masks = getattr(import_name(trained.spec["class_path"]), "target", "boxes") == "masks"
    threshold = _EVERY_PIXEL if holds_masks else DEFAULT_THRESHOLD
    recipe = Recipe(
        data={
            "unlabeled": {"images": images, "list": image_list},
            "image_size": settings.image_size or trained.image_size,
            "eval_batch_size": settings.batch_size,
            "num_workers": settings.num_workers,
            "max_bad_fraction": settings.max_bad_fraction,
        },
        model=trained.spec,
        pseudo_label={
            "score_threshold": threshold if settings.score_threshold is None else settings.score_threshold,
            "flip": settings.flip,
            "scales": list(settings.scales),
        },
        trainer=dict(settings.trainer),
    )
    return pseudo_label(recipe, checkpoint, store, restart)
