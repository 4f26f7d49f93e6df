"""What is wrong in a config file is one sentence with the line."""

import pytest
import yaml

from lightning_st.cli import main
from lightning_st.cli.config_files import check_config_files
from lightning_st.errors import ConfigError


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("data:\n\timage_size: 64\n", r"line 2: no YAML .* Indent with spaces: YAML takes no tabs\."),
        ("data:\n  image_size: 64\n   batch_size: 4\n", r"line 3: no YAML \(mapping values are not allowed here\)\."),
        ("- a\n- b\n", r"expected keys and values in YAML, .* got a list\."),
        ("hello\n", r"expected keys and values in YAML, .* got 'hello'\."),
        ("", r"expected keys and values in YAML, .* got nothing\."),
        (b"\xff\xfe\x00\x01", r"no text in UTF-8"),
        ("teacher:\n  lr: 0.1\n  lr: 0.2\n", r"line 3: the key teacher\.lr is already in line 2\. Leave one\."),
        ("teacher: {lr: 0.1}\nteacher: {max_steps: 2}\n", r"line 2: the key teacher is already in line 1\."),
        ("teacher: 3\n", r"line 1: expected teacher to be a group of keys, got '3'\."),
        ("teacher:\n", r"line 1: expected teacher to be a group of keys, got ''\."),
        ("data:\n- a\n", r"line 1: expected data to be a group of keys, got a list\."),
        ("model: {class_path: lightning_st.TeacherModule}\n", r"a TeacherModule makes this a config of fit"),
        ("model: StudentModule\n", r"a StudentModule makes this a config of fit"),
    ],
)
def test_it_names_the_file_and_the_line(tmp_path, content, sentence):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    for words in (["--config", str(path)], [f"--config={path}"]):
        with pytest.raises(ConfigError, match=rf"recipe\.yaml.*{sentence}"):
            check_config_files(words, is_recipe=True)


def test_a_recipe_is_no_config_of_fit(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("seed_everything: 0\nstudent: {init: teacher}\n")
    check_config_files(["--config", str(path)], is_recipe=True)
    with pytest.raises(ConfigError, match=r"line 2: the key student belongs to a recipe of self_train"):
        check_config_files(["--config", str(path)], is_recipe=False)


@pytest.mark.parametrize("words", [[], ["--config"], ["--config", "nowhere.yaml"]])
def test_files_that_are_not_there_are_left_to_the_parser(words):
    check_config_files(words, is_recipe=True)


@pytest.mark.parametrize("words", [[], ["--all"]])
def test_a_report_of_nothing_is_one_sentence(capsys, words):
    assert main(["report", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("lightning_st: report: ")
    assert error.count("\n") == 1


def test_an_export_to_nowhere_is_one_sentence(capsys):
    assert main(["export", "store"]) == 2
    error = capsys.readouterr().err
    assert "--output" in error
    assert error.count("\n") == 1


def test_a_fit_leaves_a_config_in_the_working_directory_alone(tiny_run, tmp_path, monkeypatch):
    recipe, _ = tiny_run
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "config.yaml"
    model = {"class_path": "TeacherModule", "init_args": {"task": recipe["model"]}}
    trainer = {"max_steps": 1, "logger": False, "enable_checkpointing": False, **recipe["trainer"]}
    data = {key: value for key, value in recipe["data"].items() if key != "val"}
    config.write_text(yaml.safe_dump({"data": data, "model": model, "trainer": trainer}))
    before = config.read_text()
    assert main(["fit", "--config", str(config)]) == 0
    assert config.read_text() == before
