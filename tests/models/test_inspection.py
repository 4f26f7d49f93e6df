"""What `inspect` says of a model, against numbers by hand and against real tensors."""

import pytest
import torch
from torch import nn

from lightning_st.cli import main
from lightning_st.models import RetinaNet, SemanticSegmenter
from lightning_st.models.inspection import inspect_model


class Small(nn.Module):
    """One convolution, one linear layer."""

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.relu = nn.ReLU()
        self.top = nn.Linear(4, 2)
        self.frozen = nn.Linear(7, 7).requires_grad_(False)

    def forward(self, images):
        return self.top(self.relu(self.body(images.float())).mean((2, 3)))


def test_counts_by_hand():
    found = inspect_model(Small, 10, 20)
    by_name = {part.name: part for part in found.parts}
    assert by_name["body"].parameters == 108
    assert by_name["body"].multiply_adds == 27 * 4 * 200
    assert by_name["body"].outputs == [(4, 10, 20)]
    assert by_name["top"].multiply_adds == 8
    assert by_name["frozen"].outputs == []
    assert by_name["all"].parameters == 108 + 10
    assert by_name["all"].outputs == [(2,)]
    # The input of each layer: images, the relu's result (which the mean does not need again), the means.
    assert found.kept_bytes == 4 * (3 * 200 + 4 * 200 + 4)


def test_kept_bytes_are_those_of_real_tensors():
    arguments = {"backbone": "resnet18", "neck_width": 32, "head_width": 32, "head_depth": 1}
    predicted = inspect_model(lambda: RetinaNet(["cat"], **arguments), 128, 192).kept_bytes
    model = RetinaNet(["cat"], **arguments).train()
    weights = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    sizes: dict[int, int] = {}
    tensors = []

    def note(tensor):
        tensors.append(tensor)
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        model(torch.zeros(4, 3, 128, 192, dtype=torch.uint8))
    real = sum(size for pointer, size in sizes.items() if pointer not in weights) / 4
    assert predicted == pytest.approx(real, rel=0.02)


def test_a_segmenter():
    arguments = {"backbone": "resnet18", "neck": "fpn", "neck_width": 32, "head_width": 32, "head_depth": 1}
    found = inspect_model(lambda: SemanticSegmenter(["cat", "dog"], **arguments), 128, 200)
    by_name = {part.name: part for part in found.parts}
    assert by_name["normalise"].outputs == [(3, 128, 256)]
    assert by_name["neck"].outputs[0] == (32, 16, 32)
    assert by_name["head"].parameters == (9 * 32 + 1) * 32 + 2 * 32 + 2 * (32 + 1)
    assert by_name["head"].multiply_adds == 32 * 64 * (9 * 32 * 32 + 32 * 2)
    assert by_name["head"].outputs == by_name["all"].outputs == [(2, 32, 64)]
    assert found.kept_bytes > 0


@pytest.mark.parametrize(
    ("config", "words", "expected"),
    [
        ("cpu_small.yaml", ["--model.pretrained", "no_such_tag"], ["91 classes"]),  # nothing is downloaded
        ("coco_retinanet_r50_student.yaml", [], ["91 classes, one image of 640 x 640", "34,091,159", "96.88 G"]),
        ("cpu_small.yaml", ["--classes", "1", "--data.image_size", "[128, 192]"], ["1 class, one image of 128 x 192"]),
        ("cpu_small.yaml", ["--model.neck", "fpn", "--model.max_level", "4"], ["64x32x32, 64x16x16\n"]),
    ],
)
def test_the_command(capsys, config, words, expected):
    assert main(["inspect", "--config", f"configs/detection/{config}", *words]) == 0
    printed = capsys.readouterr().out
    assert all(text in printed for text in expected), printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--classes", "0"], "Expected classes to be at least 1, got 0."),
        (["--model.neck", "nas-fn"], "Unknown neck 'nas-fn'. Did you mean 'nas-fpn'?"),
        (["--data.image_size", "big"], "Expected data.image_size to be one or two whole numbers"),
        (["--modl", "x"], "--modl"),
    ],
)
def test_refusals_are_one_sentence(capsys, words, message):
    assert main(["inspect", "--config", "configs/detection/cpu_small.yaml", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
