"""Self-training for detection and segmentation in PyTorch Lightning: teacher, pseudo-labels, student, honest report.

Names are imported when they are first used, so that ``import lightning_st`` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_st.data import SelfTrainingDataModule
    from lightning_st.deploy import Predictor
    from lightning_st.index import AnnotationIndex
    from lightning_st.models import ImageClassifier, JointDetector, RetinaNet, SemanticSegmenter, SimCLR
    from lightning_st.modules import StudentModule, TeacherModule
    from lightning_st.selftrain import PseudoLabels
    from lightning_st.stages import pretrain, self_train

__version__ = "0.1.0"

__all__ = [
    "AnnotationIndex",
    "ImageClassifier",
    "JointDetector",
    "Predictor",
    "PseudoLabels",
    "RetinaNet",
    "SelfTrainingDataModule",
    "SemanticSegmenter",
    "SimCLR",
    "StudentModule",
    "TeacherModule",
    "pretrain",
    "self_train",
]

_ROOM_OF = {
    "AnnotationIndex": "index",
    "ImageClassifier": "models",
    "JointDetector": "models",
    "Predictor": "deploy",
    "PseudoLabels": "selftrain",
    "RetinaNet": "models",
    "SelfTrainingDataModule": "data",
    "SemanticSegmenter": "models",
    "SimCLR": "models",
    "StudentModule": "modules",
    "TeacherModule": "modules",
    "pretrain": "stages",
    "self_train": "stages",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its room."""
    if name not in _ROOM_OF:
        raise AttributeError(f"module 'lightning_st' has no attribute {name!r}")
    return getattr(import_module(f"lightning_st.{_ROOM_OF[name]}"), name)


def __dir__() -> list[str]:
    """List the public names, for completion."""
    return [*globals(), *__all__]
