"""Whatever the JSON files of a finished run are edited to say, its report is written or it is refused in a sentence."""

import json
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spoiling import EXAMPLES, WANTED, read_or_refuse, spoilt_bytes, spoilt_json

from lightning_st.reports import write_report

FILES = [
    "manifest.json",
    "check.json",
    "round_0/teacher/manifest.json",
    "round_0/student/evaluation.json",
    "round_0/pseudo_labels/manifest.json",
]


FEWER = settings(EXAMPLES, max_examples=int(WANTED or 12))
"""A report takes a tenth of a second."""


@pytest.fixture(scope="module")
def run(tiny_run, tmp_path_factory):
    return shutil.copytree(tiny_run[1], tmp_path_factory.mktemp("spoilt") / "run")


@pytest.mark.parametrize("name", FILES)
@given(data=st.data())
@FEWER
def test_an_edited_run_is_reported_or_refused(run, name, data):
    valid = (run / name).read_bytes()
    content = data.draw(spoilt_json(json.loads(valid)))
    try:
        (run / name).write_bytes(content)
        read_or_refuse(lambda: write_report(run))
    finally:
        (run / name).write_bytes(valid)


@given(data=st.data())
@FEWER
def test_an_edited_log_is_reported_or_refused(run, data):
    path = run / "round_0/teacher/metrics.csv"
    valid = path.read_bytes()
    content = data.draw(spoilt_bytes(valid))
    try:
        path.write_bytes(content)
        read_or_refuse(lambda: write_report(run))
    finally:
        path.write_bytes(valid)
