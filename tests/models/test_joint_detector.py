"""Joint training: boxes and the classes of whole images in one batch, on one backbone."""

import pytest
import test_retinanet
import torch

from lightning_st.errors import ConfigError
from lightning_st.models import JointDetector, RetinaNet

CLASSES = [f"class {i}" for i in range(3)]


def make_joint(image_classes: int = 4, **changes) -> JointDetector:
    torch.manual_seed(0)
    return JointDetector(CLASSES, image_classes, **(test_retinanet.TINY | changes))


def make_batch(has_boxes=(True, True, False, False), image_labels=(-1, -1, 3, 1), pseudo=None):
    batch = test_retinanet.make_batch(len(has_boxes))
    second = [not each for each in has_boxes] if pseudo is None else list(pseudo)
    return {
        **batch,
        "pseudo": torch.tensor(second),
        "rows": torch.arange(len(has_boxes)),
        "has_boxes": torch.tensor(has_boxes),
        "image_labels": torch.tensor(image_labels),
    }


def twin(model: JointDetector) -> RetinaNet:
    """A RetinaNet with the same weights."""
    detector = RetinaNet(CLASSES, **test_retinanet.TINY)
    own = {name: value for name, value in model.state_dict().items() if not name.startswith("classifier.")}
    detector.load_state_dict(own)
    return detector.eval()


def part_of(batch, rows):
    return {name: value[rows] for name, value in batch.items() if isinstance(value, torch.Tensor)}


def test_each_image_has_the_loss_of_its_stream():
    model, batch = make_joint().eval(), make_batch()
    losses, parts = model.losses(batch)
    alone, alone_parts = twin(model).losses(part_of(batch, slice(0, 2)))
    torch.testing.assert_close(losses[:2], alone)
    for name in ("class_loss", "box_loss"):
        torch.testing.assert_close(parts[name][:2], alone_parts[name])
        assert parts[name][2:].tolist() == [0, 0]
    logits = model.classifier(model.backbone(model.normalise(batch["images"]))[-1].mean(dim=(2, 3)))
    wanted = torch.nn.functional.cross_entropy(logits[2:], torch.tensor([3, 1]), reduction="none")
    torch.testing.assert_close(losses[2:], wanted)
    assert parts["image_loss"][:2].tolist() == [0, 0]


def test_images_with_both_have_the_sum():
    model = make_joint().eval()
    batch = make_batch((True,) * 4, (-1, -1, 3, 1), pseudo=(False, False, True, True))
    losses, parts = model.losses(batch)
    torch.testing.assert_close(losses, twin(model).losses(batch)[0] + parts["image_loss"])
    assert (parts["image_loss"][2:] > 0).all()


def test_one_pass_of_the_backbone_over_all_images():
    """Its batch normalisation sees both streams; the head's sees the images with boxes."""
    model, batch = make_joint(batch_norm_momentum=1.0), make_batch()
    seen = {}
    for name in ("backbone", "head"):
        part = getattr(model, name)
        part.register_forward_pre_hook(lambda module, given, name=name: seen.update({name: given[0]}))
    model.losses(batch)
    assert len(seen["backbone"]) == 4
    assert [len(x) for x in seen["head"]] == [2] * 3


@pytest.mark.parametrize(
    ("has_boxes", "image_labels"),
    [((True,) * 4, (-1,) * 4), ((False,) * 4, (0, 1, 2, 3)), ((False, True, False, True), (0, -1, 1, -1))],
    ids=["boxes alone", "classes alone", "mixed"],
)
def test_every_weight_has_a_gradient_whatever_the_share_of_a_rank_holds(has_boxes, image_labels):
    model = make_joint()
    losses, _ = model.losses(make_batch(has_boxes, image_labels))
    losses.sum().backward()
    assert not [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())
    if not any(has_boxes):
        assert not any(parameter.grad.any() for parameter in (*model.head.parameters(), *model.neck.parameters()))
    if -1 in image_labels[:1] and all(has_boxes):
        assert not model.classifier.weight.grad.any()


def test_without_a_second_stream_it_is_a_retinanet():
    model, batch = make_joint().eval(), test_retinanet.make_batch(rows=torch.arange(4))
    torch.testing.assert_close(model.losses(batch)[0], twin(model).losses(batch)[0])
    found, wanted = (each.predict(batch["images"])[0] for each in (model, twin(model)))
    assert found.keys() == wanted.keys()
    assert model.metric().primary == "AP"


def test_the_number_of_image_classes_is_needed():
    with pytest.raises(ConfigError, match=r"image_class_count to be at least 1, got 0\. .*data\.joint\.images"):
        JointDetector(CLASSES)
