"""What a trained model of a run says of the val images, made as its teacher's labels of them were."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning_st.data import SelfTrainingDataModule
from lightning_st.index import AnnotationIndex
from lightning_st.modules import TeacherModule, checkpoint_fingerprint, load_weights, portable_spec
from lightning_st.selftrain import LABELS_FILE, job_fingerprint
from lightning_st.stages.building import build_factory
from lightning_st.stages.labelling import label_split, predict_as
from lightning_st.stages.manifest import plain
from lightning_st.stages.recipe import Recipe
from lightning_st.stages.train import make_data


def val_data(recipe: Recipe) -> SelfTrainingDataModule:
    """Return the data of a run, opened, without its unlabelled and test images, which need not be there any more."""
    return make_data(replace(recipe, data={**recipe.data, "unlabeled": None, "test": None}))


def predict_val(
    recipe: Recipe, data: SelfTrainingDataModule, checkpoint: Path, model: Mapping[str, Any], folder: Path
) -> AnnotationIndex:
    """Predict the val images with a checkpoint, at all scores, or open what an earlier call left in ``folder``.

    Args:
        recipe: Of the run: images are mirrored and scaled as for its pseudo-labels.
        data: See ``val_data``.
        checkpoint: Of a teacher or a student.
        model: The checkpoint's task by class path.
        folder: Gets the predictions.

    Raises:
        CheckpointError: If the checkpoint cannot be read, or does not fit.
    """
    settings = recipe.labelling()
    module = TeacherModule(build_factory(model), data.classes)
    load_weights(module, checkpoint)
    predict_as(settings, module)
    inputs = {
        "checkpoint": checkpoint_fingerprint(checkpoint),
        "model": portable_spec(model),
        "image_size": recipe.data.get("image_size"),
        "images": data.fingerprints()["val"],
        "pseudo_label": settings.prediction,
    }
    label_split(recipe, module, data, "val", folder, job_fingerprint(**plain(inputs)))
    return AnnotationIndex.open(folder / LABELS_FILE)
