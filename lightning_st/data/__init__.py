"""From the index to batches: decoding, sampling, collation, and the one DataModule.

A batch is a pure function of the seed, its number in the run, the rank and the number of ranks (``sampling``).
"""

from lightning_st.data.module import SelfTrainingDataModule
from lightning_st.data.source import Source
from lightning_st.data.split import Split

__all__ = ["SelfTrainingDataModule", "Source", "Split"]
