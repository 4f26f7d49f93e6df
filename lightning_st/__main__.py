"""``python -m lightning_st``: the same as the console script."""

import sys

from lightning_st.cli import main

if __name__ == "__main__":
    sys.exit(main())
