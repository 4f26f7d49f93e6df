"""Self-training as a part of a program of your own: Lightning's Trainer, no command line.

    python plain_lightning.py

`lightning_st self_train` does the same and keeps more: a manifest for each stage, resumption of a run that was cut, the
report.
"""

import sys
from functools import partial
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from toy_data import write_toy_data

from lightning_st import RetinaNet, SelfTrainingDataModule, StudentModule, TeacherModule
from lightning_st.stages import pseudo_label

SMALL = {
    "backbone": "resnet10t",
    "backbone_options": {"channels": [8, 16, 32, 64], "stem_width": 8},
    "max_level": 5,
    "neck_width": 16,
    "head_width": 16,
    "head_depth": 1,
    "anchor_size": 3.0,
    "batch_norm_momentum": 0.1,
}
OPTIMISATION = {"optimizer": "adamw", "lr": 0.005, "warmup_steps": 10}


def sources(folder: Path) -> dict[str, Any]:
    """Return what the DataModule is to read."""
    return {
        "labeled": {"images": str(folder / "photos"), "annotations": str(folder / "boxes.json")},
        "unlabeled": {"images": str(folder / "more_photos")},
        "val": {"images": str(folder / "val_photos"), "annotations": str(folder / "val.json")},
        "image_size": 64,
        "batch_size": 4,
        "num_workers": 0,
    }


def open_data(**arguments: Any) -> SelfTrainingDataModule:
    """Return a DataModule that knows its classes already."""
    data = SelfTrainingDataModule(**arguments)
    data.prepare_data()
    data.setup("fit")
    return data


def fit(module: TeacherModule | StudentModule, data: SelfTrainingDataModule, folder: Path, steps: int) -> str:
    """Train, and return the checkpoint that was best on val."""
    checkpoint = ModelCheckpoint(folder, monitor=f"val/{module.primary_metric}", mode="max")
    trainer = Trainer(
        max_steps=steps,
        val_check_interval=max(1, steps // 5),
        check_val_every_n_epoch=None,  # so that the interval counts steps, whatever an epoch is
        use_distributed_sampler=False,  # the DataModule deals the images to the processes itself
        callbacks=[checkpoint],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
    )
    trainer.fit(module, datamodule=data)
    return checkpoint.best_model_path


def main(folder: Path, steps: int = 150, precision: float = 0.8) -> dict[str, float]:
    """Train a teacher, let it label, train a student; return their AP on val at the last step."""
    seed_everything(0, verbose=False)
    write_toy_data(folder)
    task = partial(RetinaNet, **SMALL)

    data = open_data(**sources(folder))
    teacher = TeacherModule(task, data.classes, **OPTIMISATION)
    best = fit(teacher, data, folder / "teacher", steps)

    recipe = {
        "data": sources(folder),
        "model": {"class_path": "lightning_st.RetinaNet", "init_args": SMALL},
        "pseudo_label": {"rule": "calibrated", "precision": precision, "flip": True},
        "trainer": {"accelerator": "cpu", "devices": 1, "enable_progress_bar": False},
    }
    labels = pseudo_label(recipe, best, folder / "labels")
    print(f"{labels.statistics()['labels']} pseudo-labels at thresholds {labels.thresholds.keep}")

    data = open_data(**sources(folder), pseudo_labels=str(folder / "labels"), pseudo_ratio=1.0)
    student = StudentModule(task, data.classes, alpha=1.0, init=best, **OPTIMISATION)
    fit(student, data, folder / "student", steps)
    return {"teacher": teacher.evaluation["AP"], "student": student.evaluation["AP"]}


if __name__ == "__main__":
    print(main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/plain_lightning")))
