"""The parser's messages become one sentence: the key, what was given, what is accepted, the nearest name."""

import pytest

from lightning_st.cli.hints import Vocabulary, explain

WORDS = Vocabulary(
    keys=["data.augment", "data.image_size", "teacher.lr", "student.lr", "trainer.max_time", "rounds", "backbone"],
    classes={"model": ["lightning_st.RetinaNet"], "trainer.logger": ["lightning.pytorch.loggers.TensorBoardLogger"]},
    groups={"data.val": "--data.val.images DIR"},
    owns=True,
)
UNION = """Parser key "{key}":
  Does not validate against any of the Union subtypes
  Subtypes: [{subtypes}]
  Errors:
    - {problem}
    - Expected a <class 'NoneType'>
  Given value type: <class 'str'>
  Given value: {value}"""


def union(key, problem, value, subtypes="<class 'torch.nn.modules.module.Module'>, <class 'NoneType'>"):
    return UNION.format(key=key, problem=problem, value=value, subtypes=subtypes)


IN_A_CLASS = """Problem with given class_path '{path}':
        Parser key "{key}":
          {problem}"""
NO_CLASS = "Problem with given class_path 'lightning_st.RetinaNett':\n        module 'lightning_st' has no attribute"
IN_A_TASK = (
    "Type collections.abc.Callable[[collections.abc.Sequence[str]], torch.nn.modules.module.Module] expects a "
    "function or a callable class: Option 'head_widht' is not accepted. "
    "Got value: Namespace(class_path='lightning_st.RetinaNet')"
)


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        # Options
        ("unrecognized arguments: --data.augmnt S2", "Unknown option --data.augmnt. Did you mean '--data.augment'?"),
        ("unrecognized arguments: --backbnoe=3", "Unknown option --backbnoe. Did you mean '--backbone'?"),
        ("unrecognized arguments: --lr 3", "Unknown option --lr. Did you mean --teacher.lr or --student.lr?"),
        ("unrecognized arguments: --zzz", "Unknown option --zzz."),
        (
            "unrecognized arguments: 64",
            "Unexpected word '64': an option takes one value, a list is written as '[64, 96]'.",
        ),
        (
            "unrecognized arguments: --trainer.max_steps 5",
            "trainer.max_steps is not a recipe's to give: each stage sets it. "
            "Give teacher.max_steps and student.max_steps. In pretrain it is training.max_steps.",
        ),
        ("argument --rounds: expected one argument", "--rounds needs a value."),
        (
            "the following arguments are required: output, model",
            "There is no --output and --model: give it on the command line, or in a file with --config.",
        ),
        # Keys
        ("Group 'data' does not accept option 'augmnt'", "Unknown key data.augmnt. Did you mean 'data.augment'?"),
        (
            "Group 'trainer' does not accept option 'fast_dev_run'",
            "trainer.fast_dev_run is not a recipe's to give: each stage sets it. "
            "Give teacher.max_steps and student.max_steps. In pretrain it is training.max_steps.",
        ),
        (
            "Subcommand 'fit' does not accept option 'data.augmnt'",
            "Unknown key data.augmnt. Did you mean 'data.augment'?",
        ),
        (
            union(
                "model",
                "Problem with given class_path 'lightning_st.RetinaNet':\n  Option 'backbnoe' is not accepted",
                "x",
            ),
            "Unknown key model.backbnoe. Did you mean 'backbone'?",
        ),
        (
            union(
                "model",
                IN_A_CLASS.format(path="lightning_st.TeacherModule", key="task", problem=IN_A_TASK),
                "NestedArg(key='task.head_widht', val='5')",
            ),
            "Unknown key model.task.head_widht. Did you mean 'head_width'?",
        ),
        # Classes
        (
            union("model", NO_CLASS, "x"),
            "model: there is no class 'lightning_st.RetinaNett' to import. Did you mean 'lightning_st.RetinaNet'?",
        ),
        (
            union("trainer.logger", "Expected a dot import path string: Tensorboard", "Tensorboard"),
            "trainer.logger: there is no class 'Tensorboard' to import. "
            "Did you mean 'lightning.pytorch.loggers.TensorBoardLogger'?",
        ),
        (
            union("model", "Import path lightning_st.Source does not correspond to a subclass of Module", "a.Source"),
            "model: the class a.Source cannot stand here. Known: lightning_st.RetinaNet.",
        ),
        (
            union(
                "trainer.logger",
                "Problem with given class_path 'loggers.CSVLogger':\n  the following arguments are required: save_dir",
                "x",
            ),
            "trainer.logger: loggers.CSVLogger needs save_dir: give --trainer.logger.save_dir.",
        ),
        (
            union("model", "Multiple subclasses with name Net. Give the full path to avoid it: a.Net, b.Net.", "Net"),
            "model: several classes are called Net. Write a.Net or b.Net.",
        ),
        (
            union("data.val", "Expected a dot import path string: photos", "photos"),
            "Expected data.val to be a group of keys, got 'photos'. Write --data.val.images DIR.",
        ),
        # Types
        (
            "Parser key \"data.x\":\n  Expected a <class 'float'>. Got value: foo",
            "Expected data.x to be a number, got 'foo'.",
        ),
        (
            union(
                "data.image_size",
                "Expected a <class 'int'>\n    - Expected a <class 'tuple'>",
                "big",
                "tuple[int, int]",
            ),
            "Expected data.image_size to be a whole number or a list of 2, got 'big'.",
        ),
        (
            "Parser key \"student.optimizer\":\n  Expected a typing.Literal['sgd', 'adamw']. Got value: adam",
            "Expected student.optimizer to be 'sgd' or 'adamw', got 'adam'. Did you mean 'adamw'?",
        ),
        (
            union(
                "data.val",
                IN_A_CLASS.format(path="Source", key="fraction", problem="Expected a <class 'float'>. Got value: half"),
                "NestedArg(key='fraction', val='half')",
            ),
            "Expected data.val.fraction to be a number, got 'half'.",
        ),
        (
            'Parser key "teacher":\nUnable to load config \'x\'\n  - Parser key "teacher": Unable to load config "x"',
            "Expected teacher to be a group of keys, got 'x'. Write --teacher.KEY VALUE.",
        ),
        ("Parser key \"config\": File does not exist: 'nowhere.yaml'", "config: File does not exist: 'nowhere.yaml'"),
    ],
)
def test_a_message_becomes_a_sentence(message, sentence):
    assert explain(message, WORDS) == sentence
