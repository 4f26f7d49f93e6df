"""What each command understands, for the hints that it gives to whom it does not understand."""

from typing import Any

from lightning.pytorch import callbacks, loggers

from lightning_st.cli.hints import Vocabulary, known_keys
from lightning_st.data import Source
from lightning_st.modules import StudentModule, TeacherModule

_TASKS = [f"lightning_st.{name}" for name in ("RetinaNet", "SemanticSegmenter")]
_PRETRAINED_TASKS = [f"lightning_st.{name}" for name in ("ImageClassifier", "SimCLR", "JointDetector")]
_MODULES = ["lightning_st.TeacherModule", "lightning_st.StudentModule"]
_SETS = ("labeled", "unlabeled", "val", "test", "joint")


def recipe_vocabulary(parser: Any) -> Vocabulary:
    """Return what ``self_train`` and ``pseudo_label`` understand, ``parser`` being theirs."""
    return Vocabulary(
        known_keys(parser, _sources()),
        {"model": _TASKS, "student.model": _TASKS, **_of_the_trainer()},
        _groups(),
        owns=True,
    )


def pretrain_vocabulary(parser: Any) -> Vocabulary:
    """Return what ``pretrain`` understands, ``parser`` being its own."""
    classes = {"model": _PRETRAINED_TASKS + _TASKS, **_of_the_trainer()}
    return Vocabulary(known_keys(parser, _sources()), classes, _groups(), owns=True)


def lightning_vocabulary(parser: Any) -> Vocabulary:
    """Return what ``fit``, ``validate``, ``test`` and ``predict`` understand, ``parser`` taking data and trainer."""
    below: dict[str, type] = {**_sources(), "model": TeacherModule, "model.init_args": StudentModule}
    classes = {"model": _MODULES, "model.task": _TASKS + _PRETRAINED_TASKS, **_of_the_trainer()}
    return Vocabulary(known_keys(parser, below), classes, _groups())


def inspect_vocabulary(parser: Any) -> Vocabulary:
    """Return what ``inspect`` understands, which takes the configs of both."""
    return Vocabulary(known_keys(parser), {"model": _TASKS + _PRETRAINED_TASKS + _MODULES, "model.task": _TASKS})


def check_vocabulary(parser: Any) -> Vocabulary:
    """Return what ``check`` understands, which takes the configs of both and reads their data."""
    return Vocabulary(known_keys(parser, _sources()), groups=_groups())


def predict_vocabulary(parser: Any) -> Vocabulary:
    """Return what ``predict`` and ``export`` understand with a checkpoint; configs of both say what its model is."""
    return Vocabulary(known_keys(parser), {"model": _TASKS + _MODULES, "model.task": _TASKS})


def data_vocabulary(parser: Any) -> Vocabulary:
    """Return what the commands understand that read a config's data alone."""
    return Vocabulary(known_keys(parser, _sources()), groups=_groups())


def _sources() -> dict[str, type]:
    return {f"data.{name}": Source for name in _SETS}


def _groups() -> dict[str, str]:
    return {f"data.{name}": f"--data.{name}.images DIR" for name in _SETS}


def _of_the_trainer() -> dict[str, list[str]]:
    return {
        "trainer.logger": [f"lightning.pytorch.loggers.{name}" for name in loggers.__all__],
        "trainer.callbacks": [f"lightning.pytorch.callbacks.{name}" for name in callbacks.__all__]
        + ["lightning_st.modules.WeightEMA"],
    }
