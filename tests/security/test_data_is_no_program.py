"""YAML, manifests, stores and caches are data. A config alone may name code, and only a user gives one."""

import ast
import copy
import json
import shutil
from pathlib import Path

import hostile
import pytest
import yaml

import lightning_st
from lightning_st.cli import main
from lightning_st.errors import AnnotationError
from lightning_st.index import build_index

PACKAGE = Path(lightning_st.__file__).parent

# What makes objects of bytes or text in other ways than plain data.
FORBIDDEN = (
    "pickle.load", "pickle.loads", "pickle.Unpickler", "dill.", "joblib.", "shelve.", "marshal.", "cloudpickle.",
    "yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load", "eval", "exec", "os.system", "os.popen",
    "torch.hub.", "torch.jit.load", "tarfile.TarFile.extractall", "shutil.unpack_archive",
)  # fmt: skip


def calls():
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                yield path, node, ast.unparse(node.func)


def test_nothing_is_unpickled_or_evaluated():
    rooms = tuple(name for name in FORBIDDEN if name.endswith("."))
    wrong = [(path, node.lineno, name) for path, node, name in calls() if name in FORBIDDEN or name.startswith(rooms)]
    assert not wrong


def test_numpy_files_hold_numbers_and_programs_are_started_without_a_shell():
    names = []
    for path, node, name in calls():
        said = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        if name in ("np.load", "numpy.load"):
            names.append(name)
            assert said["allow_pickle"] == "False", path
        if name in ("subprocess.run", "subprocess.Popen", "subprocess.check_call"):
            names.append(name)
            assert "shell" not in said, path
        if "extract" in name.rpartition(".")[2] and "file" not in name:
            assert name in ("archive.extractfile",), path
    assert {"np.load", "subprocess.run", "subprocess.Popen"} <= set(names)


def tag(marker: Path) -> str:
    return f'!!python/object/apply:subprocess.check_call [["touch", "{marker}"]]'


COMMANDS = {
    "self_train": ["self_train", "--output", "out"],
    "check": ["check"],
    "inspect": ["inspect"],
    "fit": ["fit"],
    "pretrain": ["pretrain", "--output", "out"],
    "experiment": ["experiment", "--output", "out"],
    "show": ["show", "labels", "--output", "out"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_tags_of_yaml_make_nothing(tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    marker = tmp_path / "marker"
    for number, text in enumerate(
        (f"data: {tag(marker)}\n", f"data:\n  batch_size: {tag(marker)}\n", f"{tag(marker)}: 1\n")
    ):
        config = tmp_path / f"{number}.yaml"
        config.write_text(text)
        assert main([*COMMANDS[command], "--config", str(config)]) == 2
        assert "Traceback" not in capsys.readouterr().err
    assert not marker.exists()


@pytest.mark.parametrize("command", ["self_train", "fit", "check"])
def test_tags_in_an_option_make_nothing(tmp_path, monkeypatch, capsys, tiny_run, command):
    monkeypatch.chdir(tmp_path)
    marker = tmp_path / "marker"
    for key in ("--data.batch_size", "--data", "--trainer.max_steps", "--model"):
        assert main([*COMMANDS[command], key, tag(marker)]) == 2
    assert not marker.exists()


def test_tags_in_a_data_yaml_make_nothing(tmp_path):
    (tmp_path / "images").mkdir()
    shutil.copy(next((PACKAGE.parent / "docs" / "images").glob("*.png")), tmp_path / "images" / "a.png")
    (tmp_path / "data.yaml").write_text(f"names: {tag(tmp_path / 'marker')}\ntrain: images\n")
    with pytest.raises(AnnotationError, match="expected a list of class names"):
        build_index(tmp_path, format="yolo", labeled=True)
    assert not (tmp_path / "marker").exists()


def write_own_code(folder: Path) -> None:
    """Write a module whose import leaves the marker; each test has one of its own, as a module is imported once."""
    (folder / f"{folder.name}.py").write_text(f"__import__('pathlib').Path({str(folder / 'marker')!r}).touch()\n")


def test_a_config_is_a_program(tmp_path, tiny_run, monkeypatch):
    """By design: a class of one's own is named in it. So treat a stranger's config as a stranger's program."""
    monkeypatch.chdir(tmp_path)
    write_own_code(tmp_path)
    recipe = copy.deepcopy(tiny_run[0])
    recipe["data"]["augment"] = f"{tmp_path.name}.Policy"
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert main(["show", "augmentations", "--config", "recipe.yaml", "--output", "out"]) == 2  # there is no such class
    assert (tmp_path / "marker").exists()


# What the manifest of a stranger's run could say.
SAID = {
    "a model": lambda c, m: c.update(model=hostile.call_of(m)),
    "a model of the student": lambda c, m: c["student"].update(model=hostile.call_of(m)),
    "a class in the model": lambda c, m: c["model"]["init_args"].update(anchor_size=hostile.call_of(m)),
    "a neck": lambda c, m: c["model"]["init_args"].update(neck=f"{m.parent.name}.Neck"),
    "a reader": lambda c, m: c["data"]["val"].update(format=f"{m.parent.name}.read"),
    "a class in the data": lambda c, m: c["data"].update(batch_size=hostile.call_of(m)),
    "a class in a source": lambda c, m: c["data"]["val"].update(fraction=hostile.call_of(m)),
    "a class in the trainer": lambda c, m: c["trainer"].update(precision=hostile.call_of(m)),
    "no model": lambda c, m: c.pop("model"),
    "data that are a list": lambda c, m: c.update(data=[1]),
}
# What is not read, as it has no part in a prediction.
LEFT = {
    "callbacks": lambda c, m: c["trainer"].update(callbacks=[hostile.call_of(m)]),
    "a logger": lambda c, m: c["trainer"].update(logger=hostile.call_of(m)),
    "a rule": lambda c, m: c["pseudo_label"].update(rule=f"{m.parent.name}.Rule"),
    "an augmentation": lambda c, m: c["data"].update(augment=f"{m.parent.name}.Policy"),
}


@pytest.fixture
def run(tiny_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_own_code(tmp_path)
    return Path(shutil.copytree(tiny_run[1], tmp_path / "run"))


def change_manifest(run: Path, change) -> None:
    manifest = json.loads((run / "manifest.json").read_text())
    change(manifest["config"], run.parent / "marker")
    (run / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("what", SAID)
def test_a_manifest_names_no_code(run, tmp_path, capsys, what):
    change_manifest(run, SAID[what])
    hostile.refused(["show", "disagreement", str(run), "--output", "sheet"], capsys, says="manifest.json: ")
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("what", LEFT)
def test_what_a_manifest_says_of_the_training_is_not_read(run, tmp_path, what):
    change_manifest(run, LEFT[what])
    assert main(["show", "disagreement", str(run), "--output", "sheet", "--count", "1"]) == 0
    assert main(["report", str(run)]) == 0
    assert not (tmp_path / "marker").exists()


def test_a_model_of_ones_own_is_shown_with_its_config(run, tiny_run, tmp_path):
    """As for a checkpoint: the user's config says which code runs, not the manifest."""
    change_manifest(run, SAID["a neck"])
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(tiny_run[0]))
    words = ["show", "disagreement", str(run), "--output", "sheet", "--count", "1", "--config", "recipe.yaml"]
    assert main(words) == 0


def test_reports_and_exports_of_a_stranger_import_nothing(run, tmp_path):
    """Neither thresholds nor rules nor versions in a store's manifest are more than text."""
    store = run / "round_0" / "pseudo_labels"
    manifest = json.loads((store / "manifest.json").read_text())
    manifest["rule"] = {"class_path": f"{tmp_path.name}.Rule", "init_args": hostile.call_of(tmp_path / "marker")}
    manifest["inputs"]["model"] = hostile.call_of(tmp_path / "marker")
    (store / "manifest.json").write_text(json.dumps(manifest))
    assert main(["report", str(run)]) == 0
    assert main(["export", str(store), "--output", "out.json"]) == 0
    assert main(["show", "pseudo_labels", str(store), "--output", "sheet"]) == 0
    assert not (tmp_path / "marker").exists()
