"""Whatever bytes come, a reader makes a sound index of them or refuses in one sentence: no traceback, no hang."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spoiling import EXAMPLES, read_or_refuse, spoilt
from subjects import SUBJECTS, check_index


@pytest.mark.parametrize("name", SUBJECTS)
def test_what_is_valid_is_read(name, tmp_path):
    SUBJECTS[name].write(tmp_path)
    check_index(SUBJECTS[name].read(tmp_path))


@pytest.mark.parametrize("name", SUBJECTS)
@given(data=st.data())
@EXAMPLES
def test_a_spoilt_file_is_read_or_refused(name, data):
    subject = SUBJECTS[name]
    content = data.draw(spoilt(subject.valid))
    with tempfile.TemporaryDirectory() as folder:
        subject.write(Path(folder), content)
        index = read_or_refuse(lambda: subject.read(Path(folder)))
        if index is not None:
            check_index(index)
