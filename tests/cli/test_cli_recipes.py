"""What the words of self_train become."""

import pytest

from lightning_st.cli.stage_commands import parse_recipe, recipe_parser
from lightning_st.errors import ConfigError


def parsed(*words):
    required = ["--output", "out", "--model", "lightning_st.RetinaNet"]
    return parse_recipe(recipe_parser("self_train", "about"), [*required, *words])


def test_a_student_may_have_a_model_of_its_own():
    assert parsed()["student"]["model"] is None
    model = parsed("--student.model", "lightning_st.RetinaNet", "--student.model.neck_width", "16")["student"]["model"]
    assert model["class_path"] == "lightning_st.RetinaNet"
    assert model["init_args"]["neck_width"] == 16


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--student.model.neck_widht=16"], r"neck_widht"),
        (["--trainer.max_steps=5"], r"trainer\.max_steps is not .* Give teacher\.max_steps and student\.max_steps\."),
        (["--model.classes=[a]"], r"model\.classes is not .* The names of the classes come from the data\."),
        (["--data.labeled=photos"], r"Expected data\.labeled to be a group .* Write --data\.labeled\.images DIR\."),
        (["--data.val.fraction=half"], r"^Expected data\.val\.fraction to be a number, got 'half'\.$"),
        (["--model=RetinaNett"], r"Did you mean 'lightning_st\.RetinaNet'\?"),
        (["--trainer.logger=Tensorboard"], r"Did you mean 'lightning\.pytorch\.loggers\.TensorBoardLogger'\?"),
        (["--trainer.precision=fp16"], r"^Expected trainer\.precision to be .* got 'fp16'\. Did you mean 'bf16'\?$"),
        (["--data.image_size", "64", "64"], r"Unexpected word '64'"),
    ],
)
def test_the_parsers_own_messages_become_sentences(words, sentence):
    """Guards what jsonargparse says today: hints.py reads its messages."""
    with pytest.raises(ConfigError, match=sentence) as refusal:
        parsed(*words)
    assert "\n" not in str(refusal.value)
