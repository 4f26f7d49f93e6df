"""A run that is killed or stopped, wherever it is, and started again leaves what one leaves that was not, bit for bit.

`pytest tests/faults --kills 40 -rP` is the whole; without --kills a few are tried, and every try is the same.
"""

import json
import random
import shutil
import signal
from pathlib import Path

import pytest

from faults.injection import KINDS, plan
from faults.runs import CASES, differing, left_behind, start, write_config

pytestmark = [pytest.mark.slow, pytest.mark.faults]

SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


@pytest.fixture
def kills(request: pytest.FixtureRequest) -> int:
    """How often each case is killed; all cases together as often as --kills asks."""
    return -(-request.config.getoption("--kills") // len(CASES))


@pytest.mark.parametrize("name", CASES)
def test_a_run_that_is_killed_ends_as_one_that_is_not(tmp_path: Path, kills: int, name: str) -> None:
    config, chance, output = write_config(tmp_path, *CASES[name]), random.Random(name), tmp_path / "run"
    start(config, output, plan(tmp_path / "counts.json")).finish()
    expected, counts = left_behind(output), json.loads((tmp_path / "counts.json").read_text())
    assert counts.keys() == set(KINDS)

    done = runs = 0
    while done < kills:
        shutil.rmtree(output)
        shutil.rmtree(tmp_path / "cache")  # the indexes are built anew, or not to their end
        runs += 1
        status = -1
        while done < kills and status != 0:
            kind, sent = chance.choice(KINDS), chance.choice(SIGNALS)
            # Early rather than late: a process that goes on has less before it than the whole.
            number = chance.randint(1, max(1, counts[kind] // 2))
            status = start(config, output, plan(tmp_path / "none", kind, number, sent)).status()
            moment = f"{signal.Signals(sent).name} at event {number} of {counts[kind]} of kind {kind!r}"
            assert status in (0, -sent, 128 + sent), f"{moment}: {output.with_suffix('.log').read_text()[-3000:]}"
            done += status != 0
            print(f"{name}: {moment}: {'never came' if status == 0 else f'status {status}'}")
        if status != 0:
            start(config, output).finish()
        assert differing(left_behind(output), expected) == []
    print(f"{name}: {done} kills in {runs} runs, 0 differing bits in {len(expected)} files")
