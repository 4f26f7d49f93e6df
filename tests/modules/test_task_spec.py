"""What a checkpoint says of its model is enough to make it again, or a config is asked for; nothing foreign runs."""

from functools import partial

import pytest
import torch
from recipes import TINY_MODEL, TINY_SEGMENTER
from torch import nn

from lightning_st import RetinaNet, SemanticSegmenter, TeacherModule
from lightning_st.errors import CheckpointError
from lightning_st.modules import rebuildable_spec
from lightning_st.stages.building import build_factory

CLASSES = ("cat", "dog")
TINY = TINY_MODEL["init_args"]


def about(factory):
    checkpoint = {}
    TeacherModule(factory, CLASSES).on_save_checkpoint(checkpoint)
    return checkpoint["lightning_st"]


@pytest.mark.parametrize("spec", [TINY_MODEL, TINY_SEGMENTER], ids=["boxes", "masks"])
def test_a_model_is_made_again_with_its_options(tmp_path, spec):
    factory = build_factory(spec)
    torch.save(about(factory), tmp_path / "about.pt")
    found = rebuildable_spec(torch.load(tmp_path / "about.pt", weights_only=True), "one.ckpt")
    assert found["init_args"] == spec["init_args"]
    again, first = build_factory(found)(CLASSES), factory(CLASSES)
    shapes = [{name: value.shape for name, value in model.state_dict().items()} for model in (again, first)]
    assert shapes[0] == shapes[1]


def test_tuples_become_lists_and_weights_to_start_from_are_not_asked_for_again():
    said = about(partial(RetinaNet, **TINY, aspect_ratios=(1.0, 2.0), pretrained=False))
    said["task"]["init_args"]["pretrained"] = "weights.pth"
    found = rebuildable_spec(said, "one.ckpt")["init_args"]
    assert found["aspect_ratios"] == [1.0, 2.0]
    assert found["pretrained"] is False


def neck(levels, channels, max_level, width):
    from lightning_st.models.necks import FPN

    return FPN(levels, channels, max_level, width)


@pytest.mark.parametrize(
    ("factory", "reason"),
    [
        (partial(RetinaNet, **TINY, neck=neck), "does not say all that its model was made with"),
        (lambda classes: RetinaNet(classes, **TINY), "does not say all that its model was made with"),
        (partial(RetinaNet, **TINY, neck="test_task_spec.neck"), r"its neck is a class of your own \(test_task_spec"),
    ],
    ids=["callable", "lambda", "path"],
)
def test_what_cannot_be_made_again_asks_for_the_config(factory, reason):
    with pytest.raises(CheckpointError, match=rf"^one\.ckpt: .*{reason}.*Give the config .*--config FILE\.$"):
        rebuildable_spec(about(factory), "one.ckpt")


@pytest.mark.parametrize(
    "task",
    [
        {"class_path": "subprocess.Popen", "init_args": {}},
        {"class_path": "lightning_st.models.options.import_part", "init_args": {}},
        {"class_path": "lightning_st.models.retinanet.RetinaNet", "init_args": {"backbone": "os.system"}},
        {"class_path": "lightning_st.models.retinanet.RetinaNet", "init_args": {"neck": ["os.system"]}},
        {
            "class_path": "lightning_st.models.retinanet.RetinaNet",
            "init_args": {"backbone": {"class_path": "os.system"}},
        },
    ],
)
def test_a_file_cannot_say_which_code_runs(task):
    with pytest.raises(CheckpointError, match="a class of your own"):
        rebuildable_spec({"task": {**task, "complete": True}}, "one.ckpt")


def test_the_public_models_are_known():
    """Both are named in the checkpoint by the module that they stand in."""
    for model in (RetinaNet, SemanticSegmenter):
        assert issubclass(model, nn.Module)
        path = f"{model.__module__}.{model.__qualname__}"
        assert rebuildable_spec({"task": {"class_path": path, "init_args": {}, "complete": True}}, "x")
