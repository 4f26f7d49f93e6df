"""docs/guides/coco_imagenet.md: its commands are understood, and one of them is run on small data by one process."""

import io
import shlex
import tarfile
from pathlib import Path

import helpers
import pytest
from guide_commands import DOCS, lines, words

from lightning_st.cli import main
from lightning_st.cli.stage_commands import parse_recipe, read_recipe, recipe_parser

GUIDE = DOCS / "guides" / "coco_imagenet.md"
LAUNCHERS = ("torchrun", "srun")


def launched() -> list[list[str]]:
    """Return what `main` takes of each command, the launchers and what they take left out."""
    found = []
    for line in lines(GUIDE):
        first = shlex.split(line, comments=True)[0]
        if first in LAUNCHERS:
            found.append(words("lightning_st" + line.partition("lightning_st")[2]))
        elif first == "lightning_st":
            found.append(words(line))
    return found


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Where the data lie as the guide draws them, in small."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(DOCS.parent / "configs")
    Path("coco/annotations").mkdir(parents=True)
    for seed, name in enumerate(("train2017", "val2017")):
        images, annotations = helpers.write_coco(tmp_path / f"made_{seed}", 6, size=(64, 80), seed=seed)
        images.rename(f"coco/{name}")
        annotations.rename(f"coco/annotations/instances_{name}.json")
    folders = helpers.write_class_folders(tmp_path / "made", 3, seed=5)
    Path("imagenet").mkdir()
    with tarfile.open("imagenet/ILSVRC2012_img_train.tar", "w") as outer:
        for folder in sorted(folders.iterdir()):
            inner = io.BytesIO()
            with tarfile.open(fileobj=inner, mode="w") as tar:
                for path in sorted(folder.iterdir()):
                    tar.add(path, path.name)
            member = tarfile.TarInfo(f"{folder.name}.tar")
            member.size = inner.tell()
            inner.seek(0)
            outer.addfile(member, inner)
    return tmp_path


def test_the_recipes_are_understood(here):
    commands = [each for each in launched() if each[0] in ("self_train", "pseudo_label")]
    assert len(commands) == 7
    for command, *rest in commands:
        parser = recipe_parser(command, "")
        if command == "pseudo_label":
            parser.add_argument("--checkpoint", type=str, required=True)
        recipe = read_recipe(parse_recipe(parser, rest))
        assert recipe.model["init_args"]["backbone"] == "resnet50"
        if recipe.trainer["devices"] == 8 and command == "self_train":
            assert recipe.control == "epochs"
            assert recipe.data["batch_size"] * (recipe.trainer["accumulate_grad_batches"] or 1) == 256


def test_one_process_goes_the_whole_way(here, capsys):
    (command,) = [each for each in launched() if "runs/r50_s4_small_gpus" in each]
    small = "--trainer.devices 1 --trainer.strategy auto --trainer.accelerator cpu --trainer.precision 32-true "
    small += "--trainer.enable_progress_bar false --data.batch_size 4 --data.image_size 64 --data.num_workers 0 "
    small += "--teacher.max_steps 1 --student.max_steps 1 --teacher.validate_every 1 --student.validate_every 1 "
    small += "--model.backbone resnet10t --model.neck_width 8 --model.head_width 8 --model.head_depth 1 "
    small += "--model.score_threshold 0.001 --pseudo_label.score_threshold 0.001 --model.batch_norm train"
    assert main([*command, *small.split()]) == 0, capsys.readouterr().err
    assert Path("runs/r50_s4_small_gpus/report/index.html").is_file()


def test_the_other_commands_are_understood(here, capsys):
    others = [each for each in launched() if each[0] not in ("self_train", "pseudo_label")]
    assert [each[0] for each in others] == ["check", "inspect", "fit", "fit"]
    check, inspect, teacher, student = others
    assert main([*check, "--data.num_workers", "0"]) in (0, 1), capsys.readouterr().err
    assert main(inspect) == 0
    assert "96.88 G" in capsys.readouterr().out
    for command in (teacher, student):
        with pytest.raises(SystemExit) as ended:  # Lightning's own parser prints and leaves
            main([*command, "--print_config"])
        assert ended.value.code == 0
