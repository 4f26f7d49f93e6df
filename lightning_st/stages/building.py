"""Classes that a recipe names by ``{"class_path": ..., "init_args": {...}}``: importing, checking, building them."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import partial
from importlib import import_module
from inspect import Parameter, signature
from typing import Any

from lightning_st.errors import ConfigError


def import_name(path: str) -> Any:
    """Return what a dotted path such as ``lightning_st.RetinaNet`` names.

    Raises:
        ConfigError: If there is no such module, or no such name in it.
    """
    module_name, _, name = path.rpartition(".")
    try:
        return getattr(import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError.expected("class_path", "an importable class", path, str(error)) from error


def build(spec: Any) -> Any:
    """Return ``spec`` with every ``{"class_path": ..., "init_args": ...}`` in it replaced by an instance.

    Example:
        >>> build({"rate": {"class_path": "fractions.Fraction", "init_args": {"numerator": 1, "denominator": 2}}})
        {'rate': Fraction(1, 2)}
    """
    if isinstance(spec, Mapping):
        if "class_path" in spec:
            return build_factory(spec)()
        return {key: build(value) for key, value in spec.items()}
    if isinstance(spec, list | tuple):
        return type(spec)(build(value) for value in spec)
    return deepcopy(spec)


def build_factory(spec: Mapping[str, Any]) -> Callable[..., Any]:
    """Return the class that ``spec`` names with its ``init_args`` bound, to be called with what is still missing.

    Raises:
        ConfigError: If there is no such class, or it takes no such argument.
    """
    target = import_name(spec["class_path"])
    arguments = dict(spec.get("init_args") or {})
    require_arguments(spec["class_path"], target, arguments)
    return partial(target, **build(arguments))


def require_arguments(
    section: str,
    target: Callable[..., Any],
    given: Mapping[str, Any],
    others: Sequence[str] = (),
    owned: Sequence[str] = (),
) -> None:
    """Refuse keys that ``target`` does not take from a recipe.

    Args:
        section: What the keys stand in, for the message.
        target: Will be called with them.
        given: The keys and their values.
        others: Further keys that the section may have, for the message.
        owned: Arguments that are not the recipe's to give.

    Raises:
        ConfigError: Naming the first unknown key, and the nearest known one.
    """
    arguments = arguments_of(target)
    if arguments is None:
        return
    known = [*others, *(name for name in arguments if name not in owned)]
    unknown = [key for key in given if key not in known]
    if unknown:
        raise ConfigError.unknown_choice(f"key of {section}", unknown[0], known)


def arguments_of_class(cls: type) -> list[str]:
    """Return the names of the arguments that a class itself adds, without those that it hands on to its base."""
    return [name for name in signature(vars(cls)["__init__"]).parameters if name != "self"]


def arguments_of(target: Callable[..., Any]) -> list[str] | None:
    """Return the names that ``target`` can be called with, None where it takes any.

    A class that hands further keywords on takes those of the class that it is derived from.
    """
    calls: list[Callable[..., Any]] = [target]
    if isinstance(target, type):
        calls = [vars(cls)["__init__"] for cls in target.__mro__ if "__init__" in vars(cls)]
    names: list[str] = []
    for call in calls:
        parameters = [p for p in signature(call).parameters.values() if p.name not in ("self", *names)]
        names += [p.name for p in parameters if p.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)]
        if not any(p.kind is Parameter.VAR_KEYWORD for p in parameters):
            return names
    return None
