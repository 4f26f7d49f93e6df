"""The parser's messages become one sentence with the nearest key."""

import pytest

from lightning_st.cli.hints import explain

KEYS = ["data.augment", "data.image_size", "teacher.max_steps", "backbone"]
CLASSES = ["lightning_st.RetinaNet", "lightning_st.StudentModule"]
UNION = """Parser key "model":
  Does not validate against any of the Union subtypes
  Subtypes: [<class 'torch.nn.modules.module.Module'>, <class 'NoneType'>]
  Errors:
    - Problem with given class_path '{name}':
        {problem}
    - Expected a <class 'NoneType'>
  Given value type: <class 'str'>
  Given value: {name}"""


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        ("unrecognized arguments: --data.augmnt S2", "Unknown option --data.augmnt. Did you mean '--data.augment'?"),
        ("unrecognized arguments: --backbnoe=3", "Unknown option --backbnoe. Did you mean '--backbone'?"),
        ("Group 'data' does not accept option 'augmnt'", "data: unknown key 'augmnt'. Did you mean 'augment'?"),
        (
            "Subcommand 'fit' does not accept option 'data.augmnt'",
            "fit: unknown key 'data.augmnt'. Did you mean 'data.augment'?",
        ),
        (
            UNION.format(name="lightning_st.RetinaNet", problem="Option 'backbnoe' is not accepted"),
            "model: unknown key 'backbnoe'. Did you mean 'backbone'?",
        ),
        (
            UNION.format(name="lightning_st.RetinaNett", problem="module 'lightning_st' has no attribute 'RetinaNett'"),
            "model: there is no class 'lightning_st.RetinaNett' to import. Did you mean 'lightning_st.RetinaNet'?",
        ),
        (
            UNION.format(
                name="lightning_st.RetinaNet",
                problem="Parser key \"max_level\":\n          Expected a <class 'int'>. Got value: five",
            ),
            "model.max_level: Expected a int. Got value: five",
        ),
        (
            UNION.format(
                name="lightning_st.RetinaNet",
                problem="Parser key \"activation\":\n          Expected a typing.Literal['relu']. Got value: gelu",
            ),
            "model.activation: Expected one of ['relu']. Got value: gelu",
        ),
        (
            'Parser key "model": Expected a dot import path string: StudnetModule',
            "model: there is no class 'StudnetModule' to import. Did you mean 'lightning_st.StudentModule'?",
        ),
        (
            "Parser key \"data.x\":\n  Expected a <class 'float'>. Got value: foo",
            "data.x: Expected a float. Got value: foo",
        ),
        ("Parser key \"config\": File does not exist: 'nowhere.yaml'", "config: File does not exist: 'nowhere.yaml'"),
        ("unrecognized arguments: --zzz", "Unknown option --zzz."),
    ],
)
def test_a_message_becomes_a_sentence(message, sentence):
    assert explain(message, KEYS, CLASSES) == sentence
