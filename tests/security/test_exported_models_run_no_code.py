"""Files of `torch.export`, ONNX and safetensors: what of them could run, or open another file, is refused."""

import io
import json
import pickle
import zipfile
from pathlib import Path

import hostile
import numpy as np
import pytest
import torch
from torch import nn

from lightning_st import Predictor
from lightning_st.cli import main
from lightning_st.deploy.onnx_file import require_exporter, require_packages
from lightning_st.deploy.program_scan import scanned
from lightning_st.errors import CheckpointError, ConfigError
from lightning_st.models.backbones import load_weights


@pytest.fixture(scope="module")
def program(tiny_run, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("program") / "model.pt2"
    assert main(["export", "--checkpoint", str(tiny_run[1] / hostile.CHECKPOINT), "--output", str(path)]) == 0
    return path


def rewritten(program: Path, folder: Path, change, compression: int = zipfile.ZIP_STORED) -> Path:
    """Write a copy of a program whose members, by name, `change` has changed."""
    with zipfile.ZipFile(program) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    change(members)
    path = folder / "changed.pt2"
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def named(members: dict[str, bytes], ending: str) -> str:
    return next((name for name in members if name.endswith(ending)), ending)


def saved(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def sample(members, marker):
    members[named(members, "sample_inputs/model.pt")] = saved(hostile.Runs(marker))


def weight(members, marker):
    name = named(members, "model_weights_config.json")
    config = json.loads(members[name])
    first = next(iter(config["config"].values()))
    first["use_pickle"] = True
    members[name] = json.dumps(config).encode()
    members[named(members, first["path_name"])] = saved(hostile.Runs(marker))


def opaque(members, marker):
    members["m/data/constants/opaque_obj_0"] = pickle.dumps(hostile.Runs(marker))


def legacy(members, marker):
    members["m/data/weights/model.pt"] = saved(hostile.Runs(marker))


def library(members, marker):
    members["m/data/aotinductor/model/model.so"] = b"\x7fELF"


def calling(marker: Path) -> str:
    return f"__import__('pathlib').Path({str(marker)!r}).touch()"


def in_the_graph(change):
    def changed(members, marker):
        name = named(members, "models/model.json")
        program = json.loads(members[name])
        change(program, marker)
        members[name] = json.dumps(program).encode()

    return changed


def guard(program, marker):
    program["guards_code"] = [calling(marker)]


def operator(program, marker):
    program["graph_module"]["graph"]["nodes"][0]["target"] = "torch.serialization.os.system"


def file_operator(program, marker):
    program["graph_module"]["graph"]["nodes"][0]["target"] = "torch.ops.aten.from_file.default"


def expression(program, marker):
    values = [program]
    while values:
        value = values.pop()
        if isinstance(value, dict) and "expr_str" in value:
            value["expr_str"] = calling(marker)
            return
        values += value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    raise AssertionError("the program has no size that varies")


CHANGES = {
    "a pickle as sample": sample,
    "a pickle as weight": weight,
    "a pickle as constant": opaque,
    "a pickle as an old file has it": legacy,
    "a library": library,
    "a guard": in_the_graph(guard),
    "a function as operator": in_the_graph(operator),
    "an operator that maps files": in_the_graph(file_operator),
    "a size": in_the_graph(expression),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_program_that_could_run_something_is_not_loaded(program, tmp_path, what):
    marker = tmp_path / "marker"
    path = rewritten(program, tmp_path, lambda members: CHANGES[what](members, marker))
    with pytest.raises(CheckpointError, match=r"no program that `lightning_st export` wrote\. Export anew\.$"):
        Predictor(path)
    assert not marker.exists()


def test_what_is_loaded_is_what_was_looked_at(program, tmp_path):
    """Of two members of one name another reader may take the first."""
    with pytest.raises(CheckpointError, match="compressed, or there twice"):
        scanned(rewritten(program, tmp_path, lambda members: None, zipfile.ZIP_DEFLATED))
    path = rewritten(program, tmp_path, lambda members: None)
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr(archive.namelist()[0], b"another")
    with pytest.raises(CheckpointError, match="compressed, or there twice"):
        Predictor(path)


def test_our_own_program_is_loaded(program):
    found = Predictor(program, score_threshold=0)([np.zeros((40, 50, 3), np.uint8)])
    assert found[0]["boxes"].shape[1] == 4


CARDS = {
    "no JSON": ({"schema": "["}, "schema"),
    "a field missing": ({"version": None}, "version"),
    "classes that are a number": ({"classes": "3"}, "classes"),
    "a size of no image": ({"image_size": "[1000000, 1000000]"}, "image_size"),
    "another target": ({"target": '"code"'}, "target"),
}


@pytest.mark.parametrize("what", CARDS)
def test_what_a_program_says_of_itself_is_looked_at(program, tmp_path, what):
    said, field = CARDS[what]

    def change(members):
        name = named(members, "lightning_st.json")
        card = json.loads(members[name]) | said
        members[name] = json.dumps({key: value for key, value in card.items() if value is not None}).encode()

    with pytest.raises(CheckpointError, match=f"damaged: (expected {field} to be|what it says of itself is no JSON)"):
        Predictor(rewritten(program, tmp_path, change))


@pytest.fixture(scope="module")
def onnx_file(tiny_run, tmp_path_factory) -> Path:
    try:
        require_packages("onnx", "onnxscript", "onnxruntime")
        require_exporter()
    except ConfigError as error:
        pytest.skip(str(error))
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    assert main(["export", "--checkpoint", str(tiny_run[1] / hostile.CHECKPOINT), "--output", str(path)]) == 0
    return path


@pytest.mark.parametrize("where", ["absolute", "above"])
def test_an_onnx_file_opens_no_file_outside_its_folder(onnx_file, tmp_path, where):
    import onnx

    outside, folder = tmp_path / "outside.bin", tmp_path / "model"
    folder.mkdir()
    model = onnx.load(onnx_file)
    tensor = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    outside.write_bytes(tensor.raw_data)
    location = {"location": str(outside) if where == "absolute" else "../outside.bin", "length": len(tensor.raw_data)}
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in location.items():
        tensor.external_data.add(key=key, value=str(value))
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(CheckpointError, match="not a model that onnxruntime can run"):
        Predictor(folder / "model.onnx")


@pytest.mark.parametrize("what", CARDS)
def test_what_an_onnx_file_says_of_itself_is_looked_at(onnx_file, tmp_path, what):
    import onnx

    said, field = CARDS[what]
    model = onnx.load(onnx_file)
    for entry in model.metadata_props:
        entry.value = said.get(entry.key, entry.value) or "nothing"
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(CheckpointError, match=f"damaged: (expected {field} to be|what it says of itself is no JSON)"):
        Predictor(tmp_path / "model.onnx")


@pytest.mark.parametrize("content", [b"", b"\xff" * 64, b"\xff\xff\xff\xff\xff\xff\xff\x0f{}", b"\x80\x04}."])
def test_safetensors_hold_numbers_or_are_refused(tmp_path, content):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="cannot be read as a file of weights"):
        load_weights(nn.Linear(1, 1), path)


def test_a_pickle_is_not_read_as_safetensors_nor_otherwise(tmp_path):
    for name in ("weights.safetensors", "weights.bin", "weights.pth"):
        torch.save({"weight": hostile.Runs(tmp_path / "marker")}, tmp_path / name)
        with pytest.raises(CheckpointError, match="cannot be read as a file of weights"):
            load_weights(nn.Linear(1, 1), tmp_path / name)
    assert not (tmp_path / "marker").exists()
