"""The modules as a config names them: by class path, with the task as a class to be made from class names."""

import pytest
import torch
from fake_task import CLASSES, LIGHTNING_WARNINGS, FakeData, FakeTask
from jsonargparse import ArgumentParser
from lightning.pytorch.cli import LightningCLI

from lightning_st.modules import StudentModule, TaskModule

pytestmark = [
    *LIGHTNING_WARNINGS,
    # LightningCLI 2.6 calls ArgumentParser.add_instantiator, which jsonargparse 4.5x deprecates.
    pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning"),
]

CONFIG = """
model:
  class_path: StudentModule
  init_args:
    task:
      class_path: fake_task.FakeTask
      init_args: {width: 5}
    classes: [cat, dog]
    alpha: 0.5
    optimizer: adamw
    milestones: [0.5]
trainer: {accelerator: cpu, devices: 1, logger: false, enable_checkpointing: false, max_steps: 2, max_epochs: -1,
          enable_progress_bar: false, enable_model_summary: false, use_distributed_sampler: false}
"""


@pytest.fixture(autouse=True)
def _no_arguments_of_the_test_runner(monkeypatch):
    monkeypatch.setattr("sys.argv", ["lightning_st"])


def make_cli(folder, *args):
    (folder / "config.yaml").write_text(CONFIG)
    return LightningCLI(TaskModule, FakeData, subclass_mode_model=True, save_config_callback=None, run=False,
                        seed_everything_default=3,
                        args=["--config", str(folder / "config.yaml"), *args])  # fmt: skip


def test_a_config_names_the_task_and_the_rest_comes_from_signatures(tmp_path):
    cli = make_cli(tmp_path, "--model.weight_decay=0.01", "--model.task.dropout=0.25")
    module = cli.model
    assert isinstance(module, StudentModule)
    assert isinstance(module.task, FakeTask)
    assert (module.task.conv.out_channels, module.task.dropout.p, module.task.classes) == (5, 0.25, CLASSES)
    assert (module.balance.alpha, module.optimizer, module.lr, module.weight_decay) == (0.5, "adamw", 1e-3, 0.01)
    assert module.milestones == (0.5,)


def test_a_checkpoint_of_the_command_line_is_plain_data_and_names_its_task(tmp_path):
    cli = make_cli(tmp_path)
    cli.trainer.fit(cli.model, datamodule=cli.datamodule)
    cli.trainer.save_checkpoint(tmp_path / "one.ckpt", weights_only=False)
    checkpoint = torch.load(tmp_path / "one.ckpt", weights_only=True)
    assert checkpoint["lightning_st"]["task"]["class_path"] == "fake_task.FakeTask"
    assert checkpoint["lightning_st"]["task"]["init_args"]["width"] == 5
    assert checkpoint["hyper_parameters"]["alpha"] == 0.5
    assert "task" not in checkpoint["hyper_parameters"]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--model.optimiser=sgd", "optimiser"),
        ("--model.optimizer=adam", "sgd"),
        ("--model.task=torch.optim.SGD", "subclass of"),
    ],
)
def test_wrong_arguments_are_refused_when_the_config_is_read(tmp_path, capsys, argument, message):
    with pytest.raises(SystemExit):
        make_cli(tmp_path, argument)
    assert message in capsys.readouterr().err


def test_every_argument_has_a_help_text():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(StudentModule, "model")
    lacking = [action.dest for action in parser._actions if action.dest.startswith("model.") and not action.help]
    assert {"model.lr", "model.alpha", "model.warmup_steps"} <= {action.dest for action in parser._actions}
    assert lacking == []
