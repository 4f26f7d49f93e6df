"""Run figures of benchmarks/: all of them, or those named.

python -m benchmarks                       # all, an hour and a half
python -m benchmarks pipeline_s4 --images ~/photographs
python -m benchmarks --table               # write README.md's table anew from results/
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from benchmarks import results
from benchmarks.running import figures, run_all


def main(words: list[str] | None = None) -> int:
    """Run what the command line says, and return the exit status."""
    names = figures()
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help="of: " + ", ".join(names))
    parser.add_argument("--tiny", action="store_true", help="see that they run, in seconds; the numbers say nothing")
    parser.add_argument("--repetitions", type=int, default=7, help="turns of each side (default: 7)")
    parser.add_argument("--images", type=Path, help="a folder of JPEG photographs; without it they are generated")
    parser.add_argument("--folder", type=Path, help="where large files go for the time being (up to 15 GB)")
    parser.add_argument("--output", type=Path, help="where results go (default: results/ beside this file)")
    parser.add_argument("--table", action="store_true", help="write README.md's table from results/, and run nothing")
    arguments = parser.parse_args(words)
    if unknown := sorted(set(arguments.figures) - set(names)):
        parser.error(f"there is no figure {', '.join(unknown)}; choose from {', '.join(names)}")
    if arguments.repetitions < 1:
        parser.error("--repetitions must be 1 or more")
    if arguments.table:
        results.write_table()
        return 0
    if arguments.output is None:
        # A tiny form never stands in for the result of a whole one.
        arguments.output = Path(tempfile.mkdtemp()) if arguments.tiny else results.FOLDER
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    return min(1, run_all(arguments.figures or names, arguments))


if __name__ == "__main__":
    sys.exit(main())
