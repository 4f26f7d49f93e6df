"""What a recipe says of confidence, from the command line to what a student learns."""

import json
import shutil
from copy import deepcopy
from pathlib import Path

import pytest
from recipes import tiny_mask_recipe, tiny_recipe

from lightning_st.cli.stage_commands import parse_recipe, recipe_parser
from lightning_st.errors import ConfigError, StageError
from lightning_st.models import RetinaNet
from lightning_st.modules import checkpoint_fingerprint
from lightning_st.selftrain import KnownNegatives, MatchedCounts, PseudoLabels, ScoreWeights
from lightning_st.stages import PseudoLabelSettings, pseudo_label, self_train
from lightning_st.stages.confidence import make_rule


class DeafRetinaNet(RetinaNet):
    """A task as a user's may be: it was written before labels could weigh less."""

    understands = ()


@pytest.fixture
def run(tiny_run, tmp_path):
    """A copy of that run, to be changed."""
    recipe, folder = tiny_run
    shutil.copytree(folder, tmp_path / "run")
    return {**deepcopy(recipe), "control": False}, tmp_path / "run"


def student_of(folder: Path) -> str:
    return checkpoint_fingerprint(folder / "round_0/student/checkpoints/last.ckpt")


def test_every_option_has_a_key_on_the_command_line():
    words = ["--output", "run", "--model", "lightning_st.RetinaNet", "--pseudo_label.rule", "matched"]
    words += ["--pseudo_label.rule_options.ratio", "0.5", "--pseudo_label.rule_options.ignore_from", "0.2"]
    words += ["--pseudo_label.weight_power", "1", "--pseudo_label.min_recall", "0.3"]
    config = parse_recipe(recipe_parser("self_train", ""), words)
    rule = make_rule(PseudoLabelSettings(**config["pseudo_label"]))
    assert rule == ScoreWeights(KnownNegatives(MatchedCounts(ratio=0.5, ignore_from=0.2), min_recall=0.3), power=1)


def test_other_options_relabel_nothing_and_reach_the_student(run):
    recipe, folder = run
    store, before = folder / "round_0/pseudo_labels", student_of(folder)
    stamp = (store / "labels.index").stat().st_mtime_ns
    recipe["pseudo_label"] |= {"score_threshold": None, "rule": "matched", "rule_options": {"ignore_from": 0.001}}
    self_train(recipe, folder, restart=True)
    matched = student_of(folder)
    recipe["pseudo_label"] |= {"weight_power": 1.0, "min_recall": 0.99}
    self_train(recipe, folder, restart=True)
    assert (store / "labels.index").stat().st_mtime_ns == stamp
    assert len({before, matched, student_of(folder)}) == 3
    labels = PseudoLabels.open(store)
    human = json.loads((folder / "manifest.json").read_text())["data"]["labeled"]
    for name, count in labels.statistics()["labels_by_class"].items():
        assert abs(count - human["labels_by_class"][name] / human["images"] * len(labels)) <= 5
    spec = labels.manifest["rule"]
    named = []
    while spec is not None:
        named.append(spec["class_path"].rpartition(".")[2])
        spec = spec["init_args"].get("rule")
    assert named == ["ScoreWeights", "KnownNegatives", "MatchedCounts"]
    assert labels.thresholds.weight_power == 1
    assert labels.thresholds.unknown.any()


def test_a_changed_weight_refuses_under_a_student_that_has_learnt(run):
    recipe, folder = run
    recipe["pseudo_label"]["weight_power"] = 1.0
    with pytest.raises(StageError, match=r"chosen otherwise: rule\.class_path was .*HardThreshold.*ScoreWeights"):
        self_train(recipe, folder)


def test_pixels_can_weigh_too(tmp_path):
    recipe = tiny_mask_recipe(tmp_path / "data")
    for name in ("teacher", "student"):
        recipe[name] |= {"max_steps": 2, "validate_every": 2}
    recipe["pseudo_label"] |= {"score_threshold": None, "rule": "matched", "weight_power": 2.0, "min_recall": 0.9}
    recipe["pseudo_label"]["rule_options"] = {"ignore_from": 0.01}
    self_train(recipe, tmp_path / "run")
    thresholds = PseudoLabels.open(tmp_path / "run/round_0/pseudo_labels").thresholds
    assert thresholds.weight_power == 2
    assert thresholds.unknown.any()


@pytest.mark.parametrize("option", ["weight_power", "min_recall"])
def test_a_task_that_would_take_all_labels_for_sure_is_refused(run, tmp_path, option):
    recipe, _ = run
    recipe["model"] = {**recipe["model"], "class_path": f"{__name__}.DeafRetinaNet"}
    recipe["pseudo_label"][option] = 1.0
    with pytest.raises(
        ConfigError, match=rf"DeafRetinaNet does not say that its losses honour .*pseudo_label\.{option}"
    ):
        self_train(recipe, tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight_power": -1.0}, r"pseudo_label\.weight_power to be at least 0, got -1"),
        ({"min_recall": 2.0}, r"pseudo_label\.min_recall to be from 0 to 1, got 2"),
        (
            {"rule": "matched", "rule_options": {"ration": 1}},
            r"Unknown key of pseudo_label\.rule_options 'ration'\. Did",
        ),
        ({"rule": "matched", "rule_options": {"ratio": 0}, "score_threshold": None}, "Expected ratio to be above 0"),
        ({"rule": {"class_path": "x.Y"}, "rule_options": {"a": 1}}, r"rule_options to be left out.*init_args"),
        (
            {"rule": {"class_path": "x.Y", "share": 0.1}},
            r"class_path and init_args, got .*pseudo_label\.rule_options",
        ),
        ({"rule": "nowhere.Rule", "score_threshold": None}, r"nowhere\.Rule"),
        ({"soft_nms": "gausian"}, r"Unknown pseudo_label\.soft_nms 'gausian'\. Did you mean 'gaussian'"),
        ({"rule": "matched", "precision": 0.5}, r"pseudo_label\.rule to be calibrated, got 'matched'"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path, changes, message):
    recipe = tiny_recipe(tmp_path / "data", labeled=2, unlabeled=2)
    recipe["pseudo_label"] |= changes
    with pytest.raises(ConfigError, match=message):
        self_train(recipe, tmp_path / "run")
    assert not (tmp_path / "run" / "round_0").exists()


def test_soft_nms_makes_other_labels_and_says_so(run, tmp_path):
    recipe, folder = run
    recipe["pseudo_label"]["soft_nms"] = "gaussian"
    with pytest.raises(StageError, match=r"pseudo_label\.soft_nms was not set, is now \"gaussian\""):
        self_train(recipe, folder)
    checkpoint = folder / "round_0/teacher/checkpoints/best.ckpt"
    soft = pseudo_label(recipe, checkpoint, tmp_path / "store").index
    assert soft.fingerprint != PseudoLabels.open(folder / "round_0/pseudo_labels").index.fingerprint


def test_a_model_without_soft_nms_refuses_it(tmp_path):
    recipe = tiny_mask_recipe(tmp_path / "data", labeled=2, unlabeled=2)
    recipe["pseudo_label"]["soft_nms"] = "linear"
    with pytest.raises(ConfigError, match=r"pseudo_label\.soft_nms to be left out, got 'linear'\. SemanticSegmenter"):
        self_train(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_stops_at_signs_of_a_collapse_if_asked(tiny_run, tmp_path):
    """The tiny teacher keeps far more boxes than there are objects; with the default the run went on."""
    recipe, run = tiny_run
    signs = json.loads((run / "manifest.json").read_text())["signs"]
    assert signs
    shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "round_0" / "student")
    stopping = {**recipe, "pseudo_label": {**recipe["pseudo_label"], "at_collapse": "stop"}}
    with pytest.raises(StageError, match=r"round_0/pseudo_labels: .*--pseudo_label\.at_collapse warn") as error:
        self_train(stopping, tmp_path / "run")
    assert signs[0] in str(error.value)
    assert not (tmp_path / "run" / "round_0" / "student").exists()
