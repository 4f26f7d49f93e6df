"""Stores of pseudo-labels, manifests, reports and checkpoints: foreign, older, truncated, or edited."""

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from bad_inputs.case import Bad, Case, Refused

STORE = "round_0/pseudo_labels"


def run(name: str, change: Callable[[bytes], bytes] | None, command: str = "report") -> Callable[[Case], None]:
    """Change a file of a finished run, or remove it, and run a command on it."""

    def spoil(case: Case) -> None:
        path = case.copy_of_run() / name
        data = None if change is None else change(path.read_bytes())
        path.unlink()
        if data is not None:
            path.write_bytes(data)
        use(case, command)

    return spoil


def use(case: Case, command: str) -> None:
    """Say what the user does with the run in `run`."""
    folder, out = case.folder / "run", str(case.folder / "exported")
    words = {
        "report": ["report", str(folder)],
        "export": ["export", str(folder / STORE), "--output", out + ".json"],
        "show": ["show", "pseudo_labels", str(folder / STORE), "--output", out],
        "again": ["self_train", "--config", str(config(case)), "--output", str(folder)],
        "fit": ["fit", "--config", str(student_config(case, folder / STORE))],
        "predict": ["predict", "--checkpoint", str(folder / "round_0/teacher/checkpoints/best.ckpt"), "--images",
                    str(case.images("unlabeled")), "--output", out],
        "label": ["pseudo_label", "--config", str(config(case)), "--output", out, "--checkpoint",
                  str(folder / "round_0/teacher/checkpoints/best.ckpt")],
    }  # fmt: skip
    case.command_line = words[command]


def config(case: Case) -> Path:
    path = case.folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(case.recipe))
    return path


def student_config(case: Case, store: Path) -> Path:
    content = {
        "data": {**case.recipe["data"], "pseudo_labels": str(store)},
        "model": {"class_path": "StudentModule", "init_args": {"task": case.recipe["model"]}},
        "trainer": {"max_steps": 1, "logger": False, "enable_checkpointing": False, "accelerator": "cpu"},
    }
    path = case.folder / "fit.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def edited(change: Callable[[dict[str, Any]], Any]) -> Callable[[bytes], bytes]:
    """Change what JSON says."""

    def spoil(data: bytes) -> bytes:
        content = json.loads(data)
        change(content)
        return json.dumps(content).encode()

    return spoil


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def patched(place: int, value: bytes) -> Callable[[bytes], bytes]:
    return lambda data: data[:place] + value + data[place + len(value) :]


def foreign(data: bytes) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + bytes(200)


def last_box(data: bytes) -> bytes:
    """Edit a box: the header's checksum does not see it."""
    header = struct.unpack_from("<8sIIQ", data)[3]
    content = json.loads(data[24 : 24 + header])
    place = -(-(24 + header) // 64) * 64 + content["columns"]["boxes"]["offset"]
    return patched(place, struct.pack("<f", 1e6))(data)


def deep(data: bytes) -> bytes:
    return b'{"a": ' + b"[" * 10**6


def other_classes(case: Case) -> None:
    case.copy_of_run()
    for name in ("labeled", "val", "test"):
        case.edit(lambda content: content["categories"][0].update(name="cube"), name)


def cube(command: str) -> Callable[[Case], None]:
    return lambda case: [other_classes(case), use(case, command)]


def gone(command: str, name: str) -> Callable[[Case], None]:
    def spoil(case: Case) -> None:
        path = case.copy_of_run() / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        use(case, command)

    return spoil


def no_run(case: Case) -> None:
    (case.folder / "run").mkdir()
    use(case, "report")


SCHEMA = edited(lambda content: content.update(schema=0))
BEST = "round_0/teacher/checkpoints/best.ckpt"
MANIFEST, LABELS = STORE + "/manifest.json", STORE + "/labels.index"
TEACHER = "round_0/teacher/manifest.json"
RUNS = [
    ("a report of nothing", no_run, r"run is not a self-training run: it holds no manifest\.json. Give the folder"),
    ("a manifest of another stage", run("manifest.json", edited(lambda m: m.update(stage="train"))), "a manifest of the stag"),
    ("an older manifest", run("manifest.json", SCHEMA), r"run/manifest\.json: not a file of schema 1; another version"),
    ("a truncated manifest", run("manifest.json", half), r"run/manifest\.json: cannot be read as JSON"),
    ("a foreign manifest", run("manifest.json", foreign), r"run/manifest\.json: cannot be read as JSON"),
    ("a manifest that is a list", run("manifest.json", lambda d: b"[]"), r"run/manifest\.json: not a file of schema 1"),
    ("a deep manifest", run("manifest.json", deep), r"run/manifest\.json: cannot be read as JSON"),
    ("a truncated evaluation", run("round_0/student/evaluation.json", half), r"student/evaluation\.json: cannot be read as"),
    ("an older evaluation", run("round_0/student/evaluation.json", SCHEMA), r"student/evaluation\.json: not a file of schem"),
    ("an edited metrics.csv", run("round_0/teacher/metrics.csv", lambda d: d.replace(b",0", b",zero")), r"teacher/metrics\.c"),
    ("metrics.csv in UTF-16", run("round_0/teacher/metrics.csv", lambda d: d.decode().encode("utf-16")), r"metrics\.csv"),
    ("edited scores", run("round_0/student/evaluation.json", edited(lambda e: e["splits"]["val"].update(AP="high"))),
     r"student/evaluation\.json: splits\.val\.AP: expected a number or null, got 'high'\. It was edited"),
    ("edited classes", run("manifest.json", edited(lambda m: m.update(classes=7))), r"run/manifest\.json: classes: expected a"),
    ("again on an older stage", run(TEACHER, SCHEMA, "again"), r"teacher/manifest\.json: not a manifest of schema 1. Use ano"),
    ("again on a cut stage", run(TEACHER, half, "again"), r"teacher/manifest\.json: not a readable manifest"),
    ("again on an edited stage", run(TEACHER, edited(lambda m: m.update(state="done")), "again"), "not a whole manifest: it wa"),
    ("again on other inputs", run(TEACHER, edited(lambda m: m["inputs"].update(seed=9)), "again"), "was made from other inputs"),
]  # fmt: skip
STORES = [
    ("no store", gone("fit", STORE), r"pseudo_labels"),
    ("no manifest", run(MANIFEST, None, "export"), r"pseudo_labels: there is no store of pseudo-labels .*Run pseudo_label"),
    ("a truncated manifest", run(MANIFEST, half, "export"), r"pseudo_labels: there is no store of pseudo-labels"),
    ("a store half made", run(MANIFEST, edited(lambda m: m.update(state="running")), "fit"), "the pseudo-labels are not comple"),
    ("no thresholds", run(MANIFEST, edited(lambda m: m.pop("thresholds")), "fit"), "the pseudo-labels are not complete"),
    ("edited thresholds", run(MANIFEST, edited(lambda m: m["thresholds"].update(keep="low")), "fit"), "thresholds: expected li"),
    ("a threshold too few", run(MANIFEST, edited(lambda m: m.update(thresholds={"keep": [0.5], "ignore": [0.5]})), "export"),
     "thresholds: expected one for each of 2 classes, got 1"),
    ("a deep manifest", run(MANIFEST, deep, "fit"), "there is no store of pseudo-labels"),
    ("no index", run(LABELS, None, "export"), r"labels\.index: the index cannot be opened: No such file or directory"),
    ("an empty index", run(LABELS, lambda d: b"", "export"), r"labels\.index: this is not an index of lightning_st"),
    ("a foreign index", run(LABELS, foreign, "show"), r"labels\.index: this is not an index of lightning_st: it does not begin"),
    ("an older index", run(LABELS, patched(8, b"\1\0\0\0"), "fit"), r"labels\.index: the index has schema version 1, this lig"),
    ("a truncated index", run(LABELS, half, "export"), r"labels\.index: the index has \d+ bytes instead of \d+: it is cut"),
    ("an edited header", run(LABELS, lambda d: d.replace(b"square", b"circle", 1), "fit"), "the header of the index is cut or d"),
    ("an edited box", run(LABELS, last_box, "fit"), r"labels\.index: the index does not match its fingerprint: it is damaged"),
    ("an edited box, exported", run(LABELS, last_box, "export"), r"labels\.index: the index does not match its fingerprint"),
    ("a store of other classes", cube("fit"), "the pseudo-labels have the classes square, disc; data.labeled has cube, disc"),
]  # fmt: skip
CHECKPOINTS = [
    ("no checkpoint", gone("label", BEST), r"best\.ckpt: no such checkpoint file"),
    ("an empty checkpoint", run(BEST, lambda d: b"", "label"), r"best\.ckpt: not a readable checkpoint"),
    ("a foreign checkpoint", run(BEST, foreign, "predict"), r"best\.ckpt: not a readable checkpoint"),
    ("a truncated checkpoint", run(BEST, half, "label"), r"best\.ckpt: not a readable checkpoint"),
    ("a checkpoint that is text", run(BEST, lambda d: b"not a checkpoint", "label"), r"best\.ckpt: not a readable checkpoint"),
    ("a checkpoint of other classes", cube("label"), "trained on 2 classes square, disc, but the data have 2 classes cube"),
]  # fmt: skip
TABLES = {
    name: [Bad(row, spoil, Refused(sentence), "command_line") for row, spoil, sentence in rows]
    for name, rows in {"runs": RUNS, "stores": STORES, "checkpoints": CHECKPOINTS}.items()
}
