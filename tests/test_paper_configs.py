"""The recipes of the paper's tables: each composition is parsed, its settings and the model's size are the paper's."""

from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_st.cli.stage_commands import parse_recipe, read_recipe, recipe_parser
from lightning_st.modules import Schedule
from lightning_st.stages import Recipe, TrainSettings
from lightning_st.stages.building import build_factory

FOLDER = Path(__file__).parents[1] / "configs" / "paper"
B7 = "augmentation/efficientnet_b7"

# The files after coco.yaml; trainable parameters with 91 classes; what must hold beside.
CELLS: dict[tuple[str, ...], tuple[int, dict[str, Any]]] = {
    (B7, "augmentation/s1"): (72_050_727, {"augment": "S1", "steps": 45_000}),
    (B7, "augmentation/s2"): (72_050_727, {"augment": "S2", "steps": 120_000}),
    (B7, "augmentation/s3"): (72_050_727, {"augment": "S3"}),
    (B7, "augmentation/s4"): (72_050_727, {"augment": "S4"}),
    (B7, "augmentation/imagenet", "augmentation/s4"): (72_050_727, {"pretrained": "aa_in1k"}),
    (B7, "augmentation/imagenet_plus", "augmentation/s4"): (72_050_727, {"pretrained": "ns_jft_in1k"}),
    (B7, "label_fractions/20_percent"): (72_050_727, {"fraction": 0.2}),
    (B7, "label_fractions/50_percent"): (72_050_727, {"fraction": 0.5}),
    ("simclr/resnet50",): (34_091_159, {"pretrained": False}),
    ("simclr/supervised",): (34_091_159, {"pretrained": "a1_in1k"}),
    ("simclr/simclr",): (34_091_159, {"pretrained": "simclr_resnet50.pth"}),
    ("spinenet/143",): (66_959_511, {"steps": 231_500, "size": 1280}),
    ("spinenet/190",): (163_637_351, {"steps": 185_200, "size": 1280}),
}


# Segmentation, after pascal/voc2012.yaml: trainable parameters with PASCAL's 21 classes, and what must hold beside.
PASCAL: dict[tuple[str, ...], tuple[int, dict[str, Any]]] = {
    ("pascal/b7", "pascal/s1"): (67_527_317, {"augment": "S1", "steps": 40_000, "lr": 0.08}),
    ("pascal/b7", "pascal/s4"): (67_527_317, {"augment": "S4", "steps": 40_000, "lr": 0.08}),
    ("pascal/b7", "pascal/s4", "pascal/train_aug"): (67_527_317, {"pretrained": "ns_jft_in1k"}),
    ("pascal/l2", "pascal/s4"): (472_883_289, {"steps": 20_000, "lr": 0.2}),
}


def read(*names: str, base: str = "coco") -> Recipe:
    words = [word for name in (base, *names) for word in ("--config", str(FOLDER / f"{name}.yaml"))]
    return read_recipe(parse_recipe(recipe_parser("self_train", ""), [*words, "--output", "out"]))


@pytest.mark.parametrize("names", [*CELLS, *PASCAL], ids=" ".join)
def test_each_cell_is_the_papers(names):
    parameters, wanted = (CELLS | PASCAL)[names]
    is_segmentation = names in PASCAL
    recipe = read(*names, base="pascal/voc2012" if is_segmentation else "coco")
    arguments = recipe.model["init_args"]
    found = {
        "augment": recipe.data["augment"],
        "fraction": recipe.data["labeled"]["fraction"],
        "pretrained": arguments["pretrained"],
        "size": recipe.data["image_size"],
        "steps": TrainSettings.read(recipe.student, "student").max_steps,
        "lr": recipe.teacher["lr"],
    }
    assert {key: found[key] for key in wanted} == wanted
    # The weights need a download; the size does not follow from them.
    spec = {**recipe.model, "init_args": {**arguments, "pretrained": False}}
    classes = [str(number) for number in range(21 if is_segmentation else 91)]
    with torch.device("meta"):
        model = build_factory(spec)(classes)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


def test_no_file_is_left_out():
    named = {name for names in CELLS | PASCAL for name in names} | {"coco", "pascal/voc2012"}
    assert {str(path.relative_to(FOLDER).with_suffix("")) for path in FOLDER.rglob("*.yaml")} == named


@pytest.mark.parametrize(
    ("names", "points"),
    [
        (("spinenet/143",), {0: 0.0067, 1000: 0.14335, 2000: 0.28, 217_610: 0.028, 226_870: 0.0028}),
        (("spinenet/190",), {0: 0.0067, 2000: 0.3, 171_310: 0.03, 180_570: 0.003}),
        ((B7, "augmentation/s1"), {0: 0.0032, 1000: 0.32, 45_000: 0.0}),
    ],
    ids=["143", "190", "B7"],
)
@pytest.mark.parametrize("role", ["teacher", "student"])
def test_learning_rates_are_the_papers(names, points, role):
    section = getattr(read(*names), role)
    schedule = Schedule(
        section["lr"],
        section["max_steps"],
        section["schedule"],
        section["warmup_steps"],
        section["warmup_lr"],
        section["milestones"],
        section["step_gamma"],
    )
    assert {step: schedule.learning_rate(step) for step in points} == pytest.approx(points, abs=1e-9)


def test_what_the_segmenters_share():
    recipe = read("pascal/b7", base="pascal/voc2012")
    assert (recipe.data["batch_size"], recipe.data["pseudo_ratio"], recipe.data["image_size"]) == (256, 1, 512)
    assert recipe.data["augment_options"] == {"scale_jitter": [0.2, 1.5]}
    student = recipe.student
    assert (student["warmup_lr"], student["warmup_steps"], student["weight_decay"]) == (0.001, 500, 1e-5)
    labelling = recipe.labelling()
    assert (labelling.score_threshold, labelling.flip, len(labelling.scales)) == (0.5, True, 6)
    assert recipe.trainer["gradient_clip_val"] == 10


def test_what_all_cells_share():
    recipe = read(B7)
    assert (recipe.data["batch_size"], recipe.data["pseudo_ratio"]) == (256, 1)
    student = recipe.student
    assert (student["alpha"], student["average_decay"], student["average_warmup"]) == (1.0, 0.9997, False)
    assert (student["init"], student["optimizer"], student["momentum"]) == ("teacher", "sgd", 0.9)
    labelling = recipe.labelling()
    assert (labelling.rule, labelling.score_threshold, labelling.flip) == ("hard", None, False)
    assert recipe.model["init_args"]["batch_norm"] == "sync"
