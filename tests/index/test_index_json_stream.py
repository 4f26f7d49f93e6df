"""The JSON stream reads what `json` reads, however the windows fall."""

import json
from typing import Any

import pytest
from msgspec import Raw

from lightning_st.errors import AnnotationError
from lightning_st.index import json_stream
from lightning_st.index.json_stream import JsonStream, decoder_of, is_list

DOCUMENT = {
    "first": [
        {"a": 1, "b": [1.5, -2e-3]},
        {"text": 'quotes " and \\ and é and \U0001f600', "none": None},
        [],
        12345678,
    ],
    "empty": [],
    "second": {"deep": {"deeper": [True, False]}},
    "number": 123456789.25,
    "third": [float(number) for number in range(50)],
    "": "last",
}


def read(path):
    with JsonStream(path) as stream:
        return {key: list(value) if is_list(value) else value for key, value in stream.members()}


@pytest.mark.parametrize("window", [1, 2, 3, 7, 64, 1 << 20])
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_document_is_read_as_json_reads_it(tmp_path, monkeypatch, window, indent, ascii_only):
    monkeypatch.setattr(json_stream, "WINDOW", window)
    path = tmp_path / "a.json"
    path.write_text(json.dumps(DOCUMENT, indent=indent, ensure_ascii=ascii_only), encoding="utf-8")
    assert read(path) == DOCUMENT


def test_lists_may_be_left_unread(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(DOCUMENT))
    with JsonStream(tmp_path / "a.json") as stream:
        assert [key for key, _ in stream.members()] == list(DOCUMENT)


@pytest.mark.parametrize("window", [1, 5, 1 << 20])
def test_every_cut_is_found(tmp_path, monkeypatch, window):
    monkeypatch.setattr(json_stream, "WINDOW", window)
    text = json.dumps({"a": [{"b": 'x\\"y'}, 1.5e3, True, None], "c": -2})
    path = tmp_path / "a.json"
    for end in range(1, len(text)):
        path.write_text(text[:end])
        with pytest.raises(AnnotationError, match=r"no valid JSON|expected a JSON object, found"):
            read(path)


@pytest.mark.parametrize("window", [4, 1 << 20])
def test_errors_name_the_place(tmp_path, monkeypatch, window):
    monkeypatch.setattr(json_stream, "WINDOW", window)
    lines = ['{"a": [', "  1,", "  {2: 3}", "], " + '"b": "' + "long " * 20 + '"}']
    (tmp_path / "a.json").write_text("\n".join(lines))
    with pytest.raises(AnnotationError, match=r"a\.json: line 3 column 4: no valid JSON: Expecting property name"):
        read(tmp_path / "a.json")


def test_an_error_does_not_read_the_rest_of_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(json_stream, "WINDOW", 1000)
    (tmp_path / "a.json").write_text('{"a": [1, 2, oops, ' + "3, " * 100_000 + "4]}")
    done = []
    with JsonStream(tmp_path / "a.json", lambda read, total: done.append((read, total))) as stream:
        with pytest.raises(AnnotationError, match="line 1 column 14"):
            [list(value) for _, value in stream.members()]
        assert done[-1][0] < done[-1][1] / 10


def test_memory_does_not_grow_with_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(json_stream, "WINDOW", 1000)
    (tmp_path / "a.json").write_text(json.dumps({"a": [{"number": number} for number in range(10_000)]}))
    with JsonStream(tmp_path / "a.json") as stream:
        for _, elements in stream.members():
            assert max(len(stream.text) for _ in elements) < 2100


DECODERS = {"records": decoder_of(id=Any, box=Any, outline=Raw)}
PLAIN = [
    {"id": number, "box": [0.1 * number, 1e-3], "outline": [[1.5, 2], [3e2]], "else": {"a": [{"b": 1}]}}
    for number in range(30)
]
ODD = [
    {"id": 2**63, "box": None, "outline": {"counts": 'quotes" }, {"id": 1', "size": [1, 2]}, "else": "}], "},
    {"box": float("inf"), "outline": "\ud800"},  # no JSON, and half a surrogate pair: Python's scanner takes both
    {},
    7,
    [{"id": 1}],
]


def wanted_of(record):
    """Return the fields of a record that DECODERS want, as Python's values."""
    if type(record) is not dict:
        return record
    fields = {field: record[field] for field in ("id", "box", "outline") if field in record}
    return {field: json.loads(bytes(value)) if type(value) is Raw else value for field, value in fields.items()}


@pytest.mark.parametrize("window", [10, 300, 1 << 20])
@pytest.mark.parametrize("many", [40, 200, 1 << 18])
@pytest.mark.parametrize("indent", [None, 2])
def test_records_read_many_at_once_are_those_read_one_by_one(tmp_path, monkeypatch, window, many, indent):
    monkeypatch.setattr(json_stream, "WINDOW", window)
    monkeypatch.setattr(json_stream, "_MANY", many)
    monkeypatch.setattr(json_stream, "_AFTER_REFUSAL", 2)
    document = {"records": [*PLAIN, *ODD, *PLAIN], "others": PLAIN}
    (tmp_path / "a.json").write_text(json.dumps(document, indent=indent))
    with JsonStream(tmp_path / "a.json") as stream:
        found = {key: list(value) for key, value in stream.members(DECODERS)}
    assert list(map(wanted_of, found["records"])) == list(map(wanted_of, document["records"]))
    assert found["others"] == document["others"]


def test_of_plain_records_only_the_wanted_fields_are_read(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"records": PLAIN * 100}))
    with JsonStream(tmp_path / "a.json") as stream:
        [found] = [list(value) for _, value in stream.members(DECODERS)]
    assert set(found[0]) == {"id", "box", "outline"}
    assert bytes(found[0]["outline"]) == b"[[1.5, 2], [300.0]]"


def test_wrong_json_among_records_is_named_as_one_by_one(tmp_path, monkeypatch):
    monkeypatch.setattr(json_stream, "_MANY", 1000)
    records = [f'{{"id": {number}, "outline": [[1, 2]]}}' for number in range(1000)]
    records[777] = records[777].replace(",", ",,")
    (tmp_path / "a.json").write_text('{"records": [' + ", ".join(records) + "]}")
    said = []
    for decoders in (None, {"records": decoder_of(id=Any)}, {"records": decoder_of(outline=Raw)}):
        with JsonStream(tmp_path / "a.json") as stream, pytest.raises(AnnotationError, match="no valid JSON") as caught:
            [list(value) for _, value in stream.members(decoders)]
        said.append(str(caught.value))
    assert said == said[:1] * 3
