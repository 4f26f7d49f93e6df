"""Runs figures, each in a process of its own: none inherits another's memory, imports or threads.

The tiny forms of all, which show no more than that they run, share this one: imports take longer than they do.
"""

import argparse
import importlib
import sys
import tempfile
import time
import traceback
from pathlib import Path

from benchmarks import results
from benchmarks.measuring import SPAWN, NotMeasured, Settings, as_a_command

HERE = Path(__file__).parent


def figures() -> list[str]:
    """Return the names of the modules that measure a figure."""
    return sorted(path.stem for path in HERE.glob("*.py") if "\ndef measure(settings: Settings)" in path.read_text())


def run(figure: str, settings: Settings, folder: Path) -> None:
    """Measure a figure, save its result and print its table; or say why it is not measured here."""
    begun = time.perf_counter()
    module = importlib.import_module(f"benchmarks.{figure}")
    claim = (module.__doc__ or "").partition("\n")[0]
    try:
        comparisons = list(module.measure(settings))
    except NotMeasured as reason:
        print(f"\n{claim}\n  not measured: {reason}", flush=True)
        return
    results.save(figure, claim, comparisons, folder, time.perf_counter() - begun)
    print(f"\n{claim}")
    for row in (row for comparison in comparisons for row in results.rows_of(comparison)):
        print("  " + " | ".join(cell for cell in row if cell), flush=True)


def run_all(names: list[str], arguments: argparse.Namespace) -> int:
    """Run figures one after the other; return how many failed."""
    failed = 0
    for place, name in enumerate(names, 1):
        print(f"[{place}/{len(names)}] {name}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            settings = Settings(Path(folder), arguments.tiny, arguments.repetitions, arguments.images)
            start = run_here if arguments.tiny else run_apart
            failed += not start(name, settings, arguments.output)
    return failed


def run_apart(figure: str, settings: Settings, folder: Path) -> bool:
    """Run a figure in a process of its own, and say whether it went well."""
    process = SPAWN.Process(target=as_a_command, args=(run, figure, settings, folder))
    process.start()
    process.join()
    return process.exitcode == 0


def run_here(figure: str, settings: Settings, folder: Path) -> bool:
    """Run a figure in this process, and say whether it went well."""
    try:
        run(figure, settings, folder)
    except Exception:
        traceback.print_exc()
        return False
    return True
