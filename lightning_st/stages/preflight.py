"""What a run is refused for in its first seconds, rather than after the days that its teacher takes."""

from pathlib import Path

from lightning_st.data import SelfTrainingDataModule
from lightning_st.data.split import refuse_leaks
from lightning_st.errors import ConfigError, DataError, StageError
from lightning_st.modules import TaskModule, load_weights, refuse_unread
from lightning_st.stages.building import arguments_of
from lightning_st.stages.confidence import make_rule, marks_of, refuse_without, rule_spec
from lightning_st.stages.labelling import predict_as
from lightning_st.stages.manifest import differences, read_manifest
from lightning_st.stages.pretrain_section import pretraining_of
from lightning_st.stages.recipe import Recipe, TrainSettings
from lightning_st.stages.train import Training, student_start

_OTHER_TASKS = "Models of whole images are trained by lightning_st pretrain."


def refuse_early(recipe: Recipe, data: SelfTrainingDataModule) -> None:
    """Refuse what a later stage of self-training would refuse.

    Makes teacher, student and what is pre-trained once, so that every argument of theirs is tried, and the weights that
    a student is to start from are known to fit.

    Raises:
        ConfigError: If a set of images is missing, or an argument is wrong.
        CheckpointError: If ``student.init`` is a checkpoint that does not fit.
        DataError: If images that judge the models are pre-trained on.
    """
    for split in ("labeled", "unlabeled"):
        if not data.has(split):
            raise ConfigError(f"self_train needs data.{split}.images: a folder or tar of images.")
    if data.target not in ("boxes", "masks"):
        raise ConfigError.expected("model", "one of boxes or masks", recipe.model["class_path"], _OTHER_TASKS)
    if recipe.patience is not None and not data.has("val"):
        advice = "It goes by what a round brought on val: give data.val.images and their labels."
        raise ConfigError.expected("patience", "left out", recipe.patience, advice)
    refuse_without(data, make_rule(recipe.labelling()))
    settings = TrainSettings.read(recipe.student, "student")
    nowhere = Path()  # where stages, and the teacher's weights, are going to be
    start = student_start(settings, nowhere, same_model=settings.model is None)
    teacher = _make_module(Training(recipe, nowhere, "teacher", TrainSettings.read(recipe.teacher, "teacher")), data)
    pretrained = pretraining_of(recipe, nowhere)
    if pretrained is not None:
        _refuse_pretraining(pretrained, teacher, data)
    student = _make_module(Training(recipe, nowhere, "student", settings), data)
    for module in (teacher, student) if recipe.rounds > 1 else (teacher,):
        predict_as(recipe.labelling(), module)
    refuse_unread(student.task, marks_of(recipe.labelling(), data.target))
    if start is not None and start != nowhere:
        load_weights(student, start)


def _refuse_pretraining(training: Training, teacher: TaskModule, data: SelfTrainingDataModule) -> None:
    """Refuse a pre-training that cannot be done, that a model cannot start from, or that sees what judges it.

    Args:
        training: The pre-training.
        teacher: Starts from it.
        data: Of the run, opened.
    """
    try:
        own = training.make_data()
    except ConfigError as error:
        raise ConfigError(f"pretrain: {error}") from error
    judges = {name: data.split(name) for name in ("val", "test") if data.has(name)}
    try:
        refuse_leaks(judges | {name: own.split(name) for name in own.streams})
    except DataError as error:
        raise DataError(f"pretrain: {error}") from error
    pretrained = _make_module(training, own)
    task = type(teacher.task).__name__
    if "pretrained" not in (arguments_of(type(teacher.task)) or ("pretrained",)):
        raise ConfigError(f"pretrain: {task} takes no argument pretrained, so it cannot start from a backbone.")
    wanted, found = _backbone_shapes(teacher), _backbone_shapes(pretrained)
    other = next((name for name, shape in wanted.items() if found.get(name) != shape), None)
    if other is not None:
        advice = f"Leave its backbone and backbone_options out: they are {task}'s."
        raise ConfigError(f"pretrain.model has another backbone than model, such as in {other}. {advice}")


def _backbone_shapes(module: TaskModule) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the parameters of a task's backbone, by name; none where it has no such part."""
    backbone = getattr(module.task, "backbone", None)
    return {} if backbone is None else {name: tuple(value.shape) for name, value in backbone.named_parameters()}


def _make_module(training: Training, data: SelfTrainingDataModule) -> TaskModule:
    try:
        return training.make_module(data)
    except ConfigError as error:
        raise ConfigError(f"{training.role}: {error}") from error


def refuse_other_rule(recipe: Recipe, round_folder: Path) -> None:
    """Refuse to change the thresholds of a store under a student that has learnt from it.

    Raises:
        StageError: Naming what differs.
    """
    store = read_manifest(round_folder / "pseudo_labels")
    student = round_folder / "student"
    if store is None or "rule" not in store or read_manifest(student) is None:
        return
    changed = differences({"rule": store["rule"]}, {"rule": rule_spec(make_rule(recipe.labelling()))})
    if changed:
        raise StageError(
            f"{student} was made from pseudo-labels that were chosen otherwise: {'; '.join(changed)}. "
            "Use another --output, or --restart to make this stage and those after it anew."
        )
