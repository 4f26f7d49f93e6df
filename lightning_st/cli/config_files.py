"""Looks at the files of ``--config`` before the parser does, and says in one sentence what is wrong in which line."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml
from yaml import MappingNode, Node, ScalarNode, SequenceNode

from lightning_st.cli.shipped_configs import config_words
from lightning_st.errors import ConfigError, quoted

_GROUPS = ("data", "teacher", "student", "training", "pseudo_label", "trainer", "tracking")
"""Keys that hold further keys, always."""

RECIPE_SECTIONS = ("teacher", "student", "pseudo_label", "pretrain", "training", "experiment", "tracking")
"""Sections of recipes that the configs of Lightning's commands do not have."""

RECIPE_KEYS = ("rounds", "patience", "control", "restart", "shared", "output")
"""Keys of recipes that are no sections, likewise."""

_MOST_NODES = 100_000
"""Keys and values of a config. A file of a few lines can stand for billions, which a parser would write out."""

_MODULES = ("TeacherModule", "StudentModule")


def check_config_files(words: Sequence[str], is_recipe: bool | None) -> None:
    """Refuse config files that are no YAML mapping, name a key twice, or belong to another command.

    Args:
        words: Of the command line.
        is_recipe: Whether the command takes a recipe (``self_train``, ``pseudo_label``) or a config of Lightning's
            (``fit`` ...); None where it takes both.

    Raises:
        ConfigError: Naming the file, the line, and what would be accepted.
    """
    for path in _config_files(words):
        root = _read(path)
        _refuse_repeated_keys(path, root)
        for name, key, value in _items(root):
            if name in _GROUPS and not isinstance(value, MappingNode):
                got = repr(value.value) if isinstance(value, ScalarNode) else "a list"
                raise ConfigError(f"{_line(path, key)}: expected {name} to be a group of keys, got {got}.")
        if is_recipe is not None:
            _refuse_foreign(path, root, is_recipe)


def _config_files(words: Sequence[str]) -> Iterator[Path]:
    """Yield the files that are named; of those that do not exist the parser says so."""
    for _, name in config_words(words):
        if Path(name).is_file():
            yield Path(name)


def _read(path: Path) -> MappingNode:
    try:
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: no text in UTF-8, so no config in YAML.") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: its keys and lists stand in one another too deep.") from error
    except yaml.YAMLError as error:
        raise ConfigError(_syntax_sentence(path, text, error)) from error
    if not isinstance(root, MappingNode):
        found = "nothing" if root is None else "a list" if isinstance(root, SequenceNode) else repr(root.value)
        raise ConfigError(f"{path}: expected keys and values in YAML, such as 'seed_everything: 0', got {found}.")
    _check_nodes(path, root, {})
    return root


def _check_nodes(path: Path, node: Node, sizes: dict[int, int | None]) -> int:
    """Refuse what no config needs; return how many keys and values there are when every alias is written out.

    Args:
        path: For the message.
        node: What is counted.
        sizes: Of the nodes that were counted already, by ``id``; None while one is being counted.

    Raises:
        ConfigError: If that never ends, or is more than any config; or a value has a tag of its own (``!name``).
    """
    if not node.tag.startswith("tag:yaml.org,2002:") or "python" in node.tag:
        raise ConfigError(f"{_line(path, node)}: the tag {quoted(node.tag)} is not read. Write a plain value.")
    if id(node) in sizes:
        size = sizes[id(node)]
        if size is None:
            raise ConfigError(f"{_line(path, node)}: what stands here stands in itself, by an alias (*). Write it out.")
        return size
    sizes[id(node)] = None
    inner = [each for pair in node.value for each in pair] if isinstance(node, MappingNode) else node.value
    size = 1 + (0 if isinstance(node, ScalarNode) else sum(_check_nodes(path, each, sizes) for each in inner))
    if size > _MOST_NODES:
        raise ConfigError(
            f"{_line(path, node)}: with its aliases (*) this is more than {_MOST_NODES:,} keys and values."
        )
    sizes[id(node)] = size
    return size


def _syntax_sentence(path: Path, text: str, error: yaml.YAMLError) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is None:
        return f"{path}: no YAML ({' '.join(str(error).split())})."
    line = text.splitlines()[mark.line] if mark.line < len(text.splitlines()) else ""
    advice = "Indent with spaces: YAML takes no tabs." if "\t" in line else "Check its indentation and quotes."
    return f"{path}, line {mark.line + 1}: no YAML ({problem}). {advice}"


def _refuse_repeated_keys(path: Path, node: Node, inside: str = "") -> None:
    """YAML readers keep the last of two equal keys in silence."""
    seen: dict[str, ScalarNode] = {}
    for name, key, value in _items(node):
        if name in seen:
            first = seen[name].start_mark.line + 1
            raise ConfigError(f"{_line(path, key)}: the key {inside}{name} is already in line {first}. Leave one.")
        seen[name] = key
        _refuse_repeated_keys(path, value, f"{inside}{name}.")


def _refuse_foreign(path: Path, root: MappingNode, is_recipe: bool) -> None:
    for name, key, value in _items(root):
        if not is_recipe and name in (*RECIPE_SECTIONS, *RECIPE_KEYS):
            raise ConfigError(
                f"{_line(path, key)}: the key {name} belongs to a recipe of {_command_of(name)}. fit, validate, test "
                "and predict take data, model and trainer, where model is a TeacherModule or a StudentModule."
            )
        if is_recipe and name == "model" and (module := _class_name(value)) in _MODULES:
            raise ConfigError(
                f"{_line(path, key)}: a {module} makes this a config of fit, validate, test and predict. In a recipe "
                "model is what they call task, such as lightning_st.RetinaNet."
            )


def _command_of(key: str) -> str:
    return {"training": "pretrain", "experiment": "experiment"}.get(key, "self_train")


def _class_name(value: Node) -> str:
    paths = [inner for name, _, inner in _items(value) if name == "class_path"]
    node = paths[0] if paths else value
    return node.value.rpartition(".")[2] if isinstance(node, ScalarNode) else ""


def _items(node: Node) -> Iterator[tuple[str, ScalarNode, Node]]:
    """Yield the keys of a mapping as text and as nodes, and their values; nothing for another node."""
    if isinstance(node, MappingNode):
        for key, value in node.value:
            if isinstance(key, ScalarNode):
                yield key.value, key, value


def _line(path: Path, node: Node) -> str:
    return f"{path}, line {node.start_mark.line + 1}"
