"""How a property test spoils what is valid, and what it allows to come of it."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from hypothesis import HealthCheck, event, settings
from hypothesis import strategies as st

from lightning_st.errors import LightningSTError

WANTED = os.environ.get("LIGHTNING_ST_EXAMPLES")
"""So many examples for each test, drawn anew in every run; without it there are few, the same in every run."""

EXAMPLES = settings(
    max_examples=int(WANTED or 40),
    derandomize=WANTED is None,
    database=None,
    deadline=None,  # `within` stops what hangs, where a deadline would wait for its end
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
SECONDS = 20
"""What hangs takes longer than this; on a busy machine a whole example takes some tenths."""

LONGEST_SENTENCE = 2000  # characters

NUMBERS = [
    b"nan",
    b"inf",
    b"-1",
    b"0",
    b"1e999",
    b"1e300",
    b"-1e38",
    b"99999999999999999999",
    b"0.5",
    b"2147483648",
    b"",
]
WORDS = [
    b"",
    b"null",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\0",
    b"\r\n",
    b'"',
    b"[" * 3000,
    b"{",
    b"<a>",
    b"&#0;",
    b",",
    b"-",
]
WORDS += [b"\\ud800", b"\x1b[2J", b"!!int x", b"&a [*a, *a]", b"*a", b"<<: "]


class TooSlowError(AssertionError):
    """Something hangs."""


@contextmanager
def within(seconds: int = SECONDS) -> Iterator[None]:
    """Raise `TooSlowError` in what takes longer."""

    def stop(*_: object) -> None:
        raise TooSlowError(f"longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def read_or_refuse(read: Callable[[], Any]) -> Any:
    """Return what `read` returns; None where it refuses in a sentence. All else that it raises is a fault."""
    try:
        with within():
            found = read()
    except LightningSTError as error:
        sentence = str(error)
        assert len(sentence.splitlines()) == 1, repr(sentence)
        assert 10 < len(sentence) < LONGEST_SENTENCE, repr(sentence)
        event("refused")
        return None
    event("read")
    return found


@st.composite
def spoilt_bytes(draw: st.DrawFn, valid: bytes) -> bytes:
    """Valid bytes, cut, flipped, doubled, or with a word in the wrong place; or any bytes at all."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=300))
    data = bytearray(valid)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, max(0, len(data) - 1)))
        kind = draw(
            st.sampled_from(["cut", "flip", "drop", "double", "word", "number", "line", "noise", "number", "number"])
        )
        end = place + draw(st.integers(1, 12))
        if kind == "cut":
            del data[place:]
        elif kind == "flip" and data:
            data[place] ^= 1 << draw(st.integers(0, 7))
        elif kind == "drop":
            del data[place:end]
        elif kind == "double":
            data[place:place] = data[place:end]
        elif kind == "word":
            data[place:end] = draw(st.sampled_from(WORDS))
        elif kind == "number" and data:
            _replace_number(data, place, draw(st.sampled_from(NUMBERS)))
        elif kind == "line":
            line = bytes(data).splitlines(keepends=True)[bytes(data[:place]).count(b"\n") - 1 :][:1]
            data[place:place] = b"".join(line)
        else:
            data[place:end] = draw(st.binary(max_size=8))
    return bytes(data)


def _replace_number(data: bytearray, place: int, word: bytes) -> None:
    """Put `word` in the place of the first number behind a place."""
    start = next((i for i in range(place, len(data)) if chr(data[i]).isdigit()), None)
    if start is not None:
        end = next((i for i in range(start, len(data)) if not chr(data[i]).isdigit()), len(data))
        data[start:end] = word


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from(
        [0, -1, 10**30, float("nan"), float("inf"), -1e308, "", "\ud800", "a\nb", "\x1b[2J", 2**31, 2**63]
    )
    | st.floats()
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def spoilt_json(draw: st.DrawFn, valid: Any) -> bytes:
    """JSON with fields that are gone, doubled, or something else; now and then its bytes are spoilt besides."""
    content = json.loads(json.dumps(valid))
    for _ in range(draw(st.integers(1, 3))):
        content = _spoil_one(draw, content)
    data = json.dumps(content).encode()
    return draw(spoilt_bytes(data)) if draw(st.integers(0, 4)) == 0 else data


def _spoil_one(draw: st.DrawFn, content: Any) -> Any:
    """Walk down from the top, and change what stands where the walk ends."""
    above, key, here = None, None, content
    while isinstance(here, dict | list) and here and draw(st.integers(0, 4)) > 0:
        keys = list(here) if isinstance(here, dict) else range(len(here))
        above, key = here, draw(st.sampled_from(keys))
        here = above[key]
    if above is None:
        return draw(JSON)
    kind = draw(st.sampled_from(["delete", "replace", "double", "deep"]))
    if kind == "delete":
        del above[key]
    elif kind == "double" and isinstance(above, list):
        above.append(here)
    elif kind == "deep":
        depth = draw(st.sampled_from([5, 120, 250]))
        for _ in range(depth):
            here = [here]
        above[key] = here
    else:
        above[key] = draw(JSON)
    return content


def spoilt(valid: Any) -> st.SearchStrategy[bytes]:
    """Return a strategy that spoils a file: of bytes, or of what JSON is made from."""
    return spoilt_bytes(valid) if isinstance(valid, bytes) else spoilt_json(valid)
