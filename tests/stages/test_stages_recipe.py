"""Recipes: sections, their checks, and building classes from plain data."""

from fractions import Fraction

import pytest

from lightning_st.errors import ConfigError
from lightning_st.stages.building import build, build_factory
from lightning_st.stages.recipe import PseudoLabelSettings, Recipe, TrainSettings


def recipe(**sections):
    return Recipe(**{"data": {}, "model": {"class_path": "lightning_st.RetinaNet"}, **sections})


def test_a_section_is_split_into_stage_and_module():
    settings = TrainSettings.read({"max_steps": 40, "ema_decay": 0.9, "lr": 0.1, "optimizer": "adamw"}, "teacher")
    assert (settings.max_steps, settings.ema_decay) == (40, 0.9)
    assert settings.module == {"lr": 0.1, "optimizer": "adamw"}
    assert settings.validation_interval == 4


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"rounds": 0}, "Expected rounds to be at least 1, got 0"),
        ({"teacher": {"max_steps": 0}}, r"Expected teacher\.max_steps to be at least 1, got 0"),
        ({"student": {"ema_decay": 1.0}}, r"Expected student\.ema_decay"),
        ({"student": {"validate_every": 0}}, r"Expected student\.validate_every"),
        ({"pseudo_label": {"score_threshold": 1.5}}, r"Expected pseudo_label\.score_threshold"),
        ({"pseudo_label": {"precision": 0.0}}, r"Expected pseudo_label\.precision to be above 0"),
        ({"pseudo_label": {"precision": 0.8}}, r"Expected pseudo_label\.rule to be calibrated, got 'hard'"),
        ({"pseudo_label": {"shard_size": 0}}, r"Expected pseudo_label\.shard_size"),
        ({"pseudo_label": {"score_treshold": 0.5}}, r"Did you mean 'score_threshold'"),
        ({"teacher": {"max_stepz": 5}}, r"Unknown key of teacher 'max_stepz'\. Did you mean 'max_steps'"),
        ({"student": {"alfa": 1.0}}, r"Unknown key of student 'alfa'\. Did you mean 'alpha'"),
        ({"data": {"augmnt": "S1"}}, r"Unknown key of data 'augmnt'\. Did you mean 'augment'"),
        ({"data": {"seed": 3}}, r"data\.seed is not a recipe's to give: each stage sets it\. Give seed_everything"),
        ({"trainer": {"max_steps": 3}}, r"trainer\.max_steps is not .* Give teacher\.max_steps"),
        ({"trainer": {"limit_val_batches": 0}}, r"trainer\.limit_val_batches is not .* data\.val\.fraction"),
        ({"trainer": {"presicion": 16}}, r"Unknown key of trainer 'presicion'\. Did you mean 'precision'"),
        ({"teacher": {"init": "x.ckpt"}}, r"teacher\.init is not"),
        ({"seed": -5}, r"Expected seed_everything to be from 0"),
        ({"pseudo_label": {"rule": "hrad"}}, r"Unknown pseudo_label\.rule 'hrad'\. Did you mean 'hard'"),
    ],
)
def test_a_recipe_refuses_what_cannot_be_meant(sections, message):
    with pytest.raises(ConfigError, match=message):
        recipe(**sections)


def test_the_defaults_are_the_papers_rule():
    assert recipe().labelling() == PseudoLabelSettings(score_threshold=None, rule="hard", flip=False)


def test_build_makes_nested_classes_and_copies_the_rest():
    spec = {"parts": [{"class_path": "fractions.Fraction", "init_args": {"numerator": 1, "denominator": 3}}, 2]}
    assert build(spec) == {"parts": [Fraction(1, 3), 2]}
    assert spec["parts"][0]["class_path"] == "fractions.Fraction"
    assert build_factory({"class_path": "fractions.Fraction", "init_args": {"denominator": 4}})(3) == Fraction(3, 4)


def test_an_argument_that_a_class_does_not_take_is_refused_with_the_nearest():
    spec = {"class_path": "lightning_st.RetinaNet", "init_args": {"backbon": "resnet18"}}
    with pytest.raises(
        ConfigError, match=r"Unknown key of lightning_st\.RetinaNet 'backbon'\. Did you mean 'backbone'"
    ):
        build(spec)


def test_an_argument_that_a_base_class_takes_is_known():
    factory = build_factory({"class_path": "lightning_st.StudentModule", "init_args": {"alpha": 1.0, "lr": 0.1}})
    assert factory.keywords == {"alpha": 1.0, "lr": 0.1}
    with pytest.raises(ConfigError, match="Did you mean 'momentum'"):
        build_factory({"class_path": "lightning_st.StudentModule", "init_args": {"momentun": 0.1}})


def test_a_class_that_takes_any_argument_is_given_it():
    assert build({"class_path": "types.SimpleNamespace", "init_args": {"anything": 1}}).anything == 1


@pytest.mark.parametrize("path", ["nowhere.Model", "fractions.Fracton", "Model", ""])
def test_a_class_that_is_not_there_is_a_sentence(path):
    with pytest.raises(ConfigError, match="Expected class_path to be an importable class"):
        build({"class_path": path})
