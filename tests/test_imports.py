"""The rooms import only downwards (docs/architecture.md), and the light ones stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "lightning_st"

# A room to the rooms that it may import, in order: every room stands below those that it imports.
MAY_IMPORT = {
    "errors": set(),
    "types": {"errors"},
    "index": {"errors", "types"},
    "transforms": {"errors", "types"},
    "data": {"errors", "types", "index", "transforms"},
    "checks": {"errors", "types", "index", "data"},
    "models": {"errors", "types"},
    "selftrain": {"errors", "types", "index"},
    "modules": {"errors", "types", "models", "selftrain"},
    "stages": {"errors", "types", "index", "data", "checks", "selftrain", "modules"},
    "deploy": {"errors", "types", "index", "transforms", "data", "models", "modules", "stages"},
    "reports": {"errors", "types", "index"},
    "cli": {
        "errors",
        "types",
        "index",
        "transforms",
        "data",
        "checks",
        "models",
        "selftrain",
        "modules",
        "stages",
        "deploy",
        "reports",
    },
    "__init__": {"index", "data", "models", "selftrain", "modules", "stages", "deploy"},
    "__main__": {"cli"},
}
FORBIDDEN_LIBRARIES = {
    "errors": {"torch", "lightning"},
    "types": {"lightning"},
    "index": {"torch", "lightning"},
    "reports": {"torch", "lightning"},
    "transforms": {"lightning"},
    "models": {"lightning"},
    "selftrain": {"lightning"},
}


def imported_names(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} relative import, write lightning_st.x"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


SOURCES = sorted(ROOT.rglob("*.py"))


def test_the_table_has_no_cycle():
    rooms = list(MAY_IMPORT)
    assert all(MAY_IMPORT[room] <= set(rooms[:i]) for i, room in enumerate(rooms))


@pytest.mark.parametrize("path", SOURCES, ids=[str(p.relative_to(ROOT)) for p in SOURCES])
def test_every_import_goes_down_the_table(path):
    room = room_of(path)
    names = imported_names(path)
    rooms = {name.split(".")[1] for name in names if name.startswith("lightning_st.")}
    assert rooms - {room} <= MAY_IMPORT[room]
    assert {name.split(".")[0] for name in names} & FORBIDDEN_LIBRARIES.get(room, set()) == set()


@pytest.mark.parametrize("module", ["lightning_st", "lightning_st.index", "lightning_st.reports", "lightning_st.cli"])
def test_light_rooms_do_not_load_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
