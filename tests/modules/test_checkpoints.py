"""Checkpoints: what they say of themselves, whose weights they give, and what they are refused for."""

from functools import partial

import pytest
import torch
from fake_task import CLASSES, LIGHTNING_WARNINGS, FakeData, FakeTask, make_trainer

from lightning_st.errors import CheckpointError
from lightning_st.modules import StudentModule, TeacherModule, checkpoint_fingerprint, load_weights, read_checkpoint

pytestmark = LIGHTNING_WARNINGS


def save(folder, module, steps=2):
    trainer = make_trainer(folder, max_steps=steps)
    trainer.fit(module, datamodule=FakeData())
    trainer.save_checkpoint(folder / "one.ckpt", weights_only=False)
    return folder / "one.ckpt"


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(0)
    return save(tmp_path, TeacherModule(partial(FakeTask, width=5), CLASSES))


def test_a_checkpoint_says_what_it_holds_and_loads_as_plain_data(checkpoint):
    about = read_checkpoint(checkpoint)["lightning_st"]
    assert about["classes"] == ["cat", "dog"]
    assert about["primary"] == "AP"
    assert about["weights"] == "raw"
    assert about["task"] == {"class_path": "fake_task.FakeTask", "init_args": {"width": 5}, "complete": True}
    assert about["image_size"] == [8, 8]
    hyper_parameters = torch.load(checkpoint, weights_only=True)["hyper_parameters"]
    assert hyper_parameters["lr"] == 0.08
    assert hyper_parameters["milestones"] == [0.94, 0.98]


@pytest.mark.parametrize("kind", [TeacherModule, StudentModule])
def test_a_students_and_a_teachers_weights_load_into_modules_and_bare_tasks(tmp_path, checkpoint, kind):
    module = kind(partial(FakeTask, width=5), CLASSES)
    task = FakeTask(CLASSES, width=5)
    assert (
        load_weights(module, checkpoint)
        == load_weights(task, checkpoint)
        == read_checkpoint(checkpoint)["lightning_st"]
    )
    own = save(tmp_path, module, steps=1)
    again = FakeTask(CLASSES, width=5)
    load_weights(again, own)
    for name, value in module.task.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)


def test_lightning_itself_loads_a_checkpoint(checkpoint):
    module = TeacherModule.load_from_checkpoint(
        checkpoint, task=partial(FakeTask, width=5), classes=CLASSES, weights_only=True
    )
    assert torch.equal(module.task.conv.weight, read_checkpoint(checkpoint)["state_dict"]["task.conv.weight"])


def test_other_classes_are_refused_with_both_lists(tmp_path, checkpoint):
    for classes in (("cat", "cow"), ("dog", "cat"), ("cat", "dog", "cow")):
        task = partial(FakeTask, width=5)
        message = rf"2 classes cat, dog, but the data have {len(classes)} classes {', '.join(classes)}"
        with pytest.raises(CheckpointError, match=message):
            load_weights(task(classes), checkpoint)
        with pytest.raises(CheckpointError, match=message):
            make_trainer(tmp_path).validate(
                TeacherModule(task, classes), datamodule=FakeData(), ckpt_path=checkpoint, weights_only=True
            )


def test_another_model_is_refused_and_nothing_is_loaded(checkpoint):
    task = FakeTask(CLASSES, width=4, norm=True)
    before = {name: value.clone() for name, value in task.state_dict().items()}
    with pytest.raises(
        CheckpointError, match=r"5 missing \(norm\.bias, .*\); 3 of another shape \(conv\.bias \(5,\) for \(4,\)"
    ):
        load_weights(task, checkpoint)
    with pytest.raises(CheckpointError, match=r"not in the model \(conv\.bias"):
        load_weights(WithoutConvolution(CLASSES), checkpoint)
    assert all(torch.equal(before[name], value) for name, value in task.state_dict().items())


@pytest.mark.parametrize(("trained", "evaluated"), [(TeacherModule, StudentModule), (StudentModule, TeacherModule)])
def test_a_teachers_and_a_students_checkpoint_are_evaluated_alike(tmp_path, trained, evaluated):
    path = save(tmp_path, trained(FakeTask, CLASSES), steps=2)
    numbers = []
    for kind in (trained, evaluated):
        module = kind(FakeTask, CLASSES)
        make_trainer(tmp_path).validate(module, datamodule=FakeData(), ckpt_path=path, weights_only=True, verbose=False)
        numbers.append(module.evaluation["AP"])
    assert numbers[0] == numbers[1]


def test_a_student_does_not_go_on_with_a_teachers_training(tmp_path):
    path = save(tmp_path, TeacherModule(FakeTask, CLASSES), steps=2)
    with pytest.raises(CheckpointError, match=r"one\.ckpt: not of a StudentModule.*model\.init_args\.init"):
        make_trainer(tmp_path, max_steps=4).fit(
            StudentModule(FakeTask, CLASSES), datamodule=FakeData(), ckpt_path=path, weights_only=True
        )


def test_a_checkpoint_of_another_model_is_refused_by_the_trainer_too(tmp_path, checkpoint):
    with pytest.raises(CheckpointError, match=r"one\.ckpt: its weights are of another model"):
        make_trainer(tmp_path).validate(
            TeacherModule(FakeTask, CLASSES), datamodule=FakeData(), ckpt_path=checkpoint, weights_only=True
        )


class WithoutConvolution(FakeTask):
    def __init__(self, classes):
        super().__init__(classes, width=5)
        del self.conv


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such checkpoint file"),
        (b"", "not a readable checkpoint"),
        (b"{}", "not a readable checkpoint"),
        ("cut", "not a readable checkpoint"),
        ({"weights": 1}, "not a checkpoint of a TeacherModule"),
        ({"state_dict": {}}, "not a checkpoint of a TeacherModule"),
        ({"state_dict": {}, "lightning_st": {"schema": 9, "version": "7.0"}}, r"lightning_st 7\.0 in schema 9"),
        (torch.zeros(1), "not a checkpoint of a TeacherModule"),
        ({"state_dict": partial(print)}, "not a readable checkpoint"),
    ],
    ids=["missing", "empty", "text", "cut", "foreign", "another program's", "newer", "a tensor", "code"],
)
def test_files_that_are_no_checkpoints_are_refused(tmp_path, checkpoint, content, message):
    path = tmp_path / "other.ckpt"
    if content == "cut":
        path.write_bytes(checkpoint.read_bytes()[:-500])
    elif isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    for use in (read_checkpoint, checkpoint_fingerprint, partial(load_weights, FakeTask(CLASSES))):
        with pytest.raises(CheckpointError, match=message) as error:
            use(path)
        assert str(error.value).startswith(str(path))
        assert "\n" not in str(error.value)


def test_a_folder_is_no_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        read_checkpoint(tmp_path)


def test_the_fingerprint_is_of_the_weights_alone(tmp_path, checkpoint):
    fingerprint = checkpoint_fingerprint(checkpoint)
    content = torch.load(checkpoint, weights_only=True)
    content["global_step"] = 99
    content["state_dict"] = dict(reversed(content["state_dict"].items())) | {"balance.updates": torch.tensor(3)}
    torch.save(content, tmp_path / "same.ckpt")
    assert checkpoint_fingerprint(tmp_path / "same.ckpt") == fingerprint
    content["state_dict"]["task.conv.bias"] = content["state_dict"]["task.conv.bias"] + 1e-6
    torch.save(content, tmp_path / "other.ckpt")
    assert checkpoint_fingerprint(tmp_path / "other.ckpt") != fingerprint


def test_half_precision_and_scalars_have_fingerprints(tmp_path, checkpoint):
    content = torch.load(checkpoint, weights_only=True)
    content["state_dict"] = {"task.half": torch.ones(2, 2).bfloat16().T, "task.count": torch.tensor(3)}
    torch.save(content, tmp_path / "half.ckpt")
    assert len(checkpoint_fingerprint(tmp_path / "half.ckpt")) == 64
