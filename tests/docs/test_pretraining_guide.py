"""The commands of the guide, as they stand there, on small images and for two steps each."""

import re
import shlex
from pathlib import Path

import helpers
import pytest

from lightning_st.cli import main

GUIDE = Path(__file__).parents[2] / "docs" / "pretraining.md"
SHORT = (
    "--training.max_steps=2 --data.batch_size=2 --data.image_size=64 --data.num_workers=0 --trainer.accelerator=cpu "
)
QUIET = "--trainer.enable_progress_bar=false --trainer.enable_model_summary=false"


def commands() -> list[list[str]]:
    blocks = re.findall(r"```bash\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line)[1:] for line in lines if line.strip()]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The working directory of a reader of the guide."""
    monkeypatch.chdir(tmp_path)
    helpers.write_class_folders(tmp_path / "images_by_class", 3)
    helpers.write_class_folders(tmp_path / "val_by_class", 2, seed=1)
    for number, (images, labels) in enumerate({"photos": "boxes", "val_photos": "val", "more_photos": "more"}.items()):
        folder, annotations = helpers.write_coco(tmp_path / f"coco_{number}", 4, seed=number)
        folder.rename(tmp_path / images)
        annotations.rename(tmp_path / f"{labels}.json")
    (tmp_path / "configs").symlink_to(GUIDE.parents[1] / "configs")
    return tmp_path


@pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`")
def test_the_commands_do_what_the_guide_says(here, capsys):
    words = commands()
    assert [each[0] for each in words] == ["pretrain"] * 3 + ["self_train"] * 3
    for each in words[:3]:
        assert main([*each, *SHORT.split(), *QUIET.split()]) == 0, capsys.readouterr().err
    assert (here / "runs/joint/checkpoints/best.ckpt").is_file()
    coco = "--data.labeled.images photos --data.labeled.annotations boxes.json --data.unlabeled.images more_photos "
    coco += "--data.val.images val_photos --data.val.annotations val.json --model.score_threshold 0.001 "
    coco += "--pseudo_label.score_threshold 0.001 --teacher.max_steps 1 --student.max_steps 1 --control false"
    pretrain = "--pretrain.training.max_steps=1 --pretrain.data.batch_size=2 --pretrain.data.image_size=32"
    for each in words[3:]:
        coco += f" {pretrain}" if "--pretrain.model.class_path" in each else ""
        short = [word for word in SHORT.split() if not word.startswith("--training")]
        assert main([*each, *coco.split(), *short, *QUIET.split()]) == 0, capsys.readouterr().err
    assert (here / "runs/views_first/pretrain/checkpoints/last.ckpt").is_file()


def test_the_guide_names_the_configs():
    for path in (GUIDE.parents[1] / "configs" / "pretrain").glob("*.yaml"):
        assert path.name in GUIDE.read_text()
